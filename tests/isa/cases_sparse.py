"""Cases of sparse rows against a kernel's panels. See cases; the bounds are those of `Rounded`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .cases import Case, Operand, assert_within, lanes_of, whole
from .rounded import Rounded

FEATURES = 37
LENGTHS = (0, 1, 2, 15, 40)


def row(dtype: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns, some of them twice, and values."""
    rng = np.random.default_rng([20, n])
    return rng.integers(0, FEATURES, n).astype(np.int32), rng.normal(size=n).astype(dtype)


def kernel(dtype: str, panels: int) -> np.ndarray:
    """[panel][line of inputs, then of biases, then of nothing][lane]"""
    return np.random.default_rng(21).normal(size=(panels, FEATURES + 2, lanes_of(dtype))).astype(dtype)


def forwards(dtype: str) -> Iterator[Case]:
    L = lanes_of(dtype)
    for panels in (1, 3, 4, 5, 9):
        W = kernel(dtype, panels)
        for n in LENGTHS:
            columns, values = row(dtype, n)
            Z = Operand(dtype, panels * 3 * L)
            Z.written.reshape(panels, 3, L)[:, 0] = True

            def check(W=W, columns=columns, values=values, Z=Z, panels=panels):
                total = Rounded.exactly(W[:, FEATURES])
                for column, value in zip(columns, values, strict=True):
                    total = total + Rounded.exactly(W[:, column]) * Rounded.exactly(value)
                assert_within(Z.values.reshape(panels, 3, -1)[:, 0], total.value, 1.01 * total.error)

            weights = Operand(dtype, W.size, W)
            biases = Operand(dtype, W.size - FEATURES * L, W.ravel()[FEATURES * L :])
            arguments = [n, Operand(np.int32, n, columns, shift=1), Operand(dtype, n, values, shift=1), weights,
                         (FEATURES + 2) * L, FEATURES, panels, biases, Z, 3 * L,
                         Operand(np.int64, 1, [0])]  # fmt: skip
            yield Case("sparse_forward", dtype, arguments, check, f"{n} values, {panels} panels")


def additions(dtype: str) -> Iterator[Case]:
    """Lines that would not be finite stay as they were, and raise the flag."""
    L, big = lanes_of(dtype), float(np.finfo(dtype).max)
    for n in LENGTHS:
        for spoilt in (False, True):
            columns, values = row(dtype, n)
            W, d = kernel(dtype, 1)[0], np.random.default_rng(22).normal(size=L).astype(dtype)
            if spoilt:
                W[columns[: (n + 1) // 2], 1], d[1], values[:] = big, big, np.abs(values) + 1
            factor = np.array([0.3], dtype)
            target, flag = Operand(dtype, W.size, W), whole(Operand(np.int64, 1, [0]))
            target.written.reshape(W.shape)[columns] = True

            def check(columns=columns, values=values, W=W, d=d, factor=factor, target=target, flag=flag, spoilt=spoilt):
                got = target.lines()
                assert flag.values[0] == (spoilt and len(columns) > 0)
                if spoilt:
                    assert np.isfinite(got).all()
                    return
                delta = Rounded.exactly(d) * Rounded.exactly(factor[0])
                for column in np.unique(columns):
                    total = Rounded.exactly(W[column])
                    for value in values[columns == column]:
                        total = total + delta * Rounded.exactly(value)
                    assert_within(got[column], total.value, 1.01 * total.error)

            arguments = [n, Operand(np.int32, n, columns, shift=1), Operand(dtype, n, values, shift=1),
                         Operand(dtype, L, d), target, FEATURES, Operand(dtype, 1, factor, shift=1), flag,
                         Operand(np.int64, 1, [0])]  # fmt: skip
            yield Case("sparse_add", dtype, arguments, check, f"{n} values, {spoilt}")


def strangers(dtype: str) -> Iterator[Case]:
    """Columns that are none: nothing outside the kernel is read or written, and *outside tells."""
    L = lanes_of(dtype)
    for column in (FEATURES, FEATURES + 1, -1, 10**6, 2**31 - 1, -(2**31)):
        columns, values = row(dtype, 15)
        columns[[0, 7, 14]] = column
        known = (columns >= 0) & (columns < FEATURES)
        for panels in (1, 5):
            Z, outside = whole(Operand(dtype, panels * L)), whole(Operand(np.int64, 1, [0]))
            W = kernel(dtype, panels)
            biases = Operand(dtype, W.size - FEATURES * L, W.ravel()[FEATURES * L :])

            def told(Z=Z, outside=outside):
                assert outside.values[0] == 1
                assert np.isfinite(Z.values).all()

            arguments = [15, Operand(np.int32, 15, columns, shift=1), Operand(dtype, 15, values, shift=1),
                         Operand(dtype, W.size, W), (FEATURES + 2) * L, FEATURES, panels, biases, Z, L,
                         outside]  # fmt: skip
            yield Case("sparse_forward", dtype, arguments, told, f"column {column}, {panels} panels")
        W, outside = kernel(dtype, 1)[0], whole(Operand(np.int64, 1, [0]))
        target = Operand(dtype, W.size, W)
        target.written.reshape(W.shape)[columns[known]] = True

        def left_out(target=target, outside=outside, W=W, values=values, columns=columns, known=known):
            wanted = W.astype(np.float64)
            np.add.at(wanted, columns[known], values[known, np.newaxis].astype(np.float64))
            assert outside.values[0] == 1
            np.testing.assert_allclose(target.lines(), wanted, rtol=1e-4, atol=1e-5)

        arguments = [15, Operand(np.int32, 15, columns, shift=1), Operand(dtype, 15, values, shift=1),
                     Operand(dtype, L, np.ones(L)), target, FEATURES, Operand(dtype, 1, [1.0], shift=1),
                     whole(Operand(np.int64, 1, [0])), outside]  # fmt: skip
        yield Case("sparse_add", dtype, arguments, left_out, f"column {column}")


SPARSE: tuple[Callable[[str], Iterator[Case]], ...] = (forwards, additions, strangers)
