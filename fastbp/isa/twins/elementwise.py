"""Lines set to zero, scaled and added up; and the waves of a line."""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE


def zero(table, n, T, t):
    """n lines of zeros."""
    run = T[t : t + n * (LINE // T.itemsize)]
    for i in range(run.size):
        run[i] = 0.0


def scale(table, n, D, d, weights, w):
    """Every line of d times the line of weights."""
    L = LINE // D.itemsize
    for i in range(n):
        for lane in range(L):
            D[d + i * L + lane] *= weights[w + lane]


def waves(table, n, X, x, W, w, B, b, Z, z):
    """Of a line of x: n lines of cos(2 pi x w + b), then n of sin(2 pi x w + b)."""
    L = LINE // X.itemsize
    for i in range(n):
        for lane in range(L):
            turn = W[w + i] * X[x + lane] + B[b + i] * X.dtype.type(0.15915494309189535)
            angle = 2.0 * math.pi * (turn - math.floor(turn + 0.5))
            Z[z + i * L + lane] = math.cos(angle)
            Z[z + (n + i) * L + lane] = math.sin(angle)


def add(table, n, A, a, S, s, Z, z):
    """z <- a + s, n lines."""
    for i in range(n * (LINE // A.itemsize)):
        Z[z + i] = A[a + i] + S[s + i]


HELPERS = ()
