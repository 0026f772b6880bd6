"""On which line of a text file each row begins."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.tables.text.records import Layout, rows
from fastbp.util.types import Array


class Lines:
    """The lines on which rows of a file begin, from 1 as an editor counts; looked up in the file when asked for.

    chosen: the rows, from 0; None for all.
    """

    unit = "line"

    def __init__(self, layout: Layout, n: int, chosen: Array | None = None) -> None:
        self._layout, self._n, self._chosen = layout, n, chosen

    def __len__(self) -> int:
        return self._n if self._chosen is None else len(self._chosen)

    def __getitem__(self, places: Any) -> Any:
        """The line of one row, or the lines of some rows."""
        chosen = np.arange(self._n, dtype=np.int32) if self._chosen is None else self._chosen
        if np.ndim(chosen[places]):
            return Lines(self._layout, self._n, chosen[places])
        return self._found({int(chosen[places])})[int(chosen[places])]

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        chosen = range(self._n) if self._chosen is None else self._chosen.tolist()
        found = self._found(set(chosen))
        return np.array([found[row] for row in chosen], dtype or np.int64)

    def _found(self, wanted: set[int]) -> dict[int, int]:
        found, last = {}, max(wanted, default=-1)
        for row, (line, _) in zip(range(last + 1), rows(self._layout), strict=False):
            if row in wanted:
                found[row] = line
        return found
