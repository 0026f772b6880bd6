"""Metrics: accuracy top_k_accuracy mae rmse r2 auc.

A metric takes in the data block by block (`add`), keeps a state, and computes its value from it (`result`), so no
metric but auc keeps predictions. Arguments everywhere: y, class labels (n,) or targets (n, outputs); outputs
(n, outputs), probabilities where the loss is a cross-entropy; weight (n,); loss, the name of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from fastbp.losses.by_name import LAST_ACTIVATIONS
from fastbp.util.arguments import count, did_you_mean, remedy_for
from fastbp.util.fields import set_fields
from fastbp.util.types import Array

# Losses computed from logits.
_SIGMOID, _SOFTMAX = (
    tuple(loss for loss, allowed in LAST_ACTIVATIONS.items() if allowed and allowed[0] == activation)
    for activation in ("sigmoid", "softmax")
)


class Metric:
    """Base class of Accuracy, TopKAccuracy, MAE, RMSE, R2 and AUC.

    A value is accumulated: `start`, then `add` for each block of rows, then `result`.

    Notes
    -----
    Where the data are split into blocks does not change a bit of the result.
    """

    name: ClassVar[str]

    def start(self) -> Any:
        """The initial state, before any data."""
        raise NotImplementedError

    def add(self, state: Any, y: Array, outputs: Array, weight: Array, loss: str) -> Any:
        """The state after one more block of rows."""
        raise NotImplementedError

    def result(self, state: Any) -> float:
        """The value of the metric; NaN without data or if all weights are 0."""
        raise NotImplementedError


def _running_sum(before: Array, terms: Array) -> Array:
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
        return _running_sum(state, np.column_stack([weight * self.row_values(y, outputs, loss), weight]))

    def result(self, state: Array) -> float:
        total, weight = state
        return float(total / weight) if weight else math.nan


@final
@dataclass(frozen=True)
class Accuracy(Mean):
    """Accuracy: the fraction of rows whose largest output is that of the correct class.

    Notes
    -----
    With one output, or with a loss for two classes, it is the fraction of outputs on the correct side of 0.5, as
    Keras's binary_accuracy; with the hinge loss, of 0.

    Examples
    --------
    >>> get("accuracy").name
    'accuracy'
    """

    name: ClassVar[str] = "accuracy"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        if y.ndim == 1:
            return np.asarray(outputs.argmax(axis=1) == y)
        if loss in (*_SIGMOID, "hinge") or outputs.shape[1] == 1:
            threshold = 0.0 if loss == "hinge" else 0.5
            hits: Array = ((outputs > threshold) == (y > threshold)).mean(axis=1)
            return hits
        return np.asarray(outputs.argmax(axis=1) == y.argmax(axis=1))


@final
@dataclass(frozen=True)
class TopKAccuracy(Mean):
    """Top-k accuracy: the fraction of rows with fewer than k outputs above that of the correct class.

    Parameters
    ----------
    k : int, optional
        How many of the largest outputs count, at least 1.

    Examples
    --------
    >>> TopKAccuracy(3)
    TopKAccuracy(k=3)
    """

    name: ClassVar[str] = "top_k_accuracy"
    k: int = 5

    def __post_init__(self) -> None:
        set_fields(self, k=count(self.k, "k"))

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        label = y if y.ndim == 1 else y.argmax(axis=1)
        correct = np.take_along_axis(outputs, label[:, None], axis=1)
        return np.asarray(np.count_nonzero(outputs > correct, axis=1) < self.k)


@final
@dataclass(frozen=True)
class MAE(Mean):
    """Mean absolute error over all elements, ``mean |a - y|``."""

    name: ClassVar[str] = "mae"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        error: Array = np.abs(_errors(y, outputs)).mean(axis=1)
        return error


@final
@dataclass(frozen=True)
class RMSE(Mean):
    """Root mean squared error over all elements, ``sqrt(mean (a - y)²)``."""

    name: ClassVar[str] = "rmse"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        error: Array = np.square(_errors(y, outputs)).mean(axis=1)
        return error

    def result(self, state: Array) -> float:
        return math.sqrt(super().result(state))


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
        Y, w = _rows(y, outputs.shape[1])[keep], weight[keep, None]
        if shift is None:
            shift, sums = Y[0], np.zeros((4, Y.shape[1]))
        shifted, error = Y - shift, outputs[keep] - Y
        terms = [np.broadcast_to(w, Y.shape), w * shifted, w * shifted * shifted, w * error * error]
        return shift, _running_sum(sums, np.stack(terms, axis=1))

    def result(self, state: tuple[Array | None, Array]) -> float:
        shift, sums = state
        if shift is None:
            return math.nan
        weight, shifted, square, error = sums
        variation = np.maximum(square - shifted * shifted / weight, 0)
        constant = variation == 0
        return float(np.where(constant, error == 0, 1 - error / np.where(constant, 1, variation)).mean())


@final
@dataclass(frozen=True)
class AUC(Metric):
    """Area under the ROC curve: the probability that a positive row scores above a negative one, ties counting half.

    With several outputs it is the mean over the classes, one versus rest. NaN if a class, or the rest, has no rows.

    Notes
    -----
    Same as scikit-learn's roc_auc_score with multi_class="ovr". Keeps all scores until the end.
    """

    name: ClassVar[str] = "auc"

    def start(self) -> tuple[Array, ...]:
        return ()

    def add(self, state: tuple[Array, ...], y: Array, outputs: Array, weight: Array, loss: str) -> tuple[Array, ...]:
        """Append an array (n, 1 + 2 outputs) per block: weight, scores, whether positive."""
        return (*state, np.column_stack([weight, outputs, _rows(y, outputs.shape[1]) > 0.5]))

    def result(self, state: tuple[Array, ...]) -> float:
        if not state:
            return math.nan
        table = np.concatenate(state)
        outputs = table.shape[1] // 2
        areas = [_area(table[:, 0], table[:, 1 + j], table[:, 1 + outputs + j]) for j in range(outputs)]
        return float(np.mean(areas))


def _area(weight: Array, score: Array, positive: Array) -> float:
    """Weight of (positive, lower-scored negative) pairs, plus half of tied pairs, over the weight of all pairs."""
    _, rank = np.unique(score, return_inverse=True)
    positives = np.bincount(rank, weights=weight * positive)
    negatives = np.bincount(rank, weights=weight * (1 - positive))
    pairs = positives.sum() * negatives.sum()
    below = np.cumsum(negatives) - negatives
    return float(np.dot(positives, below + negatives / 2) / pairs) if pairs else math.nan


def _rows(y: Array, outputs: int) -> Array:
    """Targets as float64 rows; class labels become one-hot rows."""
    if y.ndim == 2:
        return y.astype(np.float64)
    one_hot = np.zeros((len(y), outputs))
    one_hot[np.arange(len(y)), y] = 1
    return one_hot


def _errors(y: Array, outputs: Array) -> Array:
    errors: Array = outputs - _rows(y, outputs.shape[1])
    return errors


_METRICS: dict[str, Metric] = {m.name: m for m in (Accuracy(), TopKAccuracy(), MAE(), RMSE(), R2(), AUC())}
NAMES = tuple(_METRICS)


def get(metric: str | Metric) -> Metric:
    """Return the metric of that name; Metric objects are returned unchanged.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("top_k_accuracy")
    TopKAccuracy(k=5)
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str):
        raise TypeError(
            f"metric must be a Metric object or one of {', '.join(NAMES)}, got {metric!r}: {remedy_for(metric)}"
        )
    if metric not in _METRICS:
        raise ValueError(f"metric must be one of {', '.join(NAMES)}, got {metric!r}{did_you_mean(metric, NAMES)}")
    return _METRICS[metric]


