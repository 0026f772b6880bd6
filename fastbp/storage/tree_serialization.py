"""Nested states as JSON values and arrays: dicts, lists, tuples, numbers, strings and NumPy arrays.

`encode` splits a tree into a JSON value and a table of arrays; `decode` reassembles it bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.util.types import Array

DTYPES = ("float32", "float64", "int64", "bool")  # what a file can hold


def encode(tree: Any, prefix: str, arrays: dict[str, Array]) -> Any:
    """The tree as a JSON value; its arrays go into `arrays` under names with the given prefix.

    Raises TypeError for anything but dicts with string keys, lists, tuples, numbers, strings, None and arrays.

    >>> arrays = {}
    >>> encode({"wait": 2, "best": (1.5, math.inf), "weights": [np.ones(2)]}, "t.", arrays)
    {'dict': {'wait': 2, 'best': {'tuple': [1.5, {'float': 'inf'}]}, 'weights': [{'array': 't.0'}]}}
    >>> arrays
    {'t.0': array([1., 1.])}
    """
    if isinstance(tree, np.ndarray):
        if tree.dtype.name not in DTYPES:
            raise TypeError(f"a state's arrays must be of {', '.join(DTYPES)}, got {tree.dtype}: convert it")
        name = f"{prefix}{len(arrays)}"
        arrays[name] = np.ascontiguousarray(tree).reshape(tree.shape)
        return {"array": name}
    if isinstance(tree, np.generic):
        tree = tree.item()
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"float": repr(tree)}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, Mapping) and all(isinstance(key, str) for key in tree):
        return {"dict": {key: encode(value, prefix, arrays) for key, value in tree.items()}}
    if isinstance(tree, list | tuple):
        items = [encode(value, prefix, arrays) for value in tree]
        return items if isinstance(tree, list) else {"tuple": items}
    raise TypeError(
        f"a state must consist of dicts with string keys, lists, tuples, numbers, strings and arrays, got "
        f"{type(tree).__name__}: convert it"
    )


def decode(value: Any, arrays: Mapping[str, Array]) -> Any:
    """The tree that `encode` split; KeyError, TypeError or ValueError for values it cannot have produced.

    >>> decode({"tuple": [1, {"float": "nan"}, {"array": "a"}]}, {"a": np.zeros(1)})
    (1, nan, array([0.]))
    """
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "dict":
        return {str(key): decode(item, arrays) for key, item in held.items()}
    if kind == "tuple":
        return tuple(decode(item, arrays) for item in held)
    if kind == "float":
        return float(held)
    if kind == "array":
        return arrays[held]
    raise ValueError(f"a state holds {kind[:50]!r}, a kind this version does not know")
