"""The estimators in scikit-learn's tools: pipelines, searches, joblib processes and threads, metadata routing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import StackingClassifier, VotingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastbp
from fastbp import MLPClassifier, MLPRegressor
from tests.estimators.test_estimators import DATA

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

X, Y = DATA["classes"]
X_REAL, Y_REAL = DATA["regression"]


def classifier(**parameters: Any) -> MLPClassifier:
    return MLPClassifier((20,), max_iter=20, learning_rate_init=0.02, random_state=0, **parameters)


@pytest.mark.slow
def test_grid_search_in_processes() -> None:
    search = GridSearchCV(classifier(), {"alpha": [1e-4, 1e3], "dropout": [None, 0.2]}, n_jobs=2, cv=2).fit(X, Y)
    alone = GridSearchCV(classifier(), {"alpha": [1e-4, 1e3], "dropout": [None, 0.2]}, cv=2).fit(X, Y)
    assert search.best_params_["alpha"] == 1e-4
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


def threads_used() -> tuple[int | None, int]:
    """The threads that an estimator would request here, and those that the engine would start."""
    from fastbp.engine.threads import THREADS

    wanted = MLPClassifier()._threads()
    return wanted, THREADS.limit(wanted)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_share_the_cores(backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(threads_used)() for _ in range(2))
        scores = cross_val_score(classifier(), X, Y, cv=2)
    cores = joblib.cpu_count()
    for wanted, started in found:
        assert started <= max(1, cores // 2)
        assert (wanted == 1) == (backend == "threading")
    np.testing.assert_array_equal(scores, cross_val_score(classifier(), X, Y, cv=2))
    assert threads_used()[0] is None


def test_many_threads_fit_and_predict_concurrently() -> None:
    expected = classifier().fit(X, Y)
    found: list[Any] = [None] * 8

    def fit(number: int) -> None:
        found[number] = classifier().fit(X, Y).predict_proba(X)
        np.testing.assert_array_equal(expected.predict_proba(X), found[number])

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(proba, expected.predict_proba(X)) for proba in found)


def test_pipeline_with_column_transformer() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(size=300), "kind": rng.choice(["a", "b", "c"], 300)})
    y = (table["size"] + (table["kind"] == "a") > 0).map({True: "yes", False: "no"})
    for sparse_output in (False, True):
        columns = make_column_transformer(
            (OneHotEncoder(sparse_output=sparse_output), ["kind"]), (StandardScaler(), ["size"]),
            sparse_threshold=float(sparse_output),
        )  # fmt: skip
        pipeline = make_pipeline(columns, classifier()).fit(table, y)
        assert pipeline.score(table, y) > 0.9
        assert list(pipeline.classes_) == ["no", "yes"]
    named = classifier(early_stopping=True, scoring="accuracy").fit(table[["size"]], y)
    assert list(named.feature_names_in_) == ["size"]
    with pytest.raises(ValueError, match="feature names should match"):
        named.predict(table[["size"]].rename(columns={"size": "weight"}))


def test_meta_estimators() -> None:
    pair = [("relu", classifier()), ("tanh", classifier(activation="tanh"))]
    stack = StackingClassifier(pair, LogisticRegression(), cv=2)
    assert stack.fit(X, Y).score(X, Y) > 0.9
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    mlp = MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", random_state=0)
    scores = cross_validate(mlp, X_REAL, Y_REAL, cv=2)
    assert scores["test_score"].min() > 0.8
    voting = VotingRegressor([(name, MLPRegressor(hidden_layer_sizes=(5,), max_iter=5)) for name in ("one", "other")])
    assert voting.fit(X_REAL, Y_REAL).predict(X_REAL).shape == Y_REAL.shape


def test_metadata_routing() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        mlp = classifier().set_fit_request(sample_weight=True, X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), mlp)
        pipeline.set_params(transform_input=["X_val"])
        pipeline.fit(X[:300], Y[:300], sample_weight=np.ones(300), X_val=X[300:], y_val=Y[300:])
        assert len(pipeline[-1].validation_scores_) == 20
        assert pipeline[-1].validation_scores_[-1] == pipeline.score(X[300:], Y[300:])
        weighted = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        found = cross_validate(weighted, X, Y, cv=2, params={"sample_weight": np.ones(len(Y))})
        assert found["test_score"].min() > 0.7


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scikit_learn_is_imported_lazily() -> None:
    assert run("import sys, fastbp; print('sklearn' in sys.modules, 'scipy' in sys.modules)").split() == ["False"] * 2


def test_missing_scikit_learn_names_the_pip_command() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import fastbp\n"
    code += "try: fastbp.MLPRegressor\nexcept ImportError as error: print(error)"
    assert 'pip install "fastbp[sklearn]"' in run(code)


def test_estimators_are_attributes_of_the_package() -> None:
    assert fastbp.MLPClassifier is MLPClassifier
    assert not hasattr(fastbp, "MLPClusterer")
