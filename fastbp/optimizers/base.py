"""What all optimizers share: learning rate, weight decay, and the options around the update rule."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastbp.spec import UpdateSpec
from fastbp.util.arguments import count, flag
from fastbp.util.fields import any_number

Schedule = Callable[[npt.NDArray[np.int64]], Any]
N_SCALARS = 8
SCHEDULED = ("learning_rate", "weight_decay")  # which may be schedules
CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")


@dataclass(frozen=True, repr=False)
class Optimizer(ABC):
    """Base class of all optimizers: a learning rate and the options around every update.

    ::

        every gradient_accumulation_steps steps:  g <- their mean gradient
        clipvalue c:        g <- min(max(g, -c), c)               element by element
        clipnorm c:         g <- g min(1, c / (|g| + 1e-6))       for each kernel and bias
        global_clipnorm c:  the same with the norm of all gradients together
        W <- the optimizer's rule, with weight_decay
        use_ema:            average <- ema_momentum average + (1 - ema_momentum) W       the first time: average <- W

    Parameters
    ----------
    learning_rate : float or callable
        A number of at least 0, or a schedule: a function that maps an int64 array of updates, counted from 0, to their
        learning rates, such as fastbp.CosineDecay(1e-3, 10_000).
    weight_decay : float or callable, optional
        A number of at least 0, or a schedule.
    clipnorm, clipvalue, global_clipnorm : float, optional
        Bounds on the gradients, above 0; at most one of them.
    gradient_accumulation_steps : int, optional
        Steps per update, at least 1.
    use_ema : bool, optional
        Whether to keep an exponential moving average of the weights.
    ema_momentum : float, optional
        Momentum of that average, in (0, 1).
    weight_decay_on : {"all", "kernels"}, optional
        Whether weight decay applies to all weights, or not to biases, gamma and beta.

    Raises
    ------
    ValueError
        If a value is out of range, or more than one clipping option is given.
    TypeError
        If a value has the wrong type.

    Notes
    -----
    Names are Keras's, formulas PyTorch's (``clip_grad_norm_``, AveragedModel). Keras clips without the 1e-6 and has
    exclude_from_weight_decay instead of weight_decay_on.

    References
    ----------
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013 (clipping of norms);
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.

    Examples
    --------
    >>> from fastbp import SGD
    >>> SGD(0.1, global_clipnorm=1.0).update_spec.global_clipnorm
    1.0
    """

    decay_in_gradient: ClassVar[bool] = False  # whether the rule adds weight_decay times the weights to the gradient
    learning_rate: float | Schedule
    _: KW_ONLY
    weight_decay: float | Schedule = 0.0
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    gradient_accumulation_steps: int = 1
    use_ema: bool = False
    ema_momentum: float = 0.99
    weight_decay_on: str = "all"

    def __post_init__(self) -> None:
        for name in SCHEDULED:
            if not callable(getattr(self, name)):
                check(name, getattr(self, name), 0.0, math.inf)
        given = [name for name in CLIPS if getattr(self, name) is not None]
        for name in given:
            check_positive(name, getattr(self, name))
        if len(given) > 1:
            got = " and ".join(given)
            raise ValueError(f"at most one of {', '.join(CLIPS)} may be given, got {got}: choose one")
        count(self.gradient_accumulation_steps, "gradient_accumulation_steps")
        flag(self.use_ema, "use_ema")
        check_positive("ema_momentum", self.ema_momentum, 1.0)
        if self.weight_decay_on not in ("all", "kernels"):
            raise ValueError(f"weight_decay_on must be 'all' or 'kernels', got {self.weight_decay_on!r}: pass one")

    @property
    @abstractmethod
    def rule(self) -> str:
        """The name of the update rule, as engines know it."""

    @property
    @abstractmethod
    def n_states(self) -> int:
        """State arrays per weight of the rule, without those of the update spec."""

    @property
    def update_spec(self) -> UpdateSpec:
        """What is done to gradients before the rule and to weights after it."""
        return UpdateSpec(
            clipvalue=float(self.clipvalue or 0),
            clipnorm=float(self.clipnorm or 0),
            global_clipnorm=float(self.global_clipnorm or 0),
            accumulation=int(self.gradient_accumulation_steps),
            ema_momentum=float(self.ema_momentum) if self.use_ema else 0.0,
            decay_kernels_only=self.weight_decay_on == "kernels",
        )

    def constants(self) -> tuple[float, ...]:
        """The scalars after learning rate and weight decay that are the same for every update."""
        return ()

    @property
    def scheduled(self) -> bool:
        """Whether learning rate or weight decay is a schedule."""
        return any(callable(getattr(self, name)) for name in SCHEDULED)

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The scalars of the given updates, counted from 0.

        Parameters
        ----------
        steps : array of int64
            Update numbers.

        Returns
        -------
        array, shape (len(steps), 8)
            The learning rate, the weight decay, and what the rule needs. If all updates are alike it is one row,
            broadcast, which the engine prepares only once.
        """
        planned, constants = [self._planned(name, steps) for name in SCHEDULED], self.constants()
        table = np.zeros((len(steps) if any(map(np.ndim, planned)) else 1, N_SCALARS))
        table[:, 0], table[:, 1] = planned
        table[:, 2 : 2 + len(constants)] = constants
        return table if len(table) == len(steps) else np.broadcast_to(table, (len(steps), N_SCALARS))

    def _planned(self, name: str, steps: npt.NDArray[np.int64]) -> Any:
        """Learning rates or weight decays of updates, or one of all."""
        given = getattr(self, name)
        if not callable(given):
            return given
        values = np.asarray(given(steps), np.float64)
        if values.shape not in ((), steps.shape) or not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(
                f"{name} must be a number, or a function from an array of updates to finite numbers of at least 0, got "
                f"{values!r} of shape {values.shape} for {len(steps)} updates: correct the function"
            )
        return values

    def __repr__(self) -> str:
        """The arguments; of those that all optimizers share, only the ones that differ from their defaults."""
        common = {field.name: field.default for field in dataclasses.fields(Optimizer) if field.name != "learning_rate"}
        names = [field.name for field in dataclasses.fields(self)]
        own = [name for name in names if name not in common]
        shared = [name for name in common if name == "weight_decay" or getattr(self, name) != common[name]]
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in own + shared)
        return f"{type(self).__name__}({arguments})"


def check(name: str, value: Any, low: float, below: float) -> None:
    """Raise an error unless low <= value < below."""
    any_number(value, name)
    if not low <= value < below:
        raise ValueError(f"{name} must be at least {low:g} and {_up_to(below)}, got {value!r}: pass such a number")


def check_positive(name: str, value: Any, below: float = math.inf) -> None:
    """Raise an error unless 0 < value < below."""
    any_number(value, name)
    if not 0 < value < below:
        raise ValueError(
            f"{name} must be above 0 and {_up_to(below)}, got {value!r}: leave it out, or pass such a number"
        )


def _up_to(below: float) -> str:
    return f"below {below:g}" if below < math.inf else "finite"
