"""Batch and layer normalization over panels."""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE


def lane_tree(lanes):
    """The sum of a line: halves of it, again and again."""
    step = lanes.size // 2
    while step > 0:
        for i in range(step):
            lanes[i] += lanes[i + step]
        step //= 2
    return lanes[0]


def batch_sum(batch, A, a, apitch, D, d, dpitch, products, lanes):
    """Sum of a feature's a, or of its a d, over the rows of a batch."""
    L = lanes.size
    for lane in range(L):
        lanes[lane] = 0
    for row in range(batch):
        term = A[a + row // L * apitch + row % L]
        lanes[row % L] += term * D[d + row // L * dpitch + row % L] if products else term
    return lane_tree(lanes)


def batch_norm(table, n, batch, A, a, apitch, Z, z, zpitch, F, f, G, gamma, gpitch, S, stats, spitch, E, epsilon):
    """f <- (a - mean) / sqrt(variance + epsilon) over the batch, z <- gamma f + beta."""
    L = LINE // A.itemsize
    lanes, share = Z[z : z + L].copy(), A.dtype.type(1) / A.dtype.type(batch)
    panels = (batch + L - 1) // L
    for i in range(n):
        at = i * L
        mean = batch_sum(batch, A, a + at, apitch, A, a, apitch, False, lanes) * share
        for q in range(panels):
            for lane in range(L):
                F[f + q * zpitch + at + lane] = A[a + q * apitch + at + lane] - mean
        variance = batch_sum(batch, F, f + at, zpitch, F, f + at, zpitch, True, lanes) * share
        inverse = A.dtype.type(1) / A.dtype.type(math.sqrt(variance + E[epsilon]))
        S[stats + i], S[stats + spitch + i], S[stats + 2 * spitch + i] = mean, variance, inverse
        for q in range(panels):
            for lane in range(L):
                place = q * zpitch + at + lane
                F[f + place] *= inverse
                Z[z + place] = G[gamma + i] * F[f + place] + G[gamma + gpitch + i]


def batch_norm_predict(table, n, A, a, Z, z, G, gamma, gpitch, E, epsilon):
    """One panel; z <- gamma (a - mean) / sqrt(variance + epsilon) + beta with moving statistics."""
    L = LINE // A.itemsize
    for i in range(n):
        shift, mean, variance = (G[gamma + gpitch + i], G[gamma + 2 * gpitch + i], G[gamma + 3 * gpitch + i])
        inverse = A.dtype.type(1) / A.dtype.type(math.sqrt(variance + E[epsilon]))
        for lane in range(L):
            Z[z + i * L + lane] = G[gamma + i] * ((A[a + i * L + lane] - mean) * inverse) + shift


def gains(table, n, batch, D, d, dpitch, F, f, fpitch, G, g, gpitch):
    """g[i] <- sum of d f, g[gpitch + i] <- sum of d over the batch."""
    L = LINE // D.itemsize
    lanes = D[d : d + L].copy()
    for i in range(n):
        G[g + i] = batch_sum(batch, D, d + i * L, dpitch, F, f + i * L, fpitch, True, lanes)
        G[g + gpitch + i] = batch_sum(batch, D, d + i * L, dpitch, D, d, dpitch, False, lanes)


def batch_norm_backward(table, n, batch, D, d, dpitch, F, f, fpitch, P, gamma, S, inverse, G, g, gpitch, E, e, epitch):
    """e <- gamma inverse (d - sum(d) / batch - f sum(d f) / batch)."""
    L = LINE // D.itemsize
    share = D.dtype.type(1) / D.dtype.type(batch)
    for i in range(n):
        factor, slant, mean = P[gamma + i] * S[inverse + i], G[g + i] * share, G[g + gpitch + i] * share
        for q in range((batch + L - 1) // L):
            for at in range(i * L, i * L + L):
                rest = D[d + q * dpitch + at] - mean - F[f + q * fpitch + at] * slant
                E[e + q * epitch + at] = factor * rest


def row_mean(n, A, a, P, gamma, F, f, weighted, mixed, sums):
    """Mean over n features of one lane's a, gamma a or gamma a f: L partial sums by feature mod L, then halves."""
    for i in range(sums.size):
        sums[i] = 0
    for i in range(n):
        at = i * sums.size
        term = P[gamma + i] * A[a + at] if weighted else A[a + at]
        sums[i % sums.size] += term * F[f + at] if mixed else term
    return lane_tree(sums) * (sums.dtype.type(1) / sums.dtype.type(n))


def layer_norm(table, n, A, a, Z, z, F, f, P, gamma, gpitch, S, inverse, E, epsilon):
    """One panel; f <- (a - mean) / sqrt(variance + epsilon) over a row's features, z <- gamma f + beta.

    f is only written: predictions need none, and all workers hand over the same place.
    """
    L = LINE // A.itemsize
    sums = A[a : a + L].copy()
    for lane in range(L):
        mean = row_mean(n, A, a + lane, P, gamma, F, f, False, False, sums)
        variance = row_square(n, A, a + lane, mean, sums)
        factor = A.dtype.type(1) / A.dtype.type(math.sqrt(variance + E[epsilon]))
        S[inverse + lane] = factor
        for i in range(n):
            at = i * L + lane
            known = (A[a + at] - mean) * factor
            F[f + at] = known
            Z[z + at] = P[gamma + i] * known + P[gamma + gpitch + i]


def row_square(n, A, a, mean, sums):
    for i in range(sums.size):
        sums[i] = 0
    for i in range(n):
        centred = A[a + i * sums.size] - mean
        sums[i % sums.size] += centred * centred
    return lane_tree(sums) * (sums.dtype.type(1) / sums.dtype.type(n))


def layer_norm_backward(table, n, D, d, F, f, P, gamma, S, inverse, E, e):
    """One panel; with g = gamma d, e <- inverse (g - mean(g) - f mean(g f))."""
    L = LINE // D.itemsize
    sums = D[d : d + L].copy()
    for lane in range(L):
        mean = row_mean(n, D, d + lane, P, gamma, F, f, True, False, sums)
        slant = row_mean(n, D, d + lane, P, gamma, F, f + lane, True, True, sums)
        for i in range(n):
            at = i * L + lane
            E[e + at] = S[inverse + lane] * (P[gamma + i] * D[d + at] - mean - F[f + at] * slant)


HELPERS = (lane_tree, batch_sum, row_mean, row_square)
