"""Chains of multiply-adds that touch no memory but their own lines."""

from __future__ import annotations

from fastbp.isa.targets.table import LINE


def peak(table, n, lines, X, x, C, c):
    """C[j, :] <- C[j, :] * X[0, :] + X[1, :], n times, for j < lines."""
    L = LINE // C.itemsize
    factor, term, sums = X[x : x + L], X[x + L : x + 2 * L], C[c : c + lines * L]
    for _ in range(n):
        for j in range(0, lines * L, L):
            for lane in range(L):
                sums[j + lane] = sums[j + lane] * factor[lane] + term[lane]


HELPERS = ()
