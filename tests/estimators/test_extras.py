"""What fastbp's estimators have beyond scikit-learn's: losses, layers, optimizers, validation, weights, pickles."""

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
X_REAL, Y_REAL = DATA["number"]
FEW = {"random_state": 0, "max_iter": 10, "hidden_layer_sizes": (20,)}


def classifier(**parameters: Any) -> MLPClassifier:
    return MLPClassifier(**FEW | parameters)


def regressor(**parameters: Any) -> MLPRegressor:
    return MLPRegressor(**FEW | parameters)


# ---------------------------------------------------------------- layers


def test_activations_layer_by_layer_normalization_and_dropout() -> None:
    own = classifier(
        hidden_layer_sizes=(20, 15), activation=["gelu", fastbp.LeakyReLU(0.1)], batch_norm=True, dropout=[0.2, 0.0]
    ).fit(X, Y)
    kinds = [type(layer).__name__ for layer in own.model_.layers]
    assert kinds == ["Dense", "BatchNorm", "Activation", "Dropout", "Dense", "BatchNorm", "Activation", "Dense"]
    assert [W.shape for W in own.coefs_] == [(64, 20), (20, 15), (15, 10)]
    assert [b.shape for b in own.intercepts_] == [(20,), (15,), (10,)]
    again = clone(own).fit(X, Y)
    assert distance(own, again) == 0
    assert distance(own, clone(own).set_params(dropout=[0.3, 0.0]).fit(X, Y)) > 0
    assert isinstance(own.model_, fastbp.Sequential)
    np.testing.assert_array_equal(own.model_.predict(X), own.predict_proba(X))


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_loss_trains_a_classifier_or_says_why_not(name: str) -> None:
    for features, y in ((X, Y), (X2, Y2), (X_MANY, Y_MANY)):
        own = classifier(loss=name, max_iter=60, learning_rate_init=0.01)
        if name in ("poisson", "quantile", "gaussian_nll"):
            with pytest.raises(ValueError, match="is for MLPRegressor"):
                own.fit(features, y)
            continue
        if y.ndim == 2 and losses.get(name).targets == "classes":
            with pytest.raises(ValueError, match="multilabel"):
                own.fit(features, y)
            continue
        own.fit(features, y)
        assert np.mean(own.predict(features) == y) > (0.7 if y.ndim == 2 else 0.9)  # label by label
        assert own.loss_curve_[-1] < own.loss_curve_[0]
        if "hinge" in name:
            assert not hasattr(own, "predict_proba")
        elif y.ndim == 1:
            np.testing.assert_allclose(own.predict_proba(features).sum(axis=1), 1)
            assert own.predict_proba(features).shape == (len(y), len(own.classes_))


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_loss_trains_a_regressor_or_says_why_not(name: str) -> None:
    y = 1 / (1 + np.exp(-Y_REAL))  # of what every loss takes
    own = regressor(loss=name, max_iter=100, learning_rate_init=0.01)
    if losses.get(name).targets in ("classes", "signs"):
        with pytest.raises(ValueError, match="is for MLPClassifier"):
            own.fit(X_REAL, y)
        return
    own.fit(X_REAL, y)
    assert own.score(X_REAL, y) > 0.8
    assert own.predict(X_REAL).shape == y.shape
    assert own.loss_curve_[-1] < own.loss_curve_[0]


