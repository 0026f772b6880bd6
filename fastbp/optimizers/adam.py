"""Adam and its variants: the mean of the gradients over the root of their mean square, both with bias correction.

Scalars of the rules::

    adam, adamw     beta_1, beta_2, epsilon, 1 - beta_1^t, 1 - beta_2^t
    amsgrad         these, and whether decay is decoupled
    nadam           beta_1, beta_2, epsilon, weight of g, 1 - beta_2^t, weight of m
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastbp.optimizers.base import Optimizer, Schedule, check
from fastbp.util.arguments import flag

__all__ = ["Adam", "AdamW", "NAdam"]


@dataclass(frozen=True, repr=False)
class AdamLike(Optimizer):
    """Base class of Adam's variants; columns 5 and 6 of the scalars are 1 - beta_1^t and 1 - beta_2^t."""

    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check("beta_1", self.beta_1, 0.0, 1.0)
        check("beta_2", self.beta_2, 0.0, 1.0)
        check("epsilon", self.epsilon, 0.0, math.inf)

    @property
    def n_states(self) -> int:
        return 2

    def constants(self) -> tuple[float, ...]:
        return (self.beta_1, self.beta_2, self.epsilon)

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        table = np.array(super().scalars(steps), order="C")  # "K" would turn a broadcast row into columns
        t = steps + 1.0
        # without cancellation where beta^t is close to 1
        table[:, 5] = one_minus_power(self.beta_1, t)
        table[:, 6] = one_minus_power(self.beta_2, t)
        return table


def one_minus_power(beta: float, t: npt.NDArray[np.floating[Any]]) -> Any:
    """1 - beta^t, without cancellation."""
    return -np.expm1(t * math.log(beta)) if beta > 0 else 1.0


@dataclass(frozen=True, repr=False)
class Adam(AdamLike):
    """Adam: steps of the size of the gradient's mean over its root mean square.

    ::

        m <- beta_1 m + (1 - beta_1) g        v <- beta_2 v + (1 - beta_2) g^2
        W <- W - learning_rate (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)
        with amsgrad:  u <- max(u, v), and u replaces v in the step

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule.
    beta_1, beta_2 : float, optional
        Decay rates of the averages, in [0, 1).
    epsilon : float, optional
        Added outside the root, at least 0.
    amsgrad : bool, optional
        Whether to divide by the largest v so far.
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

    See Also
    --------
    AdamW : Adam with decoupled weight decay.

    Notes
    -----
    As in PyTorch; Keras's default epsilon is 1e-7.

    References
    ----------
    Kingma and Ba, "Adam: A method for stochastic optimization", 2015, algorithm 1; Reddi, Kale and Kumar, "On the
    convergence of Adam and beyond", 2018 (AMSGrad).

    Examples
    --------
    >>> Adam(1e-3).scalars(np.array([0]))[0, 5:7].round(4).tolist()
    [0.1, 0.001]

    >>> model = Sequential([Dense(8, "relu"), Dense(1)])
    >>> model.compile(Adam(CosineDecay(1e-2, decay_steps=100)), "mse")
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=2)
    """

    decay_in_gradient: ClassVar[bool] = True
    _: KW_ONLY
    amsgrad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag(self.amsgrad, "amsgrad")

    @property
    def rule(self) -> str:
        return "amsgrad" if self.amsgrad else "adam"

    @property
    def n_states(self) -> int:
        return 3 if self.amsgrad else 2


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: ``W <- (1 - learning_rate weight_decay) W``, then Adam's step.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon, amsgrad
        As in `Adam`.
    weight_decay : float or callable, optional
        At least 0.
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
    As in PyTorch; Keras's default weight_decay is 0.004.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    Examples
    --------
    >>> AdamW(1e-3).weight_decay
    0.01
    """

    decay_in_gradient: ClassVar[bool] = False
    _: KW_ONLY
    weight_decay: float | Schedule = 1e-2

    @property
    def rule(self) -> str:
        return "amsgrad" if self.amsgrad else "adamw"

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        table = super().scalars(steps)
        table[:, 7] = 1.0  # selects decoupled decay in the amsgrad rule
        return table


@dataclass(frozen=True, repr=False)
class NAdam(AdamLike):
    """Adam with Nesterov's momentum.

    ::

        mu_t = beta_1 (1 - 0.96^(t momentum_decay) / 2)        p_t = mu_1 mu_2 ... mu_t
        m <- beta_1 m + (1 - beta_1) g        v <- beta_2 v + (1 - beta_2) g^2
        u = mu_(t+1) m / (1 - p_(t+1)) + (1 - mu_t) g / (1 - p_t)
        W <- W - learning_rate u / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule.
    beta_1, beta_2 : float, optional
        Decay rates of the averages, in [0, 1).
    epsilon : float, optional
        Added outside the root, at least 0.
    momentum_decay : float, optional
        At least 0.
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
    As in PyTorch; Keras's Nadam has learning rate 1e-3 and epsilon 1e-7.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    Examples
    --------
    >>> NAdam().scalars(np.array([0]))[0, [5, 7]].round(3).tolist()  # weights of g and m
    [1.0, 0.565]
    """

    decay_in_gradient: ClassVar[bool] = True
    learning_rate: float | Schedule = 2e-3
    _: KW_ONLY
    momentum_decay: float = 4e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check("momentum_decay", self.momentum_decay, 0.0, math.inf)

    @property
    def rule(self) -> str:
        return "nadam"

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Column 5 is the weight of g, ``(1 - mu_t) / (1 - p_t)``, column 7 that of m, ``mu_(t+1) / (1 - p_(t+1))``."""
        table, t = super().scalars(steps), steps + 1.0
        table[:, 5] = (1 - self._mu(t)) / self._one_minus_product(t)
        table[:, 7] = self._mu(t + 1) / self._one_minus_product(t + 1)
        return table

    def _mu(self, t: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        return self.beta_1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))

    def _one_minus_product(self, t: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        """1 - p_t in closed form, for each t separately.

        With q = 0.96^momentum_decay, log p_t is t log beta_1 plus the sum of log(1 - q^i / 2) for i = 1 ... t. By the
        logarithm's series, whose terms for each k are geometric in i, that sum is

            - sum over k of (q^k + q^2k + ... + q^tk) / (k 2^k)

        Where beta_1^t < 2^-60, p_t is negligible.
        """
        result = np.ones_like(t)
        if self.beta_1 == 0:
            return result
        early = t * math.log(self.beta_1) > -60 * math.log(2)
        t = t[early]
        log_q = self.momentum_decay * math.log(0.96)
        log_p = t * math.log(self.beta_1)
        for k in range(1, 54):
            terms = t if log_q == 0 else np.exp(k * log_q) * np.expm1(t * k * log_q) / np.expm1(k * log_q)
            log_p -= terms / (k * 2.0**k)
        result[early] = -np.expm1(log_p)
        return result
