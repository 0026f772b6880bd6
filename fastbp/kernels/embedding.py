"""Columns of category codes as vectors of learned tables: forward by panels, gradients and updates by blocks of tables.

A table [codes][dimension] lies in the parameters row by row, without gaps but at its end, which is that of a line. A
unit of the gradient is a run of whole lines: some codes of one table. It belongs to one worker, which goes through the
rows of the batch in their order, so no bit depends on how many workers there are. Every step updates whole tables, as
rules with a memory need it.
"""

from __future__ import annotations

from fastbp.kernels import fields as field
from fastbp.kernels.jit import called
from fastbp.kernels.microkernels import update, zero
from fastbp.kernels.nodes import copy


@called
def embed(mem, layers, row, q):
    """One panel: the columns that hold no codes, then each code's vector."""
    M, L = mem.M, mem.L
    first, last = row[field.TABLES], row[field.TABLES] + row[field.N_TABLES]
    a, z, column = row[field.A] + q * row[field.APITCH], row[field.Z] + q * row[field.ZPITCH], 0
    for t in range(first, last + 1):
        end = layers[t, field.T_COLUMN] if t < last else row[field.K]
        copy(mem, row, end - column, a + column * L, z)
        z, column = z + (end - column) * L, end + 1
    for t in range(first, last):
        width, codes = layers[t, field.T_WIDTH], a + layers[t, field.T_COLUMN] * L
        for lane in range(L):
            vector = layers[t, field.T_PLACE] + int(M[codes + lane]) * width
            for j in range(width):
                M[z + j * L + lane] = mem.P[vector + j]
        z += width * L


@called
def table_weights(mem, layers, row, rule, scratch, batch, unit):
    """The gradient of some codes of a table, and their update; else the gradient goes to its arena."""
    M, L = mem.M, mem.L
    if rule.training and not row[field.TRAINABLE]:
        return
    t = row[field.TABLES]
    while unit >= layers[t, field.T_UNITS]:
        unit -= layers[t, field.T_UNITS]
        t += 1
    table = layers[t]
    width, first = table[field.T_WIDTH], unit * table[field.T_SHARE]
    n = min(table[field.T_SHARE], table[field.T_CODES] - first)
    w, lines = table[field.T_PLACE] + first * width, (n * width + L - 1) // L
    target, at = (M, scratch + field.SCRATCH_LINES * L) if rule.fused else (mem.G, w)
    if not rule.accumulates:
        zero(mem.table, lines, target, at)
    for i in range(batch):
        q, lane = i // L, i % L
        code = int(M[row[field.A] + q * row[field.APITCH] + table[field.T_COLUMN] * L + lane]) - first
        if 0 <= code < n:
            d = row[field.D] + q * row[field.DPITCH] + table[field.T_START] * L + lane
            for j in range(width):
                target[at + code * width + j] += M[d + j * L]
    if rule.fused:
        update(mem.table, rule.code, lines, 1, M, at, 0, mem.P, w, 0, rule.stride,
               M, rule.scalars + table[field.T_RULE], rule.sync, rule.flag)
