"""Arrays that compiled code reads by address."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.isa import LINE

Array = np.ndarray
EMPTY = np.zeros(0)
_rows = np.arange(1024)


def aligned(n: int, dtype: Any) -> Array:
    """n zeros that start on a cache line."""
    lanes = LINE // np.dtype(dtype).itemsize
    padded = np.zeros(n + lanes, dtype)
    return padded[-(padded.ctypes.data // padded.itemsize) % lanes :][:n]


def first_rows(n: int) -> Array:
    """0, 1, 2, ... up to n - 1 at least: one array for all calls, because many small ones would each make their own."""
    global _rows
    if len(_rows) < n:
        _rows = np.arange(max(n, 2 * len(_rows)))
    return _rows


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
