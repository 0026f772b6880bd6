"""A first layer on sparse rows: forward and the weight gradient, in units of SPARSE_PANELS panels of outputs.

A unit belongs to one worker, which goes through the rows of the batch in their order: so no bit depends on the number
of workers. Fused, with SGD that has no decay, only the lines of the features that occur are read and written; any
other rule moves every weight in every step, and takes the gradient from its c.
"""

from __future__ import annotations

from fastbp.kernels.jit import part
from fastbp.kernels.microkernels import sparse_add, sparse_forward, transpose, update, zero
from fastbp.kernels.parallel import OUTSIDE
from fastbp.kernels.passes.nodes import curve
from fastbp.kernels.schema import fields as field
from fastbp.kernels.schema import operations as op


@part
def run_sparse(c, row, what, unit):
    """One unit of forward or of the weights."""
    p0 = unit * field.SPARSE_PANELS
    p1 = min(p0 + field.SPARSE_PANELS, row.PANELS)
    if what == op.FORWARD:
        forward_rows(c, row, p0, p1)
        return
    for p in range(p0, p1):
        panel_weights(c, row, p)


@part
def forward_rows(c, row, p0, p1):
    """Z of some panels of outputs: row by row with outputs in lanes, then transposed."""
    M, L, wpitch = c.M, c.L, row.WPITCH
    w, block = row.W + p0 * wpitch, c.scratch + field.SCRATCH_LINES * L
    for q in range((c.batch + L - 1) // L):
        rows, z = min(L, c.batch - q * L), row.Z + q * row.ZPITCH
        for i in range(rows):
            r = c.order[c.first + q * L + i]
            start = c.starts[r]
            sparse_forward(c.table, c.starts[r + 1] - start, c.columns, start, c.X, start, c.P, w, wpitch,
                           row.K, p1 - p0, c.P, w + row.K * L, M, block + i * L, L * L,
                           c.sync, OUTSIDE + (c.step & 1))
        for p in range(p0, p1):
            at, height = z + p * L * L, min(L, row.N - p * L)
            transpose(c.table, rows, height, M, block + (p - p0) * L * L, M, at)
            curve(c, row, height, at, at)
            if height < L:  # what was written behind the last output is the input of the next layer's biases
                for lane in range(L):
                    M[at + height * L + lane] = 1


@part
def panel_weights(c, row, p):
    """The gradient of one panel, added to its weights or to its place in the c."""
    M, L, K = c.M, c.L, row.K
    w, dt, one = row.W + p * row.WPITCH, row.DT + p * row.TPITCH, c.scratch
    target, factor = (c.P, c.groups + row.KERNEL_RULE + 1) if c.fused else (c.G, one)
    M[one] = 1
    if not (c.fused or c.accumulates):
        zero(c.table, K + 1, c.G, w)
    for i in range(c.batch):
        r = c.order[c.first + i]
        start = c.starts[r]
        sparse_add(c.table, c.starts[r + 1] - start, c.columns, start, c.X, start, M, dt + i * L,
                   target, w, K, M, factor, c.sync, c.flag, c.sync, OUTSIDE + 1 - (c.step & 1))  # for the next step
    if row.BIAS:
        biases = c.scratch + L
        for lane in range(L):
            M[biases + lane] = 0
        for i in range(c.batch):
            for lane in range(L):
                M[biases + lane] += M[dt + i * L + lane]
        if c.fused:
            update(c.table, c.rule, 1, 1, M, biases, 0, c.P, w + K * L, 0, c.stride,
                   M, c.groups + row.BIAS_RULE, c.sync, c.flag)
        else:
            for lane in range(L):
                c.G[w + K * L + lane] += M[biases + lane]
