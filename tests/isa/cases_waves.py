"""Cases of waves and what a periodic embedding makes of them. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .cases import Case, Operand, lanes_of, writable
from .cases_normalization import random

SIZES = ((1, 1), (3, 2), (16, 3), (17, 24))  # frequencies and outputs


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




def wide_of(dtype: str) -> type:
    return np.float64 if dtype == "float32" else np.longdouble


def mixtures(dtype: str) -> Iterator[Case]:
    """Sums of n products: n + 1 roundings at most."""
    L, wide = lanes_of(dtype), wide_of(dtype)
    for n, outputs in SIZES:
        w, b, c = random(dtype, n, outputs), random(dtype, 1, outputs, seed=1), random(dtype, n, L, seed=2)
        W, B = Operand(dtype, w.size, w, shift=1), Operand(dtype, outputs, b, shift=1)
        Z = writable(Operand(dtype, outputs * L))
        exact = w.astype(wide).T @ c.astype(wide) + np.reshape(b, (-1, 1))
        sizes = np.abs(w).astype(wide).T @ np.abs(c).astype(wide) + np.abs(np.reshape(b, (-1, 1)))
        check = near(Z, exact, (n + 1) * sizes)
        arguments = [n, outputs, W, B, Operand(dtype, c.size, c), Z]
        yield Case("mix", dtype, arguments, check, f"{n} waves, {outputs} outputs")


def near(operand: Operand, exact: np.ndarray, sizes: np.ndarray):
    """Within `sizes` units of rounding of the exact lines."""

    def check() -> None:
        found = np.reshape(operand.values, (-1, exact.shape[1])).astype(exact.dtype)
        assert (np.abs(found - exact) <= np.finfo(operand.values.dtype).eps / 2 * sizes).all()

    return check


def block_of(dtype: str, n: int, outputs: int) -> np.ndarray:
    """A column, deltas, room for slopes, cosines and sines."""
    return random(dtype, 1 + outputs + 3 * n, lanes_of(dtype), seed=3)


def slopes(dtype: str) -> Iterator[Case]:
    wide = wide_of(dtype)
    for n, outputs in SIZES:
        for both in (0, 1):
            w, block = random(dtype, (1 + both) * n, outputs), block_of(dtype, n, outputs)
            X = writable(Operand(dtype, block.size, block))
            D, C, S = (part.astype(wide) for part in (block[1 : 1 + outputs], block[-2 * n : -n], block[-n:]))
            u = w.astype(wide) @ D
            size = np.abs(w).astype(wide) @ np.abs(D)
            exact, sizes = -u[:n] * S, size[:n] * np.abs(S)
            if both:
                exact, sizes = exact + u[n:] * C, sizes + size[n:] * np.abs(C)
            expected, allowed = block.astype(wide), np.zeros(block.shape)
            written = slice(1 + outputs, 1 + outputs + n)
            expected[written], allowed[written] = exact, (outputs + 3) * sizes
            label = f"{n} frequencies, {outputs} outputs, {1 + both} waves"
            W = Operand(dtype, w.size, w, shift=1)
            yield Case("wave_slopes", dtype, [n, outputs, both, W, X], near(X, expected, allowed), label)


def sums(dtype: str) -> Iterator[Case]:
    wide = wide_of(dtype)
    for n, outputs in SIZES:
        for count in (n, 2 * n):
            block = block_of(dtype, n, outputs)
            x, D, T = (part.astype(wide) for part in np.split(block[: 1 + outputs + n], [1, 1 + outputs]))
            C = block[1 + outputs + n :][:count].astype(wide)
            parts = [T * x, *([T] if count == n else []), (C[:, None] * D).reshape(-1, C.shape[1]), D]
            change = np.concatenate(parts)
            old = random(dtype, *change.shape, seed=4)
            S = writable(Operand(dtype, old.size, old))
            check = near(S, old.astype(wide) + change, 2 * (np.abs(old) + np.abs(change)))
            label = f"{n} frequencies, {outputs} outputs, {count} waves"
            arguments = [n, count, outputs, Operand(dtype, block.size, block), S]
            yield Case("wave_sums", dtype, arguments, check, label)


WAVES = (lines_of_waves, mixtures, slopes, sums)
