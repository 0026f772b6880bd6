"""Callbacks that change the learning rate between epochs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastbp.callbacks.base import Callback, Logs, Monitor, log
from fastbp.util.arguments import count

__all__ = ["LearningRateScheduler", "ReduceLROnPlateau"]


class LearningRateScheduler(Callback):
    """Set the learning rate at the start of every epoch.

    Parameters
    ----------
    schedule : callable
        A function of the epoch, counted from 0, and, if it takes two arguments, of the current learning rate; it
        returns the learning rate of the epoch.
    verbose : int, optional
        1 reports to standard error.

    Raises
    ------
    ValueError
        If schedule returns a number that is negative or not finite.
    TypeError
        If schedule is not a function, or does not return a number.

    See Also
    --------
    fastbp.optimizers.Optimizer : Takes a schedule by steps, which a value set here scales.

    Notes
    -----
    The history gets the column "learning_rate". Same as Keras's LearningRateScheduler.

    Examples
    --------
    >>> halve = LearningRateScheduler(lambda epoch, learning_rate: learning_rate / 2)
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be a function of the epoch, got {schedule!r}: pass a function")
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        before = self.model.learning_rate
        learning_rate = self.schedule(epoch, before) if self._takes_rate else self.schedule(epoch)
        self.model.learning_rate = learning_rate
        log(self.verbose, f"epoch {epoch + 1}: learning rate {float(learning_rate):g}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        logs["learning_rate"] = self.model.learning_rate


def _takes_two(function: Callable[..., float]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # built-in functions have no signature
        return False
    return True


class ReduceLROnPlateau(Callback):
    """Reduce the learning rate by a factor when a metric has stopped improving.

    Parameters
    ----------
    monitor, mode : str, optional
        As in `EarlyStopping`.
    factor : float, optional
        Factor of each reduction, in (0, 1).
    patience : int, optional
        Epochs without improvement before a reduction.
    verbose : int, optional
        1 reports to standard error.
    min_delta : float, optional
        The least difference that counts as an improvement.
    cooldown : int, optional
        Epochs after a reduction that do not count as without improvement.
    min_lr : float, optional
        Lower bound on the learning rate.

    Raises
    ------
    ValueError
        If factor is outside (0, 1), or another value is out of range.
    TypeError
        If a count is not an integer.

    Notes
    -----
    The history gets the column "learning_rate". A schedule of the optimizer continues, scaled. Same as Keras's
    ReduceLROnPlateau; PyTorch's waits for patience + 1 epochs.

    Examples
    --------
    >>> plateau = ReduceLROnPlateau(factor=0.2, patience=5)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"factor must lie between 0 and 1, got {factor!r}: pass a number such as 0.1")
        self._monitor = Monitor(monitor, mode, min_delta)
        self.factor, self.min_lr, self.verbose = factor, min_lr, verbose
        self.patience, self.cooldown = count(patience, "patience", 0), count(cooldown, "cooldown", 0)
        self._reset()

    def _reset(self) -> None:
        self.best, self.wait, self.cooldown_counter = self._monitor.worst, 0, 0

    def on_train_begin(self, logs: Logs) -> None:
        self._monitor.resolve(self.model)
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        logs["learning_rate"] = self.model.learning_rate
        value = self._monitor.value(logs)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._monitor.better(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        learning_rate = self.model.learning_rate
        if learning_rate > self.min_lr:
            self.model.learning_rate = max(learning_rate * self.factor, self.min_lr)
            log(self.verbose, f"epoch {epoch + 1}: learning rate reduced to {self.model.learning_rate:g}")
            self.cooldown_counter, self.wait = self.cooldown, 0

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.wait, self.cooldown_counter = state["best"], state["wait"], state["cooldown_counter"]
