"""Passes over runs of parameters and their gradients."""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE
from fastbp.isa.twins.optimizers import TINY_32, TINY_64


def wide_square(value):
    """In double precision: Numba's float() leaves a float32 what it is."""
    wide = 1.0 * float(value)
    return wide * wide


def prepare(table, n, G, g, W, w, S, s, sums, o):
    """g <- clip(s[0] g + s[1] sign(w) + s[2] w) to [-s[3], s[3]]; the sum of its squares."""
    total, bound = 0.0, S[s + 3]
    for i in range(n * (LINE // G.itemsize)):
        weight, value = W[w + i], S[s] * G[g + i]
        value += S[s + 1] if weight > 0 else -S[s + 1] if weight < 0 else 0 * S[s + 1]
        value += S[s + 2] * weight
        G[g + i] = bound if value > bound else -bound if value < -bound else value
        total += wide_square(G[g + i])
    sums[o] = total


def squares(table, n, G, g, sums, o):
    """The sum of g^2."""
    total = 0.0
    for i in range(n * (LINE // G.itemsize)):
        total += wide_square(G[g + i])
    sums[o] = total


def penalties(table, n, W, w, sums, o):
    """Sums of |w| and of w^2."""
    size, total = 0.0, 0.0
    for i in range(n * (LINE // W.itemsize)):
        size += abs(1.0 * float(W[w + i]))
        total += wide_square(W[w + i])
    sums[o], sums[o + 1] = size, total


def limit(table, n, W, w, bound, o):
    """Every lane's n weights are scaled to a norm of at most the bound."""
    L = LINE // W.itemsize
    for lane in range(L):
        total, most = 0.0, 1.0 * float(bound[o])
        for at in range(lane, n * L, L):
            total += wide_square(W[w + at])
        norm = math.sqrt(total)
        if norm > most:
            for at in range(lane, n * L, L):
                W[w + at] = most / norm * float(W[w + at])


def average(table, n, W, w, M, m, momentum, o):
    """mean <- w + momentum (mean - w)."""
    for i in range(n * (LINE // W.itemsize)):
        M[m + i] = W[w + i] + momentum[o] * (M[m + i] - W[w + i])


def lamb(table, n, G, g, W, w, stride, S, s, sums, o):
    """Sums of w^2 and of the squares of LAMB's direction."""
    total, moved, tiny = 0.0, 0.0, W.dtype.type(TINY_32 if W.itemsize == 4 else TINY_64)
    for i in range(n * (LINE // G.itemsize)):
        weight, gradient = W[w + i], G[g + i]
        m = S[s + 1] * W[w + stride + i] + gradient
        v = S[s + 2] * W[w + 2 * stride + i] + tiny + gradient * gradient
        direction = S[s] * weight + S[s + 4] * m / (W.dtype.type(math.sqrt(v)) + S[s + 3])
        total += wide_square(weight)
        moved += wide_square(direction)
    sums[o], sums[o + 1] = total, moved


HELPERS = (wide_square,)
