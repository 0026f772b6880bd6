"""A first layer on sparse rows: forward and the weight gradient, in units of SPARSE_PANELS panels of outputs.

A unit belongs to one worker, which goes through the rows of the batch in their order: so no bit depends on the number
of workers. Fused, with SGD that has no decay, only the lines of the features that occur are read and written; any
other rule moves every weight in every step, and takes the gradient from its arena.
"""

from __future__ import annotations

from fastbp.kernels import fields as field
from fastbp.kernels import operations as op
from fastbp.kernels.jit import called, inlined
from fastbp.kernels.microkernels import sparse_add, sparse_forward, transpose, update, zero
from fastbp.kernels.nodes import curve


@called
def run_sparse(mem, row, data, rule, scratch, what, unit, first, batch):
    """One unit of forward or of the weights."""
    p0 = unit * field.SPARSE_PANELS
    p1 = min(p0 + field.SPARSE_PANELS, row[field.PANELS])
    if what == op.FORWARD:
        forward_rows(mem, row, data, scratch, p0, p1, first, batch)
        return
    for p in range(p0, p1):
        panel_weights(mem, row, data, rule, scratch, p, first, batch)


@inlined
def forward_rows(mem, row, data, scratch, p0, p1, first, batch):
    """Z of some panels of outputs: row by row with outputs in lanes, then transposed."""
    M, L, wpitch = mem.M, mem.L, row[field.WPITCH]
    w, block = row[field.W] + p0 * wpitch, scratch + field.SCRATCH_LINES * L
    for q in range((batch + L - 1) // L):
        rows, z = min(L, batch - q * L), row[field.Z] + q * row[field.ZPITCH]
        for i in range(rows):
            r = data.order[first + q * L + i]
            start = data.starts[r]
            sparse_forward(mem.table, data.starts[r + 1] - start, data.columns, start, data.X, start, mem.P, w, wpitch,
                           p1 - p0, mem.P, w + row[field.K] * L, M, block + i * L, L * L)
        for p in range(p0, p1):
            at, height = z + p * L * L, min(L, row[field.N] - p * L)
            transpose(mem.table, rows, height, M, block + (p - p0) * L * L, M, at)
            curve(mem, row, height, at, at)
            if height < L:  # what was written behind the last output is the input of the next layer's biases
                for lane in range(L):
                    M[at + height * L + lane] = 1


@inlined
def panel_weights(mem, row, data, rule, scratch, p, first, batch):
    """The gradient of one panel, added to its weights or to its place in the arena."""
    M, L, K = mem.M, mem.L, row[field.K]
    w, dt, one = row[field.W] + p * row[field.WPITCH], row[field.DT] + p * row[field.TPITCH], scratch
    target, factor = (mem.P, rule.scalars + row[field.KERNEL_RULE] + 1) if rule.fused else (mem.G, one)
    M[one] = 1
    if not (rule.fused or rule.accumulates):
        zero(mem.table, K + 1, mem.G, w)
    for i in range(batch):
        r = data.order[first + i]
        start = data.starts[r]
        sparse_add(mem.table, data.starts[r + 1] - start, data.columns, start, data.X, start, M, dt + i * L,
                   target, w, M, factor, rule.sync, rule.flag)
    if row[field.BIAS]:
        biases = scratch + L
        for lane in range(L):
            M[biases + lane] = 0
        for i in range(batch):
            for lane in range(L):
                M[biases + lane] += M[dt + i * L + lane]
        if rule.fused:
            update(mem.table, rule.code, 1, 1, M, biases, 0, mem.P, w + K * L, 0, rule.stride,
                   M, rule.scalars + row[field.BIAS_RULE], rule.sync, rule.flag)
        else:
            for lane in range(L):
                mem.G[w + K * L + lane] += M[biases + lane]
