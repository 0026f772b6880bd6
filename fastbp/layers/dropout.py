"""Layers that disturb their input in training: dropout and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from fastbp.layers.base import Layer
from fastbp.spec import LayerSpec
from fastbp.util.arguments import real
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class Dropout(Layer):
    """Sets each output of the layer below to 0 with probability rate; in training only.

        A = X / (1 - rate) where it is kept, else 0

    X, A: (n, units). Which are kept depends on the model's seed, the step, the row in the batch and the unit alone, so
    that training is the same on any number of threads.
    Raises TypeError or ValueError unless 0 <= rate < 1.
    Srivastava et al. 2014; Goodfellow et al. 2016, section 7.12. As in Keras and PyTorch.

    >>> Dropout(0.5).rate
    0.5
    """

    rate: float

    def __post_init__(self) -> None:
        remedy = "pass the share of outputs to drop, such as 0.5"
        set_fields(self, rate=real(self.rate, "rate", "at least 0 and below 1", lambda v: 0 <= v < 1, remedy))

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(units, kind="dropout", values=(self.rate,))

    def label(self, activation: str) -> str:
        return f"Dropout({self.rate:g})"


@final
@dataclass(frozen=True)
class GaussianNoise(Layer):
    """Adds normal noise to the outputs of the layer below, or to the network's inputs; in training only.

        A = X + stddev N,        N standard normal, independent in each row and unit

    X, A: (n, units). Drawn as Dropout's masks are.
    Raises TypeError or ValueError unless stddev is finite and at least 0.
    Goodfellow et al. 2016, section 7.5; Giles 2010 for the normal numbers. As Keras's GaussianNoise.

    >>> GaussianNoise(0.1).stddev
    0.1
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
