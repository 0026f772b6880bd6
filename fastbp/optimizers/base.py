"""What all optimizers share: a learning rate, weight decay, and what happens around the rule."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.spec import UpdateSpec
from fastbp.util.arguments import count, flag
from fastbp.util.fields import any_number

Schedule = Callable[[npt.NDArray[np.int64]], Any]
N_SCALARS = 8
CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")


@dataclass(frozen=True, repr=False)
class Optimizer(ABC):
    """What all optimizers share: a learning rate, a number or a schedule, and the options around every update.

        every gradient_accumulation_steps steps:  g <- their mean gradient
        clipvalue c:        g <- min(max(g, -c), c)                      element by element
        clipnorm c:         g <- g min(1, c / (|g| + 1e-6))              each kernel, each bias by itself
        global_clipnorm c:  the same by the norm of all gradients together
        W <- the optimizer's rule, with weight_decay
        use_ema:            average <- ema_momentum average + (1 - ema_momentum) W       the first time: average <- W

    Args:
        learning_rate: a number >= 0, or a schedule: a function of an int64 array of updates, counted from 0, that
            gives a rate for each, such as fastbp.CosineDecay(1e-3, 10_000).
        weight_decay: >= 0.
        clipnorm, clipvalue, global_clipnorm: > 0, at most one of them.
        gradient_accumulation_steps: steps to an update, at least 1.
        use_ema, ema_momentum: whether to keep an average of the weights; in (0, 1).
        weight_decay_on: "all", or "kernels" to leave out biases, gamma and beta.

    Raises:
        ValueError: a value out of its range, or two clips. TypeError: a value of another type.

    Example:
        >>> from fastbp import SGD
        >>> SGD(0.1, global_clipnorm=1.0).update_spec.global_clipnorm
        1.0

    Source: Pascanu et al. 2013 (norms), Polyak and Juditsky 1992 (averages). Names are Keras's, formulas PyTorch's
    (clip_grad_norm_, AveragedModel); Keras clips with no 1e-6, and has weight_decay_on as exclude_from_weight_decay.
    """

    learning_rate: float | Schedule
    _: KW_ONLY
    weight_decay: float = 0.0
    clipnorm: float | None = None
    clipvalue: float | None = None
    global_clipnorm: float | None = None
    gradient_accumulation_steps: int = 1
    use_ema: bool = False
    ema_momentum: float = 0.99
    weight_decay_on: str = "all"

    def __post_init__(self) -> None:
        if not callable(self.learning_rate):
            check("learning_rate", self.learning_rate, 0.0, math.inf)
        check("weight_decay", self.weight_decay, 0.0, math.inf)
        given = [name for name in CLIPS if getattr(self, name) is not None]
        for name in given:
            check_positive(name, getattr(self, name))
        if len(given) > 1:
            came = " and ".join(given)
            raise ValueError(f"at most one of {', '.join(CLIPS)} can be given, but {came} came: choose one")
        count(self.gradient_accumulation_steps, "gradient_accumulation_steps")
        flag(self.use_ema, "use_ema")
        check_positive("ema_momentum", self.ema_momentum, 1.0)
        if self.weight_decay_on not in ("all", "kernels"):
            raise ValueError(f"weight_decay_on must be 'all' or 'kernels', but {self.weight_decay_on!r} came: pass one")

    @property
    @abstractmethod
    def rule(self) -> str:
        """The name of the rule that engines know."""

    @property
    @abstractmethod
    def n_states(self) -> int:
        """Numbers that the rule remembers of each weight; those of the update spec are besides."""

    @property
    def update_spec(self) -> UpdateSpec:
        """What happens to gradients before the rule and to weights after it."""
        return UpdateSpec(
            clipvalue=float(self.clipvalue or 0),
            clipnorm=float(self.clipnorm or 0),
            global_clipnorm=float(self.global_clipnorm or 0),
            accumulation=int(self.gradient_accumulation_steps),
            ema_momentum=float(self.ema_momentum) if self.use_ema else 0.0,
            decay_kernels_only=self.weight_decay_on == "kernels",
        )

    def constants(self) -> tuple[float, ...]:
        """The columns of the scalars behind the learning rate; the first is the weight decay, of every rule."""
        return (self.weight_decay,)

    def scalars(self, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(len(steps), 8): the learning rate, the weight decay, then what the rule wants; updates count from 0.

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
                "learning_rate must be a number, or a function of an array of updates that gives a finite rate of at "
                f"least 0 for each, but for {len(steps)} updates it gave {rates!r} of shape {rates.shape}: mend the "
                "function"
            )
        return rates

    def __repr__(self) -> str:
        """The arguments, of those that all optimizers have only what is not as usual."""
        usual = {field.name: field.default for field in dataclasses.fields(Optimizer) if field.name != "learning_rate"}
        names = [field.name for field in dataclasses.fields(self)]
        own = [name for name in names if name not in usual]
        shared = [name for name in usual if name == "weight_decay" or getattr(self, name) != usual[name]]
        arguments = ", ".join(f"{name}={getattr(self, name)!r}" for name in own + shared)
        return f"{type(self).__name__}({arguments})"


def check(name: str, value: Any, low: float, below: float) -> None:
    """low <= value < below, or an error that says so."""
    any_number(value, name)
    if not low <= value < below:
        raise ValueError(f"{name} must be at least {low:g} and {_up_to(below)}, but {value!r} came: pass such a number")


def check_positive(name: str, value: Any, below: float = math.inf) -> None:
    """0 < value < below."""
    any_number(value, name)
    if not 0 < value < below:
        raise ValueError(
            f"{name} must be above 0 and {_up_to(below)}, but {value!r} came: leave it out, or pass such one"
        )


def _up_to(below: float) -> str:
    return f"below {below:g}" if below < math.inf else "finite"
