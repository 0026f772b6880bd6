"""Schedules that only fall: in steps, exponentially, as a power, along a cosine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastbp.schedules.base import Rates, Schedule, check_count, check_number, half_cosine
from fastbp.util.arguments import flag
from fastbp.util.fields import set_fields

__all__ = ["CosineDecay", "ExponentialDecay", "PiecewiseConstant", "PolynomialDecay", "StepDecay"]


@dataclass(frozen=True)
class StepDecay(Schedule):
    """A learning rate that drops every `decay_steps` updates.

    ::

        initial_learning_rate * decay_rate^floor(t / decay_steps)

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate of the first update, at least 0.
    decay_steps : int
        Updates between drops, at least 1.
    decay_rate : float, optional
        Factor of each drop, in [0, 1].

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    Notes
    -----
    PyTorch's StepLR(step_size=decay_steps, gamma=decay_rate); Keras's ExponentialDecay(staircase=True).

    Examples
    --------
    >>> StepDecay(1.0, decay_steps=2, decay_rate=0.5)(np.arange(5)).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float = 0.1

    def __post_init__(self) -> None:
        check_number("initial_learning_rate", self.initial_learning_rate)
        check_count("decay_steps", self.decay_steps)
        check_number("decay_rate", self.decay_rate, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        return self.initial_learning_rate * self.decay_rate ** np.floor(t / self.decay_steps)


@dataclass(frozen=True)
class PiecewiseConstant(Schedule):
    """A piecewise constant learning rate: values[0] before update boundaries[0], values[1] from then on, and so on.

    Parameters
    ----------
    boundaries : sequence of int
        Increasing update numbers, each at least 1.
    values : sequence of float
        Learning rates, one more than boundaries.

    Raises
    ------
    ValueError
        If a value is out of range, boundaries do not increase, or there is not one value more than boundaries.
    TypeError
        If an argument is not a sequence of numbers.

    Notes
    -----
    PyTorch's MultiStepLR changes at the same updates; Keras's PiecewiseConstantDecay changes one update later.

    Examples
    --------
    >>> PiecewiseConstant([2, 3], [0.1, 0.01, 0.001])(np.arange(5)).tolist()
    [0.1, 0.1, 0.01, 0.001, 0.001]
    """

    boundaries: Sequence[int]
    values: Sequence[float]

    def __post_init__(self) -> None:
        for name in ("boundaries", "values"):
            try:
                set_fields(self, **{name: tuple(getattr(self, name))})
            except TypeError:
                raise TypeError(f"{name} must be a list, got {getattr(self, name)!r}: put it in a list") from None
        for boundary in self.boundaries:
            check_count("boundaries", boundary)
        for value in self.values:
            check_number("values", value)
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must increase, got {list(self.boundaries)}: sort them")
        if len(self.values) != len(self.boundaries) + 1:
            got = f"{len(self.values)} and {len(self.boundaries)}"
            raise ValueError(f"values must be one more than boundaries, got {got}: add the first learning rate")

    def _rates(self, t: Rates) -> Rates:
        return np.asarray(self.values, np.float64)[np.searchsorted(np.asarray(self.boundaries), t, side="right")]


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """A learning rate that decays exponentially.

    ::

        initial_learning_rate * decay_rate^(t / decay_steps)

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate of the first update, at least 0.
    decay_steps : int
        Updates in which the learning rate is multiplied by decay_rate, at least 1.
    decay_rate : float
        Factor per decay_steps updates, in [0, 1].
    staircase : bool, optional
        Whether to round t / decay_steps down.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    Same as Keras's ExponentialDecay; with decay_steps=1 as PyTorch's ExponentialLR(gamma=decay_rate).

    Examples
    --------
    >>> ExponentialDecay(1.0, decay_steps=1, decay_rate=0.5)(np.arange(4)).tolist()
    [1.0, 0.5, 0.25, 0.125]
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        check_number("initial_learning_rate", self.initial_learning_rate)
        check_count("decay_steps", self.decay_steps)
        check_number("decay_rate", self.decay_rate, 0.0, 1.0)
        flag(self.staircase, "staircase")

    def _rates(self, t: Rates) -> Rates:
        exponent = t / self.decay_steps
        return self.initial_learning_rate * self.decay_rate ** (np.floor(exponent) if self.staircase else exponent)


@dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """A learning rate that falls to `end_learning_rate` as a power of the remaining updates.

    ::

        end_learning_rate + (initial_learning_rate - end_learning_rate) (1 - min(t / decay_steps, 1))^power

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate of the first update, at least 0.
    decay_steps : int
        Updates until the end, at least 1.
    end_learning_rate : float, optional
        Learning rate from then on, at least 0.
    power : float, optional
        Exponent, at least 0; 1 for linear decay.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    Notes
    -----
    As in PyTorch's PolynomialLR, whose total_iters is decay_steps, the default ends at 0; Keras's ends at 1e-4.

    Examples
    --------
    >>> PolynomialDecay(1.0, decay_steps=4)(np.arange(6)).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        check_number("initial_learning_rate", self.initial_learning_rate)
        check_count("decay_steps", self.decay_steps)
        check_number("end_learning_rate", self.end_learning_rate)
        check_number("power", self.power)

    def _rates(self, t: Rates) -> Rates:
        remaining = 1 - np.minimum(t / self.decay_steps, 1)
        return self.end_learning_rate + (self.initial_learning_rate - self.end_learning_rate) * remaining**self.power


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """A learning rate that falls along half a cosine wave.

    ::

        initial_learning_rate (alpha + (1 - alpha) (1 + cos(pi s)) / 2)        s = min(t / decay_steps, 1)

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate of the first update, at least 0.
    decay_steps : int
        Updates until the end, at least 1.
    alpha : float, optional
        Final learning rate as a fraction of the initial one, in [0, 1].

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    See Also
    --------
    Warmup : Put a linear warm-up before it.

    Notes
    -----
    Like Keras's CosineDecay, whose warm-up is `Warmup` here. PyTorch's CosineAnnealingLR(T_max=decay_steps,
    eta_min=alpha * initial_learning_rate) rises again after T_max.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.

    Examples
    --------
    >>> CosineDecay(1.0, decay_steps=4)(np.arange(6)).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]

    >>> model = Sequential([Dense(16, "relu"), Dense(1)])
    >>> model.compile(Adam(CosineDecay(1e-2, decay_steps=1000)), "mse")
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0

    def __post_init__(self) -> None:
        check_number("initial_learning_rate", self.initial_learning_rate)
        check_count("decay_steps", self.decay_steps)
        check_number("alpha", self.alpha, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        return self.initial_learning_rate * half_cosine(np.minimum(t / self.decay_steps, 1), self.alpha)
