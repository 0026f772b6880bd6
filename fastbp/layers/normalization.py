"""Normalization layers: over the batch, and over the units of a row."""

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
    """Batch normalization: normalizes each unit over the batch, then scales and shifts it.

    ::

        Z = γ (X - mean) / sqrt(variance + epsilon) + β

    During training mean and variance are those of the batch, otherwise moving statistics. Each training step updates
    these with the statistics of its batch, the variance times n / (n - 1)::

        moving <- (1 - momentum) moving + momentum new

    Parameters
    ----------
    momentum : float, optional
        Weight of the newest batch, in [0, 1].
    epsilon : float, optional
        Added to the variance, at least 1e-30.
    trainable : bool, optional
        Whether updates change gamma and beta. The moving statistics are updated in any case.
    learning_rate_multiplier : float, optional
        As in `Dense`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    fastbp.fold : Merge the normalization into the layer below, for inference.

    Notes
    -----
    Shapes: X and Z (n, units); weights gamma (initially 1), beta (0), moving_mean (0) and moving_variance (1), each
    (units,). Before an activation, give the Dense below use_bias=False: beta makes its bias redundant.

    Same as PyTorch's BatchNorm1d. Keras's momentum is 1 - ours, its epsilon 1e-3, its moving variance is not corrected,
    and its trainable=False freezes the statistics too. A batch of one row has variance 0 and leaves the moving variance
    unchanged; PyTorch rejects it.

    References
    ----------
    Ioffe and Szegedy, "Batch normalization", 2015; Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section
    8.7.1.

    Examples
    --------
    >>> model = Sequential([Dense(64, use_bias=False), BatchNorm(), Activation("relu"), Dense(1)])
    >>> model.compile("adam", "mse")
    >>> history = model.fit(np.eye(4), [1.0, 2.0, 3.0, 4.0], epochs=2)
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
        affine = [Weight("gamma", (units,), ONES), Weight("beta", (units,), ZEROS)]
        moving = [("moving_mean", ZEROS), ("moving_variance", ONES)]
        return affine + [Weight(name, (units,), initializer, statistic=True) for name, initializer in moving]

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
    """Layer normalization: normalizes each row over its units, then scales and shifts each unit.

    ::

        Z = γ (X - mean) / sqrt(variance + epsilon) + β

    Parameters
    ----------
    epsilon : float, optional
        Added to the variance, at least 1e-30.
    trainable, learning_rate_multiplier : optional
        As in `Dense`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    Shapes: X and Z (n, units); weights gamma (initially 1) and beta (0), each (units,). Mean and variance are those of
    the row, during training and otherwise. Same as PyTorch's LayerNorm; Keras's epsilon is 1e-3.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization", 2016.

    Examples
    --------
    >>> model = Sequential([Dense(64, "gelu"), LayerNorm(), Dense(1)])
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
    """Check the epsilon of a normalization layer."""
    # A smaller epsilon could vanish in float32, and a constant unit would be divided by 0.
    remedy = "pass a small number such as 1e-5"
    rule = "at least 1e-30 and finite"
    set_fields(layer, epsilon=real(layer.epsilon, "epsilon", rule, lambda v: 1e-30 <= v < math.inf, remedy))
