"""Optimizers: a rule, its states per weight, and its scalars for each update.

An optimizer object is a frozen description; the model holds the states. `scalars(steps)` returns the numbers that the
rule needs at the given updates, counted from 0: one call for many, so a learning rate may be any function of them.
Formulas are PyTorch's: weight decay is added to the gradient, except that AdamW, Lion and Muon shrink the weights
directly (decoupled weight decay).

Each module lists the scalars of its rules after the learning rate and the weight decay.
"""

from __future__ import annotations

from collections.abc import Callable

from fastbp.optimizers import adam, adaptive, layerwise, lion, sgd
from fastbp.optimizers.adam import *
from fastbp.optimizers.adaptive import *
from fastbp.optimizers.base import N_SCALARS, Optimizer, Schedule
from fastbp.optimizers.layerwise import *
from fastbp.optimizers.lion import *
from fastbp.optimizers.sgd import *
from fastbp.util.arguments import did_you_mean, remedy_for
from fastbp.util.public_classes import public_classes

__all__ = ["BY_NAME", "NAMES", "N_SCALARS", "Optimizer", "Schedule", "get"]
__all__ += adam.__all__
__all__ += adaptive.__all__
__all__ += layerwise.__all__
__all__ += lion.__all__
__all__ += sgd.__all__

BY_NAME: dict[str, Callable[[], Optimizer]] = {
    kind.__name__.lower(): kind for kind in public_classes(sgd, adam, adaptive, lion, layerwise)
}
NAMES = tuple(BY_NAME)


def get(optimizer: str | Optimizer) -> Optimizer:
    """Return the optimizer of that name (in any case) with its defaults; Optimizer objects are returned unchanged.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("sgd")
    SGD(learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=0.0)
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    rule = f"optimizer must be an object such as Adam(1e-3), or one of {', '.join(NAMES)}"
    if not isinstance(optimizer, str):
        raise TypeError(f"{rule}, got {optimizer!r}: {remedy_for(optimizer)}")
    if optimizer.lower() not in BY_NAME:
        raise ValueError(f"{rule}, got {optimizer!r}{did_you_mean(optimizer, NAMES)}")
    return BY_NAME[optimizer.lower()]()
