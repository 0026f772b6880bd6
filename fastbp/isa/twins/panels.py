"""Panels: transpose, gather from rows, scatter to rows."""

from __future__ import annotations

from fastbp.isa.targets.table import LINE


def transpose(table, rows, columns, S, s, T, t):
    """One L x L block, of which `columns` target lines are wanted; source lines from `rows` on count as zero."""
    L = LINE // T.itemsize
    for i in range(min(L, columns)):
        for lane in range(L):
            T[t + i * L + lane] = S[s + lane * L + i] if lane < rows else 0.0


def gather(table, features, count, X, x, pitch, indices, first, more, P, p):
    """Lane i of the panel becomes row indices[i] of X, zero from `count` on.

    `more`: of how many lanes of the next panel the indices follow; their rows are prefetched.
    """
    L = LINE // P.itemsize
    for n in range(features):
        for i in range(L):
            P[p + n * L + i] = X[x + indices[first + i] * pitch + n] if i < count else 0.0


def scatter(table, features, count, P, p, X, x, pitch):
    """Lane i of the panel becomes row i of X, for i < count."""
    L = LINE // P.itemsize
    for i in range(min(count, L)):
        for n in range(features):
            X[x + i * pitch + n] = P[p + n * L + i]


HELPERS = ()
