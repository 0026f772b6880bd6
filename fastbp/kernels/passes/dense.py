"""The three products of a dense layer, in units of work: cut into register tiles, blocked for the caches.

    forward   Z = f(W A + b)                 units: some panels of outputs   x  some panels of the batch
    backward  D' = (W^T D) * f'(Z')          units: some lines of inputs     x  some panels of the batch
    weights   W <- update(W, A D^T)          units: some panels of outputs   x  some lines of inputs

Each cuts its contraction into blocks of BLOCK lines, so that what a tile reads again comes from the first-level cache;
the order of k does not change, so neither does a bit. `c` is the context, `row` a layer's fields.
"""

from __future__ import annotations

from fastbp import isa
from fastbp.isa.codes import (
    ACCUMULATE,
    ACTIVATIONS,
    AHEAD_LINES,
    APPLY_RELU,
    BIAS_COLUMNS,
    BIAS_ROWS,
    KEEP,
    ROUNDS,
    ZERO,
)
from fastbp.kernels.jit import called, inlined_part, part
from fastbp.kernels.microkernels import across, activate, add, along, outer, slope, transpose, update
from fastbp.kernels.passes.operands import round_deltas
from fastbp.kernels.schema import fields as field

MOST_COLUMNS = isa.table().columns
# By the number of columns: the tallest tile, and how often AHEAD_LINES times its columns go into its rows.
TALLEST = (0, *(isa.table().tallest(columns) for columns in (1, 2, 3)))
FETCHES = (0, *(-(-TALLEST[columns] // (AHEAD_LINES * columns)) for columns in (1, 2, 3)))
# Of a batch of few rows: how many at most, and panels of outputs to a tile.
FEW_COLUMNS = min(2, MOST_COLUMNS)
FEW = min(8, isa.table().tallest(FEW_COLUMNS))
BLOCK = field.BLOCK
RELU_CODE, IDENTITY_CODE = ACTIVATIONS["relu"], ACTIVATIONS["identity"]


@inlined_part
def rows_of(left, columns):
    """The next tile's height: as tall as there are, but two even ones at the end rather than a tall and a flat one."""
    tallest = TALLEST[columns]
    if left >= 2 * tallest:
        return tallest
    return (left + 1) // 2 if left > tallest else left


@inlined_part
def inputs_of(c, row):
    """Where a layer's inputs lie: for the first layer, where this worker gathered them if each does so alone."""
    return row.A + c.me * row.OWN


@inlined_part
def are_few(c, row):
    """Whether a batch has so few rows that most lanes of a panel would be idle: a transpose costs some 64 products."""
    return c.batch <= FEW and row.K * (row.N - c.batch * row.PANELS) > 64 * row.PANELS


@part
def forward_few(c, row, p0, p1):
    """Z of panels p0 ... p1 of a few rows, with the outputs along the lanes, then transposed: the same sums."""
    table, P, M, L = c.table, c.P, c.M, c.L
    rows, K, pitch = c.batch, row.K, row.WPITCH
    post = APPLY_RELU if row.CODE == RELU_CODE else KEEP
    for p in range(p0, p1, FEW_COLUMNS):
        columns = min(FEW_COLUMNS, p1 - p)
        w, z = row.W + p * pitch, row.Z + p * L * L
        across(table, rows, columns, K, M, inputs_of(c, row), P, w, pitch, M, c.scratch, rows * L,
               BIAS_COLUMNS, P, w + K * L, post, P, w + columns * pitch)
        for j in range(columns):
            height = min(L, row.N - (p + j) * L)
            transpose(table, rows, L, M, c.scratch + j * rows * L, M, z + j * L * L)
            if height < L:  # the line behind the last unit is the input of the next layer's biases
                for lane in range(L):
                    M[z + (j * L + height) * L + lane] = 1
            curve(c, row, z + j * L * L, height, 1)


@inlined_part
def forward(c, row, p0, p1, q0, q1):
    """Z of panels p0 ... p1 and batch panels q0 ... q1."""
    if c.panels == 1 and are_few(c, row):
        if q0 < q1:
            forward_few(c, row, p0, p1)
        return
    table, P, M, L = c.table, c.P, c.M, c.L
    K, N, apitch, zpitch = row.K, row.N, row.APITCH, row.ZPITCH
    post = APPLY_RELU if row.CODE == RELU_CODE else KEEP
    for k in range(0, K, BLOCK):
        depth = min(BLOCK, K - k)
        last = k + depth == K
        for p in range(p0, p1):
            w = row.W + p * row.WPITCH + k * L
            next_slab = w + row.WPITCH if p + 1 < p1 else row.W + p0 * row.WPITCH + (k + depth) * L
            height = min(L, N - p * L)
            call = 0
            for q in range(q0, q1, MOST_COLUMNS):
                columns = min(MOST_COLUMNS, q1 - q)
                a = inputs_of(c, row) + q * apitch + k * L
                z = row.Z + q * zpitch + p * L * L
                r = 0
                while r < height:
                    rows = rows_of(height - r, columns)
                    # every tile fetches a quarter of the slab that comes after this one
                    ahead = next_slab + call * (depth // 2) * L if call < 2 else w
                    across(table, rows, columns, depth, P, w + r, M, a, apitch, M, z + r * L, zpitch,
                           ACCUMULATE if k else BIAS_ROWS, P, w + (K - k) * L + r, post if last else KEEP, P, ahead)
                    r += rows
                    call += 1
                if last:
                    curve(c, row, z, height, columns)


@inlined_part
def curve(c, row, z, height, columns):
    """The activations that did not fit into the tile's registers, over a tile just written."""
    code = row.CODE
    if code in (IDENTITY_CODE, RELU_CODE):
        return
    for j in range(columns):
        at = z + j * row.ZPITCH
        activation(c, row, height, at, at)


@inlined_part
def activation(c, row, lines, a, z):
    """The activation from lines at `a` to lines of Z, and its slopes where they are kept."""
    slopes = z - row.Z + row.F if row.F >= 0 else row.SINK
    activate(c.table, row.CODE, lines, c.M, a, c.M, z, c.M, slopes, c.M, row.ALPHA)


@inlined_part
def backward(c, row, below, b0, b1, q0, q1):
    """Deltas of the layer below, blocks of L inputs b0 ... b1 and batch panels q0 ... q1, and their transposes."""
    table, P, M, L = c.table, c.P, c.M, c.L
    K, N, wpitch = row.K, row.N, row.WPITCH
    dpitch, epitch = row.DPITCH, below.DPITCH
    pair = AHEAD_LINES * L
    for n in range(0, N, BLOCK):
        depth = min(BLOCK, N - n)
        w = row.W + (n // L * wpitch if n else 0)
        for b in range(b0, b1):
            height = min(L, K - b * L)
            for q in range(q0, q1, MOST_COLUMNS):
                columns = min(MOST_COLUMNS, q1 - q)
                d = row.D + q * dpitch + n * L
                e = below.D + q * epitch + b * L * L
                r = 0
                while r < height:
                    rows = rows_of(height - r, columns)
                    along(table, rows, columns, depth, P, w + (b * L + r) * L, wpitch, M, d, dpitch,
                          M, e + r * L, epitch, ACCUMULATE if n or below.RAW == field.ADDED else ZERO,
                          P, 0, KEEP,
                          P, w + (b * L + r + rows) * L, pair, columns * pair, FETCHES[columns] if q == q0 else 0,
                          wpitch, depth, M, d)  # with every panel of outputs, the lines of the slab that comes next
                    r += rows
                if n + depth == N and not below.RAW:
                    for j in range(columns):
                        deltas(c, below, b, q + j, height)


@inlined_part
def deltas(c, below, b, q, height):
    """D <- (D + what came past it) f', a block of L units by L rows, and its transpose for the weight gradient."""
    L = c.L
    at = q * below.DPITCH + b * L * L
    e = below.D + at
    if below.SKIP_D >= 0:
        add(c.table, height, c.M, e, c.M, below.SKIP_D + at, c.M, e)
    at = q * below.ZPITCH + b * L * L
    known = below.F if below.F >= 0 else below.Z
    if below.CODE != IDENTITY_CODE:
        slope(c.table, below.CODE, height, c.M, known + at, c.M, e, c.M, below.ALPHA)
    if c.bfloat16 and below.IS_DENSE and not below.SPARSE:
        round_deltas(c, below, b, q, 1, height, e, 0, 0)
    elif below.IS_DENSE:
        dt = below.DT + b * below.TPITCH + q * L * L
        transpose(c.table, height, min(L, c.batch - q * L), c.M, e, c.M, dt)


@inlined_part
def all_deltas(c, row, q):
    """Finishes a whole panel's deltas."""
    for b in range(row.PANELS):
        deltas(c, row, b, q, min(c.L, row.N - b * c.L))


@inlined_part
def weights(c, row, p0, p1, k0, k1):
    """The gradient of panels p0 ... p1, lines k0 ... k1 of the kernel and its bias; then their update.

    Every panel of activations ends in a line of ones, so the bias is one more input. Fused, a tile of the gradient
    never leaves the first-level cache; else it goes to the gradient buffer.
    """
    if c.batch > field.DEEP:
        for k in range(k0, k1, row.WEIGHTS_SIZE):
            for p in range(p0, p1, row.WEIGHTS_OUTPUTS):
                deep_weights(c, row, p, min(p + row.WEIGHTS_OUTPUTS, p1), k, min(k + row.WEIGHTS_SIZE, k1))
        return
    if c.panels == 1 and c.fused:
        few_weights(c, row, p0, p1, k0, k1)
        return
    L = c.L
    for p in range(p0, p1, MOST_COLUMNS):
        columns = min(MOST_COLUMNS, p1 - p)
        w = row.W + p * row.WPITCH
        dt = row.DT + p * row.TPITCH
        # the first tiles fetch the deltas of the next ones' panels, ROUNDS lines with each panel of the batch
        more = p + 2 * columns <= row.PANELS
        part, parts = (c.batch // L * ROUNDS * L, L // ROUNDS) if more else (0, 0)
        k, n = k0, 0
        while k < k1:
            rows = rows_of(k1 - k, columns)
            stream = dt
            if more and n < columns * parts:
                stream += (columns + n // parts) * row.TPITCH + n % parts * part
            tile(c, row, rows, columns, inputs_of(c, row) + k * L, dt, w + k * L, stream,
                 row.BIAS and k + rows == row.K + 1)
            k, n = k + rows, n + 1


@inlined_part
def tile(c, row, rows, columns, a, dt, w, stream, biases):
    """One register tile of the gradient and its update; `biases`: its last line is that of the biases."""
    table, P, M, G, L = c.table, c.P, c.M, c.G, c.L
    apitch, wpitch, tpitch = row.APITCH, row.WPITCH, row.TPITCH
    if not c.fused:
        along(table, rows, columns, c.batch, M, a, apitch, M, dt, tpitch, G, w, wpitch,
              ACCUMULATE if c.accumulates else ZERO, M, 0, KEEP,
              G, w, wpitch, 0, min(1, c.ahead), AHEAD_LINES * L, (rows + AHEAD_LINES - 1) // AHEAD_LINES, M, stream)
        return
    # what the update will read is fetched meanwhile, AHEAD_LINES of each run with each panel of the batch
    along(table, rows, columns, c.batch, M, a, apitch, M, dt, tpitch, M, c.scratch, rows * L, ZERO, M, 0, KEEP,
          P, w, wpitch, c.stride, c.ahead, AHEAD_LINES * L, (rows + AHEAD_LINES - 1) // AHEAD_LINES,
          M, stream)
    step_tile(c, row, rows, columns, c.scratch, w, biases)


@inlined_part
def step_tile(c, row, rows, columns, g, w, biases):
    """The update of a tile of weights by its gradient at `g`."""
    table, P, M, L = c.table, c.P, c.M, c.L
    # the line of biases, where it is updated otherwise than the kernel
    bias = 1 if biases and row.BIAS_RULE != row.KERNEL_RULE else 0
    update(table, c.rule, rows - bias, columns, M, g, rows * L, P, w, row.WPITCH, c.stride,
           M, c.groups + row.KERNEL_RULE, c.sync, c.flag)
    if bias:
        last = (rows - 1) * L
        update(table, c.rule, 1, columns, M, g + last, rows * L, P, w + last, row.WPITCH, c.stride,
               M, c.groups + row.BIAS_RULE, c.sync, c.flag)


@called
def few_weights(c, row, p0, p1, k0, k1):
    """The same from a few rows, as many lines at a time as the scratch holds: a tile's products are soon made."""
    M, L = c.M, c.L
    for p in range(p0, p1):
        for k in range(k0, k1, field.GRADIENT_LINES):
            rows = min(field.GRADIENT_LINES, k1 - k)
            outer(c.table, rows, c.batch, M, inputs_of(c, row) + k * L, M, row.DT + p * row.TPITCH, M, c.scratch)
            step_tile(c, row, rows, 1, c.scratch, row.W + p * row.WPITCH + k * L, row.BIAS and k + rows == row.K + 1)


@called
def deep_weights(c, row, p0, p1, k0, k1):
    """The same from a batch of many rows, DEEP of them at a time, so that what its tiles read again comes from caches;
    their sums wait at `c.tiles`. The order of the rows does not change, so neither does a bit."""
    table, P, M, G, L = c.table, c.P, c.M, c.G, c.L
    apitch, wpitch, tpitch = row.APITCH, row.WPITCH, row.TPITCH
    for first in range(0, c.batch, field.DEEP):
        depth = min(field.DEEP, c.batch - first)
        last, goes_on = first + depth == c.batch, first > 0
        inputs, deltas, sums = inputs_of(c, row) + first // L * apitch, row.DT + first * L, c.tiles
        for p in range(p0, p1, MOST_COLUMNS):
            columns = min(MOST_COLUMNS, p1 - p)
            dt, k = deltas + p * tpitch, k0
            while k < k1:
                rows = rows_of(k1 - k, columns)
                a, w = inputs + k * L, row.W + p * row.WPITCH + k * L
                if not c.fused:
                    along(table, rows, columns, depth, M, a, apitch, M, dt, tpitch, G, w, wpitch,
                          ACCUMULATE if goes_on or c.accumulates else ZERO, M, 0, KEEP,
                          G, w, wpitch, 0, 0, 0, 0, M, dt)
                elif not last:  # the first panel's tiles fetch what the next tile reads of the inputs
                    along(table, rows, columns, depth, M, a, apitch, M, dt, tpitch, M, sums, rows * L,
                          ACCUMULATE if goes_on else ZERO, M, 0, KEEP,
                          M, a + rows * L, AHEAD_LINES * L, AHEAD_LINES * columns * L, 2 if p == p0 else 0, apitch,
                          depth // L, M, dt)
                else:
                    along(table, rows, columns, depth, M, a, apitch, M, dt, tpitch, M, sums, rows * L,
                          ACCUMULATE if goes_on else ZERO, M, 0, KEEP,
                          P, w, wpitch, c.stride, c.ahead, AHEAD_LINES * L,
                          (rows + AHEAD_LINES - 1) // AHEAD_LINES, M, dt)
                    step_tile(c, row, rows, columns, sums, w, row.BIAS and k + rows == row.K + 1)
                sums += rows * columns * L
                k += rows
