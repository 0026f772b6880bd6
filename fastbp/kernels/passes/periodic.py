"""Columns as waves: forward and deltas by panels of the batch, gradients and updates by blocks of columns.

A unit of the gradient is a line's worth of columns, so that it has whole lines of every matrix. It belongs to one
worker, which goes through the panels of the batch in their order: no bit depends on how many workers there are. Waves
and slopes are cheaper to compute again than to keep.

Lines of scratch, behind those that every pass may use:

    the column, L rows | deltas of its outputs | slopes by its angles | its waves: cosines, then sines | zeros
    sums over rows, lane by lane, of one column | gradients of the unit's columns, matrix by matrix
"""

from __future__ import annotations

from fastbp.kernels.jit import part
from fastbp.kernels.microkernels import add, mix, update, wave_slopes, wave_sums, waves, zero
from fastbp.kernels.passes.dense import all_deltas
from fastbp.kernels.passes.nodes import copy, pass_others
from fastbp.kernels.schema import fields as field

TWO_PI = 6.283185307179586


@part
def outputs_of(c, row):
    """How many numbers the waves of a column become."""
    return c.tables[row.TABLES + row.N_TABLES - 1].WIDTH


@part
def column_of(c, row, j):
    """Where column j stands in the input."""
    return c.tables[row.TABLES + row.N_TABLES + j].COLUMN


@part
def start_of(c, row, j):
    """Column j's first line of the output."""
    return c.tables[row.TABLES + row.N_TABLES + j].START


@part
def width_of(c, row):
    """Lines of the output that stand for a column."""
    n = c.tables[row.TABLES].CODES
    return (row.N - row.K) // n + 1


@part
def place_of(c, row, matrix, j):
    """Where the numbers of column j in a matrix lie."""
    table = c.tables[row.TABLES + matrix]
    return table.PLACE + j * table.WIDTH


@part
def waves_of(c, row):
    """How many waves a column has: cosines, or cosines and sines."""
    return c.tables[row.TABLES + row.N_TABLES - 2].WIDTH // outputs_of(c, row)


@part
def waves_at(c, row):
    """Where the waves lie in this worker's scratch."""
    return c.scratch + (field.SCRATCH_LINES + 1 + outputs_of(c, row) + c.tables[row.TABLES].WIDTH) * c.L


@part
def zeros_at(c, row):
    """Where as many zeros lie as there are frequencies, and at least one; see `lines_of_waves`."""
    return waves_at(c, row) + 2 * c.tables[row.TABLES].WIDTH * c.L


