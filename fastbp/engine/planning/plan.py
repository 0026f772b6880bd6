"""From a network's nodes to a plan: where everything lies, and how large the units of work are.

A plan is data. `layers` holds a row of int64 fields per node, and the program (see `program`) a row per operation; the
compiled engine interprets both. Offsets and pitches count elements; a line is L of them.

    parameters   per dense node   W[ceil(N / L)][K lines of inputs, one line of biases, padding][L outputs]
                 normalization    gamma, beta and, of batches, moving mean and variance: [ceil(N / L) lines, padding];
                                  so all that has arrays of one number a unit
                 embedding        each of its tables [codes][length of a vector], then padding up to a whole line
    workspace    per node         Z[ceil(batch / L)][N lines][L rows]  its output; then, shared by all nodes in turn,
                                  D[...] deltas as Z, Dt[ceil(N / L)][batch lines][L outputs] deltas transposed

Pitches are odd numbers of lines: with powers of two, all panels of a slab would fall into one set of the first-level
cache. Deltas need two buffers and transposed ones three, because the weights of one layer are updated while the
deltas two layers below are computed; small networks keep all transposed deltas until they update all weights at once.
What a residual sum sends past its block has buffers of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastbp import spec
from fastbp.engine.planning import tuning
from fastbp.isa import LINE
from fastbp.isa.targets import detect
from fastbp.kernels.schema.fields import (
    ADDED,
    CHAIN_PANELS,
    DEEP,
    DEEP_PANELS,
    FINISHED,
    GROUP_LINES,
    INPUT,
    KINDS,
    MOST_PARAMETERS,
    NOT_SENT,
    ROW,
    SCRATCH_LINES,
    SPARSE_PANELS,
    TILES_CHUNK,
    TILES_LINES,
    TILES_PAIRS,
    TILES_UNIT,
    WEIGHTS_PANELS,
    WIDEST_CHAIN,
    WRITTEN,
    Layer,
    Table,
    code_of,
)

DENSE, ACTIVATION, ADD, DROPOUT, NOISE = map(code_of, ("dense", "activation", "add", "dropout", "noise"))
PARAMETRIC = code_of("parametric")
TABLE_LINES = 256  # in a unit of a table's gradient, which stays in the first-level cache until the update
_, L2_BYTES = detect.cache_sizes()


class Node(NamedTuple):
    """What the plan needs to know of a node of the network."""

    inputs: int
    outputs: int
    kind: int
    code: int  # of the activation applied by forward
    output_code: int  # of the one applied to predictions: a last softmax, or a sigmoid the loss is fused with
    slopes: bool  # f' is no function of the output and must be kept
    bias: bool
    alpha: float
    values: tuple[float, ...]
    below: int  # the node it reads
    skip: int  # the node that ADD reads besides, NOWHERE for others
    trainable: bool
    rules: tuple[int, ...]  # the groups of its kernel or gamma, and of its bias or beta; or of its tables
    tables: tuple[tuple[int, int, int], ...] = ()  # of EMBEDDING: column, codes, dimension; PERIODIC's matrices
    function: int = 0  # the code of PARAMETRIC's function, whose slopes are kept
    waves: spec.Waves | None = None  # of PERIODIC
    edges: tuple[tuple[float, ...], ...] = ()  # of PIECEWISE, for each of its tables

    @property
    def dense(self) -> bool:
        return self.kind == DENSE

    @property
    def columns(self) -> int:
        """Arrays with one number a unit: those of all kinds but dense and embedding."""
        kind = spec.KINDS[KINDS[self.kind]]
        return 0 if kind.kernel or kind.tables else len(kind.parameters) + len(kind.statistics)

    @property
    def size(self) -> int:
        """Numbers in its arrays, statistics included."""
        tables = sum(rows * width for _, rows, width in self.tables)
        return tables + (self.inputs + self.bias if self.dense else self.columns) * self.outputs

    @property
    def arrays(self) -> int:
        """How many arrays an optimizer moves: kernel and biases, gamma and beta, or tables."""
        return 1 + self.bias if self.dense else len(self.tables) or len(spec.KINDS[KINDS[self.kind]].parameters)


def plain(nodes: Sequence[Node]) -> bool:
    """Whether all nodes are dense or activations: a chain, with nothing random."""
    return all(node.kind in (DENSE, ACTIVATION) for node in nodes)


def chains(nodes: Sequence[Node], panels: int, workers: int, sparse: bool) -> bool:
    """Whether products of bfloat16 take some batch panels through all layers at once: where kernels are small enough to
    be read again for each of these groups, and where there are enough of these."""
    widths = [nodes[0].inputs, *(node.outputs for node in nodes)]
    straight = all(node.dense and node.below == i - 1 for i, node in enumerate(nodes)) and not sparse
    return straight and max(widths) <= WIDEST_CHAIN and panels >= 2 * workers * CHAIN_PANELS


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def odd(lines: int) -> int:
    return lines | 1


def parameter_layout(nodes: Sequence[Node], lanes: int) -> tuple[np.ndarray, int]:
    """(nodes, 2) offsets and pitches of the parameters, and the number of elements of the whole arena."""
    layout, end = np.zeros((len(nodes), 2), np.int64), 0
    for row, node in zip(layout, nodes, strict=True):
        panels = ceil_div(node.outputs, lanes)
        pitch = odd(node.inputs + 1 if node.dense else panels) * lanes
        row[:] = end, pitch
        end += (panels if node.dense else node.columns) * pitch + sum(table_sizes(node, lanes))
    return layout, end


def tables_of(node: spec.LayerSpec) -> tuple[tuple[int, int, int], ...]:
    """An embedding's tables, or the matrices of one of waves, in the same form: 0, rows, columns."""
    return node.tables or tuple((0, *shape) for shape in node.matrices.values())


