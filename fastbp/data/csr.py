"""CSR matrices (compressed sparse rows) as three arrays; scipy is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.util.types import Array


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
