"""Layers that perturb their input during training: dropout and Gaussian noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from fastbp.layers.base import Layer
from fastbp.schedules.base import Schedule
from fastbp.spec import LayerSpec
from fastbp.util.arguments import real
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class Dropout(Layer):
    """Sets each input to 0 with probability `rate`, during training only.

    ::

        A = X / (1 - rate) where kept, else 0

    Parameters
    ----------
    rate : float or schedule
        Fraction of the inputs to drop, in [0, 1), or one of `fastbp.schedules`, by updates of the weights.

    Raises
    ------
    ValueError
        If rate is outside [0, 1); during training, if a schedule's is.
    TypeError
        If rate is neither a number nor a schedule.

    Notes
    -----
    X and A have the shape (n, units). As in Keras and PyTorch. The mask depends only on the model's seed, the step, the
    row in the batch and the unit, so training gives the same result on any number of threads.

    References
    ----------
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014; Goodfellow, Bengio and
    Courville, *Deep Learning*, 2016, section 7.12.

    Examples
    --------
    >>> model = Sequential([Dense(64, "relu"), Dropout(0.5), Dense(10, "softmax")])
    >>> later = Sequential([Dense(64, "relu"), Dropout(FlatCosine(0.15, total_steps=1000)), Dense(1)])
    """

    rate: float | Schedule

    def __post_init__(self) -> None:
        remedy = "pass the fraction of inputs to drop, such as 0.5, or one of fastbp.schedules"
        rate = real(self.initial_rate, "rate", "at least 0 and below 1", lambda v: 0 <= v < 1, remedy)
        if not isinstance(self.rate, Schedule):
            set_fields(self, rate=rate)

    @property
    def initial_rate(self) -> float:
        """The rate of the first update."""
        return float(self.rate(0)) if isinstance(self.rate, Schedule) else self.rate

    def node(self, units: int) -> LayerSpec:
        schedule = self.rate if isinstance(self.rate, Schedule) else None
        return LayerSpec(units, kind="dropout", values=(self.initial_rate,), schedule=schedule)

    def label(self, activation: str) -> str:
        return f"Dropout({type(self.rate).__name__ if isinstance(self.rate, Schedule) else format(self.rate, 'g')})"


@final
@dataclass(frozen=True)
class GaussianNoise(Layer):
    """Adds Gaussian noise to its input, during training only.

    ::

        A = X + stddev N        N standard normal, independent for each row and unit

    Parameters
    ----------
    stddev : float
        Standard deviation of the noise, finite and at least 0.

    Raises
    ------
    ValueError
        If stddev is negative or not finite.
    TypeError
        If stddev is not a number.

    Notes
    -----
    X and A have the shape (n, units); as the first layer it perturbs the network's input. Same as Keras's
    GaussianNoise. The noise is drawn like the masks of `Dropout`.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 7.5; Giles, "Approximating the erfinv function",
    2010, for the normal numbers.

    Examples
    --------
    >>> model = Sequential([GaussianNoise(0.1), Dense(64, "relu"), Dense(1)])
    """

    stddev: float

    def __post_init__(self) -> None:
        remedy = "pass the noise's standard deviation, such as 0.1"
        rule = "at least 0 and finite"
        set_fields(self, stddev=real(self.stddev, "stddev", rule, lambda v: 0 <= v < math.inf, remedy))

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(units, kind="noise", values=(self.stddev,))

    def label(self, activation: str) -> str:
        return f"GaussianNoise({self.stddev:g})"
