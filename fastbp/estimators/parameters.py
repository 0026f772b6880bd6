"""Constraints on an estimator's parameters, in scikit-learn's terms, which also produce its messages."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastbp import activations, losses, optimizers
from fastbp.callbacks import BackupAndRestore
from fastbp.spec import COMPUTE
from fastbp.util import arguments

SGD_AND_ADAM = ("sgd", "adam")
POSITIVE_INTEGER = Interval(Integral, 1, None, closed="left")

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", POSITIVE_INTEGER],
    "activation": [StrOptions({*activations.NAMES, "logistic"} - {"softmax"}), activations.Activation, list, tuple],
    "solver": [StrOptions({"lbfgs", *optimizers.NAMES}), optimizers.Optimizer],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), POSITIVE_INTEGER],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither"), callable],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [POSITIVE_INTEGER],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [POSITIVE_INTEGER, Options(Real, {np.inf})],
    "max_fun": [POSITIVE_INTEGER],
    "dropout": [None, Interval(Real, 0, 1, closed="left"), "array-like"],
    "batch_norm": ["boolean"],
    "scoring": [None, str, callable],
    "callbacks": [None, list, tuple],
    "progress": ["boolean"],
    "n_threads": [None, POSITIVE_INTEGER],
    "compute": [StrOptions({*COMPUTE, "auto"})],
}
CLASSIFIER_LOSSES = [StrOptions({"log_loss", *losses.NAMES}), losses.Loss]
REGRESSOR_LOSSES = [StrOptions({"squared_error", "absolute_error", *losses.NAMES}), losses.Loss]



def check_together(estimator: Any) -> None:
    """ValueError for incompatible parameters."""
    own = isinstance(estimator.solver, optimizers.Optimizer)
    if estimator.solver == "lbfgs":
        for name, used in (("dropout", _any(estimator.dropout)), ("batch_norm", estimator.batch_norm)):
            if used:
                raise ValueError(
                    f"{name} needs a minibatch solver, but solver='lbfgs' needs a deterministic loss over all rows: "
                    "pass solver='adam' or 'sgd'"
                )
        for name in ("callbacks", "progress"):
            if getattr(estimator, name):
                raise ValueError(f"{name} needs epochs, but solver='lbfgs' has none: pass solver='adam' or 'sgd'")
    if any(isinstance(callback, BackupAndRestore) for callback in arguments.callbacks(estimator.callbacks or ())):
        raise ValueError(
            "BackupAndRestore is for Sequential.fit, which an estimator does not call: use ModelCheckpoint, or fit in "
            "parts with warm_start=True and pickle the estimator between them"
        )
    if callable(estimator.learning_rate_init) and (own or estimator.solver == "lbfgs"):
        raise ValueError(
            "learning_rate_init cannot be a schedule if the solver is an optimizer object or 'lbfgs': pass the "
            "schedule to the optimizer"
        )
    if callable(estimator.learning_rate_init) and estimator.learning_rate != "constant":
        raise ValueError(
            f"learning_rate={estimator.learning_rate!r} needs a number to start from, but learning_rate_init is a "
            "schedule: pass learning_rate='constant'"
        )


def _any(rates: Any) -> bool:
    return any(rates) if hasattr(rates, "__len__") else bool(rates)


def set_parameters(estimator: Any, given: dict[str, Any]) -> None:
    """Store a constructor's arguments, its `locals()`, as attributes, which is all scikit-learn allows there."""
    for name, value in given.items():
        if name != "self":
            setattr(estimator, name, value)