def table_sizes(node: Node, lanes: int) -> list[int]:
    """Elements of each of an embedding's tables, which lie one behind the other."""
    return [ceil_div(codes * width, lanes) * lanes for _, codes, width in node.tables]


class Plan(NamedTuple):
    layers: np.ndarray  # (nodes and what else deltas go to, ROW)
    workspace: int  # elements
    scratch: int  # offset of the first worker's scratch
    scratch_size: int
    values: int  # offset of VALUES numbers for each node: alpha, then its own
    tiles: int = 0  # offset of the first worker's sums that wait for more rows of the batch, or of bfloat16's products
    tiles_size: int = 0


VALUES = 4


class Arena:
    """Hands out room."""

    def __init__(self, start: int):
        self.end = start

    def take(self, size: int) -> int:
        self.end += size
        return self.end - size


def make(nodes: Sequence[Node], batch: int, dtype: np.dtype, workers: int, training: bool, groups: int,
         own_inputs: bool, sparse: bool, bfloat16: int = 0) -> Plan:
    """The layout of a workspace for batches of up to `batch` rows.

    own_inputs: every worker gathers for itself; sparse: the first layer reads sparse rows, which nobody gathers;
    bfloat16: of how many such words an operand of a product is made, 0 for float32.
    """
    lanes = LINE // dtype.itemsize
    panels = ceil_div(batch, lanes)
    rows, (parameters, _) = np.zeros((len(nodes), ROW), np.int64), parameter_layout(nodes, lanes)
    widest = max(node.outputs for node in nodes)
    room = Arena(ceil_div(1 + MOST_PARAMETERS + nodes[-1].outputs, lanes) * lanes)  # behind the loss's parameters

    def pitch_of(width: int) -> int:
        return odd(ceil_div(width, lanes) * lanes) * lanes

    inputs = lanes if sparse else pitch_of(nodes[0].inputs)
    rows[0, Layer.SPARSE] = sparse
    if own_inputs:
        rows[0, Layer.OWN] = panels * inputs
    outputs = {INPUT: (room.take(panels * inputs + (workers - 1) * int(rows[0, Layer.OWN])), inputs)}
    if bfloat16 and not sparse and all(node.dense for node in nodes if INPUT in (node.below, node.skip)):
        rows[0, Layer.OWN] = inputs  # only rounded ones are read: a worker gathers every panel at the same place
        outputs = {INPUT: (room.take(workers * inputs), 0)}
    for index, (row, node) in enumerate(zip(rows, nodes, strict=True)):
        pitch = pitch_of(node.outputs)
        row[[Layer.KIND, Layer.K, Layer.N]] = node.kind, node.inputs, node.outputs
        row[[Layer.IS_DENSE, Layer.BIAS, Layer.ARRAYS]] = node.dense, node.bias, node.arrays
        row[[Layer.BLOCKS, Layer.PANELS]] = ceil_div(node.inputs, lanes), ceil_div(node.outputs, lanes)
        row[[Layer.CODE, Layer.OUTPUT_CODE, Layer.TRAINABLE]] = node.code, node.output_code, node.trainable
        row[Layer.FUNCTION] = node.function
        row[[Layer.KERNEL_RULE, Layer.BIAS_RULE]] = np.multiply(node.rules[:2], GROUP_LINES * lanes)
        row[[Layer.A, Layer.APITCH]] = outputs[node.below]
        row[[Layer.B, Layer.BPITCH]] = outputs.get(node.skip, (0, 0))
        if passes_through(node) and not training:
            outputs[index] = outputs[node.below]
        else:
            outputs[index] = room.take(panels * pitch), pitch
        row[[Layer.Z, Layer.ZPITCH]] = outputs[index]
        slopes = training and (node.slopes or node.kind in (DROPOUT, PARAMETRIC))
        row[Layer.F] = room.take(panels * pitch) if slopes else -1
        if node.columns and training:
            row[Layer.KNOWN], row[Layer.GRADS] = room.take(panels * pitch), room.take(2 * int(parameters[index, 1]))
        row[Layer.STATS] = room.take(3 * int(parameters[index, 1]) + panels * lanes) if node.columns else 0
        if node.kind == DROPOUT:
            rate, *column = node.values
            row[Layer.THRESHOLD] = -1 - int(column[0]) if column else int(rate * 2**32)
    rows[:, [Layer.W, Layer.WPITCH]] = parameters
    rows[:, Layer.SKIP_D] = -1
    if training:
        late = updates_wait(nodes, panels) or (bfloat16 > 0 and chains(nodes, panels, workers, sparse))
        rows = _deltas(rows, nodes, panels, pitch_of, room, lanes, late)
    else:
        pitch = pitch_of(nodes[-1].outputs)
        rows[-1, Layer.D], rows[-1, Layer.DPITCH] = room.take(panels * pitch), pitch
    sink, values = room.take(pitch_of(widest)), room.take(ceil_div(VALUES * len(rows), lanes) * lanes)
    for index, row in enumerate(rows):
        row[Layer.SINK], row[Layer.ALPHA] = sink, values + VALUES * index
        if bfloat16:
            _cut_for_tiles(row, panels, workers, bfloat16)
        else:
            _cut(row, panels, workers, lanes)
    blocks = SPARSE_PANELS * lanes * sparse
    for index, node in enumerate(nodes):
        if node.edges:
            rows, lines = _bins(rows, index, node, lanes, room)
            blocks = max(blocks, lines)
        elif node.tables:
            rows, lines = (_tables if node.waves is None else _waves)(rows, index, node, lanes)
            blocks = max(blocks, lines)
    scratch_size = (SCRATCH_LINES + ceil_div(widest, lanes) * lanes + blocks + GROUP_LINES * groups) * lanes
    scratch = room.take(workers * scratch_size)
    tiles_size = 0
    if bfloat16:
        tiles_size = TILES_LINES * lanes * (TILES_UNIT if _longest(nodes, panels) > TILES_CHUNK else TILES_PAIRS)
    elif training and panels * lanes > DEEP:
        tiles_size = lanes * int(rows[:, Layer.WEIGHTS_SIZE].max()) * DEEP_PANELS
    tiles = room.take(workers * tiles_size)
    return Plan(rows, room.end, scratch, scratch_size, values, tiles, tiles_size)


