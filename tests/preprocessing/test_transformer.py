"""The Preprocessor as a step of scikit-learn pipelines, and the tables that it gets there."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

import fastbp
from fastbp import MLPClassifier, MLPRegressor, Preprocessor

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

N = 90
RNG = np.random.default_rng(0)
AGE = RNG.normal(40, 10, N)
WORK = RNG.choice(["Private", "State-gov", "Self"], N)
FRAME = pd.DataFrame({"age": np.where(AGE > 60, np.nan, AGE), "work": WORK, "hours": RNG.normal(size=N)})
LABELS = np.where((WORK == "Self") | (AGE > 50), "yes", "no")


def pipeline(**options):
    return make_pipeline(Preprocessor(**options), MLPClassifier((4,), max_iter=3, random_state=0))


def test_pipeline_fits_predicts_and_refits():
    pipe = pipeline().fit(FRAME, LABELS)
    by_hand = Preprocessor().fit(FRAME, LABELS)
    np.testing.assert_array_equal(pipe[0].transform(FRAME), by_hand.transform(FRAME))
    predicted = pipe.predict(FRAME)
    assert set(predicted) <= {"yes", "no"}
    np.testing.assert_array_equal(pipe.predict(FRAME[["hours", "age", "work"]]), predicted)  # by name
    np.testing.assert_array_equal(pipe.fit(FRAME[:60], LABELS[:60]).predict(FRAME), (
        pipeline().fit(FRAME[:60], LABELS[:60]).predict(FRAME)))  # nothing is left of the first fit
    with pytest.raises(ValueError, match="lacks hours"):
        pipe.predict(FRAME[["age", "work"]])
    assert list(pipe[:1].get_feature_names_out()) == list(pipe[0].feature_names)
    assert list(pipe.feature_names_in_) == list(FRAME.columns)
    assert pipe.n_features_in_ == 3


def test_pipeline_can_be_pickled_and_cloned():
    pipe = pipeline(scaling="robust", categorical=["work"]).fit(FRAME, LABELS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipe)).predict(FRAME), pipe.predict(FRAME))
    fresh = clone(pipe)
    assert fresh[0].get_params() == pipe[0].get_params()
    assert fresh[0].classes is None  # learned, not given
    with pytest.raises(NotFittedError):
        check_is_fitted(fresh[0])
    check_is_fitted(pipe[0])


def test_searches_set_options_and_refit_per_fold():
    search = GridSearchCV(pipeline(), {"preprocessor__scaling": ["standard", "robust"], "preprocessor__clip": [True]},
                          cv=3, error_score="raise").fit(FRAME, LABELS)  # fmt: skip
    assert search.best_estimator_[0].clip is True
    scores = cross_val_score(make_pipeline(Preprocessor(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=3)), FRAME,
                             RNG.normal(size=N), cv=3, error_score="raise")  # fmt: skip
    assert np.isfinite(scores).all()


def test_column_transformer():
    columns = ColumnTransformer([("numbers", Preprocessor(), ["age", "hours"]), ("one", Preprocessor(), "work")])
    features = columns.fit_transform(FRAME, LABELS)
    expected = Preprocessor().fit_transform(FRAME)
    assert features.shape == expected.shape
    np.testing.assert_array_equal(np.sort(features, axis=None), np.sort(expected, axis=None))
    names = list(columns.get_feature_names_out())
    assert names[0] == "numbers__age"
    assert "one__work=Self" in names
    frame = columns.set_output(transform="pandas").fit_transform(FRAME, LABELS)
    assert list(frame.columns) == names
    assert Pipeline([("columns", columns), ("net", MLPClassifier((4,), max_iter=2))]).fit(FRAME, LABELS).score(
        FRAME, LABELS) >= 0  # fmt: skip


@pytest.mark.parametrize(("library", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_set_output(library, kind):
    p = Preprocessor().set_output(transform=library).fit(FRAME)
    frame = p.transform(FRAME[::-1])
    assert isinstance(frame, kind)
    assert list(frame.columns) == list(p.feature_names)
    np.testing.assert_array_equal(frame.to_numpy(), Preprocessor().fit(FRAME).transform(FRAME[::-1]))
    if library == "pandas":
        assert list(frame.index) == list(FRAME.index[::-1])
    assert isinstance(clone(p).fit_transform(FRAME), kind)
    assert isinstance(p.set_output(transform="default").transform(FRAME), np.ndarray)
    with pytest.raises(ValueError, match="transform must be 'default', 'pandas' or 'polars'"):
        p.set_output(transform="arrow")


def test_set_params_validates_options():
    p = Preprocessor(scaling="robust").fit(FRAME, LABELS)
    assert p.set_params(scaling="robust").feature_names  # unchanged, so it stays fitted
    with pytest.raises(ValueError, match="got 'scalling': did you mean 'scaling'"):
        p.set_params(scalling="none")
    with pytest.raises(ValueError, match="scaling must be one of"):
        p.set_params(scaling="max")
    assert p.scaling == "robust"
    with pytest.raises(RuntimeError, match="is not fitted yet"):
        p.set_params(scaling="none").transform(FRAME)
    assert p.fit(FRAME, LABELS) == Preprocessor(scaling="none").fit(FRAME, LABELS)


def test_failed_fit_keeps_the_previous_fit():
    p = Preprocessor().fit(FRAME, LABELS)
    before = p.transform(FRAME)
    with pytest.raises(ValueError, match="target for each row"):
        p.fit(FRAME[:50], LABELS)
    np.testing.assert_array_equal(p.transform(FRAME), before)
    assert p.classes == ("no", "yes")


def test_classes_are_relearned_unless_given():
    p = Preprocessor().fit(FRAME, LABELS).fit(FRAME, WORK)
    assert p.classes == ("Private", "Self", "State-gov")
    given = Preprocessor(classes=["yes", "no"])
    assert given.fit(FRAME, LABELS).fit(FRAME, LABELS).classes == ("yes", "no")
    assert clone(given).classes == ("yes", "no")


@pytest.mark.parametrize("names", [[0, 1, 2], [10, 11, 12], [2, 0, 1], ["a", 1, 2]])
def test_frames_with_integer_column_names(names):
    X = np.arange(9.0).reshape(3, 3)
    frame = pd.DataFrame(X, columns=names)
    p = Preprocessor()
    np.testing.assert_array_equal(p.fit_transform(frame), Preprocessor().fit_transform(X))
    np.testing.assert_array_equal(p.transform(frame[names[::-1]]), p.transform(frame))


@pytest.mark.parametrize("make", [pd.Series, lambda values, name=None: pl.Series(name or "", values)])
def test_series_is_a_table_of_one_column(make):
    values = [1.0, 2.0, 6.0]
    p = Preprocessor().fit(make(values, name="size"))
    assert p.columns == ("size",)
    np.testing.assert_array_equal(p.transform(make(values)), Preprocessor().fit_transform(np.c_[values]))
    assert Preprocessor().fit(make(values)).columns == ()
    assert Preprocessor().fit_transform(make(["a", "b", "a"], name="kind")).shape == (3, 2)


def test_pipeline_model_can_store_the_preprocessor(tmp_path):
    pipe = pipeline().fit(FRAME, LABELS)
    model = pipe[-1].model_
    model.metadata |= pipe[0].to_metadata()
    model.save(tmp_path / "m.safetensors")
    assert Preprocessor.of(fastbp.load(tmp_path / "m.safetensors")) == pipe[0]
