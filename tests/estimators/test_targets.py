"""Targets, weights and widths that do not match the network are refused, and a refused call changes nothing."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import accuracy_score, make_scorer, max_error
from sklearn.model_selection import train_test_split
from sklearn.utils import compute_sample_weight

import fastbp
from fastbp import MLPClassifier, MLPRegressor
from fastbp.estimators import class_weights

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5))
LABELS = (X[:, 0] > 0).astype(int)
PAIRS = np.c_[LABELS, X[:, 1] > 0].astype(int)
TRIPLES = np.c_[PAIRS, X[:, 2] > 0].astype(int)
FAST = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


def state_of(estimator):
    """What a refused call must leave unchanged."""
    names = [name for name in vars(estimator) if name.endswith("_") and name != "model_"]
    weights = [] if "model_" not in vars(estimator) else estimator.model_.get_weights()
    return {name: repr(getattr(estimator, name)) for name in names}, [W.tobytes() for W in weights]


# the first y, and the y of the second call, which differs in width, layout or type
MISMATCHES = {
    "one label after two columns": (MLPClassifier, PAIRS, LABELS),
    "one column after two": (MLPClassifier, PAIRS, LABELS[:, None]),
    "three columns after two": (MLPClassifier, PAIRS, TRIPLES),
    "two columns after three": (MLPClassifier, TRIPLES, PAIRS),
    "two columns after labels": (MLPClassifier, LABELS, PAIRS),
    "three columns after three classes": (MLPClassifier, LABELS + PAIRS[:, 1], TRIPLES),
    "strings after numbers": (MLPClassifier, LABELS, LABELS.astype(str)),
    "object strings after numbers": (MLPClassifier, LABELS, LABELS.astype(str).astype(object)),
    "numbers after strings": (MLPClassifier, LABELS.astype(str), LABELS),
    "unknown class": (MLPClassifier, LABELS, LABELS + 1),
    "two targets after one": (MLPRegressor, X[:, 0], X[:, :2]),
    "one target after two": (MLPRegressor, X[:, :2], X[:, 0]),
    "three targets after two": (MLPRegressor, X[:, :2], X[:, :3]),
    "strings after real numbers": (MLPRegressor, X[:, 0], LABELS.astype(str)),
}


ENTRIES = {
    "partial_fit": lambda estimator, first, second: estimator.partial_fit(X, second),
    "warm start": lambda estimator, first, second: estimator.set_params(warm_start=True).fit(X, second),
    "lbfgs warm start": lambda estimator, first, second: (
        estimator.set_params(warm_start=True, solver="lbfgs").fit(X, second)
    ),
    "y_val": lambda estimator, first, second: estimator.fit(X, first, X_val=X, y_val=second),
    "partial_fit y_val": lambda estimator, first, second: estimator.partial_fit(X, first, X_val=X, y_val=second),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("case", MISMATCHES)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_mismatched_y_is_refused_and_changes_nothing(case, entry):
    kind, first, second = MISMATCHES[case]
    estimator = kind(**FAST).fit(X, first)
    before = state_of(estimator)
    with pytest.raises((ValueError, TypeError), match=r"\by(_val)?\b"):
        ENTRIES[entry](estimator, first, second)
    assert state_of(estimator) == before
    assert estimator.predict(X).shape == (first.reshape(len(X), -1).squeeze().shape)


def test_number_of_columns_must_match_the_classes():
    with pytest.raises(ValueError, match=re.escape("must have 3 columns of 0 and 1, one for each class, got shape")):
        MLPClassifier(**FAST).partial_fit(X, PAIRS, classes=[0, 1, 2])


def test_refused_first_call_leaves_the_estimator_unfitted():
    for call in (
        lambda e: e.partial_fit(X, LABELS + 1, classes=[0, 1]),
        lambda e: e.fit(X, LABELS, X_val=X[:, :2], y_val=LABELS),
        lambda e: e.set_params(early_stopping=True, scoring="acuracy").fit(X, LABELS),
        lambda e: e.set_params(class_weight={0: -1}).fit(X, LABELS),
    ):
        estimator = MLPClassifier(**FAST)
        with pytest.raises(ValueError, match=r"y|columns|features|scoring|class_weight"):
            call(estimator)
        assert not [name for name in vars(estimator) if name.endswith("_")]


def test_values_too_large_for_float32_are_refused():
    narrow, y = X.astype(np.float32), X[:, 0] * 1e300
    for solver in ("adam", "lbfgs"):
        with pytest.raises(ValueError, match=r"y must be finite, .* too large for float32"):
            MLPRegressor(**FAST, solver=solver).fit(narrow, y)
    fitted = MLPRegressor(**FAST).fit(narrow, X[:, 0])
    with pytest.raises(ValueError, match=r"X must be finite, .* too large for float32"):
        fitted.partial_fit(X * 1e300, X[:, 0])


@pytest.mark.parametrize("y", [LABELS.astype(str), LABELS.astype(str).astype(object), pd.Series(list("ab") * 60),
                               np.array(["2020-01-01"] * 120, "datetime64[D]")])  # fmt: skip
def test_regressor_refuses_non_numeric_y(y):
    for fit in (MLPRegressor(**FAST).fit, MLPRegressor(**FAST).partial_fit):
        with pytest.raises(TypeError, match="y must hold numbers for MLPRegressor, got"):
            fit(X, y)


def test_regressor_score_refuses_strings():
    fitted = MLPRegressor(**FAST).fit(X, X[:, 0])
    with pytest.raises(TypeError, match="y must hold numbers for MLPRegressor, got the string '0'"):
        fitted.score(X, np.full(120, "0"))
    assert fitted.score(X, X[:, 0], np.ones(120)) == pytest.approx(fitted.score(X, X[:, 0]))


def test_integers_too_large_for_float64_are_refused():
    with pytest.raises(ValueError, match="y must hold numbers that fit in float64"):
        MLPRegressor(**FAST).fit(X, [10**400] * 120)


def test_masked_values_are_refused():
    """scikit-learn ignores the mask and learns from the values behind it."""
    masked = np.ma.masked_array(LABELS, mask=LABELS == 1)
    rows = np.ma.masked_array(X, mask=X > 2)
    for kind in (MLPClassifier, MLPRegressor):
        fitted = kind(**FAST).fit(X, LABELS)
        for call in (
            lambda e: e.fit(X, masked), lambda e: e.fit(rows, LABELS), lambda e: e.partial_fit(X, masked),
            lambda e: e.fit(X, LABELS, X_val=X, y_val=masked), lambda e: e.fit(X, LABELS, masked),
            lambda e: e.predict(rows), lambda e: e.fit(X, LABELS, X_val=rows, y_val=LABELS),
        ):  # fmt: skip
            with pytest.raises(ValueError, match="must have no masked values"):
                call(fitted)
        kind(**FAST).fit(np.ma.masked_array(X), np.ma.masked_array(LABELS))  # nothing is masked


@pytest.mark.parametrize("weight", [np.full(120, "1"), np.ones(119), -np.ones(120), np.full(120, np.nan),
                                    np.zeros(120), np.full(120, None)])  # fmt: skip
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_bad_sample_weights_are_refused(kind, weight):
    for call in (lambda: kind(**FAST).fit(X, LABELS, weight),
                 lambda: kind(**FAST).fit(X, LABELS, X_val=X, y_val=LABELS, sample_weight_val=weight)):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=r"[Ss]ample[ _]weight"):
            call()


# ---------------------------------------------------------------- changing the loss


def test_predictions_follow_the_loss_of_the_last_fit():
    """Hinge outputs are compared with 0, not 1/2, and have no probabilities; Poisson outputs are logarithms."""
    estimator = MLPClassifier(**FAST, warm_start=True).fit(X, LABELS)
    estimator.set_params(loss="hinge", max_iter=20).fit(X, LABELS)
    assert not hasattr(estimator, "predict_proba")
    np.testing.assert_array_equal(estimator.predict(X), (estimator.decision_function(X) > 0).astype(int))
    estimator.set_params(loss="log_loss").fit(X, LABELS)
    np.testing.assert_array_equal(estimator.predict(X), estimator.predict_proba(X).argmax(axis=1))
    regressor = MLPRegressor(**FAST, warm_start=True).fit(X, LABELS)
    regressor.set_params(loss="poisson").fit(X, LABELS)
    np.testing.assert_allclose(regressor.predict(X), np.exp(regressor.model_.predict(X)[:, 0]))


# ---------------------------------------------------------------- layer sizes and class weights


@pytest.mark.parametrize("sizes", [(64.7,), [True], (8, 4.0), 8.5, np.array([3.5]), (np.float64(3),), ("8",)])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_non_integer_layer_sizes_are_refused(kind, sizes):
    with pytest.raises((TypeError, ValueError), match="hidden_layer_sizes"):
        kind(sizes, max_iter=1).fit(X, LABELS) if kind is MLPClassifier else kind("huber", sizes).fit(X, LABELS)


@pytest.mark.parametrize("sizes", [[], 8, (8, 4), np.array([8, 4]), (np.int32(3),)])
def test_integer_layer_sizes_are_accepted(sizes):
    hidden = np.atleast_1d(np.array(sizes, int)).tolist()
    fitted = MLPClassifier(sizes, max_iter=1).fit(X, LABELS)
    assert [W.shape[1] for W in fitted.coefs_] == [*hidden, 1]


@pytest.mark.parametrize("weight", [{0: -1, 1: 1}, {0: np.nan}, {0: np.inf}, {0: "1"}, {0: True}, {0: None}, {2: 3.0},
                                    [{0: 1}, {0: 1}], {0: 0, 1: 0}])  # fmt: skip
def test_bad_class_weights_are_refused(weight):
    with pytest.raises(ValueError, match=r"class_weight|sample_weight"):
        MLPClassifier(**FAST, class_weight=weight).fit(X, LABELS)


@pytest.mark.parametrize(("y", "weight"), [
    (LABELS, "balanced"), (LABELS, {0: 0.5, 1: 3}), (LABELS, {1: 3}), (LABELS, {0: 1, 1: 2, 2: 5}),
    (LABELS.astype(str), {"0": 2}), (LABELS + PAIRS[:, 1], "balanced"),
    (TRIPLES, "balanced"), (TRIPLES, [{0: 1, 1: 2}, {1: 3}, {0: 0.5}]),
])  # fmt: skip
def test_class_weights_match_scikit_learn(y, weight):
    columns = y.reshape(len(y), -1)
    classes = [np.unique(column) for column in columns.T]
    found = class_weights.of_rows(class_weights.tables(weight, columns, classes), columns)
    expected = compute_sample_weight("balanced" if isinstance(weight, str) else 1, y) if isinstance(weight, str) else (
        np.prod([[each.get(label, 1) for label in column.tolist()]
                 for each, column in zip(weight if isinstance(weight, list) else [weight], columns.T, strict=True)], 0))
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_class_weight_for_a_class_missing_from_the_batch():
    estimator = MLPClassifier(**FAST, class_weight={0: 2.0})
    estimator.partial_fit(X[LABELS == 1], LABELS[LABELS == 1], classes=[0, 1])
    assert estimator.t_ == (LABELS == 1).sum()


def test_class_weight_applies_to_given_and_held_out_validation_rows():
    """The validation curve is that of rows weighted by hand."""
    rows, y = make_classification(600, 8, n_informative=5, weights=[0.9], random_state=0)
    train, held = train_test_split(np.arange(600), random_state=0, test_size=0.1, stratify=np.where(y, "True", "False"))
    common = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0, "early_stopping": True}
    cut = MLPClassifier(**common, class_weight="balanced").fit(rows, y)
    table = dict(zip([0, 1], compute_sample_weight("balanced", y)[[np.argmin(y), np.argmax(y)]], strict=True))
    given = MLPClassifier(**common, class_weight=table).fit(rows[train], y[train], X_val=rows[held], y_val=y[held])
    predicted = given.predict(rows[held])
    weight = np.where(y[held], table[1], table[0])
    assert given.best_validation_score_ == pytest.approx(accuracy_score(y[held], predicted, sample_weight=weight))
    assert abs(cut.validation_scores_[0] - given.validation_scores_[0]) < 0.2
    by_hand = MLPClassifier(**common).fit(
        rows[train], y[train], np.where(y[train], table[1], table[0]),
        X_val=rows[held], y_val=y[held], sample_weight_val=weight,
    )  # fmt: skip
    assert given.validation_scores_ == by_hand.validation_scores_
    assert given.validation_loss_curve_ == by_hand.validation_loss_curve_


@pytest.mark.parametrize("scoring", [make_scorer(max_error, greater_is_better=False),
                                     lambda estimator, X, y: estimator.score(X, y)])  # fmt: skip
def test_scorer_without_sample_weight_warns(scoring):
    estimator = MLPRegressor(**FAST, early_stopping=True, scoring=scoring)
    with pytest.warns(UserWarning, match="takes no sample_weight: validation scores are not weighted"):
        estimator.fit(X, X[:, 0], np.ones(len(X)))
    plain = MLPRegressor(**FAST, early_stopping=True, scoring=scoring).fit(X, X[:, 0])
    assert estimator.validation_scores_ == pytest.approx(plain.validation_scores_)


# ---------------------------------------------------------------- decision_function


THREE = LABELS + PAIRS[:, 1]


@pytest.mark.parametrize(("loss", "y", "shape"), [
    ("hinge", LABELS, (120,)), ("hinge", LABELS.astype(str), (120,)), ("hinge", THREE, (120, 3)),
    ("hinge", TRIPLES, (120, 3)), ("hinge", PAIRS, (120, 2)),
    ("categorical_hinge", LABELS, (120,)), ("categorical_hinge", LABELS.astype(str), (120,)),
    ("categorical_hinge", THREE, (120, 3)),
])  # fmt: skip
def test_predict_follows_decision_function(loss, y, shape):
    estimator = MLPClassifier(**FAST, loss=loss)
    assert hasattr(estimator, "decision_function")
    assert not hasattr(estimator, "predict_proba")
    margins = estimator.fit(X, y).decision_function(X)
    assert margins.shape == shape
    predicted = estimator.predict(X)
    if y.ndim == 2:
        np.testing.assert_array_equal(predicted, margins > 0)
    elif margins.ndim == 2:
        np.testing.assert_array_equal(predicted, estimator.classes_[margins.argmax(axis=1)])
    else:
        np.testing.assert_array_equal(predicted, estimator.classes_[(margins > 0).astype(int)])


def test_scorers_can_use_decision_function():
    estimator = MLPClassifier(**FAST, loss="hinge", early_stopping=True, scoring="roc_auc").fit(X, LABELS)
    assert 0 <= estimator.best_validation_score_ <= 1


@pytest.mark.parametrize("loss", ["log_loss", "focal", fastbp.BinaryFocal(), "mse"])
def test_losses_with_probabilities_have_no_decision_function(loss):
    estimator = MLPClassifier(**FAST, loss=loss)
    assert not hasattr(estimator, "decision_function")
    assert hasattr(estimator, "predict_proba")
