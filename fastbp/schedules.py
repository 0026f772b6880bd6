"""Learning rates that change from update to update.

A schedule is a frozen description and a function: of an int64 array of update numbers t, counted from 0, it makes a
float64 array of rates. With gradient_accumulation_steps an update is that many steps. Names of arguments are Keras's
where it has them, formulas PyTorch's, whose schedulers count the same way when stepped once an update. Any other
function of that kind can stand for a schedule, but only these are saved with a model.
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
    """A learning rate as a function of update numbers."""

    def __call__(self, steps: Any) -> Rates:
        """The rates at these updates (an int or an array of ints >= 0), in their shape."""
        rates = self._rates(np.asarray(steps, np.int64).astype(np.float64))
        return np.asarray(rates, np.float64)

    @abstractmethod
    def _rates(self, t: Rates) -> Rates:
        """The rates at t, whole numbers as float64."""


def _number(name: str, value: Any, low: float = 0.0, high: float = math.inf) -> None:
    """low <= value <= high, finite."""
    any_number(value, name)
    if not (low <= value <= high and math.isfinite(value)):
        bounds = f"at least {low:g} and finite" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be {bounds}, but {value!r} came: pass such a number")


def _count(name: str, value: Any, minimum: int = 1) -> None:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, but {value!r} came: pass an int")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, but {value!r} came: pass a larger number")


@dataclass(frozen=True)
class StepDecay(Schedule):
    """A rate that drops every so many updates: initial_learning_rate * decay_rate^floor(t / decay_steps).

    decay_steps: updates from drop to drop, at least 1. decay_rate: in [0, 1]. Raises ValueError for values out of their
    range, TypeError for no numbers. PyTorch's StepLR(step_size=decay_steps, gamma=decay_rate); Keras has it as
    ExponentialDecay(staircase=True).

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
    """values[0] up to update boundaries[0], which is the first to have values[1], and so on.

    boundaries: increasing update numbers, at least 1; values: rates, one more than boundaries. Raises ValueError and
    TypeError for others. PyTorch's MultiStepLR changes at the same updates; Keras's PiecewiseConstantDecay one later.

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
                raise TypeError(f"{name} must be a list, but {getattr(self, name)!r} came: put it in a list") from None
        for boundary in self.boundaries:
            _count("boundaries", boundary)
        for value in self.values:
            _number("values", value)
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must increase, but {list(self.boundaries)} came: sort them")
        if len(self.values) != len(self.boundaries) + 1:
            came = f"{len(self.values)} and {len(self.boundaries)}"
            raise ValueError(f"values must be one more than boundaries, but {came} came: give one for before them too")

    def _rates(self, t: Rates) -> Rates:
        return np.asarray(self.values, np.float64)[np.searchsorted(np.asarray(self.boundaries), t, side="right")]


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """A rate that shrinks by a factor: initial_learning_rate * decay_rate^(t / decay_steps).

    decay_steps: updates in which the rate gets decay_rate times what it was, at least 1. decay_rate: in [0, 1].
    staircase: whether t / decay_steps is rounded down. Raises ValueError for values out of range, TypeError for no
    numbers. As Keras's; PyTorch's ExponentialLR(gamma=decay_rate) with decay_steps=1.

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
    """A rate that falls along a power of t: end + (initial_learning_rate - end) (1 - min(t / decay_steps, 1))^power.

    decay_steps: the updates it takes, at least 1. end_learning_rate: what is left then. power: >= 0, 1 for a line.
    Raises ValueError for values out of their range, TypeError for no numbers. As PyTorch's PolynomialLR, whose
    total_iters is decay_steps, it ends at 0; Keras's at 1e-4 by default.

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
        left = 1 - np.minimum(t / self.decay_steps, 1)
        return self.end_learning_rate + (self.initial_learning_rate - self.end_learning_rate) * left**self.power


def _cosine(share: Rates, alpha: float) -> Rates:
    """From 1 at share 0 to alpha at share 1 along half a wave."""
    return alpha + (1 - alpha) * 0.5 * (1 + np.cos(np.pi * share))


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """A rate that falls along half a cosine: initial_learning_rate (alpha + (1 - alpha) (1 + cos(pi s)) / 2).

    s = min(t / decay_steps, 1). decay_steps: the updates it takes, at least 1. alpha: the share that is left then, in
    [0, 1]. Raises ValueError for values out of their range, TypeError for no numbers. As Keras's, whose warm-up is
    Warmup here; PyTorch's CosineAnnealingLR(T_max=decay_steps, eta_min=alpha * initial_learning_rate) rises again after
    T_max. Source: Loshchilov and Hutter 2017.

    >>> CosineDecay(1.0, decay_steps=4)(np.arange(6)).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
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
    """Cosine decays one after another, each t_mul times as long as the one before and starting m_mul times as high.

    first_decay_steps: the updates of the first, at least 1. t_mul: >= 1. m_mul: in [0, 1]. alpha: the share left at the
    end of each, in [0, 1]. Raises ValueError for values out of their range, TypeError for no numbers. PyTorch's
    CosineAnnealingWarmRestarts(T_0=first_decay_steps, T_mult=t_mul), whose t_mul is 1 by default as here; Keras's is 2.
    Source: Loshchilov and Hutter 2017.

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
        cycle, share = self._cycles(t)
        return self.initial_learning_rate * self.m_mul**cycle * _cosine(share, self.alpha)

    def _cycles(self, t: Rates) -> tuple[Rates, Rates]:
        """Decays finished, and the share of the one under way that has passed."""
        first, growth = float(self.first_decay_steps), self.t_mul - 1.0
        if growth == 0:
            return np.floor(t / first), t % first / first

        def start(cycle: Rates) -> Rates:
            """first (1 + t_mul + t_mul^2 + ...), exact for whole t_mul; expm1 since t_mul may be close to 1."""
            if self.t_mul == round(self.t_mul):
                return first * ((self.t_mul**cycle - 1) / growth)
            return first * np.expm1(cycle * math.log1p(growth)) / growth

        cycle = np.floor(np.log1p(t * growth / first) / math.log1p(growth))
        cycle += start(cycle + 1) <= t  # the logarithm may be rounded past a restart
        cycle -= start(cycle) > t
        return cycle, (t - start(cycle)) / (first * self.t_mul**cycle)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """A rate that rises to its maximum and then falls far below where it began, once in the whole training.

    From max_learning_rate / div_factor up to max_learning_rate at update pct_start * total_steps - 1, then down to
    max_learning_rate / (div_factor final_div_factor) at update total_steps - 1, which it keeps; along half a cosine
    ("cos") or a line ("linear").

    total_steps: updates of the whole training, at least 1. pct_start: in [0, 1]. div_factor, final_div_factor: > 0.
    Raises ValueError for values out of their range, TypeError for no numbers. PyTorch's OneCycleLR, without momentum,
    which raises an error after the last step; Keras has none. Source: Smith and Topin 2018.

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
                raise ValueError(f"{name} must be greater than 0, but 0 came: pass a larger number")
        if self.anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be 'cos' or 'linear', but {self.anneal_strategy!r} came: pass one")

    def _rates(self, t: Rates) -> Rates:
        top, low = self.max_learning_rate, self.max_learning_rate / self.div_factor
        peak, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        rising = low + (top - low) * (1 - self._left(t, 0.0, peak))
        end = low / self.final_div_factor
        return np.where(t <= peak, rising, end + (top - end) * self._left(t, peak, last))

    def _left(self, t: Rates, start: float, end: float) -> Rates:
        """From 1 at start to 0 at end."""
        share = np.clip((t - start) / (end - start), 0, 1) if end > start else np.ones_like(t)
        return _cosine(share, 0.0) if self.anneal_strategy == "cos" else 1 - share


