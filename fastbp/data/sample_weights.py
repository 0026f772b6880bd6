"""Weights of rows and of classes."""

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
    """weight as (rows,) of dtype: finite, none negative, not all zero (but a chunk of more may be)."""
    array = numeric(weight, name)
    if array.shape != (rows,):
        raise ValueError(
            f"{name} must have the shape ({rows},), one weight for each row of X, but its shape is {array.shape}: "
            "pass one number a row"
        )
    result = convert(array, dtype, name)
    if result.min() < 0:
        row = int(result.argmin())
        raise ValueError(f"{name} must not be negative, but is {result[row]} at row {row}: use 0 to leave a row out")
    if positive and result.max() == 0:
        raise ValueError(f"{name} must have a positive entry, but all {rows} are 0: give the rows that count a weight")
    return result


def class_weights(class_weight: Any, y: Array, outputs: int, loss: str | losses.Loss) -> Array:
    """The weight of each row by its class: {class: weight}, 1 for a class that is not named."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight must be a dict {{class: weight}}, but {type(class_weight).__name__} came: "
            "pass for example {0: 1.0, 1: 5.0}"
        )
    loss = losses.get(loss)
    n_classes = 2 if outputs == 1 else outputs
    binary = loss.targets in ("probabilities", "signs") and outputs == 1
    if loss.targets != "classes" and not binary:
        raise ValueError(
            f"class_weight needs one class for each row, which {loss.name} with {outputs} outputs does not have: "
            "pass sample_weight instead"
        )
    table = np.ones(n_classes)
    label: Any
    weight: Any
    for label, weight in class_weight.items():
        if not is_number(label) or label not in range(n_classes):
            raise ValueError(f"class_weight must name classes 0 to {n_classes - 1}, but names {label!r}: leave it out")
        if not is_number(weight) or not math.isfinite(weight) or weight < 0:
            came = f"{weight!r} for class {label}"
            raise ValueError(f"class_weight must be finite and not negative, but is {came}: change it")
        table[int(label)] = weight
    labels = y if y.ndim == 1 else (y[:, 0] > 0.5).astype(np.int64) if outputs == 1 else y.argmax(axis=1)
    result: Array = table[labels]
    return result


def combine(weight: Array | None, by_class: Array, dtype: np.dtype[Any], *, positive: bool = True) -> Array:
    """Weights of rows times weights of their classes, not all zero."""
    product = by_class if weight is None else weight * by_class
    return weights(product, len(by_class), dtype, "sample_weight times class_weight", positive=positive)
