"""How good predictions are: accuracy top_k_accuracy mae rmse r2 auc.

A metric takes in one part of the data at a time (`add`) and makes its value of what it then knows (`result`), so no
metric but auc keeps predictions. Arguments everywhere: y, class labels (n,) or targets (n, outputs);
outputs (n, outputs), probabilities where the loss is a cross-entropy; weight (n,); loss, the loss's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from fastbp.util.arguments import count, instead, meant
from fastbp.util.fields import set_fields
from fastbp.util.types import Array

# Losses that work from the logits of probabilities.
_SIGMOID = ("binary_cross_entropy", "binary_focal")
_SOFTMAX = ("cross_entropy", "categorical_focal", "kl_divergence")


class Metric:
    """A measure of predictions; abstract: use Accuracy, TopKAccuracy, MAE, RMSE, R2 or AUC.

    Parts are added one after another, from `start()` on; where the data are cut changes no bit of the result.
    """

    name: ClassVar[str]

    def start(self) -> Any:
        """What is known before any data came."""
        raise NotImplementedError

    def add(self, known: Any, y: Array, outputs: Array, weight: Array, loss: str) -> Any:
        """What is known after one more part of the data."""
        raise NotImplementedError

    def result(self, known: Any) -> float:
        """The metric's value; NaN where no data came, or none that weigh anything."""
        raise NotImplementedError


def _running_sum(before: Array, terms: Array) -> Array:
    """before + terms[0] + terms[1] + …, in this order, so that the sum does not depend on how terms are dealt out."""
    total: Array = np.add.accumulate(np.concatenate([before[None], terms]))[-1]
    return total


class Mean(Metric):
    """A metric that is the weighted mean of one number a row; abstract."""

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        """The number of each row, (n,)."""
        raise NotImplementedError

    def start(self) -> Array:
        return np.zeros(2)

    def add(self, known: Array, y: Array, outputs: Array, weight: Array, loss: str) -> Array:
        return _running_sum(known, np.column_stack([weight * self.row_values(y, outputs, loss), weight]))

    def result(self, known: Array) -> float:
        total, weight = known
        return float(total / weight) if weight else math.nan


@final
@dataclass(frozen=True)
class Accuracy(Mean):
    """The share of rows whose largest output is that of the right class.

    With one output, or with a loss of two classes: the share of outputs on the right side of 0.5, as Keras's
    binary_accuracy; of 0 with hinge.

    >>> get("accuracy").name
    'accuracy'
    """

    name: ClassVar[str] = "accuracy"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        if y.ndim == 1:
            return np.asarray(outputs.argmax(axis=1) == y)
        if loss in (*_SIGMOID, "hinge") or outputs.shape[1] == 1:
            border = 0.0 if loss == "hinge" else 0.5
            hits: Array = ((outputs > border) == (y > border)).mean(axis=1)
            return hits
        return np.asarray(outputs.argmax(axis=1) == y.argmax(axis=1))


@final
@dataclass(frozen=True)
class TopKAccuracy(Mean):
    """The share of rows with fewer than k outputs above that of the right class.

    >>> TopKAccuracy(3)
    TopKAccuracy(k=3)
    """

    name: ClassVar[str] = "top_k_accuracy"
    k: int = 5

    def __post_init__(self) -> None:
        set_fields(self, k=count(self.k, "k"))

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        label = y if y.ndim == 1 else y.argmax(axis=1)
        own = np.take_along_axis(outputs, label[:, None], axis=1)
        return np.asarray(np.count_nonzero(outputs > own, axis=1) < self.k)


@final
@dataclass(frozen=True)
class MAE(Mean):
    """Mean absolute error over all elements, mean |a - y|."""

    name: ClassVar[str] = "mae"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        error: Array = np.abs(_errors(y, outputs)).mean(axis=1)
        return error


@final
@dataclass(frozen=True)
class RMSE(Mean):
    """Root of the mean squared error over all elements, sqrt(mean (a - y)²)."""

    name: ClassVar[str] = "rmse"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        error: Array = np.square(_errors(y, outputs)).mean(axis=1)
        return error

    def result(self, known: Array) -> float:
        return math.sqrt(super().result(known))


