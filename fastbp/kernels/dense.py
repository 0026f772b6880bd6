"""The three products of a dense layer, in units of work: cut into register tiles, blocked for the caches.

    forward   Z = f(W A + b)                 units: some panels of outputs   x  some panels of the batch
    backward  D' = (W^T D) * f'(Z')          units: some lines of inputs     x  some panels of the batch
    weights   W <- update(W, A D^T)          units: some panels of outputs   x  some lines of inputs

Each cuts its contraction into blocks of BLOCK lines, so that what a tile reads again comes from the first-level cache;
the order of k does not change, so neither does a bit. `mem` holds the arrays, `row` a layer's fields (see `plan`).
"""

from __future__ import annotations

from typing import NamedTuple

from fastbp import isa
from fastbp.isa.codes import ACCUMULATE, ACTIVATIONS, AHEAD_LINES, APPLY_RELU, BIAS_ROWS, KEEP, ROUNDS, ZERO
from fastbp.kernels import fields as field
from fastbp.kernels.jit import inlined, kernel
from fastbp.kernels.microkernels import across, activate, add, along, slope, transpose, update

MOST_COLUMNS = isa.table().columns
# By the number of columns: the tallest tile, and how often AHEAD_LINES times its columns go into its rows.
TALLEST = (0, *(isa.table().tallest(columns) for columns in (1, 2, 3)))
FETCHES = (0, *(-(-TALLEST[columns] // (AHEAD_LINES * columns)) for columns in (1, 2, 3)))
BLOCK = field.BLOCK
RELU_CODE, IDENTITY_CODE = ACTIVATIONS["relu"], ACTIVATIONS["identity"]


class Memory(NamedTuple):
    """The arrays of one element type that kernels share."""

    table: object  # addresses of the microkernels
    P: object  # parameters, and behind them the optimizer's states
    M: object  # workspace
    G: object  # gradient arena, laid out as the parameters; empty on the fused path
    me: int  # the worker
    L: int  # elements in a line


class Rule(NamedTuple):
    """How weights are updated: a code, where its scalars lie in M, how far states are from weights, a flag's place."""

    fused: bool  # else gradients go to their arena
    accumulates: bool  # they are added to what is there
    training: bool  # moving statistics follow
    updates: bool  # this step's gradients, and those accumulated, update the weights
    first: bool  # no update came before: an average begins with the weights
    code: int
    ahead: int  # arrays to prefetch for the update: 0 where all of them fit into the caches
    scalars: int  # of the first group of arrays
    stride: int
    sync: object
    flag: int
    parity: int  # of the step


@inlined
def rows_of(left, columns):
    """The next tile's height: as tall as there are, but two even ones at the end rather than a tall and a flat one."""
    tallest = TALLEST[columns]
    if left >= 2 * tallest:
        return tallest
    return (left + 1) // 2 if left > tallest else left


@inlined
def inputs_of(mem, row):
    """Where a layer's inputs lie: for the first layer, where this worker gathered them if each does so alone."""
    return row[field.A] + mem.me * row[field.OWN]


@kernel
def forward(mem, row, p0, p1, q0, q1):
    """Z of panels p0 ... p1 and batch panels q0 ... q1."""
    table, P, M, L = mem.table, mem.P, mem.M, mem.L
    K, N, apitch, zpitch = row[field.K], row[field.N], row[field.APITCH], row[field.ZPITCH]
    post = APPLY_RELU if row[field.CODE] == RELU_CODE else KEEP
    for k in range(0, K, BLOCK):
        depth = min(BLOCK, K - k)
        last = k + depth == K
        for p in range(p0, p1):
            w = row[field.W] + p * row[field.WPITCH] + k * L
            next_slab = w + row[field.WPITCH] if p + 1 < p1 else row[field.W] + p0 * row[field.WPITCH] + (k + depth) * L
            height = min(L, N - p * L)
            call = 0
            for q in range(q0, q1, MOST_COLUMNS):
                columns = min(MOST_COLUMNS, q1 - q)
                a = inputs_of(mem, row) + q * apitch + k * L
                z = row[field.Z] + q * zpitch + p * L * L
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
                    curve(mem, row, z, height, columns)


@kernel
def curve(mem, row, z, height, columns):
    """The activations that did not fit into the tile's registers, over a tile just written."""
    code = row[field.CODE]
    if code in (IDENTITY_CODE, RELU_CODE):
        return
    for j in range(columns):
        at = z + j * row[field.ZPITCH]
        activation(mem, row, height, at, at)


@inlined
def activation(mem, row, lines, a, z):
    """The activation from lines at `a` to lines of Z, and its slopes where they are kept."""
    slopes = z - row[field.Z] + row[field.F] if row[field.F] >= 0 else row[field.SINK]
    activate(mem.table, row[field.CODE], lines, mem.M, a, mem.M, z, mem.M, slopes, mem.M, row[field.ALPHA])


@kernel
def backward(mem, row, below, batch, b0, b1, q0, q1):
    """Deltas of the layer below, blocks of L inputs b0 ... b1 and batch panels q0 ... q1, and their transposes."""
    table, P, M, L = mem.table, mem.P, mem.M, mem.L
    K, N, wpitch = row[field.K], row[field.N], row[field.WPITCH]
    dpitch, epitch = row[field.DPITCH], below[field.DPITCH]
    pair = AHEAD_LINES * L
    for n in range(0, N, BLOCK):
        depth = min(BLOCK, N - n)
        w = row[field.W] + (n // L * wpitch if n else 0)
        for b in range(b0, b1):
            height = min(L, K - b * L)
            for q in range(q0, q1, MOST_COLUMNS):
                columns = min(MOST_COLUMNS, q1 - q)
                d = row[field.D] + q * dpitch + n * L
                e = below[field.D] + q * epitch + b * L * L
                r = 0
                while r < height:
                    rows = rows_of(height - r, columns)
                    along(table, rows, columns, depth, P, w + (b * L + r) * L, wpitch, M, d, dpitch,
                          M, e + r * L, epitch, ACCUMULATE if n or below[field.RAW] == field.ADDED else ZERO,
                          P, 0, KEEP,
                          P, w + (b * L + r + rows) * L, pair, columns * pair, FETCHES[columns] if q == q0 else 0,
                          wpitch, depth, M, d)  # with every panel of outputs, the lines of the slab that comes next
                    r += rows
                if n + depth == N and not below[field.RAW]:
                    for j in range(columns):
                        deltas(mem, below, batch, b, q + j, height)


@kernel
def deltas(mem, below, batch, b, q, height):
    """D <- (D + what came past it) f', a block of L units by L rows, and its transpose for the weight gradient."""
    L = mem.L
    at = q * below[field.DPITCH] + b * L * L
    e = below[field.D] + at
    if below[field.SKIP_D] >= 0:
        add(mem.table, height, mem.M, e, mem.M, below[field.SKIP_D] + at, mem.M, e)
    at = q * below[field.ZPITCH] + b * L * L
    known = below[field.F] if below[field.F] >= 0 else below[field.Z]
    if below[field.CODE] != IDENTITY_CODE:
        slope(mem.table, below[field.CODE], height, mem.M, known + at, mem.M, e, mem.M, below[field.ALPHA])
    if below[field.IS_DENSE]:
        dt = below[field.DT] + b * below[field.TPITCH] + q * L * L
        transpose(mem.table, height, batch - q * L, mem.M, e, mem.M, dt)


@inlined
def all_deltas(mem, row, batch, q):
    """Finishes a whole panel's deltas."""
    for b in range(row[field.PANELS]):
        deltas(mem, row, batch, b, q, min(mem.L, row[field.N] - b * mem.L))


@kernel
def weights(mem, row, rule, scratch, batch, p0, p1, k0, k1):
    """The gradient of panels p0 ... p1, lines k0 ... k1 of the kernel and its bias; then their update.

    Every panel of activations ends in a line of ones, so the bias is one more input. Fused, a tile of the gradient
    never leaves the first-level cache; else it goes to the gradient arena.
    """
    L = mem.L
    for p in range(p0, p1, MOST_COLUMNS):
        columns = min(MOST_COLUMNS, p1 - p)
        w = row[field.W] + p * row[field.WPITCH]
        dt = row[field.DT] + p * row[field.TPITCH]
        # the first tiles fetch the deltas of the next ones' panels, ROUNDS lines with each panel of the batch
        more = p + 2 * columns <= row[field.PANELS]
        part, parts = (batch // L * ROUNDS * L, L // ROUNDS) if more else (0, 0)
        k, n = k0, 0
        while k < k1:
            rows = rows_of(k1 - k, columns)
            stream = dt
            if more and n < columns * parts:
                stream += (columns + n // parts) * row[field.TPITCH] + n % parts * part
            tile(mem, row, rule, scratch, batch, rows, columns, inputs_of(mem, row) + k * L, dt, w + k * L, stream,
                 row[field.BIAS] and k + rows == row[field.K] + 1)
            k, n = k + rows, n + 1


@kernel
def tile(mem, row, rule, scratch, batch, rows, columns, a, dt, w, stream, biases):
    """One register tile of the gradient and its update; `biases`: its last line is that of the biases."""
    table, P, M, G, L = mem.table, mem.P, mem.M, mem.G, mem.L
    apitch, wpitch, tpitch = row[field.APITCH], row[field.WPITCH], row[field.TPITCH]
    if not rule.fused:
        along(table, rows, columns, batch, M, a, apitch, M, dt, tpitch, G, w, wpitch,
              ACCUMULATE if rule.accumulates else ZERO, M, 0, KEEP,
              G, w, wpitch, 0, min(1, rule.ahead), AHEAD_LINES * L, (rows + AHEAD_LINES - 1) // AHEAD_LINES, M, stream)
        return
    # what the update will read is fetched meanwhile, AHEAD_LINES of each run with each panel of the batch
    along(table, rows, columns, batch, M, a, apitch, M, dt, tpitch, M, scratch, rows * L, ZERO, M, 0, KEEP,
          P, w, wpitch, rule.stride, rule.ahead, AHEAD_LINES * L, (rows + AHEAD_LINES - 1) // AHEAD_LINES,
          M, stream)
    # the line of biases, where it is updated otherwise than the kernel
    bias = 1 if biases and row[field.BIAS_RULE] != row[field.KERNEL_RULE] else 0
    update(table, rule.code, rows - bias, columns, M, scratch, rows * L, P, w, wpitch, rule.stride,
           M, rule.scalars + row[field.KERNEL_RULE], rule.sync, rule.flag)
    if bias:
        last = (rows - 1) * L
        update(table, rule.code, 1, columns, M, scratch + last, rows * L, P, w + last, wpitch, rule.stride,
               M, rule.scalars + row[field.BIAS_RULE], rule.sync, rule.flag)
