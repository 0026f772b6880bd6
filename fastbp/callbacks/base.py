"""What all callbacks share: hooks that do nothing, saved states, and the monitored metric."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastbp import metrics
from fastbp.training.hooks import does_nothing
from fastbp.util.arguments import count, did_you_mean
from fastbp.util.console import say

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential
    from fastbp.training.fit import Fit

Logs = dict[str, float]


class Callback:
    """Base class of callbacks; its hooks do nothing.

    Order of the calls: set_model, set_fit, on_train_begin; for each epoch, from 0, on_epoch_begin and on_epoch_end,
    with loss and metrics in `logs`; on_slice_end after every slice of steps (about 0.1 s), after the hooks of an epoch
    that ended in it; on_train_end. Entries that on_epoch_end adds to `logs` are seen by callbacks later in the list and
    recorded in the history. ``self.model.stop_training = True``, or `stop`, ends training after the slice.

    Attributes
    ----------
    epoch_period : int, default 1
        Call on_epoch_begin and on_epoch_end only every so many epochs: tiny networks need not pause after each.

    Notes
    -----
    An object of any class with some of these methods works too. Like Keras's Callback, without hooks per batch: `fit`
    refuses a callback that has them.

    Examples
    --------
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
    epoch_period: int = 1

    def set_model(self, model: Sequential) -> None:
        """Called first, with the model that is trained."""
        self.model = model
        self.stop_reason = None

    def set_fit(self, fit: Fit | None) -> None:
        """Called with the current fit, which knows its progress and can be saved; with None when it is over."""
        self.fit = fit

    @does_nothing
    def on_train_begin(self, logs: Logs) -> None:
        """Called before the first epoch."""

    @does_nothing
    def on_train_end(self, logs: Logs) -> None:
        """Called after the last epoch, also if training was stopped; not after an error or Ctrl-C."""

    @does_nothing
    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Called before an epoch; not again if a fit resumes in the middle of it."""

    @does_nothing
    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Called after an epoch and its validation."""

    @does_nothing
    def on_slice_end(self) -> None:
        """Called after every slice of steps."""

    def get_state(self) -> Any:
        """The state a resumed fit needs, made of dicts, lists, numbers, strings and arrays; None for none."""
        return None

    def set_state(self, state: Any) -> None:
        """Restore a state; called after on_train_begin."""

    def stop(self, reason: str) -> None:
        """Stop training; the reason is recorded in the history."""
        self.stop_reason = reason
        self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions, each called as the hook of its name.

    Parameters
    ----------
    on_epoch_begin, on_epoch_end : callable, optional
        Functions of the epoch and its logs.
    on_train_begin, on_train_end : callable, optional
        Functions of the logs.
    on_slice_end : callable, optional
        Function without arguments.
    every : int, default 1
        Call on_epoch_begin and on_epoch_end only every so many epochs; training does not pause in between.

    Raises
    ------
    TypeError
        If an argument is not a function.

    Notes
    -----
    Like Keras's LambdaCallback, without hooks per batch.

    Examples
    --------
    >>> losses = []
    >>> record = LambdaCallback(on_epoch_end=lambda epoch, logs: losses.append(logs["loss"]), every=100)
    """

    def __init__(
        self,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
        on_slice_end: Callable[[], Any] | None = None,
        *,
        every: int = 1,
    ) -> None:
        self.epoch_period = count(every, "every")
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_slice_end": on_slice_end,
        }
        for name, function in given.items():
            if function is not None:
                if not callable(function):
                    raise TypeError(f"{name} must be a function, got {function!r}: pass a function or None")
                setattr(self, name, function)


class Monitor:
    """The metric in the epoch logs that a callback monitors, and which of two values is better.

    mode: "min", "max", or "auto": the direction of the metric, which may be one of the model's own, see `resolve`.
    min_delta: the least difference that counts as an improvement.

    >>> Monitor("val_accuracy").better(0.9, 0.8)
    True
    """

    def __init__(self, name: str, mode: str = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}: pass one of these")
        self.name, self._missed, self._mode = name, False, mode
        self.direction = metrics.direction_of(name) if mode == "auto" else mode
        self._min_delta = abs(min_delta)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from a pickle; those of earlier versions contain the sign of the direction."""
        if "_sign" in state:
            mode = "max" if state.pop("_sign") > 0 else "min"
            state |= {"direction": mode, "_mode": mode}
        vars(self).update(state)

    def resolve(self, model: Any) -> None:
        """Learn the direction of the model's own metrics, before training; ValueError if it stays unknown."""
        if self._mode == "auto":
            own = model.metrics if getattr(model, "compiled", False) else ()
            self.direction = metrics.direction_of(self.name, own)
        if self.direction is None:
            meant = did_you_mean(self.name.removeprefix("val_"), ["loss", "score", *metrics.NAMES])
            raise ValueError(
                f"mode must be 'min' or 'max' for the metric {self.name!r}, whose direction is not known: pass "
                f"mode='max' if larger values are better{meant if 'did you' in meant else ''}"
            )

    @property
    def _sign(self) -> float:
        return 1.0 if self.direction == "max" else -1.0

    @property
    def worst(self) -> float:
        """A value that every other one improves on; NaN while the direction is unknown."""
        return math.nan if self.direction is None else -self._sign * math.inf

    def better(self, value: float, than: float) -> bool:
        """Whether a value is better than another by more than min_delta; NaN never is."""
        return self._sign * (value - than) > self._min_delta if math.isfinite(than) else self._sign * (value - than) > 0

    def value(self, logs: Logs) -> float | None:
        """The value of the metric; None, with a warning the first time, if it is missing."""
        if self.name in logs:
            return logs[self.name]
        if not self._missed:
            remedy = "pass validation_data" if self.name.startswith("val_") else "pass one of these"
            warnings.warn(
                f"monitor must be one of the metrics of an epoch, {', '.join(logs)}, got {self.name!r}: {remedy}",
                stacklevel=2,
            )
            self._missed = True
        return None


def log(verbose: int, message: str) -> None:
    """Print a message to standard error if verbose."""
    if verbose:
        say(message)