@part
def lines_of_waves(c, row, j, x):
    """The waves of column j: cosines, then sines; and zeros."""
    n, phases = c.tables[row.TABLES].WIDTH, zeros_at(c, row)
    frequencies = place_of(c, row, 0, j)
    zero(c.table, (n + c.L - 1) // c.L, c.M, phases)
    if row.N_TABLES == 4:
        waves(c.table, n, c.M, x, c.P, frequencies, c.P, place_of(c, row, 1, j), c.M, waves_at(c, row))
    else:
        waves(c.table, n, c.M, x, c.P, frequencies, c.M, phases, c.M, waves_at(c, row))


@part
def periodic_forward(c, row, q):
    """One panel: the columns without waves, then each column's outputs, and the column itself if it is kept."""
    M, P, L = c.M, c.P, c.L
    a, z = row.A + q * row.APITCH, row.Z + q * row.ZPITCH
    n, outputs = c.tables[row.TABLES].CODES, outputs_of(c, row)
    pass_others(c, row, row.TABLES + row.N_TABLES, n, a, z, False)
    for j in range(n):
        x, target = a + column_of(c, row, j) * L, z + start_of(c, row, j) * L
        lines_of_waves(c, row, j, x)
        mix(c.table, waves_of(c, row), outputs, P, place_of(c, row, row.N_TABLES - 2, j),
            P, place_of(c, row, row.N_TABLES - 1, j), M, waves_at(c, row), M, target)
        if row.FUNCTION:
            for i in range(outputs * L):
                if M[target + i] < 0:
                    M[target + i] = 0
        if width_of(c, row) > outputs:
            copy(c, row, 1, x, target + outputs * L)


@part
def take_in(c, row, j, q, scratch):
    """Column j's values and the deltas of its outputs, 0 in lanes behind the batch and where ReLU stopped them; then
    its waves, and the slopes by their angles."""
    M, L, outputs = c.M, c.L, outputs_of(c, row)
    live, start, x = min(L, c.batch - q * L), start_of(c, row, j) * L, row.A + q * row.APITCH + column_of(c, row, j) * L
    d, z = row.D + q * row.DPITCH + start, row.Z + q * row.ZPITCH + start
    if live < L or row.FUNCTION:
        zero(c.table, 1 + outputs, M, scratch)
        for i in range(live):
            M[scratch + i] = M[x + i]
        for o in range(outputs):
            for i in range(o * L, o * L + live):
                if row.FUNCTION == 0 or M[z + i] > 0:
                    M[scratch + L + i] = M[d + i]
    else:
        copy(c, row, 1, x, scratch)
        copy(c, row, outputs, d, scratch + L)
    lines_of_waves(c, row, j, scratch)
    wave_slopes(c.table, c.tables[row.TABLES].WIDTH, outputs, row.N_TABLES == 3,
                c.P, place_of(c, row, row.N_TABLES - 2, j), M, scratch)


@part
def periodic_deltas(c, row, q):
    """One panel: the deltas of what a periodic embedding reads."""
    M, L, below = c.M, c.L, c.layers[row.BELOW]
    n, outputs, frequencies = c.tables[row.TABLES].CODES, outputs_of(c, row), c.tables[row.TABLES].WIDTH
    source, target = row.D + q * row.DPITCH, below.D + q * below.DPITCH
    pass_others(c, row, row.TABLES + row.N_TABLES, n, target, source, True)
    x = c.scratch + field.SCRATCH_LINES * L
    for j in range(n):
        t, start = target + column_of(c, row, j) * L, source + start_of(c, row, j) * L
        take_in(c, row, j, q, x)
        mix(c.table, frequencies, 1, c.P, place_of(c, row, 0, j), M, zeros_at(c, row),
            M, x + (1 + outputs) * L, M, t)
        for i in range(L):
            M[t + i] = M[t + i] * TWO_PI
        if width_of(c, row) > outputs:
            add(c.table, 1, M, t, M, start + outputs * L, M, t)
    all_deltas(c, below, q)


@part
def periodic_weights(c, row, unit):
    """The gradient of a line's worth of columns, and their update; else the gradient goes to its c."""
    M, L = c.M, c.L
    if c.train and not row.TRAINABLE:
        return
    first = unit * L
    last = min(first + L, c.tables[row.TABLES].CODES)
    outputs, frequencies = outputs_of(c, row), c.tables[row.TABLES].WIDTH
    x = c.scratch + field.SCRATCH_LINES * L
    sums = zeros_at(c, row) + (frequencies + L - 1) // L * L
    numbers = 0
    for matrix in range(row.N_TABLES):
        numbers += c.tables[row.TABLES + matrix].WIDTH
    gradients = sums + numbers * L
    zero(c.table, numbers, M, gradients)
    for j in range(first, last):
        zero(c.table, numbers, M, sums)
        for q in range((c.batch + L - 1) // L):
            take_in(c, row, j, q, x)
            wave_sums(c.table, frequencies, waves_of(c, row), outputs, M, x, M, sums)
        fold(c, row, j - first, last - first, sums, gradients)
    at = gradients
    for matrix in range(row.N_TABLES):
        table = c.tables[row.TABLES + matrix]
        lines, place = ((last - first) * table.WIDTH + L - 1) // L, table.PLACE + first * table.WIDTH
        if c.fused:
            update(c.table, c.rule, lines, 1, M, at, 0, c.P, place, 0, c.stride,
                   M, c.groups + table.RULE, c.sync, c.flag)
        else:
            for i in range((last - first) * table.WIDTH):
                if not c.accumulates:
                    c.G[place + i] = 0
                c.G[place + i] += M[at + i]
        at += lines * L


@part
def fold(c, row, place, n, sums, gradients):
    """The sums of one of n columns over the lanes, from the first to the last, into the gradients of its unit."""
    M, L = c.M, c.L
    for matrix in range(row.N_TABLES):
        width = c.tables[row.TABLES + matrix].WIDTH
        for i in range(width):
            total = M[sums]
            for lane in range(1, L):
                total += M[sums + lane]
            M[gradients + place * width + i] = total * TWO_PI if matrix == 0 else total
            sums += L
        gradients += (n * width + L - 1) // L * L
