"""The register tile in plain loops; the emitter draws it. Slices as `twins` explains."""

from __future__ import annotations

from fastbp.isa.targets.table import LINE

# How the sums of a tile start, and what happens to them before they are stored.
ZERO, ACCUMULATE, BIAS_ROWS, BIAS_COLUMNS = range(4)
KEEP, APPLY_RELU = range(2)
AHEAD_LINES = 2  # that `along` prefetches of each array and column with a panel of k
ROUNDS = 4  # of a panel of k

def across(table, rows, columns, k, A, a, B, b, bpitch, C, c, cpitch, start, bias, o, post, ahead, h):
    """C[j, i, :] (+)= sum over k of A[k*L + i] B[j, k, :]"""
    L = LINE // C.itemsize
    for j in range(columns):
        for i in range(rows):
            row = C[c + j * cpitch + i * L : c + j * cpitch + i * L + L]
            tile_start(row, start, bias, o, i, o + j * bpitch)
            add_products(row, k, A, a + i, L, B, b + j * bpitch)
            tile_finish(row, post)


def along(
    table, rows, columns, k, A, a, apitch, B, b, bpitch, C, c, cpitch, start, bias, o, post, ahead, h, pitch, stride,
    arrays, step, until, stream, f,
):  # fmt: skip
    """C[j, i, :] (+)= sum over k of A[(k // L)*apitch + i*L + k % L] B[j, k, :]; what is ahead is not prefetched."""
    L = LINE // C.itemsize
    for j in range(columns):
        for i in range(rows):
            row = C[c + j * cpitch + i * L : c + j * cpitch + i * L + L]
            tile_start(row, start, bias, o, i, o + j * bpitch)
            for n in range(0, k, L):
                add_products(row, min(L, k - n), A, a + n // L * apitch + i * L, 1, B, b + j * bpitch + n * L)
            tile_finish(row, post)


def outer(table, lines, rows, A, a, B, b, C, c):
    """C[i, :] = sum over the rows r of A[i*L + r] B[r, :], at most a line of them."""
    L = LINE // C.itemsize
    for i in range(lines):
        row = C[c + i * L : c + i * L + L]
        for lane in range(L):
            row[lane] = 0.0
        add_products(row, rows, A, a + i * L, 1, B, b)


def tile_start(row, start, bias, o, i, bias_column):
    L = LINE // row.itemsize
    if start != ACCUMULATE:
        for lane in range(L):
            row[lane] = 0.0
    if start == BIAS_ROWS:
        for lane in range(L):
            row[lane] = bias[o + i]
    if start == BIAS_COLUMNS:
        for lane in range(L):
            row[lane] = bias[bias_column + lane]


def add_products(row, k, A, a, spread, B, b):
    """row += A[a] B[b, :] + A[a + spread] B[b + 1, :] + ..., k products in this order."""
    L = LINE // row.itemsize
    whole = k // 8 * 8
    for n in range(0, whole, 8):
        add_eight(row, A, a + n * spread, spread, B[b + n * L : b + (n + 8) * L])
    for n in range(whole, k):
        scalar, line = A[a + n * spread], B[b + n * L : b + (n + 1) * L]
        for lane in range(L):
            row[lane] += scalar * line[lane]


def add_eight(row, A, a, d, B):
    L = LINE // row.itemsize
    s0, s1, s2, s3 = A[a], A[a + d], A[a + 2 * d], A[a + 3 * d]
    s4, s5, s6, s7 = A[a + 4 * d], A[a + 5 * d], A[a + 6 * d], A[a + 7 * d]
    for lane in range(L):
        total = row[lane] + s0 * B[lane] + s1 * B[L + lane] + s2 * B[2 * L + lane] + s3 * B[3 * L + lane]
        total = total + s4 * B[4 * L + lane] + s5 * B[5 * L + lane] + s6 * B[6 * L + lane] + s7 * B[7 * L + lane]
        row[lane] = total


def tile_finish(row, post):
    if post == APPLY_RELU:
        for lane in range(LINE // row.itemsize):
            row[lane] = 0.0 if row[lane] < 0.0 else row[lane]  # NaN stays NaN


def peak(table, n, lines, X, x, C, c):
    """C[j, :] <- C[j, :] * X[0, :] + X[1, :], n times, for j < lines."""
    L = LINE // C.itemsize
    factor, term, sums = X[x : x + L], X[x + L : x + 2 * L], C[c : c + lines * L]
    for _ in range(n):
        for j in range(0, lines * L, L):
            for lane in range(L):
                sums[j + lane] = sums[j + lane] * factor[lane] + term[lane]


HELPERS = (tile_start, add_products, add_eight, tile_finish)