@final
@dataclass(frozen=True)
class R2(Metric):
    """Coefficient of determination, 1 - Σ w (a - y)² / Σ w (y - mean y)², the mean of it over the outputs.

    As scikit-learn's r2_score: an output whose targets are all alike counts 1 where predicted exactly, else 0.
    """

    name: ClassVar[str] = "r2"

    def start(self) -> tuple[Array | None, Array]:
        return None, np.zeros(1)

    def add(self, known: tuple[Array | None, Array], y: Array, outputs: Array, weight: Array, loss: str) -> Any:
        """A shift s, which is the first target that weighs anything, and Σ of w, w (y - s), w (y - s)² and w (a - y)².

        Were s 0, large targets of little spread would cancel; a target's own distance from the mean is never so large.
        """
        shift, sums = known
        keep = weight > 0
        if not keep.any():
            return known
        Y, w = _rows(y, outputs.shape[1])[keep], weight[keep, None]
        if shift is None:
            shift, sums = Y[0], np.zeros((4, Y.shape[1]))
        away, error = Y - shift, outputs[keep] - Y
        terms = [np.broadcast_to(w, Y.shape), w * away, w * away * away, w * error * error]
        return shift, _running_sum(sums, np.stack(terms, axis=1))

    def result(self, known: tuple[Array | None, Array]) -> float:
        shift, sums = known
        if shift is None:
            return math.nan
        weight, away, square, error = sums
        spread = np.maximum(square - away * away / weight, 0)
        flat = spread == 0
        return float(np.where(flat, error == 0, 1 - error / np.where(flat, 1, spread)).mean())


@final
@dataclass(frozen=True)
class AUC(Metric):
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties counting half.

    With several outputs the mean over the classes, each against the rest. NaN where a class, or the rest, has no row.
    Keeps all scores until the end. As scikit-learn's roc_auc_score with multi_class="ovr".
    """

    name: ClassVar[str] = "auc"

    def start(self) -> tuple[Array, ...]:
        return ()

    def add(self, known: tuple[Array, ...], y: Array, outputs: Array, weight: Array, loss: str) -> tuple[Array, ...]:
        """One table (n, 1 + 2 outputs) a part: weight, scores, whether positive."""
        return (*known, np.column_stack([weight, outputs, _rows(y, outputs.shape[1]) > 0.5]))

    def result(self, known: tuple[Array, ...]) -> float:
        if not known:
            return math.nan
        table = np.concatenate(known)
        outputs = table.shape[1] // 2
        areas = [_area(table[:, 0], table[:, 1 + j], table[:, 1 + outputs + j]) for j in range(outputs)]
        return float(np.mean(areas))


def _area(weight: Array, score: Array, positive: Array) -> float:
    """Σ over positive rows of the weight of the negatives below, plus half of those level, over the product of sums."""
    _, place = np.unique(score, return_inverse=True)
    positives = np.bincount(place, weights=weight * positive)
    negatives = np.bincount(place, weights=weight * (1 - positive))
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
    """The metric of a name; a Metric object is returned as it is.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("top_k_accuracy")
    TopKAccuracy(k=5)
    """
    if isinstance(metric, Metric):
        return metric
    if not isinstance(metric, str):
        raise TypeError(
            f"a metric must be a Metric object or one of {', '.join(NAMES)}, but {metric!r} came: {instead(metric)}"
        )
    if metric not in _METRICS:
        raise ValueError(f"a metric must be one of {', '.join(NAMES)}, but {metric!r} came{meant(metric, NAMES)}")
    return _METRICS[metric]


def get_all(metrics: Any) -> tuple[Metric, ...]:
    """The metrics of a list of names or objects, each name once."""
    if isinstance(metrics, str | Metric):
        metrics = (metrics,)
    if not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a list of names or Metric objects, but {metrics!r} came: pass ['accuracy']")
    result = tuple(get(metric) for metric in metrics)
    names = [metric.name for metric in result]
    if len(set(names)) < len(names):
        raise ValueError(f"metrics must each be named once, but {', '.join(names)} came: drop the doubles")
    return result


def probabilities(outputs: Array, loss: str, activation: str) -> Array:
    """What metrics look at: outputs, or the probabilities that they are the logits of (last activation identity)."""
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
    known: Iterable[Any],
    y: Array,
    outputs: Array,
    weight: Array | None,
    loss: str,
    activation: str,
) -> list[Any]:
    """What is known, metric by metric, after one more part of the data."""
    shown = probabilities(outputs, loss, activation)
    given = np.ones(len(outputs)) if weight is None else weight.astype(np.float64)
    pairs = zip(metrics, known, strict=True)
    return [metric.add(before, y, shown, given, loss) for metric, before in pairs]
