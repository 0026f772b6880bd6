"""Stochastic gradient descent. Scalars of the rules sgd, momentum and nesterov: momentum."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from fastbp.optimizers.base import Optimizer, Schedule, check
from fastbp.optimizers.lion import Lion as Lion  # where earlier versions had it: pickles name this module
from fastbp.util.arguments import flag

__all__ = ["SGD"]


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

    decay_in_gradient: ClassVar[bool] = True
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
        return (self.momentum,)
