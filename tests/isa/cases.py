"""Calls of microkernels with what they must answer: one table of cases for every instruction set and for the twins.

A case is a microkernel, its arguments and a check of the results. `run_and_check(machine, cases)` hands the cases to a
machine (emitted code here, the twins as Python, Arm code in an emulator), then compares bit by bit everything that must
not have been written, and then checks the results against wider arithmetic, within bounds derived at each check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastbp.isa.codes import ACCUMULATE, APPLY_RELU, BIAS_COLUMNS, BIAS_ROWS, FAMILIES, KEEP, ZERO

DTYPES = ("float32", "float64")
GUARD = 2  # lines around every operand


def unit(dtype) -> float:
    """u of design's bounds: half the spacing at 1."""
    return float(np.finfo(dtype).eps) / 2


def wide(values) -> np.ndarray:
    """Exactly the same values in the next wider type."""
    return np.asarray(values).astype(np.float64 if np.asarray(values).dtype == np.float32 else np.longdouble)


def lanes_of(dtype) -> int:
    return 64 // np.dtype(dtype).itemsize


class Operand:
    """`size` elements in a 64-byte aligned array of NaN, so that a stray read spoils a result; `shift` unaligns them.

    `written` says which of them the microkernel may change.
    """

    def __init__(self, dtype, size: int, values=None, shift: int = 0):
        dtype = np.dtype(dtype)
        lanes = lanes_of(dtype)
        total = size + 2 * GUARD * lanes + shift
        raw = np.zeros(total * dtype.itemsize + 64, np.uint8)
        start = -raw.ctypes.data % 64
        self.array = raw[start : start + total * dtype.itemsize].view(dtype)
        self.array[:] = np.nan if dtype.kind == "f" else -(10 ** (2 * dtype.itemsize - 1))
        self.offset = GUARD * lanes + shift
        self.values = self.array[self.offset : self.offset + size]
        self.written = np.zeros(size, bool)
        if values is not None:
            self.values[:] = np.ravel(values)

    def lines(self) -> np.ndarray:
        return self.values.reshape(-1, lanes_of(self.array.dtype))

    def freeze(self) -> None:
        self.before = self.array.copy()

    def assert_rest_unchanged(self) -> None:
        width = np.dtype(f"u{self.array.itemsize}")
        changed = self.array.view(width) != self.before.view(width)
        changed[self.offset : self.offset + self.values.size] &= ~self.written
        assert not changed.any(), f"wrote at {np.flatnonzero(changed)[:8] - self.offset}, of {self.values.size}"


def whole(operand: Operand) -> Operand:
    """May be written everywhere."""
    operand.written[:] = True
    return operand


class Case(NamedTuple):
    name: str  # of the microkernel, as in isa.microkernels.SLOTS
    dtype: str
    arguments: list[Any]  # integers and operands
    check: Callable[[], None]
    label: str = ""

    def family(self) -> tuple[str, list[int]]:
        """The function and the code that kernels call it by."""
        for family, members in FAMILIES.items():
            if self.name.startswith(family + "_"):
                return family, [members.index(self.name.removeprefix(family + "_"))]
        return self.name, []

    def operands(self) -> list[Operand]:
        return [argument for argument in self.arguments if isinstance(argument, Operand)]

    def flat(self) -> list[Any]:
        """The arguments as kernels pass them."""
        return [x for a in self.arguments for x in ((a.array, a.offset) if isinstance(a, Operand) else (a,))]


def run_and_check(machine: Callable[[list[Case]], None], cases) -> None:
    cases = list(cases)
    assert cases
    for case in cases:
        for operand in case.operands():
            operand.freeze()
    machine(cases)
    for case in cases:
        try:
            for operand in case.operands():
                operand.assert_rest_unchanged()
            case.check()
        except AssertionError as error:
            raise AssertionError(f"{case.name} {case.dtype} {case.label}: {error}") from None


def assert_within(got, exact, bound) -> None:
    """|got - exact| <= bound, elementwise; what is below the smallest normal number may be flushed to 0."""
    with np.errstate(invalid="ignore"):
        error = np.abs(np.asarray(got).astype(np.asarray(exact).dtype) - exact)
    error = np.where(got == exact, 0, error)  # infinities
    allowed = np.broadcast_to(bound + float(np.finfo(got.dtype).smallest_normal), error.shape)
    wrong = np.ravel(~(error <= allowed))
    if wrong.any():
        at = np.argmax(wrong)
        exact = np.broadcast_to(exact, error.shape)
        got, exact, error, allowed = (np.ravel(x)[at] for x in (got, exact, error, allowed))
        raise AssertionError(f"{got!r} at {at} instead of {exact!r}: off by {error:.3g}, allowed {allowed:.3g}")


def assert_bits(got, expected) -> None:
    width = np.dtype(f"u{got.itemsize}")
    np.testing.assert_array_equal(np.ascontiguousarray(got).view(width), np.ascontiguousarray(expected).view(width))


# -- the register tile ---------------------------------------------------------------------------------------------

