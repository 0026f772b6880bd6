"""What all callbacks share: hooks that do nothing, states for files, and a figure to monitor."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastbp.training.hooks import does_nothing

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential
    from fastbp.training.fit import Fit

Logs = dict[str, float]

_LARGER_IS_BETTER = ("accuracy", "auc", "r2", "precision", "recall", "f1")


class Callback:
    """Something that `fit` calls while it trains; a base whose hooks do nothing.

    In the order of calls: set_model, set_fit, on_train_begin; for each epoch, from 0, on_epoch_begin and on_epoch_end
    with its loss and metrics in `logs`; on_slice_end after every slice of steps, some 0.1 s, when what an epoch's end
    brought has been done; on_train_end. What on_epoch_end adds to `logs` callbacks further down the list see too, and
    the history. ``self.model.stop_training = True``, or `stop`, ends training with the slice.
    An object of any class with some of these methods will do as well. As Keras's Callback, without hooks at batches.

    >>> class Print(Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         print(epoch, sorted(logs))
    >>> model = Sequential([Dense(1)])
    >>> model.compile("sgd", "mse", ["mae"])
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], callbacks=[Print()])
    0 ['loss', 'mae']
    """

    model: Sequential
    fit: Fit | None = None
    stop_reason: str | None = None

    def set_model(self, model: Sequential) -> None:
        """Called first: the model that is trained."""
        self.model = model
        self.stop_reason = None

    def set_fit(self, fit: Fit | None) -> None:
        """The fit under way, which tells how far it is and can be saved; None when it is over."""
        self.fit = fit

    @does_nothing
    def on_train_begin(self, logs: Logs) -> None:
        """Called before the first epoch."""

    @does_nothing
    def on_train_end(self, logs: Logs) -> None:
        """Called after the last epoch, also where training was stopped; not after an error or Ctrl-C."""

    @does_nothing
    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Called before an epoch; not again where an interrupted fit goes on in the middle of one."""

    @does_nothing
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Called after an epoch and its validation."""

    @does_nothing
    def on_slice_end(self) -> None:
        """Called after every slice of steps."""

    def get_state(self) -> Any:
        """What a resumed fit must know, of dicts, lists, numbers, texts and arrays; None for nothing."""
        return None

    def set_state(self, state: Any) -> None:
        """Go on from there; called after on_train_begin."""

    def stop(self, reason: str) -> None:
        """Stop training; the history will tell why."""
        self.stop_reason = reason
        self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions, each called as the method of its name.

    Raises TypeError for what is no function. As Keras's, without hooks at batches.

    >>> losses = []
    >>> note = LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]))
    """

    def __init__(
        self,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        for name, function in given.items():
            if function is not None:
                if not callable(function):
                    raise TypeError(f"{name} must be a function, but {function!r} came: pass one, or None")
                setattr(self, name, function)


class Monitor:
    """The figure of an epoch's logs that a callback goes by, and which of two values is the better.

    mode: "min", "max", or "auto": "max" for names that end in accuracy, auc, r2, precision, recall or f1, else "min".
    min_delta: how much better a value must be.

    >>> Monitor("val_accuracy").better(0.9, 0.8)
    True
    """

    def __init__(self, name: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', but {mode!r} came: pass one of these")
        self.name, self._missed = name, False
        larger = name.endswith(_LARGER_IS_BETTER) if mode == "auto" else mode == "max"
        self._sign, self._min_delta = (1.0 if larger else -1.0), abs(min_delta)

    @property
    def worst(self) -> float:
        """What every value is better than."""
        return -self._sign * math.inf

    def better(self, value: float, than: float) -> bool:
        """Whether a value is better than another by more than min_delta; NaN never is."""
        return self._sign * (value - than) > self._min_delta if math.isfinite(than) else self._sign * (value - than) > 0

    def of(self, logs: Logs) -> float | None:
        """The figure, None with a warning where there is none."""
        if self.name in logs:
            return logs[self.name]
        if not self._missed:
            remedy = ": pass validation_data" if self.name.startswith("val_") else ""
            warnings.warn(
                f"monitor={self.name!r} is none of the figures of an epoch, {', '.join(logs)}{remedy}", stacklevel=2
            )
            self._missed = True
        return None


def say(verbose: int, message: str) -> None:
    """Tell the user, where that is wanted."""
    if verbose:
        print(message, file=sys.stderr)
