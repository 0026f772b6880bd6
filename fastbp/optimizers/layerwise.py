"""Optimizers whose step depends on a whole array of weights.

Scalars of the rules::

    lamb    beta_1, beta_2, epsilon, 1 - beta_1^t, 1 - beta_2^t
    muon    momentum, adam_lr_ratio, beta_1, beta_2, 1 - beta_1^t, 1 - beta_2^t
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt

from fastbp.optimizers.adam import AdamLike, one_minus_power
from fastbp.optimizers.base import Optimizer, Schedule, check

__all__ = ["LAMB", "Muon"]


@dataclass(frozen=True, repr=False)
class LAMB(AdamLike):
    """LAMB: Adam's step, scaled for each kernel and bias to the norm of its weights; for large batches.

    ::

        m <- beta_1 m + (1 - beta_1) g        v <- beta_2 v + (1 - beta_2) g^2
        r = (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay W
        W <- W - learning_rate |W| / |r| r        |W| / |r| is 1 if either norm is 0

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule.
    beta_1, beta_2 : float, optional
        Decay rates of the averages, in [0, 1).
    epsilon : float, optional
        Added outside the root, at least 0.
    weight_decay : float or callable, optional
        At least 0; it is part of r, and so of the trust ratio.
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
    Keras has no decay by default and epsilon 1e-7; PyTorch has no LAMB.

    References
    ----------
    You et al., "Large batch optimization for deep learning", 2020, algorithm 2, with phi(z) = z.

    Examples
    --------
    >>> LAMB().rule
    'lamb'
    """

    epsilon: float = 1e-6
    _: KW_ONLY
    weight_decay: float | Schedule = 1e-2

    @property
    def rule(self) -> str:
        return "lamb"


@dataclass(frozen=True, repr=False)
class Muon(Optimizer):
    """Muon: momentum orthogonalized for hidden kernels; AdamW for all other weights.

    ::

        m <- momentum m + (1 - momentum) g        u = momentum m + (1 - momentum) g
        W <- (1 - learning_rate weight_decay) W - learning_rate sqrt(max(1, outputs / inputs)) orthogonal(u)

    orthogonal(u) is five Newton-Schulz iterations, which bring all singular values near 1::

        X <- 3.4445 X - 4.7750 (X X') X + 2.0315 (X X')^2 X        from X = u / max(|u|, 1e-7)

    Hidden kernels are those of all Dense layers except the first and the last.

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule.
    momentum : float, optional
        In [0, 1).
    adam_lr_ratio : float, optional
        AdamW's learning rate as a multiple of the learning rate, at least 0.
    adam_beta_1, adam_beta_2 : float, optional
        Of AdamW, whose epsilon is 1e-8; in [0, 1).
    weight_decay : float or callable, optional
        Decoupled weight decay of both rules, at least 0.
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
    Like torch.optim.Muon, which takes hidden kernels only and computes orthogonal(u) in bfloat16, here in the dtype of
    the network.

    References
    ----------
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/.

    Examples
    --------
    >>> Muon(0.02, adam_lr_ratio=0.015).rule
    'muon'
    """

    learning_rate: float | Schedule = 1e-3
    momentum: float = 0.95
    _: KW_ONLY
    adam_lr_ratio: float = 1.0
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    weight_decay: float | Schedule = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check("momentum", self.momentum, 0.0, 1.0)
        check("adam_lr_ratio", self.adam_lr_ratio, 0.0, math.inf)
        check("adam_beta_1", self.adam_beta_1, 0.0, 1.0)
        check("adam_beta_2", self.adam_beta_2, 0.0, 1.0)

    @property
    def rule(self) -> str:
        return "muon"

    @property
    def n_states(self) -> int:
        return 2

    def constants(self) -> tuple[float, ...]:
        return (self.momentum, self.adam_lr_ratio, self.adam_beta_1, self.adam_beta_2)

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Columns: learning rate, decay, momentum, adam_lr_ratio, beta_1, beta_2, 1 - beta_1^t, 1 - beta_2^t."""
        table = np.array(super().scalars(steps), order="C")
        table[:, 6] = one_minus_power(self.adam_beta_1, steps + 1.0)
        table[:, 7] = one_minus_power(self.adam_beta_2, steps + 1.0)
        return table
