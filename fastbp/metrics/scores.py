"""Metrics of scores: log loss, and those that rank rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from fastbp.metrics.base import Mean, Metric, one_class_per_row, rows_of
from fastbp.util.types import Array

__all__ = ["AUC", "AveragePrecision", "LogLoss"]


@final
@dataclass(frozen=True)
class LogLoss(Mean):
    """Log loss: the mean of -log p of the correct class.

    With several yes-or-no outputs, the mean over them as well.

    Notes
    -----
    Same as scikit-learn's log_loss: probabilities are clipped to [eps, 1 - eps], with eps that of their dtype. Needs
    outputs that are probabilities: a last softmax or sigmoid, or logits of a cross-entropy.

    Examples
    --------
    >>> LogLoss().direction
    'min'
    """

    name: ClassVar[str] = "log_loss"
    direction: ClassVar[str | None] = "min"
    last_activations: ClassVar[tuple[str, ...] | None] = ("softmax", "sigmoid")

    def row_values(self, y: Array, outputs: Array, loss: str) -> Array:
        eps = np.finfo(outputs.dtype).eps
        p = np.clip(outputs, eps, 1 - eps).astype(np.float64)
        targets = rows_of(y, outputs.shape[1])
        terms = targets * np.log(p)
        if one_class_per_row(y, outputs, loss):
            return np.asarray(-terms.sum(axis=1))
        terms += (1 - targets) * np.log(np.clip(1 - outputs, eps, 1 - eps).astype(np.float64))
        return np.asarray(-terms.mean(axis=1))


class Ranking(Metric):
    """Base class of metrics that rank the rows by their scores, which are kept until the end."""

    direction: ClassVar[str | None] = "max"

    def area(self, weight: Array, score: Array, positive: Array) -> float:
        """The value for one class against the rest."""
        raise NotImplementedError

    def start(self) -> tuple[Array, ...]:
        return ()

    def add(self, state: tuple[Array, ...], y: Array, outputs: Array, weight: Array, loss: str) -> tuple[Array, ...]:
        """Append an array (n, 1 + 2 outputs) per block: weight, scores, whether positive."""
        return (*state, np.column_stack([weight, outputs, rows_of(y, outputs.shape[1]) > 0.5]))

    def result(self, state: tuple[Array, ...]) -> float:
        if not state:
            return math.nan
        table = np.concatenate(state)
        outputs = table.shape[1] // 2
        areas = [self.area(table[:, 0], table[:, 1 + j], table[:, 1 + outputs + j]) for j in range(outputs)]
        return float(np.mean(areas))


@final
@dataclass(frozen=True)
class AUC(Ranking):
    """Area under the ROC curve: the probability that a positive row scores above a negative one, ties counting half.

    With several outputs it is the mean over the classes, one versus rest. NaN if a class, or the rest, has no rows.

    Notes
    -----
    Same as scikit-learn's roc_auc_score with multi_class="ovr". Keeps all scores until the end.
    """

    name: ClassVar[str] = "auc"

    def area(self, weight: Array, score: Array, positive: Array) -> float:
        return _area(weight, score, positive)


def _area(weight: Array, score: Array, positive: Array) -> float:
    """Weight of (positive, lower-scored negative) pairs, plus half of tied pairs, over the weight of all pairs."""
    _, rank = np.unique(score, return_inverse=True)
    positives = np.bincount(rank, weights=weight * positive)
    negatives = np.bincount(rank, weights=weight * (1 - positive))
    pairs = positives.sum() * negatives.sum()
    below = np.cumsum(negatives) - negatives
    return float(np.dot(positives, below + negatives / 2) / pairs) if pairs else math.nan


@final
@dataclass(frozen=True)
class AveragePrecision(Ranking):
    """Average precision: the area under the precision-recall curve, in steps.

    ::

        sum over thresholds n of (R_n - R_n-1) P_n

    With several outputs it is the mean over the classes, one versus rest. NaN if a class has no rows.

    Notes
    -----
    Same as scikit-learn's average_precision_score, whose value for a class without rows is 0. Keeps all scores until
    the end.

    Examples
    --------
    >>> AveragePrecision().name
    'average_precision'
    """

    name: ClassVar[str] = "average_precision"

    def area(self, weight: Array, score: Array, positive: Array) -> float:
        _, rank = np.unique(-score, return_inverse=True)
        found = np.bincount(rank, weights=weight * positive)
        above = np.cumsum(np.bincount(rank, weights=weight))  # weight of the rows at least as high
        if not found.any():
            return math.nan
        precision = np.cumsum(found) / np.where(above > 0, above, 1)
        return float(np.dot(found, precision) / found.sum())
