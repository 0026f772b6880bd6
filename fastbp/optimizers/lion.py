"""Lion: steps along the sign of an averaged gradient. Scalars of the rule: beta_1, beta_2."""

from __future__ import annotations

from dataclasses import dataclass

from fastbp.optimizers.base import Optimizer, Schedule, check

__all__ = ["Lion"]


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """Lion: steps of constant size, along the sign of an average of the gradients.

    ::

        W <- (1 - learning_rate weight_decay) W - learning_rate sign(beta_1 m + (1 - beta_1) g)
        m <- beta_2 m + (1 - beta_2) g

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule; 3 to 10 times smaller than for Adam.
    beta_1, beta_2 : float, optional
        Weights of the average in the step and in its update, in [0, 1).
    weight_decay : float or callable, optional
        Decoupled, at least 0; 3 to 10 times larger than for AdamW.
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
    Keras's default learning rate is 1e-3; PyTorch has no Lion.

    References
    ----------
    Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.

    Examples
    --------
    >>> Lion().rule
    'lion'
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
        return (self.beta_1, self.beta_2)
