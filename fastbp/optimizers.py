"""Optimizers: what to do with a gradient. Each is a rule, a number of states per weight, and scalars per step.

An optimizer object is a frozen description; the model keeps the states. `scalars(steps)` gives the numbers the rule
needs at each of the steps, counted from 0: one call for many steps, so a learning rate may be any function of them.
Formulas are PyTorch's: weight decay is added to the gradient, but for AdamW, which shrinks the weights directly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Schedule = Callable[[npt.NDArray[np.int64]], Any]
N_SCALARS = 8


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers share: a learning rate, a number or a function of an array of steps, and weight decay."""

    learning_rate: float | Schedule

    rule: ClassVar[str]
    n_states: ClassVar[int]

    def __post_init__(self) -> None:
        if not callable(self.learning_rate):
            _check("learning_rate", self.learning_rate, 0.0, math.inf)

    def constants(self) -> tuple[float, ...]:
        """The columns of the scalars behind the learning rate."""
        return ()

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(len(steps), 8): the learning rate, then what the rule wants; `steps` count from 0.

        Where no step differs from another it is one row, broadcast: the engine then prepares it once.
        """
        rates, constants = self._rates(steps), self.constants()
        table = np.zeros((len(steps) if np.ndim(rates) else 1, N_SCALARS))
        table[:, 0] = rates
        table[:, 1 : 1 + len(constants)] = constants
        return table if len(table) == len(steps) else np.broadcast_to(table, (len(steps), N_SCALARS))

    def _rates(self, steps: npt.NDArray[np.int64]) -> Any:
        if not callable(self.learning_rate):
            return self.learning_rate
        rates = np.asarray(self.learning_rate(steps), np.float64)
        if rates.shape not in ((), steps.shape) or not (np.isfinite(rates) & (rates >= 0)).all():
            raise ValueError(
                "learning_rate: a schedule takes an array of steps and gives finite rates >= 0, one for each; "
                f"for {len(steps)} steps it gave shape {rates.shape}, {rates!r}"
            )
        return rates


def _check(name: str, value: Any, low: float, below: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low <= value < below:
        bounds = f"at least {low:g}" + (f" and below {below:g}" if below < math.inf else " and finite")
        raise ValueError(f"{name} must be {bounds}, got {value!r}")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

        g <- g + weight_decay W        v <- momentum v + g        W <- W - learning_rate v
        with nesterov:                                            W <- W - learning_rate (g + momentum v)

    Args:
        learning_rate: a number >= 0, or a function of an array of steps.
        momentum: in [0, 1); 0 keeps no state.
        nesterov: looks ahead along the momentum; needs momentum > 0.
        weight_decay: >= 0, added to the gradient (L2), biases included.

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> SGD(0.1, momentum=0.9).rule
        'momentum'

    Source: Goodfellow et al. 2016, algorithms 8.1 to 8.3; Sutskever et al. 2013. Keras multiplies the rate into v and
    decays weights directly; here as in PyTorch, with dampening 0.
    """

    learning_rate: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __init__(self, learning_rate: float | Schedule = 0.01, *, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float = 0.0) -> None:
        _set(self, learning_rate=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        _check("momentum", momentum, 0.0, 1.0)
        _check("weight_decay", weight_decay, 0.0, math.inf)
        if nesterov and momentum == 0:
            raise ValueError("nesterov=True needs momentum > 0, got momentum=0; try momentum=0.9")

    @property
    def rule(self) -> str:  # type: ignore[override]
        if self.momentum == 0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"

    @property
    def n_states(self) -> int:  # type: ignore[override]
        return int(self.momentum > 0)

    def constants(self) -> tuple[float, ...]:
        return (self.weight_decay, self.momentum)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: steps of the size of the gradient's mean over its root mean square.

        m <- beta_1 m + (1 - beta_1) g        v <- beta_2 v + (1 - beta_2) g^2
        W <- W - learning_rate (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Args:
        learning_rate: a number >= 0, or a function of an array of steps.
        beta_1, beta_2: in [0, 1).
        epsilon: >= 0, outside the root.
        weight_decay: >= 0, added to the gradient (L2), biases included; see AdamW for the other kind.

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> Adam(1e-3).scalars(np.array([0]))[0, 5:7].round(4).tolist()
        [0.1, 0.001]

    Source: Kingma and Ba 2015, algorithm 1. Keras has epsilon 1e-7 and PyTorch 1e-8, as here.
    """

    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    rule: ClassVar[str] = "adam"
    n_states: ClassVar[int] = 2

    def __init__(self, learning_rate: float | Schedule = 1e-3, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, *, weight_decay: float = 0.0) -> None:
        _set(self, learning_rate=learning_rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon,
             weight_decay=weight_decay)
        _check("beta_1", beta_1, 0.0, 1.0)
        _check("beta_2", beta_2, 0.0, 1.0)
        _check("epsilon", epsilon, 0.0, math.inf)
        _check("weight_decay", weight_decay, 0.0, math.inf)

    def constants(self) -> tuple[float, ...]:
        return (self.weight_decay, self.beta_1, self.beta_2, self.epsilon)

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        table = np.array(super().scalars(steps), order="C")  # "K" would turn a broadcast row into columns
        t = steps + 1.0
        # 1 - beta^t, without cancellation where beta^t is close to 1
        table[:, 5] = _one_minus_power(self.beta_1, t)
        table[:, 6] = _one_minus_power(self.beta_2, t)
        return table


def _one_minus_power(beta: float, t: npt.NDArray[np.floating[Any]]) -> Any:
    return -np.expm1(t * math.log(beta)) if beta > 0 else 1.0


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: W <- (1 - learning_rate weight_decay) W, then Adam's step.

    Args: as Adam; weight_decay is 0.01 by default.

    Example:
        >>> AdamW(1e-3).weight_decay
        0.01

    Source: Loshchilov and Hutter 2019. As in PyTorch; Keras's default decay is 0.004.
    """

    weight_decay: float = 1e-2

    rule: ClassVar[str] = "adamw"

    def __init__(self, learning_rate: float | Schedule = 1e-3, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, *, weight_decay: float = 1e-2) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay)


def _set(optimizer: Optimizer, **values: Any) -> None:
    """Fields of a frozen dataclass, once, with the check of the learning rate."""
    for name, value in values.items():
        object.__setattr__(optimizer, name, value)
    Optimizer.__post_init__(optimizer)


BY_NAME: dict[str, Callable[[], Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
NAMES = tuple(BY_NAME)


def get(optimizer: str | Optimizer) -> Optimizer:
    """The optimizer of that name with its defaults, or the object itself.

    >>> get("sgd")
    SGD(learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=0.0)
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer.lower() in BY_NAME:
        return BY_NAME[optimizer.lower()]()
    raise ValueError(
        f"optimizer must be one of {', '.join(map(repr, NAMES))} or an object such as fastbp.Adam(1e-3); "
        f"got {optimizer!r}"
    )
