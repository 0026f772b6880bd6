"""Learning rate schedules.

A schedule is a frozen description and a function: it maps an int64 array of update numbers t, counted from 0, to a
float64 array of learning rates. With gradient_accumulation_steps one update takes that many steps. Arguments have
Keras's names where it has them; formulas are PyTorch's, whose schedulers count the same way if stepped once per update.
Any other function of that kind works too, but only these classes are saved with a model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.util.arguments import flag
from fastbp.util.fields import any_number, set_fields

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


def _number(name: str, value: Any, low: float = 0.0, high: float = math.inf) -> None:
    """Check low <= value <= high, finite."""
    any_number(value, name)
    if not (low <= value <= high and math.isfinite(value)):
        bounds = f"at least {low:g} and finite" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be {bounds}, got {value!r}: pass such a number")


def _count(name: str, value: Any, minimum: int = 1) -> None:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}: pass an int")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}: pass a larger number")


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
        _number("initial_learning_rate", self.initial_learning_rate)
        _count("decay_steps", self.decay_steps)
        _number("decay_rate", self.decay_rate, 0.0, 1.0)

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
            _count("boundaries", boundary)
        for value in self.values:
            _number("values", value)
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
    As Keras's ExponentialDecay; with decay_steps=1 as PyTorch's ExponentialLR(gamma=decay_rate).

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
        _number("initial_learning_rate", self.initial_learning_rate)
        _count("decay_steps", self.decay_steps)
        _number("decay_rate", self.decay_rate, 0.0, 1.0)
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
    As PyTorch's PolynomialLR, whose total_iters is decay_steps, the default ends at 0; Keras's ends at 1e-4.

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
        _number("initial_learning_rate", self.initial_learning_rate)
        _count("decay_steps", self.decay_steps)
        _number("end_learning_rate", self.end_learning_rate)
        _number("power", self.power)

    def _rates(self, t: Rates) -> Rates:
        remaining = 1 - np.minimum(t / self.decay_steps, 1)
        return self.end_learning_rate + (self.initial_learning_rate - self.end_learning_rate) * remaining**self.power


def _cosine(fraction: Rates, alpha: float) -> Rates:
    """Half a cosine wave, from 1 at fraction 0 to alpha at fraction 1."""
    return alpha + (1 - alpha) * 0.5 * (1 + np.cos(np.pi * fraction))


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
    As Keras's CosineDecay, whose warm-up is `Warmup` here. PyTorch's CosineAnnealingLR(T_max=decay_steps, eta_min=alpha
    * initial_learning_rate) rises again after T_max.

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
        _number("initial_learning_rate", self.initial_learning_rate)
        _count("decay_steps", self.decay_steps)
        _number("alpha", self.alpha, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        return self.initial_learning_rate * _cosine(np.minimum(t / self.decay_steps, 1), self.alpha)


@dataclass(frozen=True)
class CosineDecayRestarts(Schedule):
    """Cosine decay with warm restarts.

    Each cycle is `t_mul` times as long as the one before, and its initial learning rate `m_mul` times as high.

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate of the first update, at least 0.
    first_decay_steps : int
        Updates of the first cycle, at least 1.
    t_mul : float, optional
        Ratio of the lengths of successive cycles, at least 1.
    m_mul : float, optional
        Ratio of their initial learning rates, in [0, 1].
    alpha : float, optional
        Learning rate at the end of a cycle as a fraction of that at its start, in [0, 1].

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    Notes
    -----
    As PyTorch's CosineAnnealingWarmRestarts(T_0=first_decay_steps, T_mult=t_mul), whose T_mult is also 1 by default;
    Keras's t_mul is 2.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.

    Examples
    --------
    >>> CosineDecayRestarts(1.0, first_decay_steps=2, t_mul=2.0)(np.arange(7)).round(3).tolist()
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 1.0
    m_mul: float = 1.0
    alpha: float = 0.0

    def __post_init__(self) -> None:
        _number("initial_learning_rate", self.initial_learning_rate)
        _count("first_decay_steps", self.first_decay_steps)
        _number("t_mul", self.t_mul, 1.0)
        _number("m_mul", self.m_mul, 0.0, 1.0)
        _number("alpha", self.alpha, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        cycle, fraction = self._cycles(t)
        return self.initial_learning_rate * self.m_mul**cycle * _cosine(fraction, self.alpha)

    def _cycles(self, t: Rates) -> tuple[Rates, Rates]:
        """The number of finished cycles, and the fraction of the current one that has passed."""
        first, growth = float(self.first_decay_steps), self.t_mul - 1.0
        if growth == 0:
            return np.floor(t / first), t % first / first

        def start(cycle: Rates) -> Rates:
            """first (1 + t_mul + t_mul^2 + ...), exact for integer t_mul; expm1 because t_mul may be close to 1."""
            if self.t_mul == round(self.t_mul):
                return first * ((self.t_mul**cycle - 1) / growth)
            return first * np.expm1(cycle * math.log1p(growth)) / growth

        cycle = np.floor(np.log1p(t * growth / first) / math.log1p(growth))
        cycle += start(cycle + 1) <= t  # the logarithm may be rounded past a restart
        cycle -= start(cycle) > t
        return cycle, (t - start(cycle)) / (first * self.t_mul**cycle)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """A single cycle over the whole training: the learning rate rises to its maximum, then falls far below its start.

    It rises from max_learning_rate / div_factor to max_learning_rate at update pct_start * total_steps - 1, falls to
    max_learning_rate / (div_factor * final_div_factor) at update total_steps - 1, and stays there.

    Parameters
    ----------
    max_learning_rate : float
        The highest learning rate, at least 0.
    total_steps : int
        Updates of the whole training, at least 1.
    pct_start : float, optional
        Fraction of the updates in which the learning rate rises, in [0, 1].
    div_factor : float, optional
        max_learning_rate over the initial learning rate, above 0.
    final_div_factor : float, optional
        Initial over final learning rate, above 0.
    anneal_strategy : {"cos", "linear"}, optional
        Half a cosine wave, or straight lines.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    Notes
    -----
    As PyTorch's OneCycleLR without momentum; that one raises an error after the last step. Keras has none.

    References
    ----------
    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2018.

    Examples
    --------
    >>> OneCycle(1.0, total_steps=5, pct_start=0.6, div_factor=2.0, anneal_strategy="linear")(np.arange(6)).tolist()
    [0.5, 0.75, 1.0, 0.500025, 5e-05, 5e-05]
    """

    max_learning_rate: float
    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal_strategy: str = "cos"

    def __post_init__(self) -> None:
        _number("max_learning_rate", self.max_learning_rate)
        _count("total_steps", self.total_steps)
        _number("pct_start", self.pct_start, 0.0, 1.0)
        for name in ("div_factor", "final_div_factor"):
            _number(name, getattr(self, name))
            if getattr(self, name) == 0:
                raise ValueError(f"{name} must be greater than 0, got 0: pass a larger number")
        if self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be 'cos' or 'linear', got {self.anneal_strategy!r}: pass one")

    def _rates(self, t: Rates) -> Rates:
        top, low = self.max_learning_rate, self.max_learning_rate / self.div_factor
        peak, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        rising = low + (top - low) * (1 - self._remaining(t, 0.0, peak))
        end = low / self.final_div_factor
        return np.where(t <= peak, rising, end + (top - end) * self._remaining(t, peak, last))

    def _remaining(self, t: Rates, start: float, end: float) -> Rates:
        """From 1 at start to 0 at end."""
        fraction = np.clip((t - start) / (end - start), 0, 1) if end > start else np.ones_like(t)
        return _cosine(fraction, 0.0) if self.anneal_strategy == "cos" else 1 - fraction


@dataclass(frozen=True)
class Warmup(Schedule):
    """A linear warm-up to the initial learning rate of another schedule, which follows it.

    ::

        t < warmup_steps:   (start_factor + (1 - start_factor) t / warmup_steps) schedule(0)
        t >= warmup_steps:  schedule(t - warmup_steps)

    Parameters
    ----------
    schedule : Schedule, float or callable
        The schedule that follows: any function of an array of updates, or a constant learning rate.
    warmup_steps : int
        Updates of the warm-up, at least 1.
    start_factor : float, optional
        First learning rate as a fraction of schedule(0), in [0, 1].

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If schedule is neither a number nor callable, or another value is not a number.

    Notes
    -----
    PyTorch has it as a SequentialLR of a LinearLR, whose start_factor is also 1/3, and another scheduler. Keras's
    CosineDecay(warmup_steps=…) starts from initial_learning_rate.

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017.

    Examples
    --------
    >>> Warmup(CosineDecay(1.0, 2), warmup_steps=4, start_factor=0.0)(np.arange(7)).round(3).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.0]
    """

    schedule: Any
    warmup_steps: int
    start_factor: float = 1 / 3

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            if not isinstance(self.schedule, int | float | np.integer | np.floating):
                raise TypeError(
                    "schedule must be a schedule, another function of updates, or a number, got "
                    f"{self.schedule!r}: pass a number, CosineDecay(…) or another schedule"
                )
            _number("schedule", self.schedule)
        _count("warmup_steps", self.warmup_steps)
        _number("start_factor", self.start_factor, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        fraction = np.minimum(t / self.warmup_steps, 1)
        after = np.maximum(t - self.warmup_steps, 0).astype(np.int64)
        rates = self.schedule(after) if callable(self.schedule) else np.full(t.shape, float(self.schedule))
        return (self.start_factor + (1 - self.start_factor) * fraction) * np.asarray(rates, np.float64)
