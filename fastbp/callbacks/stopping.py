"""Callbacks that end training before its last epoch."""

from __future__ import annotations

import math
from typing import Any

from fastbp.callbacks.base import Callback, Logs, Monitor, say
from fastbp.util.arguments import count, flag
from fastbp.util.types import Array


class EarlyStopping(Callback):
    """Stop when a figure has not become better for a number of epochs.

    monitor: a name in the history. min_delta: how much better counts. patience: after so many epochs in a row without,
    training stops. mode: see `Monitor`. baseline: until the figure is better than this nothing counts as better.
    restore_best_weights: at the end of training, stopped or not, the model gets the weights of its best epoch.
    start_from_epoch: earlier ones (from 0) are not looked at. verbose: 1 tells on standard error.
    history.stopped is then "early_stopping"; stopped_epoch and best_epoch are numbers of epochs from 0.
    Raises TypeError or ValueError for arguments out of range; warns, once, where there is no such figure.

    >>> stopping = EarlyStopping(patience=3, restore_best_weights=True)

    Goodfellow et al. 2016, algorithm 7.1. As Keras's.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        self._monitor = Monitor(monitor, mode, min_delta)
        self.patience = count(patience, "patience", 0)
        self.start_from_epoch = count(start_from_epoch, "start_from_epoch", 0)
        self.baseline, self.verbose = baseline, verbose
        self.restore_best_weights = flag(restore_best_weights, "restore_best_weights")
        self._reset()

    def _reset(self) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best = self._monitor.worst
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self._monitor.of(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self._monitor.better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._monitor.better(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.stop("early_stopping")

    def on_train_end(self, logs: Logs) -> None:
        if self.stopped_epoch > 0:
            say(self.verbose, f"epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            say(self.verbose, f"restoring the weights of the best epoch, {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        names = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: dict[str, Any]) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = state["wait"], state["stopped_epoch"], state["best_epoch"]
        self.best, self.best_weights = state["best"], state["best_weights"]


class TerminateOnNaN(Callback):
    """Stop when the loss of an epoch, or that on validation data, is infinite or not a number.

    `fit` itself stops, with a DivergenceWarning, at the step whose loss is not finite and keeps the weights finite;
    left for this callback are losses on validation data. history.stopped is then "terminate_on_nan". Keras's looks at
    every batch.

    >>> TerminateOnNaN()
    TerminateOnNaN()
    """

    def __repr__(self) -> str:
        return "TerminateOnNaN()"

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if not all(math.isfinite(logs[name]) for name in ("loss", "val_loss") if name in logs):
            self.stop("terminate_on_nan")