def passes_through(node: Node) -> bool:
    """Whether a prediction skips it."""
    return node.kind in (DROPOUT, NOISE)


def _deltas(rows: np.ndarray, nodes: Sequence[Node], panels: int, pitch_of: Callable[[int], int], room: Arena,
            lanes: int, late: bool) -> np.ndarray:
    """Room for deltas, and where each node sends them; returns the rows, and behind them those of other targets.

    A node's deltas are the sum over all nodes that read it. The first of these, whose turn in backward is the last,
    finishes them; what the others contribute waits at SKIP_D. If that is one sum alone, its own deltas serve.
    """
    widest = max(node.outputs for node in nodes)
    deltas, transposed = panels * pitch_of(widest), ceil_div(widest, lanes) * odd(panels * lanes) * lanes
    copies = len(nodes) if late else 3
    shared, turned = [room.take(deltas) for _ in range(2)], [room.take(transposed) for _ in range(copies)]
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        for source in (node.below, node.skip):
            readers.setdefault(source, []).append(index)
    position = 0
    extra: list[np.ndarray] = []
    for index, (row, node) in enumerate(zip(rows, nodes, strict=True)):
        # Where workers take their panels through all layers without a barrier, nobody's must lie where another's did.
        row[Layer.DPITCH], row[Layer.TPITCH] = pitch_of(widest if late else node.outputs), odd(panels * lanes) * lanes
        if node.kind == ADD or readers[node.below][0] != index:
            row[Layer.D], row[Layer.DT] = room.take(panels * int(row[Layer.DPITCH])), room.take(transposed)
        else:
            row[Layer.D], row[Layer.DT] = shared[position % 2], turned[position % copies]
            position += 1
    for index, (row, node) in enumerate(zip(rows, nodes, strict=True)):
        row[Layer.BELOW], row[Layer.SKIP] = node.below, node.skip
        others = readers.get(index, [])[1:]
        if len(others) == 1 and nodes[others[0]].kind == ADD:
            row[Layer.SKIP_D] = rows[others[0], Layer.D]
        elif others:
            row[Layer.SKIP_D] = room.take(panels * int(row[Layer.DPITCH]))
    for index, (row, node) in enumerate(zip(rows, nodes, strict=True)):
        if node.kind == ADD:
            sent = [_send(nodes, readers, index, target) for target in (node.below, node.skip)]
            row[[Layer.SEND_BELOW, Layer.SEND_SKIP]] = sent
            if node.below == node.skip and row[Layer.SEND_SKIP] != NOT_SENT:  # it is added to itself
                row[Layer.SEND_SKIP] = NOT_SENT if row[Layer.SEND_SKIP] == FINISHED else ADDED
        elif readers[node.below][0] != index:
            send = _send(nodes, readers, index, node.below)
            target = rows[node.below].copy() if node.below >= 0 else rows[0].copy()
            target[Layer.D], target[Layer.RAW], target[Layer.SKIP_D] = target[Layer.SKIP_D], send, -1
            row[Layer.BELOW] = len(rows) + len(extra) if node.below >= 0 else INPUT
            extra.append(target)
    return np.concatenate([rows, np.array(extra, np.int64).reshape(-1, ROW)])


