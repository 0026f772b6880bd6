"""Sample weights and class weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp import losses
from fastbp.data.arrays import convert, numeric
from fastbp.data.numbers import is_number
from fastbp.util.types import Array


def weights(
    weight: Any, rows: int, dtype: np.dtype[Any], name: str = "sample_weight", *, positive: bool = True
) -> Array:
    """weight as (rows,) of dtype: finite, not negative, and, unless the rows are only a chunk, not all zero."""
    array = numeric(weight, name)
    if array.shape != (rows,):
        raise ValueError(
            f"{name} must have shape ({rows},), one weight per row of X, got {array.shape}: "
            "pass one number per row"
        )
    result = convert(array, dtype, name)
    if result.min() < 0:
        row = int(result.argmin())
        raise ValueError(f"{name} must not be negative, got {result[row]} at row {row}: use 0 to ignore a row")
    if positive and result.max() == 0:
        raise ValueError(f"{name} must have a positive entry, but all {rows} are 0: give some rows a positive weight")
    return result


def class_weights(class_weight: Any, y: Array, outputs: int, loss: str | losses.Loss) -> Array:
    """The weight of each row by its class; classes missing from {class: weight} have weight 1."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight must be a dict {{class: weight}}, got {type(class_weight).__name__}: "
            "pass for example {0: 1.0, 1: 5.0}"
        )
    loss = losses.get(loss)
    n_classes = 2 if outputs == 1 else outputs
    binary = loss.targets in ("probabilities", "signs") and outputs == 1
    if loss.targets != "classes" and not binary:
        raise ValueError(
            f"class_weight needs one class per row, which {loss.name} with {outputs} outputs does not have: "
            "pass sample_weight instead"
        )
    table = np.ones(n_classes)
    label: Any
    weight: Any
    for label, weight in class_weight.items():
        if not is_number(label) or label not in range(n_classes):
            raise ValueError(f"class_weight must have classes 0 to {n_classes - 1} as keys, got {label!r}: remove it")
        if not is_number(weight) or not math.isfinite(weight) or weight < 0:
            raise ValueError(
                f"class_weight must be finite and not negative, got {weight!r} for class {label}: change it"
            )
        table[int(label)] = weight
    labels = y if y.ndim == 1 else (y[:, 0] > 0.5).astype(np.int64) if outputs == 1 else y.argmax(axis=1)
    result: Array = table[labels]
    return result


def combine(weight: Array | None, by_class: Array, dtype: np.dtype[Any], *, positive: bool = True) -> Array:
    """Sample weights times class weights, not all zero."""
    product = by_class if weight is None else weight * by_class
    return weights(product, len(by_class), dtype, "sample_weight times class_weight", positive=positive)
