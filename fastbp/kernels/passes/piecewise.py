"""Columns as piecewise linear functions: forward, gradients and updates by columns, deltas by panels of the batch.

A column's table holds slopes w, biases b and, for each of its bins, V. Its value at the lower edge of a bin is the sum
of the V of all bins below, which forward adds up once a column; the gradient of V is what its own bin got, plus all
that the bins above it got. So no bin costs anything for a row that does not lie in it.

Behind the edges of a column in the workspace lie 1 over the widths of its bins.
"""

from __future__ import annotations

from fastbp.kernels.jit import part
from fastbp.kernels.microkernels import update, zero
from fastbp.kernels.passes.dense import all_deltas
from fastbp.kernels.passes.nodes import pass_others
from fastbp.kernels.schema import fields as field


@part
def bin_of(c, table, x):
    """The bin of a number, the first one for NaN and what is below all edges."""
    M, low, high = c.M, 0, table.CODES - 2
    while high - low > 1:
        middle = (low + high) // 2
        if M[table.EDGES + middle] <= x:
            low = middle
        else:
            high = middle
    return low


@part
def piecewise_forward(c, row, unit):
    """One column for the whole batch, and behind the last one all others; where outputs are rounded, one panel."""
    if c.bfloat16:
        for t in range(row.N_TABLES):
            bend_panels(c, row, c.tables[row.TABLES + t], unit, unit + 1)
        pass_panels(c, row, unit, unit + 1)
    elif unit == row.N_TABLES:
        pass_panels(c, row, 0, c.panels)
    else:
        bend_panels(c, row, c.tables[row.TABLES + unit], 0, c.panels)


@part
def pass_panels(c, row, q0, q1):
    """Some panels of the columns that have no tables."""
    for q in range(q0, q1):
        pass_others(c, row, row.TABLES, row.N_TABLES, row.A + q * row.APITCH, row.Z + q * row.ZPITCH, False)


@part
def bend_panels(c, row, table, q0, q1):
    """Some panels of one column."""
    add_up_bins(c, table)
    for q in range(q0, q1):
        bend(c, table, row.A + q * row.APITCH, row.Z + q * row.ZPITCH)


@part
def add_up_bins(c, table):
    """Sums of V over all bins below each one, in scratch."""
    M, P, width = c.M, c.P, table.WIDTH
    sums, bins = c.scratch + field.SCRATCH_LINES * c.L, table.PLACE + 2 * width
    for j in range(width):
        M[sums + j] = 0
    for t in range((table.CODES - 3) * width):
        M[sums + width + t] = M[sums + t] + P[bins + t]


@part
def bend(c, table, a, z):
    """A panel of one column."""
    M, P, L, width = c.M, c.P, c.L, table.WIDTH
    sums, bins = c.scratch + field.SCRATCH_LINES * L, table.PLACE + 2 * width
    x, target, inverse = a + table.COLUMN * L, z + table.START * L, table.EDGES + table.CODES - 1
    for lane in range(L):
        value = M[x + lane]
        k = bin_of(c, table, value)
        share = (value - M[table.EDGES + k]) * M[inverse + k]
        for j in range(width):
            linear = value * P[table.PLACE + j] + P[table.PLACE + width + j]
            M[target + j * L + lane] = linear + (M[sums + k * width + j] + share * P[bins + k * width + j])


@part
def piecewise_deltas(c, row, q):
    """One panel: the deltas of what is read."""
    M, P, L, below = c.M, c.P, c.L, c.layers[row.BELOW]
    source, target = row.D + q * row.DPITCH, below.D + q * below.DPITCH
    pass_others(c, row, row.TABLES, row.N_TABLES, target, source, True)
    for t in range(row.N_TABLES):
        table = c.tables[row.TABLES + t]
        width, inverse = table.WIDTH, table.EDGES + table.CODES - 1
        x, d = row.A + q * row.APITCH + table.COLUMN * L, source + table.START * L
        for lane in range(L):
            k = bin_of(c, table, M[x + lane])
            bins = table.PLACE + (2 + k) * width
            linear, bent = 0 * M[d], 0 * M[d]
            for j in range(width):
                linear += M[d + j * L + lane] * P[table.PLACE + j]
                bent += M[d + j * L + lane] * P[bins + j]
            M[target + table.COLUMN * L + lane] = linear + bent * M[inverse + k]
    all_deltas(c, below, q)


@part
def piecewise_weights(c, row, unit):
    """The gradient of one column's table, and its update; else the gradient goes to its c."""
    M, L = c.M, c.L
    if c.train and not row.TRAINABLE:
        return
    table = c.tables[row.TABLES + unit]
    width, size = table.WIDTH, table.CODES * table.WIDTH
    lines, at = (size + L - 1) // L, c.scratch + field.SCRATCH_LINES * L
    above = at + lines * L
    zero(c.table, 2 * lines, M, at)
    for i in range(c.batch):
        q, lane = i // L, i % L
        collect(c, row, table, q, lane, at, above)
    for t in range(size - width - 1, 2 * width - 1, -1):  # what a bin got reaches all bins below it
        M[above + t] += M[above + t + width]
        M[at + t] += M[above + t + width]
    if c.fused:
        update(c.table, c.rule, lines, 1, M, at, 0, c.P, table.PLACE, 0, c.stride,
               M, c.groups + table.RULE, c.sync, c.flag)
    else:
        for i in range(size):
            if not c.accumulates:
                c.G[table.PLACE + i] = 0
            c.G[table.PLACE + i] += M[at + i]


@part
def collect(c, row, table, q, lane, at, above):
    """A row's part of a column's gradient: of w, b and its own bin; `above` keeps what goes to the bins below it."""
    M, L, width = c.M, c.L, table.WIDTH
    value = M[row.A + q * row.APITCH + table.COLUMN * L + lane]
    d, inverse = row.D + q * row.DPITCH + table.START * L + lane, table.EDGES + table.CODES - 1
    k = bin_of(c, table, value)
    share, own = (value - M[table.EDGES + k]) * M[inverse + k], (2 + k) * width
    for j in range(width):
        delta = M[d + j * L]
        M[at + j] += delta * value
        M[at + width + j] += delta
        M[at + own + j] += delta * share
        M[above + own + j] += delta
