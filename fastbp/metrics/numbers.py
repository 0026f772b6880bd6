"""Metrics of numbers: errors and the coefficient of determination."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from fastbp.metrics.base import Mean, Metric, rows_of, running_sum
from fastbp.util.types import Array

__all__ = ["MAE", "MAPE", "R2", "RMSE"]


@final
@dataclass(frozen=True)
class MAE(Mean):
    """Mean absolute error over all elements, ``mean |a - y|``."""

    name: ClassVar[str] = "mae"
    direction: ClassVar[str | None] = "min"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        error: Array = np.abs(_errors(y, outputs)).mean(axis=1)
        return error


@final
@dataclass(frozen=True)
class RMSE(Mean):
    """Root mean squared error over all elements, ``sqrt(mean (a - y)²)``."""

    name: ClassVar[str] = "rmse"
    direction: ClassVar[str | None] = "min"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        error: Array = np.square(_errors(y, outputs)).mean(axis=1)
        return error

    def result(self, state: Array) -> float:
        return math.sqrt(super().result(state))


@final
@dataclass(frozen=True)
class MAPE(Mean):
    """Mean absolute percentage error over all elements, as a fraction, ``mean |a - y| / |y|``.

    Notes
    -----
    Same as scikit-learn's mean_absolute_percentage_error, which divides by 2.2e-16 where y is 0; Keras multiplies by
    100. Not meaningful for targets near 0.
    """

    name: ClassVar[str] = "mape"
    direction: ClassVar[str | None] = "min"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        size = np.maximum(np.abs(rows_of(y, outputs.shape[1])), np.finfo(np.float64).eps)
        error: Array = (np.abs(_errors(y, outputs)) / size).mean(axis=1)
        return error


@final
@dataclass(frozen=True)
class R2(Metric):
    """Coefficient of determination, averaged over the outputs.

    ::

        1 - Σ w (a - y)² / Σ w (y - mean y)²

    Notes
    -----
    As in scikit-learn's r2_score, an output whose targets are all equal counts 1 if predicted exactly, else 0.
    """

    name: ClassVar[str] = "r2"
    direction: ClassVar[str | None] = "max"

    def start(self) -> tuple[Array | None, Array]:
        return None, np.zeros(1)

    def add(self, state: tuple[Array | None, Array], y: Array, outputs: Array, weight: Array, loss: str) -> Any:
        """Keep a shift s, the first target with positive weight, and Σ of w, w (y - s), w (y - s)² and w (a - y)².

        Without the shift, large targets of small spread would cancel; a target is never so far from the mean.
        """
        shift, sums = state
        keep = weight > 0
        if not keep.any():
            return state
        Y, w = rows_of(y, outputs.shape[1])[keep], weight[keep, None]
        if shift is None:
            shift, sums = Y[0], np.zeros((4, Y.shape[1]))
        shifted, error = Y - shift, outputs[keep] - Y
        terms = [np.broadcast_to(w, Y.shape), w * shifted, w * shifted * shifted, w * error * error]
        return shift, running_sum(sums, np.stack(terms, axis=1))

    def result(self, state: tuple[Array | None, Array]) -> float:
        shift, sums = state
        if shift is None:
            return math.nan
        weight, shifted, square, error = sums
        variation = np.maximum(square - shifted * shifted / weight, 0)
        constant = variation == 0
        return float(np.where(constant, error == 0, 1 - error / np.where(constant, 1, variation)).mean())


def _errors(y: Array, outputs: Array) -> Array:
    errors: Array = outputs - rows_of(y, outputs.shape[1])
    return errors
