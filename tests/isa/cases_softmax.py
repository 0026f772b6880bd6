"""Cases of softmax and its Jacobian. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .cases import (
    Case,
    Operand,
    assert_within,
    lanes_of,
    normal_lines,
    unit,
    wide,
    within,
    writable,
)

LINES = (1, 2, 3, 8, 10, 16, 17, 33, 100)


def sum_error(n: int, dtype: str) -> float:
    """Relative error of the sum of n positive terms in L partial sums and their tree: one rounding per level."""
    L = lanes_of(dtype)
    return (-(-n // L) + np.log2(L)) * unit(dtype)


def exact_softmax(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z = wide(z)
    top = z.max(0)
    e = np.exp(z - top)
    return e / e.sum(0), top + np.log(e.sum(0))


def softmax_case(z: np.ndarray, label: str, in_place: bool = False) -> Case:
    """p_i: |x_i| u for the rounded difference x_i, 2 ULP or 4 u for its exp, as in all terms of the sum; a division."""
    dtype, n, u = z.dtype.name, len(z), unit(z.dtype)
    Z = Operand(dtype, z.size, z)
    P = writable(Z if in_place else Operand(dtype, z.size))
    logsum = writable(Operand(dtype, z.shape[1]))
    p, total = exact_softmax(z)
    x = np.abs(wide(z) - wide(z).max(0))
    terms = np.where(p > 0, x, 0) * u + 4 * u
    of_sum = (p * terms).sum(0) + sum_error(n, dtype)

    def check():
        assert_within(P.lines(), p, 1.01 * p * (terms + of_sum + u))
        log_error = of_sum + 4 * u * np.abs(total - wide(z).max(0)) + u * np.abs(total)
        assert_within(logsum.values, total, 1.01 * log_error)

    return Case("softmax", dtype, [n, Z, P, logsum], check, label)


def softmaxes(dtype: str) -> Iterator[Case]:
    rng, L = np.random.default_rng(4), lanes_of(dtype)
    for n in LINES:
        for scale in (1, 30, 1000):
            yield softmax_case(normal_lines(rng, dtype, n, scale), f"n={n} times {scale}", in_place=scale == 30)
    big = float(np.finfo(dtype).max) / 4
    for name, column in {
        "equal": [3.0] * 5, "far apart": [-big, 0, 1, 2, big], "huge": [big, big, -big, big / 2, 0],
        "impossible": [-np.inf, 1, 2, 3, -np.inf], "all low": [-1e4, -1e4 - 1, -1e4 + 2, -2e4, -1e4],
    }.items():  # fmt: skip
        yield softmax_case(np.repeat(np.array(column, dtype)[:, None], L, 1), name)


def softmax_slopes(dtype: str) -> Iterator[Case]:
    """d <- p (d - s), s = sum of d p: s is off by (additions per term + 2) u times the sum of |d p|."""
    rng, u = np.random.default_rng(5), unit(dtype)
    for n in LINES:
        p = exact_softmax(normal_lines(rng, dtype, n))[0].astype(dtype)
        d = normal_lines(rng, dtype, n, 10)
        P, D = Operand(dtype, p.size, p), writable(Operand(dtype, d.size, d))
        p, d = wide(p), wide(d)
        exact = p * (d - (d * p).sum(0))
        of_sum = (sum_error(n, dtype) + 2 * u) * np.abs(d * p).sum(0)
        bound = 1.01 * (p * of_sum + 2 * u * np.abs(exact))
        yield Case("softmax_slope", dtype, [n, P, D], within(D, exact, bound), f"n={n}")


SOFTMAX = (softmaxes, softmax_slopes)