def _send(nodes: Sequence[Node], readers: dict[int, list[int]], index: int, target: int) -> int:
    """How a node that reads `target` hands its deltas on."""
    if target == INPUT:
        return NOT_SENT
    if readers[target][0] == index:
        return FINISHED
    if len(readers[target]) == 2 and nodes[index].kind == ADD:
        return NOT_SENT  # they are where they are looked for
    return WRITTEN if readers[target][-1] == index else ADDED


def _tables(rows: np.ndarray, index: int, node: Node, lanes: int) -> tuple[np.ndarray, int]:
    """The rows, and behind them those of an embedding's tables; and the most lines of a unit of their gradients."""
    tables, lines = np.zeros((len(node.tables), ROW), np.int64), 0
    place, start = int(rows[index, Layer.W]), node.inputs - len(node.tables)
    for table, (column, codes, width), size, rule in zip(
            tables, node.tables, table_sizes(node, lanes), node.rules, strict=False):
        share = min(max(1, TABLE_LINES // width), ceil_div(codes, lanes)) * lanes  # whole lines
        table[: Table.UNITS + 1] = (column, codes, width, start, place, rule * GROUP_LINES * lanes, share,
                                ceil_div(codes, share))
        place, start, lines = place + size, start + width, max(lines, share * width // lanes)
    rows[index, [Layer.TABLES, Layer.N_TABLES]] = len(rows), len(tables)
    rows[index, Layer.WEIGHTS_UNITS] = tables[:, Table.UNITS].sum()
    return np.concatenate([rows, tables]), lines


def _waves(rows: np.ndarray, index: int, node: Node, lanes: int) -> tuple[np.ndarray, int]:
    """The same of an embedding of waves: a row for each of its matrices, then one for each of its columns.

    A unit is a line's worth of columns: it has whole lines of each matrix. For the lines see `passes.periodic`.
    """
    own = node.waves
    assert own is not None
    n, places = len(own.columns), int(rows[index, Layer.W]) + np.cumsum([0, *table_sizes(node, lanes)])
    tables = np.zeros((len(node.tables) + n, ROW), np.int64)
    matrices, columns = tables[: len(node.tables)], tables[len(node.tables) :]
    matrices[:, [Table.CODES, Table.SHARE, Table.UNITS]] = n, lanes, ceil_div(n, lanes)
    matrices[:, Table.WIDTH] = [width for _, _, width in node.tables]
    matrices[:, Table.PLACE] = places[: len(matrices)]
    matrices[:, Table.RULE] = np.multiply(node.rules[: len(matrices)], GROUP_LINES * lanes)
    columns[:, Table.COLUMN] = own.columns
    columns[:, Table.START] = node.inputs - n + own.width * np.arange(n)
    rows[index, [Layer.TABLES, Layer.N_TABLES]] = len(rows), len(matrices)
    rows[index, [Layer.WEIGHTS_UNITS, Layer.FUNCTION]] = ceil_div(n, lanes), own.relu
    sums, of_waves = int(matrices[:, Table.WIDTH].sum()), 3 * own.frequencies + ceil_div(own.frequencies, lanes)
    return np.concatenate([rows, tables]), 2 * sums + of_waves + own.outputs + 1


def _bins(rows: np.ndarray, index: int, node: Node, lanes: int, room: Arena) -> tuple[np.ndarray, int]:
    """The same of piecewise linear functions, whose tables are a unit each; and room for their edges."""
    tables = np.zeros((len(node.tables), ROW), np.int64)
    place, start = int(rows[index, Layer.W]), node.inputs - len(node.tables)
    for table, (column, codes, width), size, rule in zip(
            tables, node.tables, table_sizes(node, lanes), node.rules, strict=False):
        edges = room.take(ceil_div(2 * codes, lanes) * lanes)
        table[: Table.EDGES + 1] = (column, codes, width, start, place, rule * GROUP_LINES * lanes, codes, 1, edges)
        place, start = place + size, start + width
    rows[index, [Layer.TABLES, Layer.N_TABLES, Layer.WEIGHTS_UNITS]] = len(rows), len(tables), len(tables)
    return np.concatenate([rows, tables]), 2 * max(table_sizes(node, lanes)) // lanes


def _cut(row: np.ndarray, panels: int, workers: int, lanes: int) -> None:
    """Units of work: large enough to keep what they share in the second-level cache, enough of them to share out."""
    few = 4 * workers if workers > 1 else 1
    lines = int(row[Layer.K] + row[Layer.BIAS])

    def product(place: int, total: int) -> None:
        """`total` panels or blocks against the batch's panels. A unit reads its batch panels once and keeps a block of
        them in the second-level cache, so it takes as many panels as the number of workers allows."""
        most = tuning.current().batch_panels
        share = _even(panels, most) if workers > 1 or panels > 2 * most else panels
        size = min(tuning.current().most_panels, ceil_div(total, ceil_div(few, ceil_div(panels, share))))
        if ceil_div(total, size) < workers and share == panels:
            share = max(1, ceil_div(panels, ceil_div(few, ceil_div(total, size))))
        row[place : place + 3] = size, ceil_div(total, size), share

    product(Layer.FORWARD_SIZE, int(row[Layer.PANELS]))
    product(Layer.BACKWARD_SIZE, int(row[Layer.BLOCKS]))
    # weights: a unit's inputs stay in the second-level cache while all its panels pass; from a batch of many rows, also
    # the deltas and the sums
    deep = panels * lanes > DEEP
    outputs, depth = (DEEP_PANELS, DEEP // lanes) if deep else (WEIGHTS_PANELS, panels)
    groups = ceil_div(int(row[Layer.PANELS]), outputs)
    held, each = L2_BYTES // 2 - deep * outputs * DEEP * LINE, (depth + deep * outputs) * LINE
    size = min(lines, max(8, held // each // 8 * 8))
    if groups % workers and groups * ceil_div(lines, size) < few:
        size = max(8, ceil_div(ceil_div(lines, workers), 8) * 8)
    row[Layer.WEIGHTS_OUTPUTS] = outputs
    row[Layer.WEIGHTS_SIZE : Layer.WEIGHTS_SIZE + 3] = size, ceil_div(lines, size), groups


def _cut_for_tiles(row: np.ndarray, panels: int, workers: int, words: int) -> None:
    """Units for operands of bfloat16, of even sizes: half the second-level cache holds what their products read again.

    The first operand streams by, so a unit takes as much of it as the number of workers allows.
    """
    few, held = 4 * workers if workers > 1 else 1, L2_BYTES // 2 // words

    def product(place: int, total: int, contraction: int) -> None:
        depth = ceil_div(contraction, 32)
        share = min(multiple(panels, 2), max(2, held // (min(depth, TILES_CHUNK) * 1024) // 2 * 2))
        share = multiple(ceil_div(panels, ceil_div(panels, share)), 2)
        size = min(total, multiple(ceil_div(total, ceil_div(few, ceil_div(panels, share))), 2))
        if depth > TILES_CHUNK:
            size = min(size, 2 * (TILES_UNIT // (share // 2)))
        row[place : place + 3] = size, ceil_div(total, size), share

    product(Layer.FORWARD_SIZE, int(row[Layer.PANELS]), int(row[Layer.K]))
    product(Layer.BACKWARD_SIZE, int(row[Layer.BLOCKS]), int(row[Layer.N]))
    lines, outputs = int(row[Layer.K] + row[Layer.BIAS]), int(row[Layer.PANELS])
    depth = ceil_div(panels, 2)
    # weights and their states pass by, so it is a quarter of the cache that holds what is read again
    size = min(multiple(lines, 32), max(32, held // 2 // (min(depth, TILES_CHUNK) * 64) // 32 * 32))
    size = multiple(ceil_div(lines, ceil_div(lines - 1, size)), 32)
    few = workers if depth > TILES_CHUNK else few
    groups = min(ceil_div(outputs, 2), ceil_div(few, ceil_div(lines, size)))
    most = multiple(ceil_div(outputs, groups), 2)
    if depth > TILES_CHUNK:
        most = min(most, max(2, 2 * (TILES_UNIT // (size // 32))))
    row[Layer.WEIGHTS_OUTPUTS] = most
    row[Layer.WEIGHTS_SIZE : Layer.WEIGHTS_SIZE + 3] = size, ceil_div(lines, size), ceil_div(outputs, most)


def _longest(nodes: Sequence[Node], panels: int) -> int:
    """Blocks of the longest contraction."""
    return max(ceil_div(max(panels * 16, *(max(node.inputs, node.outputs) for node in nodes)), 32), 1)


def multiple(n: int, of: int) -> int:
    return ceil_div(n, of) * of


def _even(total: int, most: int) -> int:
    """The size of equal parts of at most `most`, a multiple of a tile's three columns where there are several."""
    n = ceil_div(total, most)
    return total if n == 1 else ceil_div(ceil_div(total, n), 3) * 3


def updates_wait(layers: Sequence[Node], panels: int) -> bool:
    """Whether all deltas are kept until the weights are updated, all at once: fewer barriers, where there is room."""
    return plain(layers) and sum(panels * layer.outputs * LINE for layer in layers) <= tuning.current().kept_bytes
