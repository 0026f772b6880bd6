"""The estimators train to the same weights as scikit-learn's MLP with the same parameters."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import load_digits, make_multilabel_classification, make_regression

import fastbp

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]
Array = np.ndarray

X_DIGITS, Y_DIGITS = load_digits(return_X_y=True)
X_DIGITS = X_DIGITS[:400] / 16
Y_DIGITS = Y_DIGITS[:400]
BINARY = Y_DIGITS < 2
X_REAL, Y_REAL = make_regression(300, 8, noise=5, random_state=0)
Y_REAL = Y_REAL / 100
Y_THREE = np.column_stack([Y_REAL, -Y_REAL, Y_REAL**2])
COUNTS = np.abs(3 * Y_REAL).round()
X_MANY, Y_MANY = make_multilabel_classification(200, random_state=0)
WEIGHTS = np.random.default_rng(0).uniform(0.1, 2, 400)

DATA = {
    "classes": (X_DIGITS, Y_DIGITS),
    "two classes": (X_DIGITS[BINARY], Y_DIGITS[BINARY]),
    "strings": (X_DIGITS, np.array([f"digit {y}" for y in Y_DIGITS])),
    "multilabel": (X_MANY, Y_MANY),
    "regression": (X_REAL, Y_REAL),
    "multioutput regression": (X_REAL, Y_THREE),
    "counts": (X_REAL, COUNTS),
    "sparse": (sparse.csr_matrix(np.where(X_DIGITS > 0.5, X_DIGITS, 0)), Y_DIGITS),
}
SGD = {"solver": "sgd", "learning_rate_init": 0.1}
# Dataset, parameters, and whether sample weights are passed.
CASES = {
    "adam": ("classes", {}, False),
    "sgd": ("classes", SGD, False),
    "without momentum": ("classes", SGD | {"momentum": 0}, False),
    "classical momentum": ("classes", SGD | {"nesterovs_momentum": False}, False),
    "invscaling": ("classes", SGD | {"learning_rate": "invscaling", "power_t": 0.1}, False),
    "adaptive": ("classes", SGD | {"learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 0.2}, False),
    "converged": ("classes", {"tol": 0.05, "n_iter_no_change": 2, "max_iter": 200}, False),
    "penalized": ("classes", {"alpha": 3.0}, False),
    "unpenalized": ("classes", {"alpha": 0.0}, False),
    "batches": ("classes", {"batch_size": 37, "shuffle": False}, False),
    "weights": ("classes", {"batch_size": 70, "alpha": 1.0}, True),
    "deep": ("classes", {"hidden_layer_sizes": (20, 15, 10), "activation": "tanh"}, False),
    "logistic": ("classes", {"activation": "logistic"}, False),
    "linear": ("classes", {"activation": "identity", "hidden_layer_sizes": ()}, False),
    "early stopping": ("classes", {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 60}, False),
    "weighted early stopping": ("classes", {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 60}, True),
    "two classes": ("two classes", {"early_stopping": True, "n_iter_no_change": 2, "alpha": 1.0}, False),
    "strings": ("strings", {}, False),
    "multilabel": ("multilabel", {"alpha": 0.1, "early_stopping": True}, False),
    "multilabel sgd": ("multilabel", SGD | {"learning_rate_init": 0.01, "alpha": 0.1}, False),
    "sparse": ("sparse", {"alpha": 0.1}, False),
    "regression": ("regression", {"alpha": 1.0}, False),
    "regression sgd": ("regression", SGD | {"learning_rate_init": 0.01, "alpha": 0.3}, True),
    "multioutput regression": ("multioutput regression", {"alpha": 1.0, "early_stopping": True}, False),
    "multioutput regression sgd": ("multioutput regression", SGD | {"learning_rate_init": 0.01, "alpha": 0.3}, False),
    "counts": ("counts", {"loss": "poisson", "alpha": 0.1, "batch_size": 77}, True),
    "lbfgs": ("classes", {"solver": "lbfgs", "alpha": 0.1}, True),
    "lbfgs regression": ("regression", {"solver": "lbfgs"}, False),
    "lbfgs counts": ("counts", {"solver": "lbfgs", "loss": "poisson"}, True),
}  # fmt: skip


def estimators(data: str, **parameters: Any) -> tuple[Any, Any]:
    """scikit-learn's and fastbp's estimator with the same parameters."""
    name = "MLPRegressor" if data in ("regression", "multioutput regression", "counts") else "MLPClassifier"
    parameters = {"random_state": 3, "max_iter": 12} | parameters
    return getattr(neural_network, name)(**parameters), getattr(fastbp, name)(**parameters)


def supported(parameters: dict[str, Any], weighted: bool) -> bool:
    """Whether the installed scikit-learn supports these: sample weights and the Poisson loss came with 1.7."""
    theirs = neural_network.MLPRegressor
    weights = "sample_weight" in inspect.signature(theirs.fit).parameters
    return (weights or not weighted) and ("loss" not in parameters or "loss" in theirs().get_params())


def distance(one: Any, other: Any) -> float:
    """The largest absolute difference between the weights."""
    pairs = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


# ---------------------------------------------------------------- agreement with scikit-learn


@pytest.mark.parametrize("case", [name for name, (_, given, weighted) in CASES.items() if supported(given, weighted)])
def test_training_gives_the_same_weights_as_scikit_learn(case: str) -> None:
    data, parameters, weighted = CASES[case]
    X, y = DATA[data]
    fit = {"sample_weight": WEIGHTS[: X.shape[0]]} if weighted else {}
    theirs, ours = estimators(data, **parameters)
    theirs.fit(X, y, **fit)
    ours.fit(X, y, **fit)
    # Every step multiplies a rounding error by a factor near 1; L-BFGS's line searches amplify it more.
    limit = 1e-8 if parameters.get("solver") == "lbfgs" else 1e-10
    assert distance(theirs, ours) < limit
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-9)
    if parameters.get("solver") != "lbfgs":
        assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-9)
        assert ours.best_loss_ == pytest.approx(theirs.best_loss_)
        assert ours.validation_scores_ == pytest.approx(theirs.validation_scores_)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7) \
        if "regression" in data or data == "counts" \
        else np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    if hasattr(theirs, "predict_proba"):
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("data", ["classes", "two classes", "multilabel", "regression", "multioutput regression"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_and_warm_start_match_scikit_learn(data: str, solver: str) -> None:
    X, y = DATA[data]
    pair = estimators(data, solver=solver, warm_start=True, momentum=0.8)
    more = {"classes": np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)}
    for estimator in pair:
        for part in (slice(0, 50), slice(50, 100), slice(0, 30)):
            estimator.partial_fit(
                X[part], y[part], **(more if data not in ("regression", "multioutput regression") else {})
            )
        estimator.fit(X, y)
        estimator.set_params(learning_rate_init=0.01).fit(X, y)
        estimator.partial_fit(X, y)
    assert distance(*pair) < 1e-10
    assert pair[1].loss_curve_ == pytest.approx(pair[0].loss_curve_, rel=1e-9)
    assert pair[1].t_ == pair[0].t_
