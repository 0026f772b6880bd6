"""Callbacks that end training early."""

from __future__ import annotations

import math
from typing import Any

from fastbp.callbacks.base import Callback, Logs, Monitor, log
from fastbp.util.arguments import count, flag
from fastbp.util.types import Array

__all__ = ["EarlyStopping", "TerminateOnNaN"]


class EarlyStopping(Callback):
    """Stop training when a metric has stopped improving.

    Parameters
    ----------
    monitor : str, optional
        Name of the metric in the history.
    min_delta : float, optional
        The least difference that counts as an improvement.
    patience : int, optional
        Epochs in a row without improvement after which training stops.
    verbose : int, optional
        1 reports to standard error.
    mode : {"auto", "min", "max"}, optional
        Whether smaller or larger is better; "auto": as for the metric of that name (see `fastbp.metrics`), which also
        works for names that end in one, such as "my_accuracy". A metric of unknown direction needs "min" or "max".
    baseline : float, optional
        Value that the metric must be better than for an epoch to count as an improvement.
    restore_best_weights : bool, optional
        Whether the model ends with the weights of its best epoch, whether training was stopped or not.
    start_from_epoch : int, optional
        First epoch, counted from 0, to be monitored.
    ties : {"first", "last"}, optional
        Which of several epochs that are equally good is the best one. With "last", training goes on after an epoch as
        good as the best, and min_delta plays no part in it.

    Attributes
    ----------
    stopped_epoch, best_epoch : int
        Epochs, counted from 0.

    Raises
    ------
    ValueError
        If a value is out of range; by `fit`, if the direction of the metric is unknown.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    `history.stopped` is then "early_stopping". If the metric is missing, one warning says so. Same as Keras's
    EarlyStopping, which has no `ties`; metrics of few rows, such as an accuracy, are often equal.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, algorithm 7.1.

    Examples
    --------
    >>> model = Sequential([Dense(4, "tanh"), Dense(1)])
    >>> model.compile("adam", "mse")
    >>> X, y = np.linspace(-1, 1, 20)[:, None], np.linspace(0, 1, 20)
    >>> stopping = EarlyStopping(patience=3, restore_best_weights=True)
    >>> history = model.fit(X, y, epochs=10, validation_data=(X, y), callbacks=[stopping])
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
        ties: str = "first",
    ) -> None:
        self._monitor = Monitor(monitor, mode, min_delta)
        self.patience = count(patience, "patience", 0)
        self.start_from_epoch = count(start_from_epoch, "start_from_epoch", 0)
        self.baseline, self.verbose = baseline, verbose
        self.restore_best_weights = flag(restore_best_weights, "restore_best_weights")
        if ties not in ("first", "last"):
            raise ValueError(f"ties must be 'first' or 'last', got {ties!r}: pass one of these")
        self.ties = ties
        self._reset()

    def _reset(self) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best = self._monitor.worst
        self.best_weights: list[Array] | None = None

    def on_train_begin(self, logs: Logs) -> None:
        self._monitor.resolve(self.model)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self._monitor.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self._monitor.better(value, self.best) or (self.ties == "last" and value == self.best):
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
            log(self.verbose, f"epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            log(self.verbose, f"restoring the weights of the best epoch, {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)

    def get_state(self) -> dict[str, Any]:
        names = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")
        return {name: getattr(self, name) for name in names}

    def set_state(self, state: dict[str, Any]) -> None:
        self.wait, self.stopped_epoch, self.best_epoch = state["wait"], state["stopped_epoch"], state["best_epoch"]
        self.best, self.best_weights = state["best"], state["best_weights"]


class TerminateOnNaN(Callback):
    """Stop training when the training or validation loss of an epoch is infinite or NaN.

    Notes
    -----
    `fit` itself stops, with a DivergenceWarning, at the first step whose loss is not finite, and keeps the weights
    finite; so what remains for this callback are validation losses. `history.stopped` is then "terminate_on_nan".
    Keras's checks every batch.

    Examples
    --------
    >>> TerminateOnNaN()
    TerminateOnNaN()
    """

    def __repr__(self) -> str:
        return "TerminateOnNaN()"

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if not all(math.isfinite(logs[name]) for name in ("loss", "val_loss") if name in logs):
            self.stop("terminate_on_nan")
