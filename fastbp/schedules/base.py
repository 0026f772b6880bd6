"""What all schedules share: the base class, checks of arguments, the cosine."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.util.fields import any_number

Steps = npt.NDArray[np.int64]
Rates = npt.NDArray[np.float64]


class Schedule(ABC):
    """Base class: a learning rate as a function of update numbers.

    See Also
    --------
    fastbp.LearningRateScheduler : A callback that sets the learning rate once per epoch.
    """

    def __call__(self, steps: Any) -> Rates:
        """The learning rates at these updates (an int or an array of ints >= 0), in the same shape."""
        rates = self._rates(np.asarray(steps, np.int64).astype(np.float64))
        return np.asarray(rates, np.float64)

    @abstractmethod
    def _rates(self, t: Rates) -> Rates:
        """The learning rates at t, update numbers as float64."""


def check_number(name: str, value: Any, low: float = 0.0, high: float = math.inf) -> None:
    """Check low <= value <= high, finite."""
    any_number(value, name)
    if not (low <= value <= high and math.isfinite(value)):
        bounds = f"at least {low:g} and finite" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be {bounds}, got {value!r}: pass such a number")


def check_count(name: str, value: Any, minimum: int = 1) -> None:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}: pass an int")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}: pass a larger number")


def passed(t: Rates, start: float, end: float) -> Rates:
    """The fraction of the way from start to end, from 0 before it to 1 behind it."""
    return np.clip((t - start) / (end - start), 0, 1) if end > start else (t >= end).astype(np.float64)


def half_cosine(fraction: Rates, alpha: float) -> Rates:
    """Half a cosine wave, from 1 at fraction 0 to alpha at fraction 1."""
    return alpha + (1 - alpha) * 0.5 * (1 + np.cos(np.pi * fraction))
