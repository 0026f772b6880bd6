"""Layers that normalise: over the batch, over the units of a row."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from fastbp.initializers import Constant, Zeros
from fastbp.layers.base import Layer, Weight, check_training
from fastbp.spec import LayerSpec
from fastbp.util.arguments import real
from fastbp.util.fields import set_fields

ONES, ZEROS = Constant(1.0), Zeros()


@final
@dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalises each unit over the batch, then scales and shifts it.

        Z = γ (X - mean) / sqrt(variance + epsilon) + β

    X, Z: (n, units). In training, mean and variance are the batch's; elsewhere they are moving statistics, to which
    every step of training adds its own (the variance times n / (n - 1)), as moving <- (1 - momentum) moving +
    momentum new. Weights: gamma (starts at 1), beta (0), moving_mean (0), moving_variance (1), each (units,).
    Before an activation, give the Dense below it use_bias=False: beta does what its bias would.
    trainable=False holds gamma and beta; the statistics go on as they do in PyTorch (in Keras they stop, too).
    Raises TypeError or ValueError unless 0 <= momentum <= 1 and epsilon >= 1e-30.
    Ioffe and Szegedy 2015; Goodfellow et al. 2016, section 8.7.1. As PyTorch's BatchNorm1d; Keras's momentum is
    1 - ours, its epsilon 1e-3, and its moving variance is not corrected. A batch of one row has the variance 0, and
    leaves the moving variance as it is; PyTorch refuses it.

    >>> BatchNorm().momentum
    0.1
    """

    has_weights: ClassVar[bool] = True
    takes_activation: ClassVar[bool] = True

    momentum: float = 0.1
    epsilon: float = 1e-5
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        remedy = "pass the weight of the newest batch, such as 0.1 (where Keras has 0.9)"
        momentum = real(self.momentum, "momentum", "at least 0 and at most 1", lambda v: 0 <= v <= 1, remedy)
        set_fields(self, momentum=momentum)
        check_epsilon(self)
        check_training(self)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        learned = [Weight("gamma", (units,), ONES), Weight("beta", (units,), ZEROS)]
        moving = [("moving_mean", ZEROS), ("moving_variance", ONES)]
        return learned + [Weight(name, (units,), initializer, statistic=True) for name, initializer in moving]

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(
            units,
            kind="batch_norm",
            values=(self.momentum, self.epsilon),
            multiplier=self.learning_rate_multiplier,
            trainable=self.trainable,
        )


@final
@dataclass(frozen=True)
class LayerNorm(Layer):
    """Normalises each row over its units, then scales and shifts every unit.

        Z = γ (X - mean) / sqrt(variance + epsilon) + β

    X, Z: (n, units); mean and variance are those of the row, in training as elsewhere. Weights: gamma (starts at 1) and
    beta (0), each (units,). trainable, learning_rate_multiplier: as in Dense.
    Raises TypeError or ValueError unless epsilon >= 1e-30.
    Ba, Kiros and Hinton 2016. As PyTorch's LayerNorm; Keras's epsilon is 1e-3.

    >>> LayerNorm().epsilon
    1e-05
    """

    has_weights: ClassVar[bool] = True
    takes_activation: ClassVar[bool] = True

    epsilon: float = 1e-5
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        check_epsilon(self)
        check_training(self)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        return [Weight("gamma", (units,), ONES), Weight("beta", (units,), ZEROS)]

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(
            units,
            kind="layer_norm",
            values=(self.epsilon,),
            multiplier=self.learning_rate_multiplier,
            trainable=self.trainable,
        )


def check_epsilon(layer: Any) -> None:
    """Check the epsilon of a layer that normalises."""
    # A float32 of the square root of less than 1e-38 would be 0, and a unit that never varies would be divided by it.
    remedy = "pass a small number such as 1e-5"
    rule = "at least 1e-30 and finite"
    set_fields(layer, epsilon=real(layer.epsilon, "epsilon", rule, lambda v: 1e-30 <= v < math.inf, remedy))
