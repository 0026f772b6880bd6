"""Activations that are learned: PReLU, and any function with a weight that says how much of it there is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, final

from fastbp import activations
from fastbp.initializers import Constant
from fastbp.layers.base import Layer, Weight, check_training
from fastbp.spec import LayerSpec
from fastbp.util.arguments import real
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class PReLU(Layer):
    """ReLU with a slope below 0 that is learned, one for each unit.

    ::

        A = max(X, 0) + alpha min(X, 0)
        dX = dA where X > 0, else alpha dA        dalpha = column sums of dA min(X, 0)

    Parameters
    ----------
    alpha : float, optional
        The slopes at the start.
    trainable, learning_rate_multiplier : optional
        As in `Dense`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    fastbp.LeakyReLU : The same with a constant slope.

    Notes
    -----
    Shapes: X and A (n, units); the weight alpha (units,). It is no kernel: penalties do not apply to it. PyTorch's
    PReLU has one slope for all units unless told otherwise; Keras's starts at 0.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.

    Examples
    --------
    >>> model = Sequential([Dense(2, kernel_initializer=Constant(1.0)), PReLU()], input_size=1)
    >>> model.predict([[-2.0], [2.0]])
    array([[-0.5, -0.5],
           [ 2. ,  2. ]], dtype=float32)
    """

    has_weights: ClassVar[bool] = True

    alpha: float = 0.25
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        set_fields(self, alpha=real(self.alpha, "alpha", "finite", math.isfinite, "pass such a number"))
        check_training(self)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        return [Weight("alpha", (units,), Constant(self.alpha))]

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(units, kind="prelu", multiplier=self.learning_rate_multiplier, trainable=self.trainable)


@final
@dataclass(frozen=True)
class ParametricActivation(Layer):
    """An activation function mixed with the identity, by a weight for each unit.

    ::

        A = X + alpha (f(X) - X)
        dX = dA (1 + alpha (f'(X) - 1))        dalpha = column sums of dA (f(X) - X)

    Parameters
    ----------
    activation : str or fastbp.activations.Activation
        The function f, by name or as an object; neither softmax nor a custom one.
    alpha : float, optional
        The weights at the start: with 1 the function itself, with 0 the identity.
    trainable, learning_rate_multiplier : optional
        As in `Dense`.

    Raises
    ------
    ValueError
        If the name is unknown, or a value out of range.
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    Shapes: X and A (n, units); the weight alpha (units,). It is no kernel: penalties do not apply to it. Neither Keras
    nor PyTorch has such a layer.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data",
    2024.

    Examples
    --------
    >>> layers = [Dense(64), ParametricActivation("mish", learning_rate_multiplier=0.1), Dense(1)]
    >>> model = Sequential(layers, input_size=3)
    >>> model.get_weights()[2].shape
    (64,)
    """

    has_weights: ClassVar[bool] = True

    activation: str | activations.Activation
    alpha: float = 1.0
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        function = activations.get(self.activation)
        if function.name == "softmax" or isinstance(function, activations.CustomActivation):
            raise ValueError(
                f"activation must be a function of single numbers that fastbp has, got {function.name}: "
                "use another one, or an Activation, which has no weights"
            )
        alpha = real(self.alpha, "alpha", "finite", math.isfinite, "pass such a number")
        set_fields(self, activation=function, alpha=alpha)
        check_training(self)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        return [Weight("alpha", (units,), Constant(self.alpha))]

    def node(self, units: int) -> LayerSpec:
        function = activations.get(self.activation)
        return LayerSpec(
            units,
            kind="parametric",
            values=(function.alpha,),
            function=function.name,
            multiplier=self.learning_rate_multiplier,
            trainable=self.trainable,
        )

    def label(self, activation: str) -> str:
        return f"ParametricActivation({activations.get(self.activation).name})"
