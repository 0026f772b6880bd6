"""Rules that divide each gradient by the root of a mean or sum of its squares."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

from fastbp.optimizers.base import Optimizer, Schedule, check
from fastbp.util.arguments import flag


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """RMSprop: the gradient over the root of a running mean of its squares.

        v <- rho v + (1 - rho) g^2                                  W <- W - learning_rate g / (sqrt(v) + epsilon)
        with momentum:  b <- momentum b + g / (sqrt(v) + epsilon)   W <- W - learning_rate b
        centered:       a <- rho a + (1 - rho) g, and v - a^2 stands for v under the root

    Args:
        learning_rate: a number >= 0, or a function of an array of updates.
        rho: in [0, 1).
        momentum: in [0, 1).
        epsilon: >= 0, outside the root.
        centered: whether to divide by the standard deviation; keeps three numbers a weight.
        weight_decay and all other keywords: see fastbp.optimizers.Optimizer; decay is added to the gradient (L2).

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> RMSprop(momentum=0.9).n_states
        2

    Source: Hinton 2012, lecture 6e; Graves 2013 (centered). As in PyTorch, which calls rho alpha; Keras has 1e-3 for
    the learning rate, rho 0.9, and epsilon 1e-7 inside the root. A v - a^2 that rounding made negative counts as 0.
    """

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
        return (self.weight_decay, self.rho, self.momentum, self.epsilon)


@dataclass(frozen=True, repr=False)
class Adagrad(Optimizer):
    """Adagrad: the gradient over the root of the sum of its squares.

        s <- s + g^2        W <- W - learning_rate g / (sqrt(initial_accumulator_value + s) + epsilon)

    Args:
        learning_rate: a number >= 0, or a function of an array of updates; PyTorch's lr_decay is
            lambda t: learning_rate / (1 + lr_decay * t).
        initial_accumulator_value: >= 0.
        epsilon: >= 0, outside the root.
        weight_decay and all other keywords: see fastbp.optimizers.Optimizer; decay is added to the gradient (L2).

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> Adagrad(0.1).rule
        'adagrad'

    Source: Duchi et al. 2011. As in PyTorch; Keras has the learning rate 1e-3, the initial value 0.1, epsilon 1e-7.
    """

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
        return (self.weight_decay, self.initial_accumulator_value, self.epsilon)


@dataclass(frozen=True, repr=False)
class Adadelta(Optimizer):
    """Adadelta: the gradient, scaled by the root mean square of past steps over that of the gradients.

        v <- rho v + (1 - rho) g^2        d = sqrt(u + epsilon) / sqrt(v + epsilon) g
        u <- rho u + (1 - rho) d^2        W <- W - learning_rate d

    Args:
        learning_rate: a number >= 0, or a function of an array of updates.
        rho: in [0, 1).
        epsilon: >= 0, inside the roots; with 0 nothing would ever move.
        weight_decay and all other keywords: see fastbp.optimizers.Optimizer; decay is added to the gradient (L2).

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> Adadelta().learning_rate
        1.0

    Source: Zeiler 2012, algorithm 1. As in PyTorch; Keras has the learning rate 1e-3, rho 0.95 and epsilon 1e-7.
    """

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
        return (self.weight_decay, self.rho, self.epsilon)
