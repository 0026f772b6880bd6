"""The waves of a column, and what a periodic embedding makes of them."""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE


def waves(table, n, X, x, W, w, B, b, Z, z):
    """Of a line of x: n lines of cos(2 pi x w + b), then n of sin(2 pi x w + b)."""
    L = LINE // X.itemsize
    for i in range(n):
        for lane in range(L):
            turn = W[w + i] * X[x + lane] + B[b + i] * X.dtype.type(0.15915494309189535)
            angle = 2.0 * math.pi * (turn - math.floor(turn + 0.5))
            Z[z + i * L + lane] = math.cos(angle)
            Z[z + (n + i) * L + lane] = math.sin(angle)


def mix(table, n, outputs, W, w, B, b, C, c, Z, z):
    """z[o] <- b[o] + sum over h of w[h, o] c[h]."""
    L = LINE // Z.itemsize
    for o in range(outputs):
        for lane in range(L):
            total = B[b + o]
            for h in range(n):
                total += W[w + h * outputs + o] * C[c + h * L + lane]
            Z[z + o * L + lane] = total


def wave_slopes(table, n, outputs, both, W, w, X, x):
    """-sin u, u = sum over o of w[h, o] d[o]; and + cos v, v that of w[n + h]."""
    L = LINE // X.itemsize
    deltas, slopes = x + L, x + (1 + outputs) * L
    cosines, sines = slopes + n * L, slopes + 2 * n * L
    for h in range(n):
        for lane in range(h * L, h * L + L):
            fall, rise = X.dtype.type(0), X.dtype.type(0)
            for o in range(outputs):
                delta = X[deltas + o * L + lane - h * L]
                fall += W[w + h * outputs + o] * delta
                if both:
                    rise += W[w + (n + h) * outputs + o] * delta
            X[slopes + lane] = rise * X[cosines + lane] - fall * X[sines + lane]


def wave_sums(table, n, waves, outputs, X, x, S, s):
    """Slopes times x; slopes, if there are as many waves as slopes; every wave times every delta; deltas."""
    L = LINE // X.itemsize
    deltas, slopes = x + L, x + (1 + outputs) * L
    phases = n if n == waves else 0
    kernel = s + (n + phases) * L
    for lane in range(L):
        for h in range(n):
            slope = X[slopes + h * L + lane]
            S[s + h * L + lane] += slope * X[x + lane]
            if phases:
                S[s + (n + h) * L + lane] += slope
        for o in range(outputs):
            delta = X[deltas + o * L + lane]
            for h in range(waves):
                S[kernel + (h * outputs + o) * L + lane] += delta * X[slopes + (n + h) * L + lane]
            S[kernel + (waves * outputs + o) * L + lane] += delta


HELPERS = ()
