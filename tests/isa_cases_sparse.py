"""Cases of rows with few nonzero features. See isa_cases; the bounds are those of `Rounded`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from isa_cases import Case, Operand, assert_bits, assert_within, lanes_of, whole
from isa_rounded import Rounded

COUNTS = (0, 1, 2, 15, 16, 17, 31, 33)
FEATURES = 40


def row_of(dtype: str, n: int, repeated: bool) -> tuple[np.ndarray, np.ndarray, Operand, Operand]:
    """Columns in any order, and their values, which need no alignment; `repeated`: one of them twice."""
    rng = np.random.default_rng(n)
    columns, values = rng.permutation(FEATURES)[:n].astype(np.int32), rng.normal(size=n).astype(dtype)
    if repeated:
        columns[-1] = columns[0]
    return columns, values, Operand(np.int32, n, columns, shift=1), Operand(dtype, n, values, shift=1)


def forwards(dtype: str) -> Iterator[Case]:
    """Four panels at a time, and the rest one by one; lines of other columns are NaN."""
    L = lanes_of(dtype)
    for n in COUNTS:
        for panels in (1, 3, 4, 5, 9):
            columns, values, C, V = row_of(dtype, n, repeated=n > 2 and panels == 5)
            wpitch, zpitch = (FEATURES + 2) * L, 3 * L
            filled = np.random.default_rng([n, panels]).normal(size=(panels, FEATURES + 2, L)).astype(dtype)
            W, bias = Operand(dtype, filled.size), Operand(dtype, (panels - 1) * wpitch + L)
            W.values.reshape(filled.shape)[:, columns] = filled[:, columns]
            for j in range(panels):
                bias.values[j * wpitch :][:L] = filled[j, FEATURES]
            Z = Operand(dtype, (panels - 1) * zpitch + L)
            for j in range(panels):
                Z.written[j * zpitch :][:L] = True

            def check(columns=columns, values=values, filled=filled, Z=Z, n=n, panels=panels, zpitch=zpitch, L=L):
                terms = Rounded.exactly(filled[:, columns]) * Rounded.exactly(values[:, np.newaxis])
                expected = terms.sum(1, n) + Rounded.exactly(filled[:, FEATURES])
                got = np.stack([Z.values[j * zpitch :][:L] for j in range(panels)])
                assert_within(got, expected.value, 1.01 * expected.error)

            arguments = [n, C, V, W, wpitch, panels, bias, Z, zpitch]
            yield Case("sparse_forward", dtype, arguments, check, f"{n} of {FEATURES}, {panels} panels")


def additions_to_columns(dtype: str) -> Iterator[Case]:
    """A line that would not be finite in some lane stays whole, and is told; the others learn."""
    L, huge = lanes_of(dtype), float(np.finfo(dtype).max) / 2
    for n in COUNTS:
        for spoilt in (False, True):
            columns, values, C, V = row_of(dtype, n, repeated=False)
            rng = np.random.default_rng(n + 50)
            d, factor = rng.normal(size=L).astype(dtype), np.array([-0.1], dtype)
            w = rng.normal(size=(FEATURES, L)).astype(dtype)
            if spoilt and n:
                values[n // 2], d[3] = huge, 100.0
                V.values[:] = values
            W, flag = Operand(dtype, w.size, w), whole(Operand(np.int64, 1, [0]))
            W.written.reshape(w.shape)[columns] = True

            def check(columns=columns, values=values, d=d, factor=factor, w=w, W=W, flag=flag):
                with np.errstate(over="ignore"):
                    delta = Rounded.exactly(factor) * Rounded.exactly(d)
                    new = Rounded.exactly(w[columns]) + Rounded.exactly(values[:, np.newaxis]) * delta
                good = (np.abs(new.value) <= np.finfo(w.dtype).max).all(1)
                assert flag.values[0] == (not good.all())
                got = W.lines()[columns]
                assert_bits(got[~good], w[columns][~good])
                assert_within(got[good], new.value[good], 1.01 * new.error[good])

            arguments = [n, C, V, Operand(dtype, L, d), W, Operand(dtype, 1, factor, shift=1), flag]
            yield Case("sparse_add", dtype, arguments, check, f"{n} of {FEATURES}, {spoilt=}")


SPARSE = (forwards, additions_to_columns)
