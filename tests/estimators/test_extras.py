"""Features of the estimators beyond scikit-learn's: losses, layers, optimizers, validation, weights, pickles."""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import r2_score
from sklearn.utils import compute_class_weight

import fastbp
from fastbp import MLPClassifier, MLPRegressor, losses
from fastbp.estimators.validation import r2
from tests.estimators.test_estimators import DATA, distance

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y = DATA["classes"]
X2, Y2 = DATA["two classes"]
X_MANY, Y_MANY = DATA["multilabel"]
X_REAL, Y_REAL = DATA["regression"]
SMALL = {"random_state": 0, "max_iter": 10, "hidden_layer_sizes": (20,)}


def classifier(**parameters: Any) -> MLPClassifier:
    return MLPClassifier(**SMALL | parameters)


def regressor(**parameters: Any) -> MLPRegressor:
    return MLPRegressor(**SMALL | parameters)


# ---------------------------------------------------------------- layers


def test_activations_per_layer_batch_norm_and_dropout() -> None:
    mlp = classifier(
        hidden_layer_sizes=(20, 15), activation=["gelu", fastbp.LeakyReLU(0.1)], batch_norm=True, dropout=[0.2, 0.0]
    ).fit(X, Y)
    kinds = [type(layer).__name__ for layer in mlp.model_.layers]
    assert kinds == ["Dense", "BatchNorm", "Activation", "Dropout", "Dense", "BatchNorm", "Activation", "Dense"]
    assert [W.shape for W in mlp.coefs_] == [(64, 20), (20, 15), (15, 10)]
    assert [b.shape for b in mlp.intercepts_] == [(20,), (15,), (10,)]
    again = clone(mlp).fit(X, Y)
    assert distance(mlp, again) == 0
    assert distance(mlp, clone(mlp).set_params(dropout=[0.3, 0.0]).fit(X, Y)) > 0
    assert isinstance(mlp.model_, fastbp.Sequential)
    np.testing.assert_array_equal(mlp.model_.predict(X), mlp.predict_proba(X))


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_loss_trains_a_classifier_or_is_refused(name: str) -> None:
    for features, y in ((X, Y), (X2, Y2), (X_MANY, Y_MANY)):
        mlp = classifier(loss=name, max_iter=60, learning_rate_init=0.01)
        if name in ("poisson", "quantile", "gaussian_nll"):
            with pytest.raises(ValueError, match="is for MLPRegressor"):
                mlp.fit(features, y)
            continue
        if y.ndim == 2 and losses.get(name).targets == "classes":
            with pytest.raises(ValueError, match="multilabel"):
                mlp.fit(features, y)
            continue
        mlp.fit(features, y)
        assert np.mean(mlp.predict(features) == y) > (0.7 if y.ndim == 2 else 0.9)  # per label
        assert mlp.loss_curve_[-1] < mlp.loss_curve_[0]
        if "hinge" in name:
            assert not hasattr(mlp, "predict_proba")
        elif y.ndim == 1:
            np.testing.assert_allclose(mlp.predict_proba(features).sum(axis=1), 1)
            assert mlp.predict_proba(features).shape == (len(y), len(mlp.classes_))


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_loss_trains_a_regressor_or_is_refused(name: str) -> None:
    y = 1 / (1 + np.exp(-Y_REAL))  # in a range that every loss accepts
    mlp = regressor(loss=name, max_iter=100, learning_rate_init=0.01)
    if losses.get(name).targets in ("classes", "signs"):
        with pytest.raises(ValueError, match="is for MLPClassifier"):
            mlp.fit(X_REAL, y)
        return
    mlp.fit(X_REAL, y)
    assert mlp.score(X_REAL, y) > 0.8
    assert mlp.predict(X_REAL).shape == y.shape
    assert mlp.loss_curve_[-1] < mlp.loss_curve_[0]


