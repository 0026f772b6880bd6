"""What all metrics share: the protocol, weighted means, and which classes outputs mean.

A metric takes in the data block by block (`add`), keeps a state, and computes its value from it (`result`), so only
those that rank rows keep predictions. Arguments everywhere: y, class labels (n,) or targets (n, outputs); outputs
(n, outputs), probabilities where the loss is a cross-entropy; weight (n,); loss, the name of the loss.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from fastbp.losses.by_name import LAST_ACTIVATIONS
from fastbp.util.types import Array

# Losses computed from logits.
SIGMOID, SOFTMAX = (
    tuple(loss for loss, allowed in LAST_ACTIVATIONS.items() if allowed and allowed[0] == activation)
    for activation in ("sigmoid", "softmax")
)


class Metric:
    """Base class of all metrics.

    A value is accumulated: `start`, then `add` for each block of rows, then `result`.

    Attributes
    ----------
    name : str
        Name in the history.
    direction : {"max", "min"} or None
        Whether larger or smaller is better, for callbacks that monitor it; None: they need ``mode=``.
    last_activations : tuple of str or None
        What the last layer's activation must be; None: any. Logits of a cross-entropy count as probabilities.

    Notes
    -----
    Where the data are split into blocks does not change a bit of the result.
    """

    name: ClassVar[str]
    direction: ClassVar[str | None] = None
    last_activations: ClassVar[tuple[str, ...] | None] = None

    def start(self) -> Any:
        """The initial state, before any data."""
        raise NotImplementedError

    def add(self, state: Any, y: Array, outputs: Array, weight: Array, loss: str) -> Any:
        """The state after one more block of rows."""
        raise NotImplementedError

    def result(self, state: Any) -> float:
        """The value of the metric; NaN without data or if all weights are 0."""
        raise NotImplementedError


def running_sum(before: Array, terms: Array) -> Array:
    """before + terms[0] + terms[1] + …, added in this order, so that the sum does not depend on how rows are split."""
    total: Array = np.add.accumulate(np.concatenate([before[None], terms]))[-1]
    return total


class Mean(Metric):
    """Base class of metrics that are the weighted mean of one value per row."""

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        """The value of each row, (n,)."""
        raise NotImplementedError

    def start(self) -> Array:
        return np.zeros(2)

    def add(self, state: Array, y: Array, outputs: Array, weight: Array, loss: str) -> Array:
        return running_sum(state, np.column_stack([weight * self.row_values(y, outputs, loss), weight]))

    def result(self, state: Array) -> float:
        total, weight = state
        return float(total / weight) if weight else math.nan


def one_class_per_row(y: Array, outputs: Array, loss: str) -> bool:
    """Whether the largest output is the class, rather than every output a yes or no of its own."""
    return y.ndim == 1 or not (loss in (*SIGMOID, "hinge") or outputs.shape[1] == 1)


def classes_of(y: Array, outputs: Array, loss: str) -> tuple[Array, Array]:
    """True and predicted classes: labels (n,), or booleans (n, outputs) if every output is a yes or no of its own."""
    if one_class_per_row(y, outputs, loss):
        return (y if y.ndim == 1 else y.argmax(axis=1)), outputs.argmax(axis=1)
    threshold = 0.0 if loss == "hinge" else 0.5
    return y > threshold, outputs > threshold


def rows_of(y: Array, outputs: int) -> Array:
    """Targets as float64 rows; class labels become one-hot rows."""
    if y.ndim == 2:
        return y.astype(np.float64)
    one_hot = np.zeros((len(y), outputs))
    one_hot[np.arange(len(y)), y] = 1
    return one_hot
