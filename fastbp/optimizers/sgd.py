"""Optimizers that step along the gradient or its sign."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from fastbp.optimizers.base import Optimizer, Schedule, check
from fastbp.util.arguments import flag


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum.

    ::

        g <- g + weight_decay W        v <- momentum v + g        W <- W - learning_rate v
        with nesterov:                                            W <- W - learning_rate (g + momentum v)

    Parameters
    ----------
    learning_rate : float or callable, optional
        A number of at least 0, or a schedule.
    momentum : float, optional
        In [0, 1); 0 keeps no state.
    nesterov : bool, optional
        Whether to use Nesterov's momentum; needs momentum above 0.
    **kwargs
        weight_decay, which is added to the gradient (L2), and the other options of `fastbp.optimizers.Optimizer`.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    As in PyTorch with dampening 0. Keras multiplies the learning rate into v and decays weights directly.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, algorithms 8.1 to 8.3; Sutskever et al., "On the importance
    of initialization and momentum in deep learning", 2013.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9).rule
    'momentum'
    >>> model = Sequential([Dense(8, "relu"), Dense(1)])
    >>> model.compile(SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-4), "mse")
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
            raise ValueError("momentum must be above 0 with nesterov=True, got 0: pass for example 0.9")

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
    **kwargs
        weight_decay, decoupled and 3 to 10 times larger than for AdamW, and the other options of
        `fastbp.optimizers.Optimizer`.

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
        return (self.weight_decay, self.beta_1, self.beta_2)