def test_quantiles_and_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2000, 1))
    y = x[:, 0] + 0.5 * rng.normal(size=2000)
    levels = (0.1, 0.5, 0.9)
    own = regressor(loss=fastbp.Quantile(levels), max_iter=60, learning_rate_init=0.01).fit(x, y)
    quantiles = own.predict_quantiles(x)
    assert quantiles.shape == (2000, 3)
    # Of 2,000 rows a share has a standard deviation of at most 0.011, and the fit is no exact one.
    assert np.mean(y[:, np.newaxis] < quantiles, axis=0) == pytest.approx(levels, abs=0.05)
    np.testing.assert_array_equal(own.predict(x), quantiles[:, 1])
    own = regressor(loss="gaussian_nll", max_iter=60, learning_rate_init=0.01).fit(x, np.column_stack([y, -y]))
    mean, deviation = own.predict(x, return_std=True)
    assert mean.shape == deviation.shape == (2000, 2)
    assert deviation.mean() == pytest.approx(0.5, abs=0.1)
    assert own.score(x, np.column_stack([y, -y])) > 0.4
    with pytest.raises(ValueError, match="Quantile"):
        own.predict_quantiles(x)
    with pytest.raises(ValueError, match="GaussianNLL"):
        regressor().fit(x, y).predict(x, return_std=True)


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize("solver", [*fastbp.optimizers.NAMES, fastbp.AdamW(0.01), fastbp.SGD(0.05, momentum=0.9)])
def test_solvers_by_name_and_objects(solver: Any) -> None:
    rate = {"adadelta": 1.0, "lion": 1e-3, "sgd": 0.1}.get(solver, 0.01)
    own = classifier(solver=solver, learning_rate_init=rate, max_iter=20).fit(X, Y)
    assert own.loss_curve_[-1] < 0.9 * own.loss_curve_[0]
    heavy = clone(own).set_params(alpha=30.0).fit(X, Y)
    assert sum(np.abs(W).sum() for W in heavy.coefs_) < sum(np.abs(W).sum() for W in own.coefs_)


def test_the_penalty_is_the_same_by_a_decay_and_by_a_regularizer() -> None:
    def losses_of(optimizer: Any) -> list[float]:
        return classifier(solver=optimizer, alpha=5.0, batch_size=100).fit(X, Y).loss_curve_

    class Other(fastbp.SGD):  # of a class that is not known to add its decay to the gradient
        pass

    np.testing.assert_allclose(losses_of(fastbp.SGD(0.1)), losses_of(Other(0.1)), rtol=1e-9)


def test_schedules() -> None:
    steps = []

    def rate(step: np.ndarray) -> np.ndarray:
        steps.extend(step.tolist())
        return 0.1 / (1 + step)

    own = MLPClassifier(solver="sgd", learning_rate_init=rate, batch_size=100, max_iter=3, random_state=0).fit(X, Y)
    assert sorted(set(steps)) == list(range(12)) or max(steps) <= 13  # the next step's may be asked for
    decayed = classifier(learning_rate_init=fastbp.CosineDecay(0.05, 20), max_iter=10).fit(X, Y)
    assert decayed.score(X, Y) > 0.8
    assert own.n_iter_ == 3


# ---------------------------------------------------------------- weights of rows


def test_class_weights_are_weights_of_rows() -> None:
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


def test_rows_of_ones_own_to_validate_on() -> None:
    parts = {"X_val": X[300:], "y_val": Y[300:]}
    own = classifier(max_iter=30).fit(X[:300], Y[:300], **parts)
    assert len(own.validation_scores_) == len(own.validation_loss_curve_) == own.n_iter_ == 30
    assert own.validation_scores_[-1] == own.score(X[300:], Y[300:])
    right = own.predict_proba(X[300:])[range(100), Y[300:]]
    assert own.validation_loss_curve_[-1] == pytest.approx(-np.log(right).mean())
    assert distance(own, classifier(max_iter=30).fit(X[:300], Y[:300])) == 0
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
def test_what_early_stopping_goes_by(scoring: Any) -> None:
    own = classifier(early_stopping=True, scoring=scoring, max_iter=20).fit(X, Y)
    assert own.best_validation_score_ == max(own.validation_scores_)
    if scoring == "loss":
        np.testing.assert_allclose(own.validation_scores_, -np.array(own.validation_loss_curve_))


def test_partial_fit_stops_early() -> None:
    own = classifier(early_stopping=True, n_iter_no_change=2, tol=0.01, learning_rate_init=0.02)
    for _ in range(60):
        own.partial_fit(X[:300], Y[:300], classes=np.unique(Y), X_val=X[300:], y_val=Y[300:])
        if getattr(own, "stopped_early_", False):
            break
    assert 3 < len(own.loss_curve_) < 60
    assert own.score(X[300:], Y[300:]) == own.best_validation_score_ == max(own.validation_scores_)
    before = own.model_.get_weights()
    own.partial_fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert all(map(np.array_equal, before, own.model_.get_weights()))
    many = MLPClassifier(early_stopping=True, max_iter=5)
    many.partial_fit(X_MANY, Y_MANY, classes=np.arange(5), X_val=X_MANY, y_val=Y_MANY)
    assert len(many.validation_scores_) == 1


