"""Sequences of the user's own classes, which are read as far as they say they go."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np

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
