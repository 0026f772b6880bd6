"""Lines set to zero, scaled and added up."""

from __future__ import annotations

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


def add(table, n, A, a, S, s, Z, z):
    """z <- a + s, n lines."""
    for i in range(n * (LINE // A.itemsize)):
        Z[z + i] = A[a + i] + S[s + i]


HELPERS = ()
