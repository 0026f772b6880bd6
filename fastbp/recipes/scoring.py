"""Callbacks of a member's fit: a score by any scorer of scikit-learn, and the end of all when one has failed."""

from __future__ import annotations

import math
from threading import Event
from typing import Any, NamedTuple

from sklearn.metrics import check_scoring

from fastbp.callbacks import Callback
from fastbp.estimators.validation import takes_weights
from fastbp.util.types import Array


class Features(NamedTuple):
    """Features that are computed already, which an estimator's methods take for X."""

    values: Array

    def __len__(self) -> int:
        return len(self.values)


class Scoring(Callback):
    """Adds ``val_score`` to the logs: an estimator's score on the rows held out, weighted if the scorer takes weights.

    Parameters
    ----------
    estimator
        With the one model that is trained.
    scoring : str or callable
        Of scikit-learn.
    X : Features
        Of the rows held out.
    held
        Rows with y as the user gave it, and weights.
    """

    def __init__(self, estimator: Any, scoring: Any, X: Features, held: Any) -> None:
        self.estimator, self.X, self.held, self.scoring = estimator, X, held, scoring
        self.scorer = check_scoring(estimator, scoring)
        weighted = held.weight is not None and takes_weights(self.scorer)
        self.weights = {"sample_weight": held.weight} if weighted else {}

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        score = float(self.scorer(self.estimator, self.X, self.held.y, **self.weights))
        if math.isnan(score):
            raise ValueError(
                f"scoring={self.scoring!r} is NaN on the rows held out, as where they lack a class: choose another "
                "scorer, fewer folds, or pass X_val and y_val"
            )
        logs["val_score"] = score


class StopOnEvent(Callback):
    """Ends the fit when an event is set."""

    def __init__(self, event: Event) -> None:
        self.event = event

    def on_slice_end(self) -> None:
        if self.event.is_set():
            self.model.stop_training = True
