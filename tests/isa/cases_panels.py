"""Cases of transposing, and of gathering rows into panels and scattering them back. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .cases import (
    Case,
    Operand,
    assert_bits,
    lanes_of,
    same_bits,
    writable,
)


def transposes(dtype: str) -> Iterator[Case]:
    rng, L = np.random.default_rng(1), lanes_of(dtype)
    sizes = [(rows, columns) for columns in (L, 1) for rows in range(L + 1)]
    for rows, columns in [*sizes, (L, 2), (3, 100)]:
        source = rng.normal(size=(L, L)).astype(dtype)
        S, T = Operand(dtype, L * L, source), writable(Operand(dtype, L * L))
        S.lines()[rows:] = np.nan  # must not be read
        kept = np.where(np.arange(L)[:, None] < rows, source, np.dtype(dtype).type(0))

        kept = np.ascontiguousarray(kept.T)[:columns]  # the rest may hold anything

        def check(T=T, kept=kept):
            assert_bits(T.lines()[: len(kept)], kept)

        yield Case("transpose", dtype, [rows, columns, S, T], check, f"{rows} rows, {columns} columns")


def gathers(dtype: str, features=range(1, 41)) -> Iterator[Case]:
    """Rows at any alignment; lanes without a row have no index. The padding of the panel may be overwritten."""
    rng, L = np.random.default_rng(2), lanes_of(dtype)
    for width in features:
        for count in range(1, L + 1):
            pitch = width + width % 4
            X = Operand(dtype, 20 * pitch, rng.normal(size=20 * pitch), shift=1 + count % 5)
            rows = rng.integers(0, 20, count)
            more = width % (L + 1) if count == L else 0
            following = rng.integers(0, 20, more)
            indices = Operand(np.int64, count + more, np.append(rows, following), shift=count % 3)
            panel = writable(Operand(dtype, -(-width // L) * L * L))
            expected = np.zeros((width, L), dtype)
            expected[:, :count] = X.values.reshape(20, pitch)[rows, :width].T
            arguments = [width, count, X, pitch, indices, more, panel]
            yield Case("gather", dtype, arguments, same_bits(panel, expected), f"{width} features, {count} rows")


def scatters(dtype: str, features=range(1, 41)) -> Iterator[Case]:
    rng, L = np.random.default_rng(3), lanes_of(dtype)
    for width in features:
        for count in range(L + 1):
            pitch, lines = width + width % 4, -(-width // L) * L
            panel = Operand(dtype, lines * L, rng.normal(size=lines * L))
            X = Operand(dtype, L * pitch, shift=1 + count % 5)
            X.written.reshape(L, pitch)[:count, :width] = True
            expected = X.values.reshape(L, pitch).copy()
            expected[:count, :width] = panel.lines()[:width, :count].T
            arguments = [width, count, panel, X, pitch]
            yield Case("scatter", dtype, arguments, same_bits(X, expected), f"{width} features, {count} rows")


PANELS = (transposes, gathers, scatters)
