"""From shapes to a plan: where everything lies, in which order it is computed, and how the work is cut up.

A plan is data. `layers` holds a row of int64 fields per layer, `program` a row per operation; the compiled engine
interprets both. Offsets and pitches count elements; a line is L of them.

    parameters   per dense layer  W[ceil(N / L)][K lines of inputs, one line of biases, padding][L outputs]
    workspace    per layer        Z[ceil(batch / L)][N lines][L rows]  its output; then, shared by all layers in turn,
                                  D[...] deltas as Z, Dt[ceil(N / L)][batch lines][L outputs] deltas transposed

Pitches are odd numbers of lines: with powers of two, all panels of a slab would fall into one set of the first-level
cache. Deltas need two buffers and transposed ones three, because the weights of one layer are updated while the
deltas two layers below are computed; small networks keep all transposed deltas until they update all weights at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastbp.isa import LINE, detect

# Fields of a layer's row.
(K, N, BLOCKS, PANELS, DENSE, BIAS, CODE, OUTPUT_CODE, ALPHA, W, WPITCH, A, APITCH, Z, ZPITCH, F, SINK, D, DPITCH, DT,
 TPITCH, OWN, N_FIELDS) = range(23)
# Behind them, for each of the three products: lines or panels in a unit, how many units that makes, batch panels in
# one.
FORWARD_UNITS, BACKWARD_UNITS, WEIGHTS_UNITS = (N_FIELDS + 3 * i for i in range(3))
SIZE, UNITS, SHARE = range(3)
ROW = N_FIELDS + 9
# Operations, and the fields of their rows: what, which layer, whether a barrier follows, how the work is split.
(GATHER, FORWARD, LOSS, CHECK, OUTPUT, BACKWARD, WEIGHTS) = range(7)
WHAT, LAYER, BARRIER, SPLIT, N_PROGRAM = range(5)
# By shares of units, from which workers help each other; by fixed shares of them; everything by every worker; by fixed
# shares of the batch's panels, of the layer's panels of outputs, or of its blocks of inputs.
HELPING, FIXED, EVERYONE, BY_BATCH, BY_OUTPUTS, BY_INPUTS = range(6)
# Lines of k that a tile's operands take from memory before it starts on the next: they stay in the first-level cache.
BLOCK = 256
# Where the workspace holds the loss's parameters: how many there are, then each; at most MOST_PARAMETERS besides one
# for each output.
LOSS_PARAMETERS, MOST_PARAMETERS = 0, 8
# Panels of outputs in a unit of the weight gradient: what one tile takes.
WEIGHTS_PANELS = 3
# What a worker needs for itself: a tile of gradients, then lines for the rule's scalars and for the loss.
GRADIENT_LINES, SCRATCH_LINES = 24, 24 + 8
_, L2_BYTES = detect.cache_sizes()
# Of a unit: batch panels, of which BLOCK lines each stay in the second-level cache; and panels of outputs, or blocks of
# inputs, that pass them by. Measured at 1024 and 4096 wide: larger units read the batch less often, 5 to 10 %.
BATCH_PANELS, MOST_PANELS = 18, 32


class Dense(NamedTuple):
    """What the plan needs to know of a layer; `dense` False is an activation standing alone."""

    inputs: int
    outputs: int
    code: int  # of the activation applied by forward
    output_code: int  # of the one applied to predictions: a last softmax, or a sigmoid the loss is fused with
    slopes: bool  # f' is no function of the output and must be kept
    dense: bool
    bias: bool
    alpha: float


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def odd(lines: int) -> int:
    return lines | 1


def parameter_layout(layers: Sequence[Dense], lanes: int) -> tuple[np.ndarray, int]:
    """(layers, 2) offsets and pitches of the kernels, and the number of elements of the whole arena."""
    layout, end = np.zeros((len(layers), 2), np.int64), 0
    for row, layer in zip(layout, layers, strict=True):
        pitch = odd(layer.inputs + 1) * lanes
        row[:] = end, pitch
        end += ceil_div(layer.outputs, lanes) * pitch if layer.dense else 0
    return layout, end


class Plan(NamedTuple):
    layers: np.ndarray  # (layers, ROW)
    workspace: int  # elements
    scratch: int  # offset of the first worker's scratch
    scratch_size: int
    alphas: list[float]


def make(layers: Sequence[Dense], batch: int, dtype: np.dtype, workers: int, training: bool) -> Plan:
    """The layout of a workspace for batches of up to `batch` rows."""
    lanes = LINE // dtype.itemsize
    panels, padded = ceil_div(batch, lanes), ceil_div(batch, lanes) * lanes
    rows, (offsets, _) = np.zeros((len(layers), ROW), np.int64), parameter_layout(layers, lanes)
    widest = max(layer.outputs for layer in layers)

    def pitch_of(width: int) -> int:
        return odd(ceil_div(width, lanes) * lanes) * lanes

    end = ceil_div(1 + MOST_PARAMETERS + layers[-1].outputs, lanes) * lanes  # behind the loss's parameters
    below, below_pitch = end, pitch_of(layers[0].inputs)
    if gathers_alone(layers, panels, lanes, workers):
        rows[0, OWN] = panels * below_pitch
    end += panels * below_pitch + (workers - 1) * int(rows[0, OWN])
    for row, layer in zip(rows, layers, strict=True):
        row[[K, N, DENSE, BIAS]] = layer.inputs, layer.outputs, layer.dense, layer.bias
        row[[BLOCKS, PANELS]] = ceil_div(layer.inputs, lanes), ceil_div(layer.outputs, lanes)
        row[[CODE, OUTPUT_CODE]] = layer.code, layer.output_code
        row[[A, APITCH]] = below, below_pitch
        below, below_pitch = end, pitch_of(layer.outputs)
        row[[Z, ZPITCH]] = below, below_pitch
        end += panels * below_pitch
        row[F] = -1
        if layer.slopes and training:
            row[F] = end
            end += panels * below_pitch
    rows[:, [W, WPITCH]] = offsets
    deltas = panels * pitch_of(widest) if training else panels * pitch_of(layers[-1].outputs)
    transposed = ceil_div(widest, lanes) * odd(padded) * lanes if training else 0
    late = updates_wait(layers, panels)
    copies = len(rows) if late else 3
    for index, row in enumerate(rows):
        row[D], row[DPITCH] = end + index % 2 * deltas * training, pitch_of(row[N])
        row[DT], row[TPITCH] = end + 2 * deltas + index % copies * transposed, odd(padded) * lanes
    end += 2 * deltas + copies * transposed
    for index, row in enumerate(rows):
        row[SINK], row[ALPHA] = end, end + pitch_of(widest) + index
        _cut(row, panels, workers)
    end += pitch_of(widest) + ceil_div(len(rows), lanes) * lanes
    scratch_size = (SCRATCH_LINES + ceil_div(widest, lanes) * lanes) * lanes
    return Plan(rows, end + workers * scratch_size, end, scratch_size, [layer.alpha for layer in layers])


def _cut(row: np.ndarray, panels: int, workers: int) -> None:
    """Units of work: large enough to keep what they share in the second-level cache, enough of them to share out."""
    few = 4 * workers if workers > 1 else 1
    lines = int(row[K] + row[BIAS])

    def product(place: int, total: int) -> None:
        """`total` panels or blocks against the batch's panels. A unit reads its batch panels once and keeps a block of
        them in the second-level cache, so it takes as many panels as the number of workers allows."""
        share = _even(panels, BATCH_PANELS) if workers > 1 or panels > 2 * BATCH_PANELS else panels
        size = min(MOST_PANELS, ceil_div(total, ceil_div(few, ceil_div(panels, share))))
        if ceil_div(total, size) < workers and share == panels:
            share = max(1, ceil_div(panels, ceil_div(few, ceil_div(total, size))))
        row[place : place + 3] = size, ceil_div(total, size), share

    product(FORWARD_UNITS, int(row[PANELS]))
    product(BACKWARD_UNITS, int(row[BLOCKS]))
    # weights: a unit's inputs stay in the second-level cache while all its panels pass
    groups = ceil_div(int(row[PANELS]), WEIGHTS_PANELS)
    size = min(lines, max(8, L2_BYTES // 2 // (panels * LINE) // 8 * 8))
    if groups % workers and groups * ceil_div(lines, size) < few:
        size = max(8, ceil_div(ceil_div(lines, workers), 8) * 8)
    row[WEIGHTS_UNITS : WEIGHTS_UNITS + 3] = size, ceil_div(lines, size), groups


def _even(total: int, most: int) -> int:
    """The size of equal parts of at most `most`, a multiple of a tile's three columns where there are several."""
    n = ceil_div(total, most)
    return total if n == 1 else ceil_div(ceil_div(total, n), 3) * 3


