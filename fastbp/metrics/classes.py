"""Metrics of classes: accuracies, precision, recall and F1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from fastbp.metrics.base import Mean, Metric, classes_of
from fastbp.util.arguments import count
from fastbp.util.fields import set_fields
from fastbp.util.types import Array

__all__ = ["F1", "Accuracy", "BalancedAccuracy", "Precision", "Recall", "TopKAccuracy"]

AVERAGES = ("auto", "macro", "micro", "weighted")
State = tuple[bool, Array] | None  # whether rows may have several classes, and the counts of `Counts`


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
    >>> Accuracy().direction
    'max'
    """

    name: ClassVar[str] = "accuracy"
    direction: ClassVar[str | None] = "max"

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        true, predicted = classes_of(y, outputs, loss)
        return np.asarray(true == predicted if true.ndim == 1 else (true == predicted).mean(axis=1))


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
    direction: ClassVar[str | None] = "max"
    k: int = 5

    def __post_init__(self) -> None:
        set_fields(self, k=count(self.k, "k"))

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        label = y if y.ndim == 1 else y.argmax(axis=1)
        correct = np.take_along_axis(outputs, label[:, None], axis=1)
        return np.asarray(np.count_nonzero(outputs > correct, axis=1) < self.k)


class Counts(Metric):
    """Base class of metrics computed from the weights, per class, of rows that are of it, are predicted as it, or both.

    The state's rows: true positives; predicted; actual; how many rows are of the class or predicted as it. If rows may
    have several classes, the last is the weight of all rows.
    """

    direction: ClassVar[str | None] = "max"

    def start(self) -> State:
        return None

    def add(self, state: State, y: Array, outputs: Array, weight: Array, loss: str) -> State:
        true, predicted = classes_of(y, outputs, loss)
        several = true.ndim == 2 and true.shape[1] > 1
        if true.ndim == 2 and not several:  # one output: classes 0 and 1
            true, predicted = true[:, 0].astype(np.int64), predicted[:, 0].astype(np.int64)
        n_classes = max(2, outputs.shape[1])
        before = np.zeros((4, n_classes)) if state is None else state[1]
        own = np.arange(n_classes)  # the sums so far come first: bincount adds in order, so splits change no bit
        if several:
            weights = np.broadcast_to(weight[:, None], true.shape).reshape(-1)
            places = np.concatenate([own, np.tile(own, len(true))])
            parts = [true & predicted, predicted, true, np.ones_like(true)]
            terms = [np.concatenate([row, weights * part.reshape(-1)]) for row, part in zip(before, parts, strict=True)]
            return True, np.stack([np.bincount(places, term, n_classes) for term in terms])
        hit = weight * (true == predicted)
        pairs = ((true, hit), (predicted, weight), (true, weight), (true, np.ones(len(true))),
                 (predicted[true != predicted], np.ones(np.count_nonzero(true != predicted))))  # fmt: skip
        rows = [*before, np.zeros(n_classes)]
        tp, of_predicted, actual, once, again = (
            np.bincount(np.concatenate([own, labels]), np.concatenate([row, terms]), n_classes)
            for row, (labels, terms) in zip(rows, pairs, strict=True)
        )
        return False, np.stack([tp, of_predicted, actual, once + again])

    def result(self, state: State) -> float:
        return math.nan if state is None or not _weight(state) else self.value(*state)

    def value(self, several: bool, counts: Array) -> float:
        """The value of the metric; the weights are not all 0."""
        raise NotImplementedError


