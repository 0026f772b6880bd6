"""Schedules of several phases: warm restarts, one cycle, cycles of doubling length, a flat start, warm-up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.schedules.base import Rates, Schedule, check_count, check_number, half_cosine, passed

__all__ = ["CosineDecayRestarts", "CosineLog", "FlatCosine", "OneCycle", "Warmup"]


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
    Like PyTorch's CosineAnnealingWarmRestarts(T_0=first_decay_steps, T_mult=t_mul), whose T_mult is also 1 by default;
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
        check_number("initial_learning_rate", self.initial_learning_rate)
        check_count("first_decay_steps", self.first_decay_steps)
        check_number("t_mul", self.t_mul, 1.0)
        check_number("m_mul", self.m_mul, 0.0, 1.0)
        check_number("alpha", self.alpha, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        cycle, fraction = self._cycles(t)
        return self.initial_learning_rate * self.m_mul**cycle * half_cosine(fraction, self.alpha)

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
class CosineLog(Schedule):
    """Cycles that rise from 0 and fall back to it, each about twice as long as the one before.

    ::

        max_learning_rate (1 - cos(2 pi log2(1 + (2^cycles - 1) t / total_steps))) / 2

    Parameters
    ----------
    max_learning_rate : float
        The highest learning rate, at least 0, reached once in every cycle.
    total_steps : int
        Updates of the whole training, at least 1; the learning rate is 0 from then on.
    cycles : int, optional
        Number of cycles, at least 1.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    Notes
    -----
    RealMLP's schedule of the learning rate, called coslog4 there. The first update has a learning rate of 0.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: Strong pre-tuned MLPs and boosted trees on tabular data",
    2024.

    Examples
    --------
    >>> CosineLog(1.0, total_steps=15)(np.array([0, 1, 2, 3, 7, 15])).round(3).tolist()
    [0.0, 0.0, 0.93, 0.0, 0.0, 0.0]
    """

    max_learning_rate: float
    total_steps: int
    cycles: int = 4

    def __post_init__(self) -> None:
        check_number("max_learning_rate", self.max_learning_rate)
        check_count("total_steps", self.total_steps)
        check_count("cycles", self.cycles)

    def _rates(self, t: Rates) -> Rates:
        cycles = np.log2(1 + (2.0**self.cycles - 1) * np.minimum(t / self.total_steps, 1))
        return self.max_learning_rate * 0.5 * (1 - np.cos(2 * np.pi * cycles))


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """A constant learning rate, then half a cosine wave to 0.

    ::

        t <= flat total_steps:  initial_learning_rate
        then:                   initial_learning_rate (1 + cos(pi (t / total_steps - flat) / (1 - flat))) / 2

    Parameters
    ----------
    initial_learning_rate : float
        Learning rate of the first update, at least 0.
    total_steps : int
        Updates of the whole training, at least 1; the learning rate is 0 from then on.
    flat : float, optional
        Fraction of the updates before the learning rate falls, in [0, 1].

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value is not a number.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: Strong pre-tuned MLPs and boosted trees on tabular data",
    2024.

    Examples
    --------
    >>> FlatCosine(1.0, total_steps=4)(np.arange(6)).round(3).tolist()
    [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """

    initial_learning_rate: float
    total_steps: int
    flat: float = 0.5

    def __post_init__(self) -> None:
        check_number("initial_learning_rate", self.initial_learning_rate)
        check_count("total_steps", self.total_steps)
        check_number("flat", self.flat, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        return self.initial_learning_rate * half_cosine(passed(t, self.flat * self.total_steps, self.total_steps), 0.0)


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
    Same as PyTorch's OneCycleLR without momentum; that one raises an error after the last step. Keras has none.

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
        check_number("max_learning_rate", self.max_learning_rate)
        check_count("total_steps", self.total_steps)
        check_number("pct_start", self.pct_start, 0.0, 1.0)
        for name in ("div_factor", "final_div_factor"):
            check_number(name, getattr(self, name))
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
        fraction = passed(t, start, end)
        return half_cosine(fraction, 0.0) if self.anneal_strategy == "cos" else 1 - fraction


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
            check_number("schedule", self.schedule)
        check_count("warmup_steps", self.warmup_steps)
        check_number("start_factor", self.start_factor, 0.0, 1.0)

    def _rates(self, t: Rates) -> Rates:
        fraction = np.minimum(t / self.warmup_steps, 1)
        after = np.maximum(t - self.warmup_steps, 0).astype(np.int64)
        rates = self.schedule(after) if callable(self.schedule) else np.full(t.shape, float(self.schedule))
        return (self.start_factor + (1 - self.start_factor) * fraction) * np.asarray(rates, np.float64)
