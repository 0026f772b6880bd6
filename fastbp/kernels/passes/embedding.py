"""Columns of category codes as vectors of learned tables: forward by panels, gradients and updates by blocks of tables.

A table [codes][dimension] lies in the parameters row by row, without gaps but at its end, which is that of a line. A
unit of the gradient is a run of whole lines: some codes of one table. It belongs to one worker, which goes through the
rows of the batch in their order, so no bit depends on how many workers there are. Every step updates whole tables, as
rules with a memory need it.
"""

from __future__ import annotations

from fastbp.kernels.jit import part
from fastbp.kernels.microkernels import update, zero
from fastbp.kernels.passes.loss_layer import outside
from fastbp.kernels.passes.nodes import pass_others
from fastbp.kernels.schema import fields as field


@part
def embed(c, row, q):
    """One panel: the columns that hold no codes, then each code's vector."""
    M, L = c.M, c.L
    first, last = row.TABLES, row.TABLES + row.N_TABLES
    a, z = row.A + q * row.APITCH, row.Z + q * row.ZPITCH
    pass_others(c, row, first, row.N_TABLES, a, z, False)
    z += (row.K - row.N_TABLES) * L
    for t in range(first, last):
        width, codes = c.tables[t].WIDTH, a + c.tables[t].COLUMN * L
        for lane in range(L):
            if not 0 <= M[codes + lane] < c.tables[t].CODES:  # nor is NaN
                M[codes + lane] = 0
                outside(c)
            vector = c.tables[t].PLACE + int(M[codes + lane]) * width
            for j in range(width):
                M[z + j * L + lane] = c.P[vector + j]
        z += width * L


@part
def table_weights(c, row, unit):
    """The gradient of some codes of a table, and their update; else the gradient goes to its c."""
    M, L = c.M, c.L
    if c.train and not row.TRAINABLE:
        return
    t = row.TABLES
    while unit >= c.tables[t].UNITS:
        unit -= c.tables[t].UNITS
        t += 1
    table = c.tables[t]
    width, first = table.WIDTH, unit * table.SHARE
    n = min(table.SHARE, table.CODES - first)
    w, lines = table.PLACE + first * width, (n * width + L - 1) // L
    target, at = (M, c.scratch + field.SCRATCH_LINES * L) if c.fused else (c.G, w)
    if not c.accumulates:
        zero(c.table, lines, target, at)
    for i in range(c.batch):
        q, lane = i // L, i % L
        code = int(M[row.A + q * row.APITCH + table.COLUMN * L + lane]) - first
        if 0 <= code < n:
            d = row.D + q * row.DPITCH + table.START * L + lane
            for j in range(width):
                target[at + code * width + j] += M[d + j * L]
    if c.fused:
        update(c.table, c.rule, lines, 1, M, at, 0, c.P, w, 0, c.stride,
               M, c.groups + table.RULE, c.sync, c.flag)
