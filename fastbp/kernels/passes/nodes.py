"""Forward and backward of the nodes that are not dense, in units: panels of the batch, or blocks of features.

Batch normalization in training goes by blocks of features, because its sums run over the batch; all others by panels.
A node's deltas are those by what its activation is applied to: whoever finishes them has seen to its slope (`deltas`).
"""

from __future__ import annotations

import numpy as np

from fastbp.isa.codes import ACTIVATIONS, IDENTITY, KEEPS_SLOPES
from fastbp.kernels.jit import part
from fastbp.kernels.microkernels import (
    activate,
    add,
    batch_norm,
    batch_norm_backward,
    batch_norm_predict,
    dropout,
    gains,
    layer_norm,
    layer_norm_backward,
    noise,
    slope,
    update,
)
from fastbp.kernels.passes.dense import activation, all_deltas, deltas
from fastbp.kernels.schema import fields as field

ACTIVATION, ADD, DROPOUT, NOISE = map(field.code_of, ("activation", "add", "dropout", "noise"))
BATCH_NORM, LAYER_NORM, SCALE = map(field.code_of, ("batch_norm", "layer_norm", "scale"))
PRELU, PARAMETRIC = map(field.code_of, ("prelu", "parametric"))
KEEPING = tuple(ACTIVATIONS[name] for name in KEEPS_SLOPES)


@part
def node_forward(c, row, layer, unit):
    """One unit of a node that is not dense."""
    kind, L = row.KIND, c.L
    if kind == BATCH_NORM and c.backward:
        batch_norm_block(c, row, unit)
        return
    M, N, epsilon = c.M, row.N, row.ALPHA + 2
    a, z = row.A + unit * row.APITCH, row.Z + unit * row.ZPITCH
    if kind == ACTIVATION:
        curve(c, row, N, a, z)
    elif kind == ADD:
        add(c.table, N, M, a, M, row.B + unit * row.BPITCH, M, z)
        curve(c, row, N, z, z)
    elif kind == BATCH_NORM:
        batch_norm_predict(c.table, N, M, a, M, z, c.P, row.W, row.WPITCH, M, epsilon)
        curve(c, row, N, z, z)
    elif kind == LAYER_NORM:
        known = row.KNOWN + unit * row.ZPITCH if c.backward else row.SINK
        layer_norm(c.table, N, M, a, M, z, M, known, c.P, row.W, row.WPITCH,
                   M, row.STATS + unit * L, M, epsilon)
        curve(c, row, N, z, z)
    elif kind == DROPOUT:
        threshold, factor = row.THRESHOLD, row.ALPHA + 1
        if threshold < 0:  # of this step, as those that do not change are on the host
            rate = c.rates[(-1 - threshold) * c.n_steps + c.step]
            threshold, factor = np.int64(rate * 4294967296.0), c.scratch
            M[factor] = 1.0 / (1.0 - rate)
        dropout(c.table, N, unit * L, c.random[2] + c.step, layer, threshold, c.random, 0, M, a, M, z,
                M, row.F + unit * row.ZPITCH, M, factor)
    elif kind == SCALE:
        scale(c, row, a, z)
        curve(c, row, N, z, z)
    elif kind in (PRELU, PARAMETRIC):
        bend(c, row, a, z, row.KNOWN + unit * row.ZPITCH if c.backward else row.SINK,
             row.F + unit * row.ZPITCH if c.backward else row.SINK)
    elif kind == NOISE:
        noise(c.table, N, unit * L, c.random[2] + c.step, layer, c.random, 0, M, a, M, z,
              M, row.ALPHA + 1)


@part
def curve(c, row, lines, a, z):
    """The activation over lines of Z, unless it would leave them as they are."""
    if a != z or row.CODE != IDENTITY:
        activation(c, row, lines, a, z)


