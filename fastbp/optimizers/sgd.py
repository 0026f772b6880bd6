"""Rules that step along the gradient, or along its sign."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from fastbp.optimizers.base import Optimizer, Schedule, check
from fastbp.util.arguments import flag


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

        g <- g + weight_decay W        v <- momentum v + g        W <- W - learning_rate v
        with nesterov:                                            W <- W - learning_rate (g + momentum v)

    Args:
        learning_rate: a number >= 0, or a function of an array of updates.
        momentum: in [0, 1); 0 keeps no state.
        nesterov: looks ahead along the momentum; needs momentum > 0.
        weight_decay and all other keywords: see fastbp.optimizers.Optimizer; decay is added to the gradient (L2).

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> SGD(0.1, momentum=0.9).rule
        'momentum'

    Source: Goodfellow et al. 2016, algorithms 8.1 to 8.3; Sutskever et al. 2013. Keras multiplies the rate into v and
    decays weights directly; here as in PyTorch, with dampening 0.
    """

    learning_rate: float | Schedule = 0.01
    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check("momentum", self.momentum, 0.0, 1.0)
        flag(self.nesterov, "nesterov")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs momentum above 0, but momentum=0 came: pass for example 0.9")

    @property
    def rule(self) -> str:
        if self.momentum == 0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"

    @property
    def n_states(self) -> int:
        return int(self.momentum > 0)

    def constants(self) -> tuple[float, ...]:
        return (self.weight_decay, self.momentum)


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """Lion: steps of one size, whose signs are those of an average of the gradients.

        W <- (1 - learning_rate weight_decay) W - learning_rate sign(beta_1 m + (1 - beta_1) g)
        m <- beta_2 m + (1 - beta_2) g

    Args:
        learning_rate: a number >= 0, or a function of an array of updates; 3 to 10 times smaller than for Adam.
        beta_1, beta_2: in [0, 1).
        weight_decay and all other keywords: see fastbp.optimizers.Optimizer; 3 to 10 times larger than for AdamW.

    Raises:
        ValueError: a value out of its range. TypeError: not a number.

    Example:
        >>> Lion().rule
        'lion'

    Source: Chen et al. 2023, algorithm 2. Keras has the learning rate 1e-3; PyTorch has no Lion.
    """

    learning_rate: float | Schedule = 1e-4
    beta_1: float = 0.9
    beta_2: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        check("beta_1", self.beta_1, 0.0, 1.0)
        check("beta_2", self.beta_2, 0.0, 1.0)

    @property
    def rule(self) -> str:
        return "lion"

    @property
    def n_states(self) -> int:
        return 1

    def constants(self) -> tuple[float, ...]:
        return (self.weight_decay, self.beta_1, self.beta_2)
