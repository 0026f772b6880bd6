"""Python objects as numbers, and positions in arrays for error messages."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from fastbp.util.types import Array


def is_number(value: Any) -> bool:
    """Whether value is a real number other than a boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def numbers_of_objects(array: Array, name: str, value: Any) -> Array:
    """An object array (such as a table of mixed columns) as float64, if all elements are real numbers."""
    if array.ndim == 0:
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}: pass a NumPy array")
    for position, item in enumerate(array.flat):
        if not isinstance(item, numbers.Real | np.bool_):
            raise TypeError(
                f"{name} must hold real numbers only, got {item!r} ({type(item).__name__}) "
                f"at {position_of(array, position)}: convert or drop it"
            )
    try:
        return array.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers that fit in float64 (NumPy says: {error}): scale them") from error


def position_of(array: Array, position: int) -> str:
    """Row and column of a position in C order."""
    index = [int(i) for i in np.unravel_index(position, array.shape)]
    return ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column", "axis 2:", "axis 3:"), index, strict=False))
