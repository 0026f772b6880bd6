"""Loss and score on held-out rows, per epoch."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import check_scoring

from fastbp.data.arrays import Rows
from fastbp.estimators.architecture import OutputDesign
from fastbp.util.console import tell
from fastbp.util.types import Array


class HeldOutRows(NamedTuple):
    """Held-out rows: in the engine's form, and X and y for a scorer."""

    rows: Rows
    X: Any
    y: Array


class Validation:
    """Evaluates an estimator on held-out rows, in one pass of its engine.

    The score is that of scikit-learn's MLP (accuracy, or R²), or as set by `scoring`.
    """

    def __init__(self, held: HeldOutRows, design: OutputDesign, estimator: Any, n_threads: int | None) -> None:
        self.held, self.design, self.n_threads = held, design, n_threads
        self.by_loss = estimator.scoring == "loss"
        scored = estimator.scoring is not None and not self.by_loss
        self.scorer = check_scoring(estimator, scoring=estimator.scoring) if scored else None
        self.weighted = held.rows.weight is not None and takes_weights(self.scorer)
        if self.scorer is not None and held.rows.weight is not None and not self.weighted:
            warnings.warn(
                f"scoring={estimator.scoring!r} takes no sample_weight: validation scores are not weighted",
                stacklevel=7,
            )
        self.constant = 0.0
        if design.deviance:
            terms = deviance_constants(held.rows.y)
            self.constant = float(np.average(terms, weights=held.rows.weight))

    def measure(self, estimator: Any) -> float:
        """The current score, recorded together with the loss."""
        rows, engine = self.held.rows, estimator.model_.trainer.engine
        outputs = np.empty((len(rows.X), self.design.units), engine.dtype)
        loss = engine.evaluate(rows.X, rows.y, sample_weight=rows.weight, outputs=outputs, n_threads=self.n_threads)
        loss = self.design.loss_scale * loss + self.constant
        score = self._score(estimator, outputs, loss)
        self.note(estimator, score, loss)
        if estimator.verbose:
            tell(f"Validation score: {score:f}")
        return score

    def note(self, estimator: Any, score: float, loss: float) -> None:
        """Append to the validation curves."""
        estimator.validation_scores_.append(float(score))
        estimator.validation_loss_curve_.append(float(loss))

    def _score(self, estimator: Any, outputs: Array, loss: float) -> float:
        if self.by_loss:
            return -loss
        if self.scorer is not None:
            weight = {"sample_weight": self.held.rows.weight} if self.weighted else {}
            return float(self.scorer(unchecked(estimator), self.held.X, self.held.y, **weight))
        if not np.isfinite(outputs).all():
            return np.nan
        return float(estimator._score_outputs(outputs, self.held.rows.y, self.held.rows.weight))


def takes_weights(scorer: Any) -> bool:
    """Whether a scorer, or the function it was made of, has sample_weight."""
    try:
        arguments = inspect.signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    except (TypeError, ValueError):  # unknown, as of some built-in functions
        return False
    return any(each.name == "sample_weight" or each.kind is each.VAR_KEYWORD for each in arguments)


def unchecked(estimator: Any) -> Any:
    """A copy of the estimator without its feature names, which X lost when it was validated."""
    result = object.__new__(type(estimator))
    vars(result).update({name: value for name, value in vars(estimator).items() if name != "feature_names_in_"})
    return result


def deviance_constants(y: Array) -> Array:
    """The part of the Poisson deviance of a row beyond exp(z) - y z: the sum of y log y - y."""
    wide = y.astype(np.float64)
    logarithms = np.log(np.where(wide > 0, wide, 1.0))
    constants: Array = (wide * logarithms - wide).sum(axis=1)
    return constants


def accuracy(right: Array, weight: Array | None) -> float:
    """The (weighted) share of correct rows."""
    return float(np.average(right, weights=weight))


def r2(y: Array, predicted: Array, weight: Array | None) -> float:
    """scikit-learn's R²: 1 - residual / total sum of squares, averaged over outputs; constant y: 0, or 1 if exact.

    >>> r2(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [4.0]]), None)
    0.5
    """
    w = np.ones((len(y), 1)) if weight is None else weight[:, np.newaxis].astype(np.float64)
    y = y.astype(np.float64)
    residual = (w * (y - predicted) ** 2).sum(axis=0)
    total = (w * (y - np.average(y, axis=0, weights=None if weight is None else weight)) ** 2).sum(axis=0)
    scores = np.where(residual == 0, 1.0, 0.0)
    varied = (total != 0) & (residual != 0)
    scores[varied] = 1 - residual[varied] / total[varied]
    return float(scores.mean())