class Product:
    """One product of `rows` x k by k x `columns` lines, from whose parts the tiles of all sizes are taken."""

    def __init__(self, dtype: str, k: int, rows: int, columns: int, seed: int = 0):
        rng = np.random.default_rng([seed, k])
        self.dtype, self.k, self.rows, self.columns, self.L = np.dtype(dtype), k, rows, columns, lanes_of(dtype)
        self.A = rng.normal(size=(rows, k)).astype(dtype)
        self.B = rng.normal(size=(columns, k, self.L)).astype(dtype)
        self.C = rng.normal(size=(columns, rows, self.L)).astype(dtype)
        self.bias_rows = rng.normal(size=rows).astype(dtype)
        self.bias_columns = rng.normal(size=(columns, self.L)).astype(dtype)
        self.answers: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}  # by start and post
        self.bits: dict[tuple[int, int], np.ndarray] = {}  # what the first, largest tile gave

    def part(self, first: int, last: int) -> Product:
        """The product of steps first ... last-1 alone."""
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
        if key in self.answers:
            return self.answers[key]
        A, B, begin = wide(self.A)[None], wide(self.B), wide(self.begin(start))
        result = A @ B + begin
        u = unit(self.dtype)
        bound = 2 * (self.k + 1) * u * (np.abs(A) @ np.abs(B) + np.abs(begin)) + 4 * u * np.abs(result)
        self.answers[key] = np.maximum(result, 0) if post == APPLY_RELU else result, bound
        return self.answers[key]

    def scalars(self, form: str, first: int, rows: int) -> tuple[Operand, list[int]]:
        """A in the layout of the form, NaN in whatever belongs to other rows or columns of k; and its pitch."""
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

    def tile(self, form: str, rows: int, columns: int, start: int, post: int, apart: int = 1) -> Case:
        """The lower right `rows` x `columns` lines; `apart` lines lie between columns of B and of C."""
        k, L, i, j = self.k, self.L, self.rows - rows, self.columns - columns
        A, apitch = self.scalars(form, i, rows)
        B = Operand(self.dtype, columns * (k + apart) * L)
        B.values.reshape(columns, k + apart, L)[:, :k] = self.B[j:]
        C = Operand(self.dtype, columns * (rows + apart) * L)
        cells = C.values.reshape(columns, rows + apart, L)
        C.written.reshape(cells.shape)[:, :rows] = True
        if start == ACCUMULATE:
            cells[:, :rows] = self.C[j:, i:]
        bias = Operand(self.dtype, self.bias_rows[i:].size, self.bias_rows[i:], shift=1)
        if start == BIAS_COLUMNS:
            bias = Operand(self.dtype, columns * L, self.bias_columns[j:])
        operands = [rows, columns, k, A, *apitch, B, (k + apart) * L, C, (rows + apart) * L, start, bias, post]
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


def tiles(table, dtype: str, k: int) -> Iterator[Case]:
    """Every size, form, start and end of the product of k steps; all agree to the bit."""
    product = Product(dtype, k, table.tallest(1), table.columns)
    for start in (ZERO, ACCUMULATE, BIAS_ROWS, BIAS_COLUMNS):
        for post in (KEEP, APPLY_RELU):
            for rows, columns in table.sizes:
                for form in ("across", "along") if rows <= product.L else ("along",):  # across: rows of one panel
                    yield product.tile(form, rows, columns, start, post, apart=(rows + columns) % 3)


# -- panels --------------------------------------------------------------------------------------------------------
def transposes(dtype: str) -> Iterator[Case]:
    rng, L = np.random.default_rng(1), lanes_of(dtype)
    sizes = [(rows, columns) for columns in (L, 1) for rows in range(L + 1)]
    for rows, columns in [*sizes, (L, 2), (3, 100)]:
        source = rng.normal(size=(L, L)).astype(dtype)
        S, T = Operand(dtype, L * L, source), whole(Operand(dtype, L * L))
        S.lines()[rows:] = np.nan  # not to be read
        kept = np.where(np.arange(L)[:, None] < rows, source, np.dtype(dtype).type(0))

        kept = np.ascontiguousarray(kept.T)[:columns]  # the rest is as it comes

        def check(T=T, kept=kept):
            assert_bits(T.lines()[: len(kept)], kept)

        yield Case("transpose", dtype, [rows, columns, S, T], check, f"{rows} rows, {columns} columns")


def gathers(dtype: str, features=range(1, 41)) -> Iterator[Case]:
    """Rows at any alignment; there are no indices of lanes without a row. What pads the panel may be overwritten."""
    rng, L = np.random.default_rng(2), lanes_of(dtype)
    for width in features:
        for count in range(1, L + 1):
            pitch = width + width % 4
            X = Operand(dtype, 20 * pitch, rng.normal(size=20 * pitch), shift=1 + count % 5)
            rows = rng.integers(0, 20, count)
            indices = Operand(np.int64, count, rows, shift=count % 3)
            panel = whole(Operand(dtype, -(-width // L) * L * L))
            expected = np.zeros((width, L), dtype)
            expected[:, :count] = X.values.reshape(20, pitch)[rows, :width].T
            arguments = [width, count, X, pitch, indices, panel]
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


def zeros(dtype: str) -> Iterator[Case]:
    for n in (0, 1, 2, 7):
        target = whole(Operand(dtype, n * lanes_of(dtype)))
        yield Case("zero", dtype, [n, target], same_bits(target, np.zeros(target.values.size, dtype)), f"{n} lines")


def same_bits(operand: Operand, expected) -> Callable[[], None]:
    """Of all of the operand that is expected."""
    return lambda: assert_bits(operand.values[: expected.size], np.ravel(expected))
