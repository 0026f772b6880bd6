"""Class weights: a table {class: weight} per column of y, settled on the training rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastbp.data.numbers import is_number
from fastbp.util.types import Array

Table = tuple[Array, Array]  # classes, sorted, and their weights


def tables(class_weight: Any, y: Array, classes: Sequence[Array]) -> list[Table]:
    """The classes of each column of y with their weights; empty without class weights."""
    if class_weight is None:
        return []
    given = class_weight
    if isinstance(class_weight, str):
        given = [class_weight] * len(classes)
    elif isinstance(class_weight, Mapping) and len(classes) == 1:
        given = [class_weight]
    elif not isinstance(class_weight, list) or len(class_weight) != len(classes):
        wanted = "a dict" if len(classes) == 1 else f"a list of {len(classes)} dicts, one for each column of y"
        raise ValueError(f"class_weight must be 'balanced' or {wanted}, got {class_weight!r}: pass one of these")
    return [(own, _weights(each, y[:, i], own)) for i, (each, own) in enumerate(zip(given, classes, strict=True))]


def _weights(given: Any, y: Array, classes: Array) -> Array:
    if isinstance(given, str):
        counts = np.bincount(np.searchsorted(classes, y), minlength=len(classes))
        return np.where(counts > 0, len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)
    if not isinstance(given, Mapping):
        raise TypeError(f"class_weight must be a dict {{class: weight}}, got {given!r}: pass one")
    for label, weight in given.items():
        if not is_number(weight) or not math.isfinite(weight) or weight < 0:
            raise ValueError(
                f"class_weight must be finite and not negative, got {weight!r} for class {label!r}: change it"
            )
    missing = [label for label in classes.tolist() if label not in given]
    unknown = [label for label in given if label not in classes.tolist()]
    if missing and unknown:  # scikit-learn's rule, which allows for classes that a fold lacks
        raise ValueError(
            f"class_weight must have classes of y, {classes}, as keys, got {unknown[0]!r} and no weight for "
            f"{missing[0]!r}: correct it"
        )
    return np.array([float(given.get(label, 1)) for label in classes.tolist()])


def of_rows(weights: Sequence[Table], y: Array) -> Array:
    """The weight of each row, the product over its columns."""
    result = np.ones(len(y))
    for column, (classes, values) in enumerate(weights):
        result *= values[np.searchsorted(classes, y[:, column])]
    return result
