"""The numbers that plans and compiled code share: fields of a node's row, of a table's, and what stands in them."""

from __future__ import annotations

from fastbp import spec

KINDS = tuple(spec.KINDS)  # of nodes, in the order of their codes
INPUT, NOWHERE = -1, -2  # as numbers of nodes


def code_of(kind: str) -> int:
    """The number that stands for a kind of node in its row."""
    return KINDS.index(kind)


def length(kind: type) -> int:
    """How many words a row has whose fields the class names."""
    return 1 + max(place for name, place in vars(kind).items() if not name.startswith("_"))


class Layer:
    """Fields of a node's row; of each product's units, lines or panels in one, how many, and batch panels in one.

    Those from KEEPS on are of networks whose products take operands of bfloat16, see `passes.bfloat16`: whether the
    outputs are wanted in float32 as well, then where operands lie and how far apart their panels; but FUNCTION is the
    code of the function of a parametric activation, and whether a periodic embedding has a ReLU.
    """

    (KIND, K, N, BLOCKS, PANELS, IS_DENSE, BIAS, CODE, OUTPUT_CODE, ALPHA, W, WPITCH, A, APITCH, Z, ZPITCH, F, SINK, D,
     DPITCH, DT, TPITCH, OWN, BELOW, SKIP, B, BPITCH, SKIP_D, RAW, SEND_BELOW, SEND_SKIP, KNOWN, STATS, GRADS,
     THRESHOLD, KERNEL_RULE, BIAS_RULE, TRAINABLE, SPARSE, PIECE, TABLES, N_TABLES, FORWARD_SIZE, FORWARD_UNITS,
     FORWARD_SHARE, BACKWARD_SIZE, BACKWARD_UNITS, BACKWARD_SHARE, WEIGHTS_SIZE, WEIGHTS_UNITS,
     WEIGHTS_SHARE, ARRAYS, WEIGHTS_OUTPUTS, KEEPS, OUT_PAIRS, OUT_PAIRS_PITCH, OUT_ROWS, OUT_ROWS_PITCH, IN_PAIRS,
     IN_PAIRS_PITCH, IN_ROWS, IN_ROWS_PITCH, FED_PAIRS, FED_PAIRS_PITCH, FED_ROWS, FED_ROWS_PITCH, DELTA_PAIRS,
     DELTA_PAIRS_PITCH, DELTA_TURNED, DELTA_TURNED_PITCH, KERNEL_ROWS, KERNEL_ROWS_PITCH, KERNEL_COLUMNS,
     KERNEL_COLUMNS_PITCH, FUNCTION) = range(75)


class Table:
    """Fields of the row of an embedding's table, N_TABLES of which stand behind all others from row TABLES on: the
    column of the input, codes, length of a vector, its first line of the output, where it lies, its group, codes in a
    unit, units; and where the edges of its bins lie, of a piecewise embedding. A periodic embedding has its matrices
    there, whose codes are its columns, and then a row for each column."""

    (COLUMN, CODES, WIDTH, START, PLACE, RULE, SHARE, UNITS, EDGES) = range(9)
    LAST = length(Layer) - 1


class Operation:
    """Fields of a program's row: what, which node, whether a barrier follows, how the work is split."""

    WHAT, LAYER, BARRIER, SPLIT = range(4)


class Piece:
    """Fields of a piece of the parameters: its node, its offset, its lines, its array, the array of the line behind
    them (-1: none), whether it is trained (frozen ones have penalties and averages all the same), and where the sums of
    its runs begin."""

    NODE, PLACE, LINES, ARRAY, BIAS_ARRAY, TRAINED, RUNS = range(7)


class Settings:
    """Columns of an array's settings: times the rate, times the decay, penalties, the norm that units may have; its
    pieces; how much of the penalty whose gradient the decay is counts in the loss."""

    MULTIPLIER, DECAYS, L1, L2, MAX_NORM, FIRST, COUNT, REPORTED = range(8)


ROW = length(Layer)
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
# From more rows of the batch than DEEP on, the weight gradient takes in so many at a time, in units of DEEP_PANELS.
DEEP, DEEP_PANELS = 256, 6
# What a worker needs for itself: a tile of gradients, then lines for the rule's scalars and for the loss.
GRADIENT_LINES, SCRATCH_LINES = 24, 24 + 8
# Panels of outputs in a unit of a layer on sparse rows: as many as its microkernel has sums in registers.
SPARSE_PANELS = 4
# Sums of products of bfloat16: lines of a block of 2 x 2 tiles; blocks whose sums stay in the first-level cache; how
# many blocks of a contraction are added up before it goes by in chunks, whose sums wait in the second; and blocks of a
# unit then.
TILES_LINES, TILES_PAIRS, TILES_CHUNK, TILES_UNIT = 64, 4, 32, 160
# Batch panels that go through a whole chain of layers and back before the next ones do (see `bfloat16.chain`): of the
# widest layer, WIDEST_CHAIN units, their operands are a quarter of a second-level cache of 2 MiB.
CHAIN_PANELS, WIDEST_CHAIN = 32, 512
# Of a group of arrays that are updated alike: the rule's scalars, and three more (see `arena`).
GROUP_LINES = 4