@dataclass(frozen=True)
class Warmup(Schedule):
    """A rate that rises on a line to where another schedule begins, and then is that schedule's.

        t < warmup_steps:  (start_factor + (1 - start_factor) t / warmup_steps) rate(0)      else rate(t - warmup_steps)

    schedule: a schedule, a number, or any function of an array of updates. warmup_steps: at least 1. start_factor: in
    [0, 1]. Raises ValueError for values out of their range, TypeError for no schedule. PyTorch's SequentialLR of a
    LinearLR, whose start_factor is 1/3 too, and another; Keras's CosineDecay(warmup_steps=…) starts from
    initial_learning_rate. Source: Goyal et al. 2017.

    >>> Warmup(CosineDecay(1.0, 2), warmup_steps=4, start_factor=0.0)(np.arange(7)).round(3).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.0]
    """

    schedule: Any
    warmup_steps: int
    start_factor: float = 1 / 3

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            if not isinstance(self.schedule, int | float | np.integer | np.floating):
                came = f"{self.schedule!r} came: pass a number, CosineDecay(…) or another schedule"
                raise TypeError(f"schedule must be a schedule, another function of updates, or a number, but {came}")
            _number("schedule", self.schedule)
        _count("warmup_steps", self.warmup_steps)
        _number("start_factor", self.start_factor, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        share = np.minimum(t / self.warmup_steps, 1)
        after = np.maximum(t - self.warmup_steps, 0).astype(np.int64)
        rates = self.schedule(after) if callable(self.schedule) else np.full(t.shape, float(self.schedule))
        return (self.start_factor + (1 - self.start_factor) * share) * np.asarray(rates, np.float64)
