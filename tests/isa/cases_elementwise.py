"""Cases of zeroing, scaling and adding lines, and of waves. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .cases import (
    Case,
    Operand,
    assert_bits,
    lanes_of,
    normal_lines,
    same_bits,
    writable,
)
from .cases_normalization import SIZES, random

LINES = (1, 2, 3, 8, 10, 16, 17, 33, 100)


def zeros(dtype: str) -> Iterator[Case]:
    for n in (0, 1, 2, 7):
        target = writable(Operand(dtype, n * lanes_of(dtype)))
        yield Case("zero", dtype, [n, target], same_bits(target, np.zeros(target.values.size, dtype)), f"{n} lines")


def scales(dtype: str) -> Iterator[Case]:
    rng = np.random.default_rng(6)
    for n in LINES:
        d, factors = normal_lines(rng, dtype, n), normal_lines(rng, dtype, 1)
        D, W = writable(Operand(dtype, d.size, d)), Operand(dtype, factors.size, factors)
        expected = np.ravel(d * factors)  # one rounding: the same everywhere
        yield Case("scale", dtype, [n, D, W], lambda D=D, e=expected: assert_bits(D.values, e), f"n={n}")


def additions(dtype: str) -> Iterator[Case]:
    """The result may overwrite either of the terms; a single rounding is the same everywhere."""
    L = lanes_of(dtype)
    for n in SIZES:
        for place in range(3):
            a, s = random(dtype, n, L), random(dtype, n, L, seed=1)
            A, S = Operand(dtype, a.size, a), Operand(dtype, s.size, s)
            Z = writable((A, S, Operand(dtype, a.size))[place])
            yield Case("add", dtype, [n, A, S, Z], same_bits(Z, a + s), f"{n} lines, over {place}")


def lines_of_waves(dtype: str) -> Iterator[Case]:
    """Against float64, or longdouble: the error is that of the turns, rounded twice, and of three units of a wave."""
    L = lanes_of(dtype)
    wide = np.float64 if dtype == "float32" else np.longdouble
    pi = wide("3.14159265358979323846264338327950288")
    for n in (1, 3, 16, 17):
        for size in (1.0, 100.0):
            x, w, b = random(dtype, 1, L), size * random(dtype, 1, n, seed=1), np.pi * random(dtype, 1, n, seed=2)
            w, b = w.astype(dtype), b.astype(dtype)
            X, W, B = Operand(dtype, L, x), Operand(dtype, n, w, shift=1), Operand(dtype, n, b, shift=1)
            Z = writable(Operand(dtype, 2 * n * L))
            turns = np.ravel(w).astype(wide)[:, np.newaxis] * np.ravel(x) + np.ravel(b)[:, np.newaxis] / (2 * pi)
            exact = np.concatenate([np.cos(2 * pi * turns), np.sin(2 * pi * turns)])
            unit = np.finfo(dtype).eps / 2
            error = unit * (3 + 2 * np.pi * 3 * (np.abs(turns) + 1))

            def check(Z=Z, exact=exact, error=error, L=L):
                found = np.reshape(Z.values, (-1, L)).astype(exact.dtype)
                assert (np.abs(found - exact) <= np.concatenate([error, error])).all()

            yield Case("waves", dtype, [n, X, W, B, Z], check, f"{n} frequencies of {size}")


ELEMENTWISE = (zeros, scales, additions, lines_of_waves)
