"""Forward and backward of the nodes that are not dense, in units: panels of the batch, or blocks of features.

Batch normalisation in training goes by blocks of features, because its sums run over the batch; all others by panels.
A node's deltas are those by what its activation is applied to: whoever finishes them has seen to its slope (`deltas`).
"""

from __future__ import annotations

import numpy as np

from fastbp.isa.codes import IDENTITY
from fastbp.kernels import fields as field
from fastbp.kernels.dense import activation, all_deltas, deltas
from fastbp.kernels.jit import called, inlined
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
    update,
)


@called
def node_forward(mem, row, data, step, batch, layer, unit):
    """One unit of a node that is not dense."""
    kind, L = row[field.KIND], mem.L
    if kind == field.BATCH_NORM and data.backward:
        batch_norm_block(mem, row, batch, unit)
        return
    M, N, epsilon = mem.M, row[field.N], row[field.ALPHA] + 2
    a, z = row[field.A] + unit * row[field.APITCH], row[field.Z] + unit * row[field.ZPITCH]
    if kind == field.ACTIVATION:
        curve(mem, row, N, a, z)
    elif kind == field.ADD:
        add(mem.table, N, M, a, M, row[field.B] + unit * row[field.BPITCH], M, z)
        curve(mem, row, N, z, z)
    elif kind == field.BATCH_NORM:
        batch_norm_predict(mem.table, N, M, a, M, z, mem.P, row[field.W], row[field.WPITCH], M, epsilon)
        curve(mem, row, N, z, z)
    elif kind == field.LAYER_NORM:
        known = row[field.KNOWN] + unit * row[field.ZPITCH] if data.backward else row[field.SINK]
        layer_norm(mem.table, N, M, a, M, z, M, known, mem.P, row[field.W], row[field.WPITCH],
                   M, row[field.STATS] + unit * L, M, epsilon)
        curve(mem, row, N, z, z)
    elif kind == field.DROPOUT:
        dropout(mem.table, N, unit * L, data.random[2] + step, layer, row[field.THRESHOLD], data.random, 0, M, a, M, z,
                M, row[field.F] + unit * row[field.ZPITCH], M, row[field.ALPHA] + 1)
    else:
        noise(mem.table, N, unit * L, data.random[2] + step, layer, data.random, 0, M, a, M, z,
              M, row[field.ALPHA] + 1)


@inlined
def curve(mem, row, lines, a, z):
    """The activation over lines of Z, unless it would leave them as they are."""
    if a != z or row[field.CODE] != IDENTITY:
        activation(mem, row, lines, a, z)


