"""Rows with few nonzero features times a kernel's panels, and the step on these."""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE


def sparse_forward(table, n, columns, c, V, v, W, w, wpitch, lines, panels, B, bias, Z, z, zpitch, outside, o):
    """z[j] <- bias[j] + sum over i of values[i] W[j][columns[i]], a line for each of the panels."""
    L = LINE // Z.itemsize
    for j in range(panels):
        for lane in range(L):
            total = B[bias + j * wpitch + lane]
            for i in range(n):
                column = columns[c + i]
                if not 0 <= column < lines:
                    outside[o], column = 1, 0
                total += V[v + i] * W[w + j * wpitch + column * L + lane]
            Z[z + j * zpitch + lane] = total


def sparse_add(table, n, columns, c, V, v, D, d, W, w, lines, factor, s, flag, f, outside, o):
    """One panel; W[columns[i]] <- W[columns[i]] + factor values[i] d, where that is finite in every lane."""
    L = LINE // W.itemsize
    for i in range(n):
        column = columns[c + i]
        if not 0 <= column < lines:
            flag[f], outside[o] = 1, 1
            continue
        at, good = w + column * L, True
        for lane in range(L):
            good = good and abs(W[at + lane] + V[v + i] * (factor[s] * D[d + lane])) < math.inf
        if not good:
            flag[f] = 1
            continue
        for lane in range(L):
            W[at + lane] += V[v + i] * (factor[s] * D[d + lane])


HELPERS = ()