def _weight(state: tuple[bool, Array]) -> float:
    """The weight of all rows."""
    several, counts = state
    return float(counts[3, 0] if several else counts[2].sum())


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole, 0 where whole is 0."""
    ratio: Array = np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)
    return ratio


class Averaged(Counts):
    """Base class of Precision, Recall and F1, which average a ratio over classes."""

    average: str

    def __post_init__(self) -> None:
        if self.average not in AVERAGES:
            raise ValueError(
                f"average must be one of {', '.join(map(repr, AVERAGES))}, got {self.average!r}: choose one"
            )

    def ratio(self, tp: Array, predicted: Array, actual: Array) -> Array:
        """The value of each class, 0 where it is undefined."""
        raise NotImplementedError

    def value(self, several: bool, counts: Array) -> float:
        tp, predicted, actual, present = counts
        if self.average == "micro":
            return float(self.ratio(tp.sum(), predicted.sum(), actual.sum()))
        ratios = self.ratio(tp, predicted, actual)
        if self.average == "weighted":
            return float(_ratio(ratios @ actual, actual.sum()))
        if self.average == "auto" and len(ratios) == 2 and not several:
            return float(ratios[1])
        return float(ratios.mean() if several else ratios[present > 0].mean())


@final
@dataclass(frozen=True)
class Precision(Averaged):
    """Precision: the fraction of rows predicted as a class that are of it.

    ::

        true positives / predicted as the class

    Parameters
    ----------
    average : {"auto", "macro", "micro", "weighted"}, optional
        "auto": with two classes that of class 1, with more "macro", the mean over the classes that occur in y or the
        predictions. "micro" counts over all classes; "weighted" weighs classes by their rows in y.

    Notes
    -----
    Same as scikit-learn's precision_score, whose average="binary" is "auto" here. If rows may have several classes,
    "macro" is the mean over all outputs. A class that is never predicted has precision 0.

    Examples
    --------
    >>> Precision("macro")
    Precision(average='macro')
    """

    name: ClassVar[str] = "precision"
    average: str = "auto"

    def ratio(self, tp: Array, predicted: Array, actual: Array) -> Array:
        return _ratio(tp, predicted)


@final
@dataclass(frozen=True)
class Recall(Averaged):
    """Recall: the fraction of rows of a class that are predicted as it.

    ::

        true positives / rows of the class

    Parameters
    ----------
    average : {"auto", "macro", "micro", "weighted"}, optional
        As in `Precision`.

    Notes
    -----
    Same as scikit-learn's recall_score. A class without rows has recall 0.

    Examples
    --------
    >>> Recall().direction
    'max'
    """

    name: ClassVar[str] = "recall"
    average: str = "auto"

    def ratio(self, tp: Array, predicted: Array, actual: Array) -> Array:
        return _ratio(tp, actual)


@final
@dataclass(frozen=True)
class F1(Averaged):
    """F1 score: the harmonic mean of precision and recall.

    ::

        2 true positives / (predicted as the class + rows of the class)

    Parameters
    ----------
    average : {"auto", "macro", "micro", "weighted"}, optional
        As in `Precision`.

    Notes
    -----
    Same as scikit-learn's f1_score.

    Examples
    --------
    >>> F1().average
    'auto'
    """

    name: ClassVar[str] = "f1"
    average: str = "auto"

    def ratio(self, tp: Array, predicted: Array, actual: Array) -> Array:
        return _ratio(2 * tp, predicted + actual)


@final
@dataclass(frozen=True)
class BalancedAccuracy(Counts):
    """Balanced accuracy: the mean recall of the classes that occur in y.

    Notes
    -----
    Same as scikit-learn's balanced_accuracy_score. If rows may have several classes, it is the mean over the outputs,
    each of which has two classes, yes and no.

    Examples
    --------
    >>> BalancedAccuracy().name
    'balanced_accuracy'
    """

    name: ClassVar[str] = "balanced_accuracy"

    def value(self, several: bool, counts: Array) -> float:
        tp, predicted, actual, total = counts
        if not several:
            return float(_ratio(tp, actual)[actual > 0].mean())
        negatives = total - actual
        recalls = np.stack([_ratio(tp, actual), _ratio(negatives - (predicted - tp), negatives)])
        occurs = np.stack([actual, negatives]) > 0
        return float(((recalls * occurs).sum(axis=0) / occurs.sum(axis=0)).mean())
