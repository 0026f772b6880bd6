"""Python objects as numbers, and places in arrays as messages name them."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from fastbp.util.types import Array


def is_number(value: Any) -> bool:
    """Whether value is a real number, and no boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def numbers_of_objects(array: Array, name: str, value: Any) -> Array:
    """An array of Python objects (a table of mixed columns) as float64, if every one is a real number."""
    if array.ndim == 0:
        raise TypeError(f"{name} must be an array of numbers, but {type(value).__name__} came: pass a NumPy array")
    for position, item in enumerate(array.flat):
        if not isinstance(item, numbers.Real | np.bool_):
            raise TypeError(
                f"{name} must hold real numbers only, but holds {item!r} ({type(item).__name__}) "
                f"at {position_of(array, position)}: convert or drop it"
            )
    try:
        return array.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers that fit in float64, but NumPy says {error}: scale them") from error


def position_of(array: Array, position: int) -> str:
    """Row and column of a position in C order."""
    index = [int(i) for i in np.unravel_index(position, array.shape)]
    return ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column", "then", "then"), index, strict=False))
