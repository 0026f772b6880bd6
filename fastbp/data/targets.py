"""Conversion of targets to the form each loss takes: numbers, class labels, probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbp import losses
from fastbp.data.arrays import SHORT, convert, numeric
from fastbp.data.numbers import position_of
from fastbp.util.types import Array

FEW = 16  # labels that are looked at one by one, which takes less time than to call NumPy


def targets(
    y: Any, rows: int, outputs: int, loss: str | losses.Loss, dtype: np.dtype[Any], name: str = "y"
) -> Array:
    """y as the loss takes it: (rows, columns) of dtype, or int64 class labels (rows,)."""
    loss = losses.get(loss)
    columns = loss.columns(outputs)
    if (
        type(y) is np.ndarray
        and y.dtype is dtype
        and y.shape == (rows, columns)
        and loss.targets == "numbers"
        and y.flags.carray
        and y.size <= SHORT
        and math.isfinite(np.vdot(y, y))
    ):
        return y
    array = numeric(y, name)
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(
            f"{name} must have one entry for each of the {rows} rows of X, got shape {array.shape}: "
            "pass X and y of equal length"
        )
    classes = loss.targets == "classes"
    if classes and rows <= FEW and _are_labels(array, outputs):
        return array
    if classes and (array.ndim == 1 or (array.shape == (rows, 1) and outputs > 1)):
        return _labels(array.reshape(rows), outputs, name)
    if array.shape == (rows,) and columns == 1:
        array = array.reshape(rows, 1)
    if array.shape != (rows, columns):
        shapes = f"({rows}, {columns})"
        if columns == 1 or classes:
            shapes += f" or ({rows},)"
        units = "as many units as y has columns" if columns == outputs else f"{outputs // columns} units per target"
        raise ValueError(
            f"{name} must have shape {shapes} for {loss.name} and {outputs} outputs, got "
            f"{array.shape}: give the last Dense {units}, or change y"
        )
    return _in_range(convert(array, dtype, name), loss, name)


def _are_labels(array: Array, outputs: int) -> bool:
    """Whether few class labels are as they are wanted."""
    if array.ndim != 1 or array.dtype != np.int64 or not array.flags.carray:
        return False
    return all(0 <= label < outputs for label in array.tolist())


def _in_range(array: Array, loss: losses.Loss, name: str) -> Array:
    """Targets checked against the range of values the loss accepts."""
    if loss.targets == "counts":
        _counts(array, loss.name, name)
    elif loss.targets == "signs":
        return _signs(array, loss.name, name)
    elif loss.targets in ("probabilities", "classes"):
        _probabilities(array, loss.name, name, rows_sum=loss.targets == "classes")
    return _as_labels(array) if loss.targets == "classes" else array


def _counts(array: Array, loss: str, name: str) -> None:
    if array.min() < 0:
        position = int(array.argmin())
        raise ValueError(
            f"{name} must not be negative for {loss}, got {array.flat[position]} at {position_of(array, position)}: "
            "pass counts, or use the loss 'mse'"
        )


def _signs(array: Array, loss: str, name: str) -> Array:
    """Targets as -1 and 1, from these or from 0 and 1."""
    sizes = np.abs(array)
    bad = (sizes != 1) & (array != 0)
    if not bad.any() and (array.min() >= 0 or sizes.min() == 1):
        return array if array.min() < 0 else 2 * array - 1
    position = int((bad if bad.any() else array == 0).argmax())
    raise ValueError(
        f"{name} must be -1 or 1, or else 0 or 1, for {loss}, got {array.flat[position]} at "
        f"{position_of(array, position)}{'' if bad.any() else ' besides -1'}: encode the two classes so"
    )


def _labels(array: Array, outputs: int, name: str) -> Array:
    """Class labels 0 … outputs - 1 as int64."""
    if array.dtype.kind == "f":
        integer = np.isfinite(array) & (np.floor(array) == array)
        if not integer.all():
            position = int(integer.argmin())
            raise ValueError(
                f"{name} must hold integer class labels, got {array[position]} at row {position}: "
                f"pass integers, or one row of {outputs} probabilities per row of X"
            )
    if array.min() < 0 or array.max() >= outputs:
        position = int(((array < 0) | (array >= outputs)).argmax())
        raise ValueError(
            f"{name} must hold class labels from 0 to {outputs - 1}, for {outputs} outputs, got "
            f"{array[position]} at row {position}: number the classes from 0, or give the last Dense more units"
        )
    return np.require(array, np.int64, ["C", "A"])


def _as_labels(rows: Array) -> Array:
    """Rows of probabilities as labels if all are exactly one-hot, so that both forms train to the same bits."""
    one_hot = np.count_nonzero(rows) == len(rows) and bool((rows.max(axis=1) == 1).all())
    return rows.argmax(axis=1) if one_hot else rows


def _probabilities(array: Array, loss: str, name: str, *, rows_sum: bool) -> None:
    """Raise unless all values are in [0, 1] and, if required, each row sums to one."""
    if array.min() < 0 or array.max() > 1:
        position = int(((array < 0) | (array > 1)).argmax())
        raise ValueError(
            f"{name} must lie in [0, 1] for {loss}, got {array.flat[position]} at {position_of(array, position)}: "
            "scale it to [0, 1], or use the loss 'mse'"
        )
    if not rows_sum:
        return
    error = np.abs(array.sum(axis=1, dtype=np.float64) - 1)
    if error.max() > 1e-3:  # float16 probabilities of 1,000 classes still pass
        row = int(error.argmax())
        raise ValueError(
            f"{name} must have rows that sum to 1 for {loss}, but row {row} sums to {array[row].sum()}: "
            "normalize the rows, pass class labels, or use binary_cross_entropy where several classes may hold at once"
        )
