"""Rules that look at a whole array of weights at a time."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt

from fastbp.optimizers.adam import AdamLike, one_minus_power
from fastbp.optimizers.base import Optimizer, Schedule, check


@dataclass(frozen=True, repr=False)
class LAMB(AdamLike):
    """LAMB: Adam's step, for each kernel and bias stretched to the size of the weights themselves; for large batches.

        m <- beta_1 m + (1 - beta_1) g        v <- beta_2 v + (1 - beta_2) g^2
        r = (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon) + weight_decay W
        W <- W - learning_rate |W| / |r| r        |W| / |r| counts as 1 where either is 0

    Args:
        learning_rate: a number >= 0, or a function of an array of updates.
        beta_1, beta_2: in [0, 1).
        epsilon: >= 0, outside the root.
        weight_decay: >= 0, 0.01 by default; inside the trust ratio.
        All other keywords: see fastbp.optimizers.Optimizer.

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> LAMB().rule
        'lamb'

    Source: You et al. 2020, algorithm 2, with phi(z) = z. Keras has no decay by default and epsilon 1e-7; PyTorch lacks
    this optimizer.
    """

    epsilon: float = 1e-6
    _: KW_ONLY
    weight_decay: float = 1e-2

    @property
    def rule(self) -> str:
        return "lamb"


@dataclass(frozen=True, repr=False)
class Muon(Optimizer):
    """Muon: momentum whose matrices are made orthogonal, for hidden kernels; AdamW for all else.

        m <- momentum m + (1 - momentum) g        u = momentum m + (1 - momentum) g
        W <- (1 - learning_rate weight_decay) W - learning_rate sqrt(max(1, outputs / inputs)) orthogonal(u)

    orthogonal(u): five rounds of X <- 3.4445 X - 4.7750 (X X') X + 2.0315 (X X')^2 X from X = u / max(|u|, 1e-7), which
    bring all singular values near 1. Hidden are all kernels but those of the first and the last Dense layer.

    Args:
        learning_rate: a number >= 0, or a function of an array of updates.
        momentum: in [0, 1).
        adam_lr_ratio: AdamW's learning rate is this times the learning rate; >= 0.
        adam_beta_1, adam_beta_2: of AdamW, whose epsilon is 1e-8; in [0, 1).
        weight_decay: >= 0, 0.1 by default, decoupled; of both rules.
        All other keywords: see fastbp.optimizers.Optimizer.

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> Muon(0.02, adam_lr_ratio=0.015).rule
        'muon'

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. As torch.optim.Muon, which takes hidden
    kernels only and computes orthogonal(u) in bfloat16, here in the network's own type.
    """

    learning_rate: float | Schedule = 1e-3
    momentum: float = 0.95
    _: KW_ONLY
    adam_lr_ratio: float = 1.0
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    weight_decay: float = 0.1

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
        return (self.weight_decay, self.momentum, self.adam_lr_ratio, self.adam_beta_1, self.adam_beta_2)

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Columns: rate, decay, momentum, adam_lr_ratio, adam_beta_1, adam_beta_2, 1 - beta_1^t, 1 - beta_2^t."""
        table = np.array(super().scalars(steps), order="C")
        table[:, 6] = one_minus_power(self.adam_beta_1, steps + 1.0)
        table[:, 7] = one_minus_power(self.adam_beta_2, steps + 1.0)
        return table
