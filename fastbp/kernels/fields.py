"""The numbers that plans and compiled code share: fields of a node's row, of a table's, and what stands in them."""

from __future__ import annotations

# Kinds of nodes, in the order of their codes.
KINDS = ("dense", "activation", "batch_norm", "layer_norm", "dropout", "noise", "add", "embedding")
(DENSE, ACTIVATION, BATCH_NORM, LAYER_NORM, DROPOUT, NOISE, ADD, EMBEDDING) = range(len(KINDS))
INPUT, NOWHERE = -1, -2  # as numbers of nodes
# Fields of a node's row.
(KIND, K, N, BLOCKS, PANELS, IS_DENSE, BIAS, CODE, OUTPUT_CODE, ALPHA, W, WPITCH, A, APITCH, Z, ZPITCH, F, SINK, D,
 DPITCH, DT, TPITCH, OWN, BELOW, SKIP, B, BPITCH, SKIP_D, RAW, SEND_BELOW, SEND_SKIP, KNOWN, STATS, GRADS, THRESHOLD,
 KERNEL_RULE, BIAS_RULE, TRAINABLE, SPARSE, PIECE, TABLES, N_TABLES, N_FIELDS) = range(43)
# Behind them, for each of the three products: lines or panels in a unit, how many units that makes, batch panels in
# one.
FORWARD_UNITS, BACKWARD_UNITS, WEIGHTS_UNITS = (N_FIELDS + 3 * i for i in range(3))
SIZE, UNITS, SHARE = range(3)
ROW = N_FIELDS + 9
# Fields of the row of an embedding's table, N_TABLES of which stand behind all others from row TABLES on: the column of
# the input, codes, length of a vector, its first line of the output, where it lies, its group, codes in a unit, units.
(T_COLUMN, T_CODES, T_WIDTH, T_START, T_PLACE, T_RULE, T_SHARE, T_UNITS) = range(8)
# What becomes of the deltas that a node has for one that it reads: nothing, they are all of them, they are written or
# added to the others.
NOT_SENT, FINISHED, WRITTEN, ADDED = range(4)
# Lines of k that a tile's operands take from memory before it starts on the next: they stay in the first-level cache.
BLOCK = 256
# Where the workspace holds the loss's parameters: how many there are, then each; at most MOST_PARAMETERS besides one
# for each output.
LOSS_PARAMETERS, MOST_PARAMETERS = 0, 8
# Panels of outputs in a unit of the weight gradient: what one tile takes.
WEIGHTS_PANELS = 3
# What a worker needs for itself: a tile of gradients, then lines for the rule's scalars and for the loss.
GRADIENT_LINES, SCRATCH_LINES = 24, 24 + 8
# Panels of outputs in a unit of a layer on sparse rows: as many as its microkernel has sums in registers.
SPARSE_PANELS = 4
# Of a group of arrays that are updated alike: the rule's scalars, and three more (see `arena`).
GROUP_LINES = 4