def test_scores_of_texts_and_sparse_labels_are_those_of_numbers() -> None:
    stopped = [classifier(early_stopping=True).fit(X, y) for y in (Y, np.array([f"{y}" for y in Y]))]
    assert stopped[0].validation_scores_ == stopped[1].validation_scores_
    assert set(stopped[1].predict(X)) <= set("0123456789")
    several = classifier(early_stopping=True).fit(X_MANY, sparse.csr_matrix(Y_MANY))
    assert several.validation_scores_ == classifier(early_stopping=True).fit(X_MANY, Y_MANY).validation_scores_
    assert sparse.issparse(several.predict(X_MANY))
    with pytest.raises(ValueError, match="scoring"):
        classifier(early_stopping=True, scoring="nothing").fit(X, Y)


def test_solvers_may_follow_each_other() -> None:
    own = classifier(solver="lbfgs", warm_start=True).fit(X, Y)
    loss = own.loss_
    own.set_params(solver="adam", max_iter=1, batch_size=400).fit(X, Y)
    assert own.loss_curve_ == [pytest.approx(loss, rel=1e-6)]
    assert own.set_params(solver="lbfgs", max_iter=10).fit(X, Y).loss_ < loss


def test_r2_is_scikit_learns(rng: np.random.Generator) -> None:
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
    own = classifier(callbacks=[note, stopping], max_iter=100, progress=True)
    own.fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert "loss" in capsys.readouterr().err
    assert [set(each) for each in logs] == [{"loss", "val_loss", "val_score"}] * own.n_iter_
    assert [each["loss"] for each in logs] == own.loss_curve_
    assert own.n_iter_ < 100
    halving = fastbp.LearningRateScheduler(lambda epoch, rate: rate / 2)
    own = classifier(solver="sgd", callbacks=[halving], max_iter=3).fit(X, Y)
    assert own.model_.learning_rate == 0.001 / 8
    averaging = fastbp.StochasticWeightAveraging(2)
    own = classifier(callbacks=[averaging], batch_norm=True, max_iter=20, learning_rate_init=0.02)
    assert own.fit(X, Y).score(X, Y) > 0.8
    with pytest.raises(ValueError, match="BackupAndRestore is for"):
        classifier(callbacks=[fastbp.BackupAndRestore("file")]).fit(X, Y)


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    own = classifier(solver="lbfgs", verbose=True, max_iter=3).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"Iteration {i}" for i in range(1, own.n_iter_ + 1)]
    own = classifier(verbose=True, early_stopping=True, tol=1.0, n_iter_no_change=1, max_iter=5).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        f"Iteration 1, loss = {own.loss_curve_[0]:.8f}",
        f"Validation score: {own.validation_scores_[0]:f}",
    ]
    assert lines[-1] == "Validation score did not improve more than tol=1.000000 for 1 consecutive epochs. Stopping."