def updates_wait(layers: Sequence[Dense], panels: int) -> bool:
    """Whether all deltas are kept until the weights are updated, all at once: fewer barriers, where there is room."""
    return sum(panels * layer.outputs * LINE for layer in layers) <= L2_BYTES // 4


def _splits(layers: Sequence[Dense], panels: int, lanes: int, workers: int) -> list[int]:
    """How forward of each layer is shared out.

    In small networks every worker keeps to its own units: its weights, their averages and its deltas stay in its
    caches, and only activations pass between the cores. A line that another core has written costs some 20 ns, as
    much as 1,500 multiply-adds. Layers with too few units are split by rows of the batch.
    """
    small = updates_wait(layers, panels)

    def even(total: int) -> bool:
        return ceil_div(total, workers) * workers <= 1.2 * total

    def split(layer: Dense) -> int:
        units = ceil_div(layer.outputs, lanes)
        if not layer.dense:
            return FIXED
        if small and even(units):
            return BY_OUTPUTS
        if even(panels) and (small or layer.inputs * layer.outputs * LINE // lanes <= L2_BYTES // 16):
            return BY_BATCH
        return FIXED if small else HELPING

    return [split(layer) for layer in layers]


def gathers_alone(layers: Sequence[Dense], panels: int, lanes: int, workers: int) -> bool:
    """Whether every worker gathers all rows for itself, which is cheaper than reading lines another has written."""
    return layers[0].dense and _splits(layers, panels, lanes, workers)[0] != BY_BATCH


def program(layers: Sequence[Dense], mode: str, panels: int, lanes: int, workers: int) -> np.ndarray:
    """The operations of one step: "train", "evaluate" or "predict"."""
    last, splits = len(layers) - 1, _splits(layers, panels, lanes, workers)
    start = EVERYONE if gathers_alone(layers, panels, lanes, workers) else BY_BATCH
    steps = [(GATHER, 0, start), *((FORWARD, i, split) for i, split in enumerate(splits))]
    if mode == "predict":
        return _with_barriers([*steps, (OUTPUT, last, BY_BATCH)])
    steps, check = [*steps, (LOSS, last, BY_BATCH)], [(CHECK, last, FIXED)]
    if mode == "evaluate":
        return _with_barriers(steps + check)

    def follows(i: int) -> int:
        """Backward of a layer: whoever has the units of the layer below computes their deltas."""
        if splits[i - 1] == BY_OUTPUTS and layers[i].dense:
            return BY_INPUTS
        return FIXED if splits[i] == BY_OUTPUTS else splits[i]

    def owns(i: int) -> int:
        """Weights of a layer: whoever has the units below, so that the same worker reads and updates them."""
        if i == 0 or splits[i] == HELPING:
            return FIXED if splits[i] == BY_BATCH else splits[i]
        return BY_INPUTS if splits[i - 1] == BY_OUTPUTS else FIXED

    deltas = [(BACKWARD, i, follows(i)) for i in range(last, 0, -1)]
    updates = [(WEIGHTS, i, owns(i)) for i in range(last, -1, -1) if layers[i].dense]
    if updates_wait(layers, panels):
        return _with_barriers(steps + deltas + check + updates)
    # else the weights of a layer are updated beside the deltas two layers below, and these may reuse what they free
    rest: list[tuple[int, int, int]] = []
    for delta in deltas:
        rest += [delta, *(update for update in updates if update[1] == delta[1] + 1)]
    rest += [update for update in updates if update[1] <= min(1, last)]
    return _with_barriers(steps + check + rest, late=False)


def _with_barriers(steps: list[tuple[int, int, int]], late: bool = True) -> np.ndarray:
    """A barrier behind every operation whose results other workers need next, or whose operands they change next.

    `late`: no deltas are computed beside updates of weights.
    """
    passed, rows = False, []
    for (what, layer, split), (following, below, next_split) in zip(steps, [*steps[1:], (-1, 0, 0)], strict=True):
        if following < 0:  # the next step gathers: for everyone alone, and forward begins with what is a worker's own
            free = late and what == WEIGHTS and steps[1][2] == BY_OUTPUTS and steps[0][2] == EVERYONE
        elif what in (GATHER, CHECK):
            free = what == CHECK or split == EVERYONE or split == next_split == BY_BATCH
        elif following == CHECK:  # needs the losses of all, and updates their deltas
            free = passed and split == BY_INPUTS
        elif what == BACKWARD:
            free = (following == WEIGHTS and below == layer + 1) or (late and split == next_split == BY_BATCH)
        else:
            # beside updates, those of the lowest two layers come after the last deltas
            free = (what == WEIGHTS == following and (late or layer <= 1)) or split == next_split == BY_BATCH
        passed = not free if what == LOSS else passed
        rows.append((what, layer, int(not free), split))
    return np.array(rows, np.int64)
