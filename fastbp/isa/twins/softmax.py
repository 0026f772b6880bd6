"""Softmax over one panel, and its Jacobian."""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE


def softmax(table, n, Z, z, P, p, logsum, o):
    """p = exp(z - max) / sum; logsum = max + log(sum). z and p may be the same."""
    L = LINE // P.itemsize
    for lane in range(L):
        top = Z.dtype.type(-math.inf)
        for at in range(lane, n * L, L):
            top = top if top > Z[z + at] else Z[z + at]
        for at in range(lane, n * L, L):
            P[p + at] = math.exp(Z[z + at] - top)
        total = lane_sum(n, P, p + lane, P, p + lane, False)
        logsum[o + lane] = top + P.dtype.type(math.log(total))
        for at in range(lane, n * L, L):
            P[p + at] /= total


def softmax_slope(table, n, P, p, D, d):
    """d <- p (d - sum of d p)."""
    L = LINE // P.itemsize
    for lane in range(L):
        total = lane_sum(n, P, p + lane, D, d + lane, True)
        for at in range(lane, n * L, L):
            D[d + at] = P[p + at] * (D[d + at] - total)


def lane_sum(n, P, p, D, d, products):
    """Sum of one lane's p, or of its p d: L partial sums by line mod L, then halves: ((0+8)+(4+12)) + ...

    The innermost loop holds what is added first: the partial sums 8 (float64: 4) apart.
    """
    nothing = P.dtype.type(0)
    total = nothing
    for one in range(2):
        by_two = nothing
        for two in range(2):
            by_four = nothing
            for four in range(2):
                by_eight = nothing
                for eight in range(LINE // P.itemsize // 8):
                    by_eight += partial_sum(n, P, p, D, d, one + 2 * two + 4 * four + 8 * eight, products)
                by_four += by_eight
            by_two += by_four
        total += by_two
    return total


def partial_sum(n, P, p, D, d, first, products):
    L = LINE // P.itemsize
    total = P.dtype.type(0)
    for at in range(first * L, n * L, L * L):
        total += P[p + at] * D[d + at] if products else P[p + at]
    return total


HELPERS = (lane_sum, partial_sum)
