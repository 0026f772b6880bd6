"""CSR matrices (compressed sparse rows) as three arrays; scipy is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.util.types import Array

REMEDY = "make it anew from its rows, columns and values"
_CHUNK = 1 << 18  # columns compared at a time, so that the comparison needs little memory


class SparseRows:
    """A CSR matrix: row i has values[starts[i] : starts[i + 1]] in the columns at the same positions, zeros elsewhere.

    starts: int64 (rows + 1,); columns: int32; values: float32 or float64; width: number of features.

    >>> rows = SparseRows(np.array([0, 1, 3]), np.array([2, 0, 1], np.int32), np.array([5.0, 6.0, 7.0]), 3)
    >>> rows.shape, rows[1:].toarray()
    ((2, 3), array([[6., 7., 0.]]))
    """

    def __init__(
        self, starts: npt.NDArray[np.int64], columns: npt.NDArray[np.int32], values: Array, width: int
    ) -> None:
        self.starts, self.columns, self.values, self.width = starts, columns, values, width

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, features)."""
        return len(self.starts) - 1, self.width

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the values."""
        return self.values.dtype

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, part: Any) -> SparseRows:
        """A slice of rows, sharing the arrays, or selected rows, copied."""
        if isinstance(part, slice):
            start, stop, step = part.indices(len(self))
            if step == 1:
                return SparseRows(self.starts[start : max(start, stop) + 1], self.columns, self.values, self.width)
            part = np.arange(start, stop, step)
        rows = np.asarray(part)
        lengths = (self.starts[1:] - self.starts[:-1])[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[:-1][rows], lengths)
        return SparseRows(starts, self.columns[places], self.values[places], self.width)

    @staticmethod
    def concatenate(parts: Sequence[SparseRows]) -> SparseRows:
        """Stack matrices vertically.

        >>> row = SparseRows(np.array([0, 1]), np.array([2], np.int32), np.array([5.0]), 3)
        >>> SparseRows.concatenate([row, row]).toarray()
        array([[0., 0., 5.],
               [0., 0., 5.]])
        """
        own = [slice(int(part.starts[0]), int(part.starts[-1])) for part in parts]
        lengths = np.concatenate([np.diff(part.starts) for part in parts])
        columns = np.concatenate([part.columns[s] for part, s in zip(parts, own, strict=True)])
        values = np.concatenate([part.values[s] for part, s in zip(parts, own, strict=True)])
        return SparseRows(np.concatenate([[0], np.cumsum(lengths)]), columns, values, parts[0].width)

    def toarray(self) -> Array:
        """The rows as a dense array."""
        result = np.zeros(self.shape, self.dtype)
        own = slice(int(self.starts[0]), int(self.starts[-1]))
        rows = np.repeat(np.arange(len(self)), self.starts[1:] - self.starts[:-1])
        np.add.at(result, (rows, self.columns[own]), self.values[own])
        return result


# ---------------------------------------------------------------- matrices of scipy.sparse


def matrix_of(X: Any, name: str) -> Any:
    """X as a CSR matrix; what another format points to is checked first, since scipy's conversions do not."""
    if getattr(X, "format", "csr") == "coo":
        for axis, (places, extent) in enumerate(zip(X.coords, X.shape, strict=True)):
            if not _within(np.asarray(places), extent):
                raise ValueError(f"{name} must have coordinates from 0 to {extent - 1} along axis {axis}: {REMEDY}")
    elif getattr(X, "format", "csr") in ("csc", "bsr"):
        try:
            X.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"{name} must be a valid {X.format} matrix (scipy says: {error}): {REMEDY}") from error
    return X.tocsr()


def parts(matrix: Any, name: str) -> tuple[npt.NDArray[np.int64], Array, Array]:
    """Row pointers, columns and values of a CSR matrix that points nowhere outside its arrays, in one pass over them.

    Nothing that the matrix says of itself is believed: its arrays may have been changed in place. The pointers are a
    copy, which no one else changes; columns may still be, so compiled code compares each when it uses it.
    """
    rows, width = matrix.shape
    pointers, columns, data = (np.asarray(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    if any(part.ndim != 1 for part in (pointers, columns, data)) or pointers.dtype.kind + columns.dtype.kind != "ii":
        raise ValueError(f"{name} must have indptr and indices of signed integers in one dimension: {REMEDY}")
    starts: npt.NDArray[np.int64] = pointers.astype(np.int64)
    if len(starts) != rows + 1 or starts[0] != 0 or not (starts[1:] >= starts[:-1]).all():
        raise ValueError(f"{name} must have an indptr of {rows + 1} numbers that start at 0 and never fall: {REMEDY}")
    if not starts[-1] <= len(columns) == len(data):
        raise ValueError(
            f"{name} must have as many indices as data, and as many as indptr ends with, got {len(columns)}, "
            f"{len(data)} and {starts[-1]}: {REMEDY}"
        )
    if starts[-1] < len(columns):  # room that nothing is kept in
        columns, data = columns[: starts[-1]], data[: starts[-1]]
    if not _within(columns, width):
        place = int(((columns < 0) | (columns >= width)).argmax())
        row = int(np.searchsorted(starts, place, side="right")) - 1
        got = f"got {columns[place]} at row {row}"
        raise ValueError(f"{name} must have column indices from 0 to {width - 1}, {got}: {REMEDY}")
    return starts, columns, data


def check(X: Any, name: str) -> None:
    """Raises ValueError for a sparse matrix that points outside its arrays; other data are of no concern here."""
    if hasattr(X, "tocsr"):
        parts(matrix_of(X, name), name)


def is_sorted(starts: npt.NDArray[np.int64], columns: Array) -> bool:
    """Whether columns increase within every row, so that none occurs twice."""
    for begin in range(0, len(columns) - 1, _CHUNK):
        part = columns[begin : begin + _CHUNK + 1]
        falls = part[1:] <= part[:-1]
        first, last = np.searchsorted(starts, (begin + 1, begin + len(part)))
        falls[starts[first:last] - begin - 1] = False  # from one row to the next they may
        if falls.any():
            return False
    return True


def without_duplicates(matrix: Any) -> Any:
    """A copy with sorted columns, and the sum of what stood at the same place."""
    matrix = matrix.copy()
    matrix.has_canonical_format = matrix.has_sorted_indices = False  # scipy would believe what it noted earlier
    matrix.sum_duplicates()
    return matrix


def _within(numbers: Array, extent: int) -> bool:
    """Whether all are from 0 to extent - 1, in one pass."""
    if not len(numbers):
        return True
    if numbers.dtype.kind == "i":
        numbers = numbers.view(numbers.dtype.str.replace("i", "u"))  # negative ones become large
    return bool(numbers.max() < extent)
