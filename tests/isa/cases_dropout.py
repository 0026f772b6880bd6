"""Cases of dropout and noise; the bounds come from `Rounded`. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastbp.isa.twins.dropout import ERFINV_CENTRE, ERFINV_TAIL, SQRT_2
from fastbp.reference.random import Draw, random_words

from .cases import (
    Case,
    Operand,
    assert_bits,
    lanes_of,
    unit,
    writable,
)
from .cases_normalization import SIZES, assert_near, one, random
from .rounded import Rounded

# Row, step, node and key: small, large, and larger than one 32-bit word.
DRAWS = [(0, 0, 0, (0, 0)), (16, 7, 3, (3, 4)), (496, 2**32 - 1, 200, (2**32 - 1, 2**31)),
         (32, 2**32 + 5, 1, (2**31 - 1, 2**32 - 2)), (0, 2**47 + 2**31, 65535, (123, 456))]  # fmt: skip


def words_of(n: int, row: int, step: int, node: int, key: tuple[int, int], L: int) -> np.ndarray:
    """The reference's random words for the units and rows of a panel."""
    return random_words(Draw(key, step), node, (row + L, n))[row:].T


def dropouts(dtype: str) -> Iterator[Case]:
    """Bit-identical to the reference."""
    L, kind = lanes_of(dtype), np.dtype(dtype).type
    for n in SIZES:
        for i, (row, step, node, key) in enumerate(DRAWS):
            rate = (0.0, 0.3, 0.5, 0.9, 1 - 2.0**-32)[(i + n) % 5]
            threshold, scale, a = int(rate * 2**32), kind(1 / (1 - rate)), random(dtype, n, L)
            factors = np.where(words_of(n, row, step, node, key, L) < threshold, kind(0), scale)
            A, Z, F = Operand(dtype, a.size, a), writable(Operand(dtype, a.size)), writable(Operand(dtype, a.size))

            def check(Z=Z, F=F, factors=factors, a=a):
                assert_bits(F.lines(), factors)
                assert_bits(Z.lines(), factors * a)

            arguments = [n, row, step, node, threshold, Operand(np.int64, 2, key, shift=1), A, Z, F, one(dtype, scale)]
            yield Case("dropout", dtype, arguments, check, f"{n} units, rate {rate}, draw {i}")


def polynomial(t: Rounded, coefficients) -> Rounded:
    total = t.constant(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * t + t.constant(c)
    return total


def normals(words: np.ndarray, dtype: str) -> Rounded:
    """sqrt(2) erfinv by both polynomials; where w may be on either side of 5, the bound covers both.

    Otherwise `reference.random.normal`, step by step, in higher precision.
    """
    nearer = np.where(words < 2**31, words, ~words)
    u = unit(dtype)
    v = Rounded(nearer.astype(np.float64 if dtype == "float32" else np.longdouble), 0.0, u)
    v = (v + v.constant(0.5)) * v.constant(2.0**-32)
    w = -((v.constant(4) * v * (v.constant(1) - v)).log())
    centre = polynomial(w - w.constant(2.5), ERFINV_CENTRE)
    root = w.sqrt()
    tail = polynomial(root - root.constant(3), ERFINV_TAIL)
    p = w.like(np.where(w.value < 5, centre.value, tail.value))
    jump = np.where(np.abs(w.value - 5) <= w.error, np.abs(centre.value - tail.value), 0)
    p.error = np.where(jump > 0, np.maximum(centre.error, tail.error), np.where(w.value < 5, centre.error, tail.error))
    p.error = p.error + jump
    size = (v.constant(1) - v.constant(2) * v) * p * v.constant(SQRT_2)
    result = size.like(np.where(words < 2**31, -size.value, size.value))
    result.error = size.error
    return result


def noises(dtype: str) -> Iterator[Case]:
    """a + sigma n, rounded once by a multiply-add."""
    L = lanes_of(dtype)
    for n in SIZES:
        for i, (row, step, node, key) in enumerate(DRAWS):
            a, deviation = random(dtype, n, L), np.array([(0.5, 3.0)[i % 2]], dtype)
            A, Z = Operand(dtype, a.size, a), writable(Operand(dtype, a.size))
            words = words_of(n, row, step, node, key, L)

            def check(a=a, Z=Z, words=words, deviation=deviation, dtype=dtype):
                random_part = Rounded.exact(deviation) * normals(words, dtype)
                assert_near(Z.lines(), Rounded.exact(a) + random_part)

            arguments = [n, row, step, node, Operand(np.int64, 2, key, shift=1), A, Z, one(dtype, deviation[0])]
            yield Case("noise", dtype, arguments, check, f"{n} units, draw {i}")


DROPOUT = (dropouts, noises)