def get_all(metrics: Any) -> tuple[Metric, ...]:
    """The metrics of a list of names or objects; each name may occur once."""
    if isinstance(metrics, str | Metric):
        metrics = (metrics,)
    if not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a list of names or Metric objects, got {metrics!r}: pass ['accuracy']")
    result = tuple(get(metric) for metric in metrics)
    names = [metric.name for metric in result]
    if len(set(names)) < len(names):
        raise ValueError(f"metrics must each be named once, got {', '.join(names)}: remove the duplicates")
    return result


def probabilities(outputs: Array, loss: str, activation: str) -> Array:
    """What metrics are computed from: the outputs, or their probabilities where the outputs are logits."""
    if activation != "identity" or loss not in (*_SIGMOID, *_SOFTMAX):
        return outputs
    logits = outputs.astype(np.float64)
    if loss in _SIGMOID:
        return np.exp(-np.logaddexp(0, -logits))  # sigmoid
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def add_all(
    metrics: Iterable[Metric],
    states: Iterable[Any],
    y: Array,
    outputs: Array,
    weight: Array | None,
    loss: str,
    activation: str,
) -> list[Any]:
    """The states of all metrics after one more block of rows."""
    predictions = probabilities(outputs, loss, activation)
    weights = np.ones(len(outputs)) if weight is None else weight.astype(np.float64)
    return [m.add(state, y, predictions, weights, loss) for m, state in zip(metrics, states, strict=True)]
