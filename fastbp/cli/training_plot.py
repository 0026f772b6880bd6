"""The plot of `fastbp train`: learning curves, and the predictions of the test rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.callbacks.base import Callback, Logs
from fastbp.plots.figures import done, new_figure
from fastbp.plots.learning_curves import draw_history
from fastbp.plots.predictions import draw_confusion_matrix, draw_predictions, matrix_side
from fastbp.util.types import Array

MOST_ROWS = 10_000  # training rows of which the accuracy is computed after every epoch


class TrainingPicture(Callback):
    """Callback that evaluates the test rows after every epoch, and plots the result.

    X, targets: the test rows as in fit; y: their class numbers (n,), or targets (n, outputs); class_names: names of the
    classes, empty for regression. The model is not trained on these rows. train: X and class numbers of the training
    rows, whose accuracy is drawn, too; title: dataset and loss.
    """

    def __init__(
        self,
        X: Array,
        targets: Array,
        y: Array,
        class_names: Sequence[Any] = (),
        *,
        train: tuple[Array, Array] | None = None,
        title: str = "",
    ) -> None:
        self._X, self._targets, self._y, self.class_names = X, targets, y, list(class_names)
        self._train, self._title = train, title
        if train is not None:
            some = np.linspace(0, len(train[0]) - 1, min(len(train[0]), MOST_ROWS)).astype(np.int64)
            self._train = train[0][some], train[1][some]
        self.columns: dict[str, list[float]] = {}

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        seen = {"loss": logs["loss"], "val_loss": self.model.evaluate(self._X, self._targets)["loss"]}
        if self.class_names:
            if self._train is not None:
                seen["accuracy"] = self._accuracy(*self._train)
            seen["val_accuracy"] = self._accuracy(self._X, self._y)
        for name, value in seen.items():
            self.columns.setdefault(name, []).append(value)

    def _accuracy(self, X: Array, y: Array) -> float:
        return float(np.mean(self.model.predict(X).argmax(axis=1) == y))

    def draw(self, outputs: Array, y: Array, path: str | os.PathLike[str] | None = None) -> Any:
        """Plot the learning curves, and the confusion matrix or the predictions; outputs, y: of the test rows."""
        classes = len(self.class_names)
        side = max(matrix_side(classes), 5.0) + 0.6
        if not self.columns:  # ended within the first epoch
            figure = new_figure(side + 1.0, side)
            right = figure
        else:
            figure = new_figure(5.6 + side + 1.0, side)
            left, right = figure.subfigures(1, 2, width_ratios=(5.6, side + 1.0))
            draw_history(left, self.columns, held_out="test")
        if classes:
            draw_confusion_matrix(right, y, outputs.argmax(axis=1), self.class_names)
        else:
            draw_predictions(right, y, outputs)
        if self._title:
            figure.suptitle(self._title)
        return done(figure, path)
