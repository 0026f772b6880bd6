"""Cases of the register tile: tiles of all sizes, taken from parts of one product. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastbp.isa.codes import ACCUMULATE, APPLY_RELU, BIAS_COLUMNS, BIAS_ROWS, KEEP, ZERO

from .cases import (
    Case,
    Operand,
    assert_bits,
    assert_within,
    lanes_of,
    unit,
    wide,
)


class Product:
    """One product of `rows` x k by k x `columns` lines; tiles of all sizes are parts of it."""

    def __init__(self, dtype: str, k: int, rows: int, columns: int, seed: int = 0):
        rng = np.random.default_rng([seed, k])
        self.dtype, self.k, self.rows, self.columns, self.L = np.dtype(dtype), k, rows, columns, lanes_of(dtype)
        self.A = rng.normal(size=(rows, k)).astype(dtype)
        self.B = rng.normal(size=(columns, k, self.L)).astype(dtype)
        self.C = rng.normal(size=(columns, rows, self.L)).astype(dtype)
        self.bias_rows = rng.normal(size=rows).astype(dtype)
        self.bias_columns = rng.normal(size=(columns, self.L)).astype(dtype)
        self.results: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}  # by start and post
        self.bits: dict[tuple[int, int], np.ndarray] = {}  # from the first, largest tile

    def part(self, first: int, last: int) -> Product:
        """The product of steps first to last - 1 only."""
        part = Product(self.dtype.name, last - first, self.rows, self.columns)
        part.A, part.B = self.A[:, first:last], self.B[:, first:last]
        return part

    def begin(self, start: int) -> np.ndarray:
        shape = (self.columns, self.rows, self.L)
        begins = {
            ZERO: np.zeros(shape, self.dtype), ACCUMULATE: self.C,
            BIAS_ROWS: np.broadcast_to(self.bias_rows[None, :, None], shape),
            BIAS_COLUMNS: np.broadcast_to(self.bias_columns[:, None], shape),
        }  # fmt: skip
        return begins[start]

    def exact(self, start: int, post: int) -> tuple[np.ndarray, np.ndarray]:
        """The result and its bound: 2 (k + 1) u (|A||B| + |start|) + 4 u |result|; ReLU does not enlarge errors."""
        key = start, post
        if key in self.results:
            return self.results[key]
        A, B, begin = wide(self.A)[None], wide(self.B), wide(self.begin(start))
        result = A @ B + begin
        u = unit(self.dtype)
        bound = 2 * (self.k + 1) * u * (np.abs(A) @ np.abs(B) + np.abs(begin)) + 4 * u * np.abs(result)
        self.results[key] = np.maximum(result, 0) if post == APPLY_RELU else result, bound
        return self.results[key]

    def scalars(self, form: str, first: int, rows: int) -> tuple[Operand, list[int]]:
        """A in the layout of the form, NaN where other rows and steps of k would be; and its pitch."""
        k, L = self.k, self.L
        if form == "across":
            A = Operand(self.dtype, max(k, 1) * L)
            A.lines()[:k, :rows] = self.A[first : first + rows].T
            return A, []
        panels, pitch = -(-max(k, 1) // L), (rows + 3) * L
        A = Operand(self.dtype, panels * pitch)
        blocks = A.values.reshape(panels, rows + 3, L)
        for n in range(k):
            blocks[n // L, :rows, n % L] = self.A[first : first + rows, n]
        return A, [pitch]

    def tile(self, form: str, rows: int, columns: int, start: int, post: int, gap: int = 1) -> Case:
        """The lower right `rows` x `columns` lines; `gap` lines lie between columns of B and of C."""
        k, L, i, j = self.k, self.L, self.rows - rows, self.columns - columns
        A, apitch = self.scalars(form, i, rows)
        depth = max(k + gap, 1)
        B = Operand(self.dtype, columns * depth * L)
        B.values.reshape(columns, depth, L)[:, :k] = self.B[j:]
        C = Operand(self.dtype, columns * (rows + gap) * L)
        cells = C.values.reshape(columns, rows + gap, L)
        C.written.reshape(cells.shape)[:, :rows] = True
        if start == ACCUMULATE:
            cells[:, :rows] = self.C[j:, i:]
        bias = Operand(self.dtype, self.bias_rows[i:].size, self.bias_rows[i:], shift=1)
        if start == BIAS_COLUMNS:
            bias = Operand(self.dtype, columns * depth * L)
            bias.values.reshape(columns, depth, L)[:, 0] = self.bias_columns[j:]
        operands = [rows, columns, k, A, *apitch, B, depth * L, C, (rows + gap) * L, start, bias, post]
        if form == "along":  # weights and two states to prefetch
            operands += [Operand(self.dtype, 3 * 64 * L), 16 * L, 64 * L, 3, 2 * L, rows // 2]
            operands += [Operand(self.dtype, 64 * L)]
        else:
            operands += [Operand(self.dtype, 64 * L)]

        def check():
            exact, bound = self.exact(start, post)
            assert_within(cells[:, :rows], exact[j:, i:], bound[j:, i:])
            known, seen = self.bits.setdefault(
                (start, post),
                (np.zeros((self.columns, self.rows, L), self.dtype), np.zeros((self.columns, self.rows), bool)),
            )
            known, seen = known[j:, i:], seen[j:, i:]
            assert_bits(cells[:, :rows][seen], known[seen])
            known[~seen], seen[:] = cells[:, :rows][~seen], True

        return Case(form, self.dtype.name, operands, check, f"{rows}x{columns} k={k} start={start} post={post}")


    def outer(self) -> Case:
        """The whole product as sums of outer products of k rows."""
        k, L = self.k, self.L
        A, _ = self.scalars("along", 0, self.rows)
        B, C = Operand(self.dtype, max(k, 1) * L), Operand(self.dtype, (self.rows + 2) * L)
        B.lines()[:k] = self.B[0]
        C.written.reshape(-1, L)[: self.rows] = True

        def check():
            exact, bound = self.exact(ZERO, KEEP)
            assert_within(C.lines()[: self.rows], exact[0], bound[0])
            if (ZERO, KEEP) in self.bits:
                assert_bits(C.lines()[: self.rows], self.bits[ZERO, KEEP][0][0])

        return Case("outer", self.dtype.name, [self.rows, k, A, B, C], check, f"{self.rows} lines, {k} rows")


def outers(table, dtype: str) -> Iterator[Case]:
    """Few and many lines, and rows up to a line; bit-identical to the tile."""
    tallest, L = table.tallest(1), lanes_of(dtype)
    for lines in (1, tallest - 1, tallest, tallest + 1, 3 * tallest + 2):
        for k in (1, 2, 3, 7, 8, L - 1, L):
            product = Product(dtype, k, lines, 1)
            if lines <= tallest:
                yield product.tile("along", lines, 1, ZERO, KEEP)
            yield product.outer()


def tiles(table, dtype: str, k: int) -> Iterator[Case]:
    """Every size, form, start and post-operation for a product of k steps; all are bit-identical."""
    product = Product(dtype, k, table.tallest(1), table.columns)
    for start in (ZERO, ACCUMULATE, BIAS_ROWS, BIAS_COLUMNS):
        for post in (KEEP, APPLY_RELU):
            for rows, columns in table.sizes:
                for form in ("across", "along") if rows <= product.L else ("along",):  # across: rows of one panel
                    yield product.tile(form, rows, columns, start, post, gap=(rows + columns) % 3)
