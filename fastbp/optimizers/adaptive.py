"""Optimizers that divide each gradient by the root of a mean or sum of its squares.

Scalars of the rules::

    rmsprop(_momentum, _centered)   rho, momentum, epsilon
    adagrad                         initial_accumulator_value, epsilon
    adadelta                        rho, epsilon
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from fastbp.optimizers.base import Optimizer, Schedule, check
from fastbp.util.arguments import flag

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """RMSprop: the gradient over the root of a running mean of its squares.

    ::

        v <- rho v + (1 - rho) g^2                                  W <- W - learning_rate g / (sqrt(v) + epsilon)
        with momentum:  b <- momentum b + g / (sqrt(v) + epsilon)   W <- W - learning_rate b
        centered:       a <- rho a + (1 - rho) g, and v - a^2 replaces v under the root

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule.
    rho : float, optional
        Decay rate of the averages, in [0, 1).
    momentum : float, optional
        In [0, 1).
    epsilon : float, optional
        Added outside the root, at least 0.
    centered : bool, optional
        Whether to divide by the standard deviation instead; keeps three states per weight.
    weight_decay : float or callable, optional
        Added to the gradient (L2), at least 0.
    clipnorm, clipvalue, global_clipnorm, gradient_accumulation_steps, use_ema, ema_momentum, weight_decay_on
        As in `fastbp.optimizers.Optimizer`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    As in PyTorch, which calls rho alpha. Keras has learning rate 1e-3, rho 0.9, and epsilon 1e-7 inside the root. Where
    rounding makes v - a^2 negative it counts as 0.

    References
    ----------
    Hinton, "Neural networks for machine learning", 2012, lecture 6e; Graves, "Generating sequences with recurrent
    neural networks", 2013 (centered).

    Examples
    --------
    >>> RMSprop(momentum=0.9).n_states
    2
    """

    decay_in_gradient: ClassVar[bool] = True
    learning_rate: float | Schedule = 1e-2
    rho: float = 0.99
    momentum: float = 0.0
    epsilon: float = 1e-8
    _: KW_ONLY
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check("rho", self.rho, 0.0, 1.0)
        check("momentum", self.momentum, 0.0, 1.0)
        check("epsilon", self.epsilon, 0.0, math.inf)
        flag(self.centered, "centered")

    @property
    def rule(self) -> str:
        if self.centered:
            return "rmsprop_centered"
        return "rmsprop_momentum" if self.momentum else "rmsprop"

    @property
    def n_states(self) -> int:
        return 3 if self.centered else 2 if self.momentum else 1

    def constants(self) -> tuple[float, ...]:
        return (self.rho, self.momentum, self.epsilon)


@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """Adagrad: the gradient over the root of the sum of its squares.

    ::

        s <- s + g^2        W <- W - learning_rate g / (sqrt(initial_accumulator_value + s) + epsilon)

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule; PyTorch's lr_decay is ``lambda t: learning_rate / (1 + lr_decay * t)``.
    initial_accumulator_value : float, optional
        At least 0.
    epsilon : float, optional
        Added outside the root, at least 0.
    weight_decay : float or callable, optional
        Added to the gradient (L2), at least 0.
    clipnorm, clipvalue, global_clipnorm, gradient_accumulation_steps, use_ema, ema_momentum, weight_decay_on
        As in `fastbp.optimizers.Optimizer`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    As in PyTorch; Keras has learning rate 1e-3, initial_accumulator_value 0.1 and epsilon 1e-7.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011.

    Examples
    --------
    >>> Adagrad(0.1).rule
    'adagrad'
    """

    decay_in_gradient: ClassVar[bool] = True
    learning_rate: float | Schedule = 1e-2
    initial_accumulator_value: float = 0.0
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        check("initial_accumulator_value", self.initial_accumulator_value, 0.0, math.inf)
        check("epsilon", self.epsilon, 0.0, math.inf)

    @property
    def rule(self) -> str:
        return "adagrad"

    @property
    def n_states(self) -> int:
        return 1

    def constants(self) -> tuple[float, ...]:
        return (self.initial_accumulator_value, self.epsilon)


@dataclass(frozen=True, repr=False)
class Adadelta(Optimizer):
    """Adadelta: the gradient, scaled by the root mean square of past steps over that of the gradients.

    ::

        v <- rho v + (1 - rho) g^2        d = sqrt(u + epsilon) / sqrt(v + epsilon) g
        u <- rho u + (1 - rho) d^2        W <- W - learning_rate d

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule.
    rho : float, optional
        Decay rate of the averages, in [0, 1).
    epsilon : float, optional
        Added inside the roots, at least 0; with 0 the weights would never change.
    weight_decay : float or callable, optional
        Added to the gradient (L2), at least 0.
    clipnorm, clipvalue, global_clipnorm, gradient_accumulation_steps, use_ema, ema_momentum, weight_decay_on
        As in `fastbp.optimizers.Optimizer`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    As in PyTorch; Keras has learning rate 1e-3, rho 0.95 and epsilon 1e-7.

    References
    ----------
    Zeiler, "ADADELTA: An adaptive learning rate method", 2012, algorithm 1.

    Examples
    --------
    >>> Adadelta().learning_rate
    1.0
    """

    decay_in_gradient: ClassVar[bool] = True
    learning_rate: float | Schedule = 1.0
    rho: float = 0.9
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        check("rho", self.rho, 0.0, 1.0)
        check("epsilon", self.epsilon, 0.0, math.inf)

    @property
    def rule(self) -> str:
        return "adadelta"

    @property
    def n_states(self) -> int:
        return 2

    def constants(self) -> tuple[float, ...]:
        return (self.rho, self.epsilon)
