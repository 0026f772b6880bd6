"""Cases of zeroing, scaling and adding lines. See cases."""

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


ELEMENTWISE = (zeros, scales, additions)