def test_predicted_quantiles_and_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 1))
    y = x[:, 0] + 0.5 * rng.normal(size=2000)
    levels = (0.1, 0.5, 0.9)
    mlp = regressor(loss=fastbp.Quantile(levels), max_iter=60, learning_rate_init=0.01).fit(x, y)
    quantiles = mlp.predict_quantiles(x)
    assert quantiles.shape == (2000, 3)
    # A fraction of 2,000 rows has a standard deviation of at most 0.011, and the fit is not exact.
    assert np.mean(y[:, np.newaxis] < quantiles, axis=0) == pytest.approx(levels, abs=0.05)
    np.testing.assert_array_equal(mlp.predict(x), quantiles[:, 1])
    mlp = regressor(loss="gaussian_nll", max_iter=60, learning_rate_init=0.01).fit(x, np.column_stack([y, -y]))
    mean, deviation = mlp.predict(x, return_std=True)
    assert mean.shape == deviation.shape == (2000, 2)
    assert deviation.mean() == pytest.approx(0.5, abs=0.1)
    assert mlp.score(x, np.column_stack([y, -y])) > 0.4
    with pytest.raises(ValueError, match="Quantile"):
        mlp.predict_quantiles(x)
    with pytest.raises(ValueError, match="GaussianNLL"):
        regressor().fit(x, y).predict(x, return_std=True)


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize("solver", [*fastbp.optimizers.NAMES, fastbp.AdamW(0.01), fastbp.SGD(0.05, momentum=0.9)])
def test_solvers_by_name_and_object(solver: Any) -> None:
    rate = {"adadelta": 1.0, "lion": 1e-3, "sgd": 0.1}.get(solver, 0.01)
    mlp = classifier(solver=solver, learning_rate_init=rate, max_iter=20).fit(X, Y)
    assert mlp.loss_curve_[-1] < 0.9 * mlp.loss_curve_[0]
    heavy = clone(mlp).set_params(alpha=30.0).fit(X, Y)
    assert sum(np.abs(W).sum() for W in heavy.coefs_) < sum(np.abs(W).sum() for W in mlp.coefs_)


def test_penalty_by_weight_decay_equals_penalty_by_regularizer() -> None:
    def losses_of(optimizer: Any) -> list[float]:
        return classifier(solver=optimizer, alpha=5.0, batch_size=100).fit(X, Y).loss_curve_

    class Other(fastbp.SGD):  # a class that is not known to add its decay to the gradient
        pass

    np.testing.assert_allclose(losses_of(fastbp.SGD(0.1)), losses_of(Other(0.1)), rtol=1e-9)


def test_learning_rate_schedules() -> None:
    steps = []

    def rate(step: np.ndarray) -> np.ndarray:
        steps.extend(step.tolist())
        return 0.1 / (1 + step)

    mlp = MLPClassifier(solver="sgd", learning_rate_init=rate, batch_size=100, max_iter=3, random_state=0).fit(X, Y)
    assert sorted(set(steps)) == list(range(12)) or max(steps) <= 13  # the next step's may be requested
    decayed = classifier(learning_rate_init=fastbp.CosineDecay(0.05, 20), max_iter=10).fit(X, Y)
    assert decayed.score(X, Y) > 0.8
    assert mlp.n_iter_ == 3


# ---------------------------------------------------------------- sample weights


def test_class_weights_act_as_sample_weights() -> None:
    weights = dict(zip(np.unique(Y), compute_class_weight("balanced", classes=np.unique(Y), y=Y), strict=True))
    by_rows = classifier().fit(X, Y, sample_weight=np.array([weights[label] for label in Y]))
    assert distance(classifier(class_weight="balanced").fit(X, Y), by_rows) == 0
    assert distance(classifier(class_weight=weights).fit(X, Y), by_rows) == 0
    half = np.full(len(Y), 0.5)
    both = classifier(class_weight=weights).fit(X, Y, sample_weight=half)
    assert distance(both, classifier().fit(X, Y, sample_weight=half * [weights[label] for label in Y])) == 0
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        classifier(class_weight="balanced").partial_fit(X, Y, classes=np.unique(Y))


# ---------------------------------------------------------------- validation


def test_explicit_validation_data() -> None:
    parts = {"X_val": X[300:], "y_val": Y[300:]}
    mlp = classifier(max_iter=30).fit(X[:300], Y[:300], **parts)
    assert len(mlp.validation_scores_) == len(mlp.validation_loss_curve_) == mlp.n_iter_ == 30
    assert mlp.validation_scores_[-1] == mlp.score(X[300:], Y[300:])
    right = mlp.predict_proba(X[300:])[range(100), Y[300:]]
    assert mlp.validation_loss_curve_[-1] == pytest.approx(-np.log(right).mean())
    assert distance(mlp, classifier(max_iter=30).fit(X[:300], Y[:300])) == 0
    stopped = classifier(max_iter=100, early_stopping=True, n_iter_no_change=3).fit(X[:300], Y[:300], **parts)
    assert stopped.n_iter_ < 100
    assert stopped.score(X[300:], Y[300:]) == stopped.best_validation_score_ == max(stopped.validation_scores_)
    weighted = classifier(early_stopping=True).fit(
        X[:300], Y[:300], sample_weight=np.ones(300), sample_weight_val=np.ones(100), **parts
    )
    assert weighted.validation_scores_ == stopped.validation_scores_[: len(weighted.validation_scores_)]
    with pytest.raises(ValueError, match="both"):
        classifier().fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="solver='lbfgs'"):
        classifier(solver="lbfgs").fit(X, Y, **parts)