@part
def batch_norm_block(c, row, b):
    """Batch normalization of a block of features, with the batch's statistics."""
    M, L, zpitch, lane = c.M, c.L, row.ZPITCH, b * c.L
    at, height = lane * L, min(L, row.N - lane)
    batch_norm(c.table, height, c.batch, M, row.A + at, row.APITCH, M, row.Z + at, zpitch,
               M, row.KNOWN + at, c.P, row.W + lane, row.WPITCH,
               M, row.STATS + lane, row.WPITCH, M, row.ALPHA + 2)
    for q in range((c.batch + L - 1) // L):
        z = row.Z + at + q * zpitch
        curve(c, row, height, z, z)


@part
def node_backward(c, row, unit):
    """Deltas of what a node that is not dense reads."""
    kind, L, N, M = row.KIND, c.L, row.N, c.M
    if kind == BATCH_NORM:
        batch_norm_deltas(c, row, c.layers[row.BELOW], unit)
        return
    source = row.D + unit * row.DPITCH
    if kind == ADD:
        send(c, row, row.BELOW, row.SEND_BELOW, unit)
        send(c, row, row.SKIP, row.SEND_SKIP, unit)
        return
    below = c.layers[row.BELOW]
    target = below.D + unit * below.DPITCH
    if kind == LAYER_NORM:
        layer_norm_backward(c.table, N, M, source, M, row.KNOWN + unit * row.ZPITCH,
                            c.P, row.W, M, row.STATS + unit * L, M, target)
    elif kind == SCALE:
        scale(c, row, source, target)
    elif kind in (PRELU, PARAMETRIC):
        unbend(c, row, source, row.A + unit * row.APITCH, row.F + unit * row.ZPITCH, target)
    else:
        copy(c, row, N, source, target)
    all_deltas(c, below, unit)


@part
def scale(c, row, a, z):
    """A panel's lines times the weight of each."""
    M, L = c.M, c.L
    for k in range(row.N):
        factor = c.P[row.W + k]
        for i in range(k * L, k * L + L):
            M[z + i] = M[a + i] * factor


@part
def bend(c, row, a, z, known, slopes):
    """A panel's max(x, 0) + alpha min(x, 0), or x + alpha (f(x) - x), with one alpha a line; what alpha stands before
    goes to `known`, f' to `slopes`."""
    M, L, N = c.M, c.L, row.N
    if row.KIND == PARAMETRIC:
        activate(c.table, row.FUNCTION, N, M, a, M, z, M, slopes, M, row.ALPHA + 1)
        if c.backward and row.FUNCTION not in KEEPING:
            for i in range(N * L):
                M[slopes + i] = 1
            slope(c.table, row.FUNCTION, N, M, z, M, slopes, M, row.ALPHA + 1)
    for k in range(N):
        alpha = c.P[row.W + k]
        for i in range(k * L, k * L + L):
            x = M[a + i]
            if row.KIND == PARAMETRIC:
                M[known + i] = M[z + i] - x
                M[z + i] = x + alpha * M[known + i]
            elif x > 0:
                M[known + i] = 0
                M[z + i] = x
            else:
                M[known + i] = x
                M[z + i] = alpha * x


@part
def unbend(c, row, source, a, slopes, target):
    """Its deltas: times 1 or alpha, or 1 + alpha (f' - 1)."""
    M, L = c.M, c.L
    for k in range(row.N):
        alpha = c.P[row.W + k]
        for i in range(k * L, k * L + L):
            d = M[source + i]
            if row.KIND == PRELU:
                M[target + i] = d if M[a + i] > 0 else alpha * d
            else:
                M[target + i] = d + alpha * (M[slopes + i] * d - d)


@part
def copy(c, row, lines, source, target):
    activate(c.table, IDENTITY, lines, c.M, source, c.M, target, c.M, row.SINK, c.M, row.ALPHA)


@part
def pass_others(c, row, first, n, among, packed, back):
    """A panel of the columns that an embedding leaves alone, from among all columns to one behind the other, or back;
    first: the row of the first of its n columns in the tables."""
    column = 0
    for t in range(first, first + n + 1):
        end = c.tables[t].COLUMN if t < first + n else row.K
        place, lines = among + column * c.L, end - column
        if back:
            copy(c, row, lines, packed, place)
        else:
            copy(c, row, lines, place, packed)
        packed, column = packed + lines * c.L, end + 1


@part
def send(c, row, target, how, q):
    """The deltas of a sum go to each of what it adds."""
    if how == field.NOT_SENT:
        return
    N, below = row.N, c.layers[target]
    source = row.D + q * row.DPITCH
    place = below.D if how == field.FINISHED else below.SKIP_D
    place += q * below.DPITCH
    if how == field.ADDED:
        add(c.table, N, c.M, place, c.M, source, c.M, place)
    else:
        copy(c, row, N, source, place)
    if how == field.FINISHED:
        all_deltas(c, below, q)


@part
def batch_norm_deltas(c, row, below, b):
    """The gradients of a block's gamma and beta, and the deltas of what it normalized."""
    M, L, lane = c.M, c.L, b * c.L
    at, height = lane * L, min(L, row.N - lane)
    d, known, sums = row.D + at, row.KNOWN + at, row.GRADS + lane
    gains(c.table, height, c.batch, M, d, row.DPITCH, M, known, row.ZPITCH, M, sums, row.WPITCH)
    if row.BELOW < 0:
        return
    batch_norm_backward(c.table, height, c.batch, M, d, row.DPITCH, M, known, row.ZPITCH,
                        c.P, row.W + lane, M, row.STATS + 2 * row.WPITCH + lane,
                        M, sums, row.WPITCH, M, below.D + at, below.DPITCH)
    for q in range((c.batch + L - 1) // L):
        deltas(c, below, b, q, height)


@part
def node_weights(c, row, b):
    """A block of each array, such as gamma and beta: gradients and update; and a batch normalization's statistics."""
    M, P, L, lane, pitch = c.M, c.P, c.L, b * c.L, row.WPITCH
    height, sums, w = min(L, row.N - lane), row.GRADS + lane, row.W + lane
    if row.KIND == SCALE:
        gains(c.table, height, c.batch, M, row.D + lane * L, row.DPITCH,
              M, row.A + lane * L, row.APITCH, M, sums, pitch)
    elif row.KIND in (LAYER_NORM, PRELU, PARAMETRIC) or row.BELOW < 0:
        gains(c.table, height, c.batch, M, row.D + lane * L, row.DPITCH,
              M, row.KNOWN + lane * L, row.ZPITCH, M, sums, pitch)
    if row.KIND == BATCH_NORM and c.train:
        move_statistics(c, row, lane, height)
    if c.train and not row.TRAINABLE:
        return
    for j in range(row.ARRAYS):
        if c.fused:
            scalars = c.groups + (row.BIAS_RULE if j else row.KERNEL_RULE)
            update(c.table, c.rule, 1, 1, M, sums + j * pitch, 0, P, w + j * pitch, 0, c.stride,
                   M, scalars, c.sync, c.flag)
        else:
            for i in range(height):
                if not c.accumulates:
                    c.G[w + j * pitch + i] = 0
                c.G[w + j * pitch + i] += M[sums + j * pitch + i]


@part
def move_statistics(c, row, lane, height):
    """moving <- (1 - momentum) moving + momentum new; the variance unbiased, unless there is one row."""
    M, pitch = c.M, row.WPITCH
    stats, w = row.STATS + lane, row.W + 2 * pitch + lane
    for i in range(height):
        move(c, row, w + i, M[stats + i])
        if c.batch > 1:
            move(c, row, w + pitch + i, M[stats + pitch + i] * (c.batch / (c.batch - 1)))


@part
def move(c, row, at, new):
    """What is not finite stays out."""
    momentum = c.M[row.ALPHA + 1]
    moved = (1 - momentum) * c.P[at] + momentum * new
    if np.isfinite(moved):
        c.P[at] = moved