@inlined
def batch_norm_block(mem, row, batch, b):
    """Batch normalisation of a block of features, with the batch's statistics."""
    M, L, zpitch, lane = mem.M, mem.L, row[field.ZPITCH], b * mem.L
    at, height = lane * L, min(L, row[field.N] - lane)
    batch_norm(mem.table, height, batch, M, row[field.A] + at, row[field.APITCH], M, row[field.Z] + at, zpitch,
               M, row[field.KNOWN] + at, mem.P, row[field.W] + lane, row[field.WPITCH],
               M, row[field.STATS] + lane, row[field.WPITCH], M, row[field.ALPHA] + 2)
    for q in range((batch + L - 1) // L):
        z = row[field.Z] + at + q * zpitch
        curve(mem, row, height, z, z)


@called
def node_backward(mem, row, layers, batch, unit):
    """Deltas of what a node that is not dense reads."""
    kind, L, N, M = row[field.KIND], mem.L, row[field.N], mem.M
    if kind == field.BATCH_NORM:
        batch_norm_deltas(mem, row, layers[row[field.BELOW]], batch, unit)
        return
    source = row[field.D] + unit * row[field.DPITCH]
    if kind == field.ADD:
        send(mem, row, layers, row[field.BELOW], row[field.SEND_BELOW], batch, unit)
        send(mem, row, layers, row[field.SKIP], row[field.SEND_SKIP], batch, unit)
        return
    below = layers[row[field.BELOW]]
    target = below[field.D] + unit * below[field.DPITCH]
    if kind == field.LAYER_NORM:
        layer_norm_backward(mem.table, N, M, source, M, row[field.KNOWN] + unit * row[field.ZPITCH],
                            mem.P, row[field.W], M, row[field.STATS] + unit * L, M, target)
    else:
        copy(mem, row, N, source, target)
    all_deltas(mem, below, batch, unit)


@inlined
def copy(mem, row, lines, source, target):
    activate(mem.table, IDENTITY, lines, mem.M, source, mem.M, target, mem.M, row[field.SINK], mem.M, row[field.ALPHA])


@inlined
def send(mem, row, layers, target, how, batch, q):
    """The deltas of a sum go to each of what it adds."""
    if how == field.NOT_SENT:
        return
    N, below = row[field.N], layers[target]
    source = row[field.D] + q * row[field.DPITCH]
    place = below[field.D] if how == field.FINISHED else below[field.SKIP_D]
    place += q * below[field.DPITCH]
    if how == field.ADDED:
        add(mem.table, N, mem.M, place, mem.M, source, mem.M, place)
    else:
        copy(mem, row, N, source, place)
    if how == field.FINISHED:
        all_deltas(mem, below, batch, q)


@inlined
def batch_norm_deltas(mem, row, below, batch, b):
    """The gradients of a block's gamma and beta, and the deltas of what it normalised."""
    M, L, lane = mem.M, mem.L, b * mem.L
    at, height = lane * L, min(L, row[field.N] - lane)
    d, known, sums = row[field.D] + at, row[field.KNOWN] + at, row[field.GRADS] + lane
    gains(mem.table, height, batch, M, d, row[field.DPITCH], M, known, row[field.ZPITCH], M, sums, row[field.WPITCH])
    if row[field.BELOW] < 0:
        return
    batch_norm_backward(mem.table, height, batch, M, d, row[field.DPITCH], M, known, row[field.ZPITCH],
                        mem.P, row[field.W] + lane, M, row[field.STATS] + 2 * row[field.WPITCH] + lane,
                        M, sums, row[field.WPITCH], M, below[field.D] + at, below[field.DPITCH])
    for q in range((batch + L - 1) // L):
        deltas(mem, below, batch, b, q, height)


@called
def node_weights(mem, row, rule, batch, b):
    """A block of gamma and beta: their gradients and update; and the moving statistics of a batch normalisation."""
    M, P, L, lane, pitch = mem.M, mem.P, mem.L, b * mem.L, row[field.WPITCH]
    height, sums, w = min(L, row[field.N] - lane), row[field.GRADS] + lane, row[field.W] + lane
    if row[field.KIND] == field.LAYER_NORM or row[field.BELOW] < 0:
        gains(mem.table, height, batch, M, row[field.D] + lane * L, row[field.DPITCH],
              M, row[field.KNOWN] + lane * L, row[field.ZPITCH], M, sums, pitch)
    if row[field.KIND] == field.BATCH_NORM and rule.training:
        move_statistics(mem, row, batch, lane, height)
    if rule.training and not row[field.TRAINABLE]:
        return
    for j in range(2):
        if rule.fused:
            scalars = rule.scalars + (row[field.BIAS_RULE] if j else row[field.KERNEL_RULE])
            update(mem.table, rule.code, 1, 1, M, sums + j * pitch, 0, P, w + j * pitch, 0, rule.stride,
                   M, scalars, rule.sync, rule.flag)
        else:
            for i in range(height):
                before = mem.G[w + j * pitch + i] if rule.accumulates else M.dtype.type(0)
                mem.G[w + j * pitch + i] = before + M[sums + j * pitch + i]


@inlined
def move_statistics(mem, row, batch, lane, height):
    """moving <- (1 - momentum) moving + momentum new; the variance unbiased, unless there is one row."""
    M, pitch = mem.M, row[field.WPITCH]
    stats, w = row[field.STATS] + lane, row[field.W] + 2 * pitch + lane
    for i in range(height):
        move(mem, row, w + i, M[stats + i])
        if batch > 1:
            move(mem, row, w + pitch + i, M[stats + pitch + i] * (batch / (batch - 1)))


@inlined
def move(mem, row, at, new):
    """What is not finite stays out."""
    momentum = mem.M[row[field.ALPHA] + 1]
    moved = (1 - momentum) * mem.P[at] + momentum * new
    if np.isfinite(moved):
        mem.P[at] = moved
