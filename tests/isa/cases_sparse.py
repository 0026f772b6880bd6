"""Cases of sparse rows times the panels of a kernel. See cases; the bounds come from `Rounded`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .cases import Case, Operand, assert_within, lanes_of, writable
from .rounded import Rounded

FEATURES = 37
LENGTHS = (0, 1, 2, 15, 40)


def row(dtype: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Column indices, some of them repeated, and values."""
    rng = np.random.default_rng([20, n])
    return rng.integers(0, FEATURES, n).astype(np.int32), rng.normal(size=n).astype(dtype)


def kernel(dtype: str, panels: int) -> np.ndarray:
    """[panel][lines of inputs, then one of biases, then one unused][lane]"""
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
                total = Rounded.exact(W[:, FEATURES])
                for column, value in zip(columns, values, strict=True):
                    total = total + Rounded.exact(W[:, column]) * Rounded.exact(value)
                assert_within(Z.values.reshape(panels, 3, -1)[:, 0], total.value, 1.01 * total.error)

            weights = Operand(dtype, W.size, W)
            biases = Operand(dtype, W.size - FEATURES * L, W.ravel()[FEATURES * L :])
            arguments = [n, Operand(np.int32, n, columns, shift=1), Operand(dtype, n, values, shift=1), weights,
                         (FEATURES + 2) * L, FEATURES, panels, biases, Z, 3 * L,
                         Operand(np.int64, 1, [0])]  # fmt: skip
            yield Case("sparse_forward", dtype, arguments, check, f"{n} values, {panels} panels")


def additions(dtype: str) -> Iterator[Case]:
    """Lines that would not be finite are unchanged and set the flag."""
    L, big = lanes_of(dtype), float(np.finfo(dtype).max)
    for n in LENGTHS:
        for huge in (False, True):
            columns, values = row(dtype, n)
            W, d = kernel(dtype, 1)[0], np.random.default_rng(22).normal(size=L).astype(dtype)
            if huge:
                W[columns[: (n + 1) // 2], 1], d[1], values[:] = big, big, np.abs(values) + 1
            factor = np.array([0.3], dtype)
            target, flag = Operand(dtype, W.size, W), writable(Operand(np.int64, 1, [0]))
            target.written.reshape(W.shape)[columns] = True

            def check(columns=columns, values=values, W=W, d=d, factor=factor, target=target, flag=flag, huge=huge):
                got = target.lines()
                assert flag.values[0] == (huge and len(columns) > 0)
                if huge:
                    assert np.isfinite(got).all()
                    return
                delta = Rounded.exact(d) * Rounded.exact(factor[0])
                for column in np.unique(columns):
                    total = Rounded.exact(W[column])
                    for value in values[columns == column]:
                        total = total + delta * Rounded.exact(value)
                    assert_within(got[column], total.value, 1.01 * total.error)

            arguments = [n, Operand(np.int32, n, columns, shift=1), Operand(dtype, n, values, shift=1),
                         Operand(dtype, L, d), target, FEATURES, Operand(dtype, 1, factor, shift=1), flag,
                         Operand(np.int64, 1, [0])]  # fmt: skip
            yield Case("sparse_add", dtype, arguments, check, f"{n} values, {huge}")


def invalid_columns(dtype: str) -> Iterator[Case]:
    """Column indices out of range: nothing outside the kernel is read or written, and *outside is set."""
    L = lanes_of(dtype)
    for column in (FEATURES, FEATURES + 1, -1, 10**6, 2**31 - 1, -(2**31)):
        columns, values = row(dtype, 15)
        columns[[0, 7, 14]] = column
        valid = (columns >= 0) & (columns < FEATURES)
        for panels in (1, 5):
            Z, outside = writable(Operand(dtype, panels * L)), writable(Operand(np.int64, 1, [0]))
            W = kernel(dtype, panels)
            biases = Operand(dtype, W.size - FEATURES * L, W.ravel()[FEATURES * L :])

            def check_forward(Z=Z, outside=outside):
                assert outside.values[0] == 1
                assert np.isfinite(Z.values).all()

            arguments = [15, Operand(np.int32, 15, columns, shift=1), Operand(dtype, 15, values, shift=1),
                         Operand(dtype, W.size, W), (FEATURES + 2) * L, FEATURES, panels, biases, Z, L,
                         outside]  # fmt: skip
            yield Case("sparse_forward", dtype, arguments, check_forward, f"column {column}, {panels} panels")
        W, outside = kernel(dtype, 1)[0], writable(Operand(np.int64, 1, [0]))
        target = Operand(dtype, W.size, W)
        target.written.reshape(W.shape)[columns[valid]] = True

        def check_add(target=target, outside=outside, W=W, values=values, columns=columns, valid=valid):
            expected = W.astype(np.float64)
            np.add.at(expected, columns[valid], values[valid, np.newaxis].astype(np.float64))
            assert outside.values[0] == 1
            np.testing.assert_allclose(target.lines(), expected, rtol=1e-4, atol=1e-5)

        arguments = [15, Operand(np.int32, 15, columns, shift=1), Operand(dtype, 15, values, shift=1),
                     Operand(dtype, L, np.ones(L)), target, FEATURES, Operand(dtype, 1, [1.0], shift=1),
                     writable(Operand(np.int64, 1, [0])), outside]  # fmt: skip
        yield Case("sparse_add", dtype, arguments, check_add, f"column {column}")


SPARSE: tuple[Callable[[str], Iterator[Case]], ...] = (forwards, additions, invalid_columns)