def test_ctrl_c_keeps_what_was_learnt() -> None:
    def interrupt(epoch: int, logs: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    own = classifier(callbacks=[fastbp.LambdaCallback(on_epoch_end=interrupt)])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        own.fit(X, Y)
    assert own.n_iter_ == 3
    own.predict(X)


# ---------------------------------------------------------------- numerics


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_float32_stays_float32(solver: str) -> None:
    wide, own = (regressor(solver=solver).fit(X_REAL.astype(dtype), Y_REAL) for dtype in "df")
    assert {array.dtype.name for array in own.coefs_ + own.intercepts_} == {"float32"}
    assert own.predict(X_REAL.astype(np.float32)).dtype == np.float32
    assert wide.predict(X_REAL).dtype == np.float64
    # The data are rounded to 6e-8, which ten steps enlarge some thousand times.
    np.testing.assert_allclose(own.predict(X_REAL), wide.predict(X_REAL), atol=2e-4)


def test_more_rows_than_a_chunk_of_l_bfgs(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = regressor(solver="lbfgs", max_iter=5).fit(X_REAL, Y_REAL, sample_weight=np.abs(Y_REAL))
    monkeypatch.setattr("fastbp.estimators.lbfgs._CHUNK_ROWS", 64)
    monkeypatch.setattr("fastbp.estimators.lbfgs._CHUNK_BYTES", 0)
    for dtype, limit in (("float64", 1e-9), ("float32", 1e-4)):
        parts = regressor(solver="lbfgs", max_iter=5).fit(X_REAL.astype(dtype), Y_REAL, sample_weight=np.abs(Y_REAL))
        assert distance(whole, parts) < limit


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_bit(threads: int) -> None:
    large = {"hidden_layer_sizes": (256, 256), "max_iter": 2, "random_state": 0}
    assert distance(MLPClassifier(**large).fit(X, Y), MLPClassifier(**large, n_threads=threads).fit(X, Y)) == 0


def test_divergence() -> None:
    wild = {"solver": "sgd", "learning_rate_init": 1e6, "activation": "identity", "random_state": 0}
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        MLPRegressor(**wild).fit(X_REAL, Y_REAL)
    own = MLPRegressor(**wild, early_stopping=True)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        own.fit(X_REAL, Y_REAL)
    assert np.isnan(own.validation_scores_[-1])
    assert np.isfinite(own.predict(X_REAL)).all()


def test_one_class_as_in_scikit_learn() -> None:
    own = classifier().fit(X[:20], np.full(20, "only"))
    assert set(own.predict(X)) == {"only"}


# ---------------------------------------------------------------- weights and pickles


def test_weights_may_be_changed() -> None:
    own = classifier().fit(X, Y)
    before = own.predict_proba(X)
    own.coefs_[1][:] = 0
    own.intercepts_[1] = np.arange(10.0)
    np.testing.assert_allclose(own.predict_proba(X)[0], np.exp(np.arange(10.0)) / np.exp(np.arange(10.0)).sum())
    other = classifier().fit(X, Y)
    own.coefs_, own.intercepts_ = other.coefs_, other.intercepts_
    np.testing.assert_array_equal(own.predict_proba(X), before)
    own.coefs_[0][:] = 0
    own.partial_fit(X, Y)
    assert np.abs(own.coefs_[0]).max() < 0.01  # it began at 0


def test_pickles_go_on_where_they_were() -> None:
    own = classifier(solver=fastbp.AdamW(fastbp.CosineDecay(0.01, 100)), dropout=0.1, alpha=0.1).fit(X, Y)
    other = pickle.loads(pickle.dumps(own))
    np.testing.assert_array_equal(other.predict_proba(X), own.predict_proba(X))
    assert distance(own.partial_fit(X, Y), other.partial_fit(X, Y)) == 0
    assert own.loss_ == other.loss_
    state = own.__getstate__() | {"_fastbp_version": "0.0.1"}
    with pytest.warns(UserWarning, match=r"pickled by fastbp 0\.0\.1"):
        MLPClassifier().__setstate__(state)


def test_clones_and_representations() -> None:
    own = classifier(
        solver=fastbp.AdamW(1e-3),
        activation=("relu",),
        callbacks=[fastbp.TerminateOnNaN()],
        loss=fastbp.CrossEntropy(0.1),
    )
    copy = clone(own)
    assert str(copy.get_params()) == str(own.get_params())
    assert "AdamW" in repr(own)
    assert "MLPClassifier" in own._repr_html_()
    with pytest.raises(NotFittedError):
        own.predict(X)
    with pytest.raises(AttributeError):
        own.coefs_  # noqa: B018


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
def test_parameters_that_cannot_be(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier(**parameters).fit(X, Y)


def test_networks_that_cannot_go_on() -> None:
    own = classifier(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="continue with the current weights"):
        own.set_params(hidden_layer_sizes=(30,)).fit(X, Y)
    own.set_params(hidden_layer_sizes=(20,), activation="tanh", max_iter=1).fit(X, Y)
    assert own.model_.layers[0].activation.name == "tanh"
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
def test_messages_need_no_standard_output(monkeypatch, stream, solver):
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    own = classifier(solver=solver, verbose=True, max_iter=3, early_stopping=solver == "adam").fit(X, Y)
    assert own.n_iter_ == 3
