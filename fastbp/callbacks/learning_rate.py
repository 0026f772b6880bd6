"""Callbacks that change the learning rate between epochs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastbp.callbacks.base import Callback, Logs, Monitor, say
from fastbp.util.arguments import count


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of every epoch.

    schedule: a function of the epoch, from 0, and, if it takes two arguments, of the learning rate before; it returns
    the one to come. verbose: 1 tells on standard error. The history gets the column "learning_rate".
    Raises TypeError or ValueError where schedule returns anything but a finite number of at least 0.
    For a rate that changes from step to step give the optimizer a schedule; a rate set here multiplies it.

    >>> halve = LearningRateScheduler(lambda epoch, rate: rate / 2)

    As Keras's.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        if not callable(schedule):
            raise TypeError(f"schedule must be a function of the epoch, but {schedule!r} came: pass one")
        self.schedule, self.verbose = schedule, verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        rate = self.schedule(epoch, self.model.learning_rate) if self._takes_rate else self.schedule(epoch)
        self.model.learning_rate = rate
        say(self.verbose, f"epoch {epoch + 1}: learning rate {float(rate):g}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        logs["learning_rate"] = self.model.learning_rate


def _takes_two(function: Callable[..., float]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # of a built-in function nothing is known
        return False
    return True


class ReduceLROnPlateau(Callback):
    """Multiply the learning rate by a factor when a figure has not become better for a number of epochs.

    monitor, mode, patience: see EarlyStopping. factor: in (0, 1). min_delta: how much better counts. cooldown: epochs
    after a reduction in which none counts as without improvement. min_lr: no rate below this. verbose: 1 tells on
    standard error. The history gets the column "learning_rate". A schedule of the optimizer goes on, multiplied.
    Raises ValueError for a factor outside (0, 1).

    >>> plateau = ReduceLROnPlateau(factor=0.2, patience=5)

    As Keras's; PyTorch's counts patience + 1 epochs.
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
            raise ValueError(f"factor must lie between 0 and 1, but {factor!r} came: pass for example 0.1")
        self._monitor = Monitor(monitor, mode, min_delta)
        self.factor, self.min_lr, self.verbose = factor, min_lr, verbose
        self.patience, self.cooldown = count(patience, "patience", 0), count(cooldown, "cooldown", 0)
        self._reset()

    def _reset(self) -> None:
        self.best, self.wait, self.cooldown_counter = self._monitor.worst, 0, 0

    def on_train_begin(self, logs: Logs) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        logs["learning_rate"] = self.model.learning_rate
        value = self._monitor.of(logs)
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
        rate = self.model.learning_rate
        if rate > self.min_lr:
            self.model.learning_rate = max(rate * self.factor, self.min_lr)
            say(self.verbose, f"epoch {epoch + 1}: learning rate reduced to {self.model.learning_rate:g}")
            self.cooldown_counter, self.wait = self.cooldown, 0

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best, self.wait, self.cooldown_counter = state["best"], state["wait"], state["cooldown_counter"]