@pytest.mark.parametrize("scoring", ["loss", "f1_macro", lambda estimator, X, y: estimator.predict_proba(X).max()])
def test_early_stopping_follows_scoring(scoring: Any) -> None:
    mlp = classifier(early_stopping=True, scoring=scoring, max_iter=20).fit(X, Y)
    assert mlp.best_validation_score_ == max(mlp.validation_scores_)
    if scoring == "loss":
        np.testing.assert_allclose(mlp.validation_scores_, -np.array(mlp.validation_loss_curve_))


def test_partial_fit_stops_early() -> None:
    mlp = classifier(early_stopping=True, n_iter_no_change=2, tol=0.01, learning_rate_init=0.02)
    for _ in range(60):
        mlp.partial_fit(X[:300], Y[:300], classes=np.unique(Y), X_val=X[300:], y_val=Y[300:])
        if getattr(mlp, "stopped_early_", False):
            break
    assert 3 < len(mlp.loss_curve_) < 60
    assert mlp.score(X[300:], Y[300:]) == mlp.best_validation_score_ == max(mlp.validation_scores_)
    before = mlp.model_.get_weights()
    mlp.partial_fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert all(map(np.array_equal, before, mlp.model_.get_weights()))
    many = MLPClassifier(early_stopping=True, max_iter=5)
    many.partial_fit(X_MANY, Y_MANY, classes=np.arange(5), X_val=X_MANY, y_val=Y_MANY)
    assert len(many.validation_scores_) == 1


def test_string_and_sparse_labels_score_like_integer_labels() -> None:
    stopped = [classifier(early_stopping=True).fit(X, y) for y in (Y, np.array([f"{y}" for y in Y]))]
    assert stopped[0].validation_scores_ == stopped[1].validation_scores_
    assert set(stopped[1].predict(X)) <= set("0123456789")
    several = classifier(early_stopping=True).fit(X_MANY, sparse.csr_matrix(Y_MANY))
    assert several.validation_scores_ == classifier(early_stopping=True).fit(X_MANY, Y_MANY).validation_scores_
    assert sparse.issparse(several.predict(X_MANY))
    with pytest.raises(ValueError, match="scoring"):
        classifier(early_stopping=True, scoring="nothing").fit(X, Y)


def test_warm_start_may_switch_solvers() -> None:
    mlp = classifier(solver="lbfgs", warm_start=True).fit(X, Y)
    loss = mlp.loss_
    mlp.set_params(solver="adam", max_iter=1, batch_size=400).fit(X, Y)
    assert mlp.loss_curve_ == [pytest.approx(loss, rel=1e-6)]
    assert mlp.set_params(solver="lbfgs", max_iter=10).fit(X, Y).loss_ < loss


def test_r2_matches_scikit_learn(rng: np.random.Generator) -> None:
    for y, predicted in (
        (rng.normal(size=(50, 3)), rng.normal(size=(50, 3))),
        (np.ones((5, 1)), np.ones((5, 1))),
        (np.ones((5, 1)), np.zeros((5, 1))),
    ):
        for weight in (None, rng.uniform(0.1, 1, len(y))):
            assert r2(y, predicted, weight) == pytest.approx(r2_score(y, predicted, sample_weight=weight))


# ---------------------------------------------------------------- callbacks


def test_callbacks_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    logs: list[dict[str, float]] = []
    note = fastbp.LambdaCallback(on_epoch_end=lambda epoch, given: logs.append(dict(given)))
    stopping = fastbp.EarlyStopping("val_loss", patience=2, min_delta=0.05)
    mlp = classifier(callbacks=[note, stopping], max_iter=100, progress=True)
    mlp.fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert "loss" in capsys.readouterr().err
    assert [set(each) for each in logs] == [{"loss", "val_loss", "val_score"}] * mlp.n_iter_
    assert [each["loss"] for each in logs] == mlp.loss_curve_
    assert mlp.n_iter_ < 100
    halving = fastbp.LearningRateScheduler(lambda epoch, rate: rate / 2)
    mlp = classifier(solver="sgd", callbacks=[halving], max_iter=3).fit(X, Y)
    assert mlp.model_.learning_rate == 0.001 / 8
    averaging = fastbp.StochasticWeightAveraging(2)
    mlp = classifier(callbacks=[averaging], batch_norm=True, max_iter=20, learning_rate_init=0.02)
    assert mlp.fit(X, Y).score(X, Y) > 0.8
    with pytest.raises(ValueError, match="BackupAndRestore is for"):
        classifier(callbacks=[fastbp.BackupAndRestore("file")]).fit(X, Y)


