"""Rows with few nonzero features times a kernel's panels, and the step on these."""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE


def sparse_forward(table, n, columns, c, V, v, W, w, wpitch, panels, B, bias, Z, z, zpitch):
    """z[j] <- bias[j] + sum over i of values[i] W[j][columns[i]], a line for each of the panels."""
    L = LINE // Z.itemsize
    for j in range(panels):
        for lane in range(L):
            total = B[bias + j * wpitch + lane]
            for i in range(n):
                total += V[v + i] * W[w + j * wpitch + columns[c + i] * L + lane]
            Z[z + j * zpitch + lane] = total


def sparse_add(table, n, columns, c, V, v, D, d, W, w, factor, s, flag, f):
    """One panel; W[columns[i]] <- W[columns[i]] + factor values[i] d, where that is finite in every lane."""
    L = LINE // W.itemsize
    for i in range(n):
        at, good = w + columns[c + i] * L, True
        for lane in range(L):
            good = good and abs(W[at + lane] + V[v + i] * (factor[s] * D[d + lane])) < math.inf
        if not good:
            flag[f] = 1
            continue
        for lane in range(L):
            W[at + lane] += V[v + i] * (factor[s] * D[d + lane])


HELPERS = ()
