"""Python objects as numbers, and positions in arrays for error messages."""

from __future__ import annotations

import numbers
from array import array
from collections.abc import Mapping
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


# Sequences of the user's own classes are read as far as they say they go.
_KNOWN = (str, bytes, bytearray, memoryview, range, array, Mapping, np.ndarray, np.generic)
_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__", "__arrow_c_stream__")
_SCALARS = {float, int, bool, str, np.ndarray, np.float64, np.float32, np.int64}


def bounded(value: Any, depth: int = 4) -> Any:
    """value with every such sequence, also in a list, as a list of len(sequence) items.

    NumPy asks a sequence for items until an IndexError, which the __getitem__ of a dataset may never raise.

    >>> class Endless:
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, place):
    ...         return 0.5
    >>> bounded(Endless()), bounded([Endless(), 1.0])
    ([0.5, 0.5, 0.5], [[0.5, 0.5, 0.5], 1.0])
    """
    if depth == 0:  # more dimensions than anything here may have, or a list that contains itself
        return value
    if type(value) in (list, tuple):
        return value if _SCALARS.issuperset(map(type, value)) else [bounded(item, depth - 1) for item in value]
    return [bounded(value[place], depth - 1) for place in range(len(value))] if _is_own(value) else value


def _is_own(value: Any) -> bool:
    if isinstance(value, _KNOWN) or not (hasattr(value, "__getitem__") and hasattr(value, "__len__")):
        return False
    return not any(hasattr(value, name) for name in _PROTOCOLS)