def test_verbose_output(capsys: pytest.CaptureFixture[str]) -> None:
    mlp = classifier(solver="lbfgs", verbose=True, max_iter=3).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"Iteration {i}" for i in range(1, mlp.n_iter_ + 1)]
    mlp = classifier(verbose=True, early_stopping=True, tol=1.0, n_iter_no_change=1, max_iter=5).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"Iteration 1, loss = {mlp.loss_curve_[0]:.8f}",
        f"Validation score: {mlp.validation_scores_[0]:f}",
    ]
    assert lines[-1] == "Validation score did not improve more than tol=1.000000 for 1 consecutive epochs. Stopping."


def test_ctrl_c_keeps_the_trained_weights() -> None:
    def interrupt(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    mlp = classifier(callbacks=[fastbp.LambdaCallback(on_epoch_end=interrupt)])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        mlp.fit(X, Y)
    assert mlp.n_iter_ == 3
    mlp.predict(X)


# ---------------------------------------------------------------- numerics


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_float32_data_gives_float32_weights(solver: str) -> None:
    wide, mlp = (regressor(solver=solver).fit(X_REAL.astype(dtype), Y_REAL) for dtype in "df")
    assert {array.dtype.name for array in mlp.coefs_ + mlp.intercepts_} == {"float32"}
    assert mlp.predict(X_REAL.astype(np.float32)).dtype == np.float32
    assert wide.predict(X_REAL).dtype == np.float64
    # The data are rounded to 6e-8, which ten steps amplify a few thousand times.
    np.testing.assert_allclose(mlp.predict(X_REAL), wide.predict(X_REAL), atol=2e-4)


def test_lbfgs_in_chunks_matches_a_single_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = regressor(solver="lbfgs", max_iter=5).fit(X_REAL, Y_REAL, sample_weight=np.abs(Y_REAL))
    monkeypatch.setattr("fastbp.estimators.lbfgs._CHUNK_ROWS", 64)
    monkeypatch.setattr("fastbp.estimators.lbfgs._CHUNK_BYTES", 0)
    for dtype, limit in (("float64", 1e-9), ("float32", 1e-4)):
        parts = regressor(solver="lbfgs", max_iter=5).fit(X_REAL.astype(dtype), Y_REAL, sample_weight=np.abs(Y_REAL))
        assert distance(whole, parts) < limit


@pytest.mark.parametrize("threads", [1, 2])
def test_n_threads_does_not_change_results(threads: int) -> None:
    large = {"hidden_layer_sizes": (256, 256), "max_iter": 2, "random_state": 0}
    assert distance(MLPClassifier(**large).fit(X, Y), MLPClassifier(**large, n_threads=threads).fit(X, Y)) == 0


def test_divergence_is_reported_as_in_scikit_learn() -> None:
    wild = {"solver": "sgd", "learning_rate_init": 1e6, "activation": "identity", "random_state": 0}
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        MLPRegressor(**wild).fit(X_REAL, Y_REAL)
    mlp = MLPRegressor(**wild, early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        mlp.fit(X_REAL, Y_REAL)
    assert np.isnan(mlp.validation_scores_[-1])
    assert np.isfinite(mlp.predict(X_REAL)).all()


def test_single_class_is_learned_as_in_scikit_learn() -> None:
    mlp = classifier().fit(X[:20], np.full(20, "only"))
    assert set(mlp.predict(X)) == {"only"}


# ---------------------------------------------------------------- weights and pickles


def test_coefs_and_intercepts_can_be_modified() -> None:
    mlp = classifier().fit(X, Y)
    before = mlp.predict_proba(X)
    mlp.coefs_[1][:] = 0
    mlp.intercepts_[1] = np.arange(10.0)
    np.testing.assert_allclose(mlp.predict_proba(X)[0], np.exp(np.arange(10.0)) / np.exp(np.arange(10.0)).sum())
    other = classifier().fit(X, Y)
    mlp.coefs_, mlp.intercepts_ = other.coefs_, other.intercepts_
    np.testing.assert_array_equal(mlp.predict_proba(X), before)
    mlp.coefs_[0][:] = 0
    mlp.partial_fit(X, Y)
    assert np.abs(mlp.coefs_[0]).max() < 0.01  # training started from 0


def test_unpickled_estimators_continue_training() -> None:
    mlp = classifier(solver=fastbp.AdamW(fastbp.CosineDecay(0.01, 100)), dropout=0.1, alpha=0.1).fit(X, Y)
    other = pickle.loads(pickle.dumps(mlp))
    np.testing.assert_array_equal(other.predict_proba(X), mlp.predict_proba(X))
    assert distance(mlp.partial_fit(X, Y), other.partial_fit(X, Y)) == 0
    assert mlp.loss_ == other.loss_
    state = mlp.__getstate__() | {"_fastbp_version": "0.0.1"}
    with pytest.warns(UserWarning, match=r"pickled by fastbp 0\.0\.1"):
        MLPClassifier().__setstate__(state)


def test_clone_and_repr() -> None:
    mlp = classifier(
        solver=fastbp.AdamW(1e-3),
        activation=("relu",),
        callbacks=[fastbp.TerminateOnNaN()],
        loss=fastbp.CrossEntropy(0.1),
    )
    copy = clone(mlp)
    assert str(copy.get_params()) == str(mlp.get_params())
    assert "AdamW" in repr(mlp)
    assert "MLPClassifier" in mlp._repr_html_()
    with pytest.raises(NotFittedError):
        mlp.predict(X)
    with pytest.raises(AttributeError):
        mlp.coefs_  # noqa: B018


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "newton"}, "The 'solver' parameter of MLPClassifier must be"),
        ({"alpha": -1}, r"The 'alpha' parameter of MLPClassifier must be a float in the range \[0.0, inf\)"),
        ({"activation": "softmax"}, "The 'activation' parameter"),
        ({"activation": ["relu", "tanh"]}, "activation must be one for all hidden layers or one for each"),
        ({"dropout": 1.0}, "The 'dropout' parameter"),
        ({"dropout": [1.0]}, "rate must be at least 0 and below 1"),
        ({"dropout": 0.5, "solver": "lbfgs"}, "dropout needs a minibatch solver"),
        ({"batch_norm": True, "solver": "lbfgs"}, "batch_norm needs a minibatch solver"),
        ({"callbacks": [fastbp.TerminateOnNaN()], "solver": "lbfgs"}, "callbacks needs epochs"),
        ({"learning_rate_init": lambda step: step, "solver": fastbp.SGD()}, "cannot be a schedule"),
        ({"learning_rate_init": lambda step: step, "learning_rate": "adaptive"}, "needs a number to start from"),
        ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes must be > 0, got \[3, 0\]"),
        ({"n_threads": 0}, "The 'n_threads' parameter"),
    ],
)
def test_invalid_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**parameters).fit(X, Y)


