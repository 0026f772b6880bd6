"""Optimizers: a rule, its states per weight, and its scalars for each update.

An optimizer object is a frozen description; the model holds the states. `scalars(steps)` returns the numbers that the
rule needs at the given updates, counted from 0: one call for many, so a learning rate may be any function of them.
Formulas are PyTorch's: weight decay is added to the gradient, except that AdamW, Lion and Muon shrink the weights
directly (decoupled weight decay).

The scalars of each rule, after the learning rate and the weight decay::

    sgd, momentum, nesterov     (momentum)
    adam, adamw, lamb           beta_1, beta_2, epsilon, 1 - beta_1^t, 1 - beta_2^t
    amsgrad                     these, and whether decay is decoupled
    nadam                       beta_1, beta_2, epsilon, weight of g, 1 - beta_2^t, weight of m
    rmsprop(_momentum, _centered)   rho, momentum, epsilon
    adagrad                     initial_accumulator_value, epsilon
    adadelta                    rho, epsilon
    lion                        beta_1, beta_2
    muon                        momentum, adam_lr_ratio, beta_1, beta_2, 1 - beta_1^t, 1 - beta_2^t
"""

from __future__ import annotations

from collections.abc import Callable

from fastbp.optimizers.adam import Adam, AdamW, NAdam
from fastbp.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from fastbp.optimizers.base import N_SCALARS, Optimizer, Schedule
from fastbp.optimizers.layerwise import LAMB, Muon
from fastbp.optimizers.sgd import SGD, Lion
from fastbp.util.arguments import did_you_mean, remedy_for

__all__ = [
    "BY_NAME",
    "LAMB",
    "NAMES",
    "N_SCALARS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "get",
]

BY_NAME: dict[str, Callable[[], Optimizer]] = {
    kind.__name__.lower(): kind for kind in (SGD, Adam, AdamW, NAdam, RMSprop, Adagrad, Adadelta, Lion, LAMB, Muon)
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