def test_invalid_continuations_and_data_are_refused() -> None:
    mlp = classifier(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="continue with the current weights"):
        mlp.set_params(hidden_layer_sizes=(30,)).fit(X, Y)
    mlp.set_params(hidden_layer_sizes=(20,), activation="tanh", max_iter=1).fit(X, Y)
    assert mlp.model_.layers[0].activation.name == "tanh"
    with pytest.raises(ValueError, match="not be negative"):
        regressor(loss="poisson").fit(X_REAL, Y_REAL)
    with pytest.raises(ValueError, match="Negative values"):
        classifier().fit(X, Y, sample_weight=np.full(len(Y), -1.0))
    for solver in ("adam", "lbfgs"):
        with pytest.raises(ValueError, match="at least one non-zero number"):
            classifier(solver=solver).fit(X, Y, sample_weight=np.zeros(len(Y)))
    with pytest.raises(ValueError, match="early_stopping=True"), warnings.catch_warnings():
        classifier(early_stopping=True).partial_fit(X, Y, classes=np.unique(Y))


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("stream", [None, io.TextIOWrapper(io.BytesIO())], ids=["none", "closed"])
def test_verbose_works_without_standard_output(monkeypatch, stream, solver):
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    mlp = classifier(solver=solver, verbose=True, max_iter=3, early_stopping=solver == "adam").fit(X, Y)
    assert mlp.n_iter_ == 3
