"""RealMLP's parts, and what estimators of tables promise."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss, make_scorer, roc_auc_score

from fastbp import Preprocessor, callbacks, load
from fastbp.recipes import RealMLPClassifier, RealMLPRegressor

pytestmark = pytest.mark.jit


def table(n=400, seed=0):
    """Numbers, texts, a constant and missing values, and a target of each kind."""
    rng = np.random.default_rng(seed)
    age, hours = rng.integers(18, 80, n).astype(float), rng.normal(40, 10, n)
    work = rng.choice(["Private", "Own", "State"], n)
    y = age / 10 + (work == "Own") * hours / 10 + rng.normal(0, 0.1, n)
    age[::17] = np.nan
    frame = pd.DataFrame({"age": age, "hours": hours, "work": work, "sex": rng.choice(["f", "m"], n), "same": 3.0})
    frame.loc[::23, "work"] = None
    return frame, y


def small(kind, **given):
    return kind(**{"hidden_layer_sizes": (32, 32), "n_epochs": 12, "batch_size": 64, "random_state": 0} | given)


# ---------------------------------------------------------------- the small recipe


def test_features_are_those_of_the_published_recipe():
    X, y = table()
    features = RealMLPRegressor(size="small")._preprocessor().fit_transform(X, y)
    known = X.drop(columns=["age", "work"])  # it has no rule for missing numbers
    onehot = np.stack([X["work"] == each for each in ("Own", "Private", "State")], 1).astype(float)
    signed = np.where(known["sex"] == "m", 1.0, -1.0)
    columns = np.column_stack([X["age"].fillna(X["age"].median()), known["hours"], onehot, signed, known["same"]])
    low, median, high = np.quantile(columns, [0.25, 0.5, 0.75], axis=0)
    present = X["age"].dropna()
    low[0], median[0], high[0] = np.quantile(present, [0.25, 0.5, 0.75])
    spread = np.where(high > low, high - low, np.ptp(columns, axis=0) / 2)
    scaled = (columns - median) * np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    np.testing.assert_allclose(features, scaled / np.sqrt(1 + (scaled / 3) ** 2), rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------- the larger recipe


def test_the_normal_size_has_all_parts():
    X, y = table(500)
    X["town"] = np.random.default_rng(1).choice([f"town {i}" for i in range(30)], 500)
    estimator = RealMLPRegressor(n_epochs=2, random_state=0).fit(X, y)
    layers = estimator.model_.layers
    assert [type(layer).__name__ for layer in layers] == [
        "ColumnEmbedding", "PeriodicEmbedding", "Scale", *["Dense", "ParametricActivation", "Dropout"] * 3, "Dense",
    ]  # fmt: skip
    assert (layers[0].cardinalities, layers[0].dimensions) == ((32,), (8,))
    assert layers[1].columns == (0, 1, 6)  # age, hours and the constant column; 2 to 5: work, 3 texts, and sex
    width = 6 - 3 + 3 * 4 + 1 + 8
    assert layers[3].learning_rate_multiplier == pytest.approx(width**-0.5)
    assert layers[3].weight_decay_multiplier == pytest.approx(width**0.5)
    dropout, optimizer = layers[5], estimator.model_.optimizer
    steps = np.array([0, 2, 3, 4])
    np.testing.assert_allclose(dropout.rate(np.array([0, 1, 2])), [0.15, 0.15, 0.0], atol=1e-12)
    assert optimizer.weight_decay(steps)[0] == 0.02
    assert estimator.predict(X).max() <= y.max()
    assert estimator.predict(X).min() >= y.min()


def test_arguments_override_the_size():
    X, y = table(300)
    plain = RealMLPClassifier(n_epochs=1, dropout=0.0, weight_decay=0.0, most_one_hot=1, random_state=0).fit(X, y > 5)
    assert not any(type(layer).__name__ == "Dropout" for layer in plain.model_.layers)
    assert plain.model_.layers[0].cardinalities == (5, 4)
    assert type(plain.model_.optimizer).__name__ == "Adam"
    dropping = RealMLPClassifier(size="small", n_epochs=1, dropout=0.3, random_state=0).fit(X, y > 5)
    assert sum(type(layer).__name__ == "Dropout" for layer in dropping.model_.layers) == 3


def test_a_table_of_categories_has_no_waves():
    X = pd.DataFrame({"a": list("xyz") * 20, "b": list("uvwu") * 15})
    classifier = RealMLPClassifier(n_epochs=3, random_state=0).fit(X, list("pqq") * 20)
    assert type(classifier.model_.layers[0]).__name__ == "Scale"
    assert classifier.score(X, list("pqq") * 20) == 1


# ---------------------------------------------------------------- results


def test_it_learns_from_a_raw_frame():
    X, y = table(2000)
    new, truth = table(500, seed=1)
    assert small(RealMLPRegressor, n_epochs=60).fit(X, y).score(new, truth) > 0.9
    labels = np.array(["few", "many"])
    classifier = small(RealMLPClassifier, n_epochs=30).fit(X, labels[(y > 5).astype(int)])
    assert classifier.score(new, labels[(truth > 5).astype(int)]) > 0.93
    np.testing.assert_allclose(classifier.predict_proba(new).sum(axis=1), 1, rtol=1e-6)


def test_bits_do_not_depend_on_threads_and_members_are_what_they_are_alone():
    X, y = table()
    one = small(RealMLPRegressor, n_ensembles=3, n_threads=1).fit(X, y)
    two = small(RealMLPRegressor, n_ensembles=3, n_threads=2).fit(X, y)
    np.testing.assert_array_equal(one.predict(X), two.predict(X))
    alone = small(RealMLPRegressor).fit(X, y)
    for mine, theirs in zip(alone.model_.get_weights(), two.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    each = np.stack([m.preprocessor.inverse_target(m.model.predict(m.preprocessor.transform(X))) for m in two.members_])
    np.testing.assert_allclose(two.predict(X), each.mean(axis=0), rtol=1e-12)
    mean, deviation = two.predict(X, return_std=True)
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(deviation, each.std(axis=0), rtol=1e-9)


def test_folds_hold_out_every_row_once():
    X, y = table()
    classifier = small(RealMLPClassifier, n_folds=3, n_ensembles=2).fit(X, y > 5)
    assert len(classifier.members_) == 6
    held = [member.held for member in classifier.members_]
    np.testing.assert_array_equal(np.sort(np.concatenate(held[::2])), np.arange(len(y)))
    np.testing.assert_array_equal(held[0], held[1])
    shares = [(y > 5)[rows].mean() for rows in held]
    np.testing.assert_allclose(shares, (y > 5).mean(), atol=0.01)
    proba = classifier.out_of_fold_
    expected = np.zeros((len(y), 2))
    for member in classifier.members_:
        rows = X.iloc[member.held]
        expected[member.held] += member.model.predict(member.preprocessor.transform(rows)) / 2
    np.testing.assert_allclose(proba, expected, rtol=1e-6)


def test_the_last_of_equal_best_epochs_is_kept():
    X, y = table()
    classifier = small(RealMLPClassifier, n_epochs=40).fit(X, y > 5)
    accuracies = classifier.members_[0].history["val_accuracy"]
    best = np.flatnonzero(np.array(accuracies) == max(accuracies))
    assert classifier.members_[0].best_epoch == best[-1] > best[0]


@pytest.mark.parametrize(
    "scoring", ["roc_auc", "neg_log_loss", make_scorer(roc_auc_score, response_method="predict_proba")]
)
def test_the_best_epoch_by_any_scorer(scoring):
    X, y = table()
    classifier = small(RealMLPClassifier, scoring=scoring).fit(X[:300], y[:300] > 5, X_val=X[300:], y_val=y[300:] > 5)
    history = classifier.members_[0].history["val_score"]
    assert classifier.members_[0].best_epoch == len(history) - 1 - np.argmax(history[::-1])
    if scoring == "roc_auc":
        best = roc_auc_score(y[300:] > 5, classifier.predict_proba(X[300:])[:, 1])
        assert best == pytest.approx(max(history))


def test_without_held_out_rows_the_last_epoch_is_taken():
    X, y = table(60)
    regressor = small(RealMLPRegressor, validation_fraction=0.0).fit(X, y)
    assert regressor.members_[0].best_epoch == 11
    assert regressor.members_[0].held is None


def test_patience_and_callbacks():
    X, y = table()
    seen = []
    record = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    regressor = small(RealMLPRegressor, n_epochs=200, patience=2, callbacks=[record]).fit(X, y)
    assert len(seen) < 200
    assert seen[-1] == regressor.members_[0].best_epoch + 2
    with pytest.raises(ValueError, match="callbacks see one network, but there are 2"):
        small(RealMLPRegressor, n_ensembles=2, callbacks=[record]).fit(X, y)


def test_the_model_is_saved_with_its_preprocessor(tmp_path):
    X, y = table()
    classifier = small(RealMLPClassifier).fit(X, np.where(y > 5, "many", "few"))
    classifier.model_.save(tmp_path / "model.fbp")
    model = load(tmp_path / "model.fbp")
    preprocessor = Preprocessor.of(model)
    labels = preprocessor.inverse_target(model.predict(preprocessor.transform(X)))
    np.testing.assert_array_equal(labels, classifier.predict(X))


def test_calibrated_probabilities_have_a_lower_log_loss_and_the_same_classes():
    X, y = table(1500)
    new, truth = table(1000, seed=1)
    plain, calibrated = (
        small(RealMLPClassifier, calibrate=each, n_ensembles=2).fit(X, y > 5) for each in (False, True)
    )
    for one, other in zip(plain.members_, calibrated.members_, strict=True):
        *below, W, b = one.model.get_weights()
        *same, V, c = other.model.get_weights()
        assert all(map(np.array_equal, below, same))
        factor = V[0, 0] / W[0, 0]
        assert factor > 1.2  # label smoothing keeps probabilities from 0 and 1
        np.testing.assert_allclose(V, factor * W, rtol=1e-5)
        np.testing.assert_allclose(c, factor * b, rtol=1e-5, atol=1e-6)
    before, after = (log_loss(truth > 5, each.predict_proba(new)) for each in (plain, calibrated))
    assert after < 0.95 * before


def test_class_and_sample_weights():
    X, y = table()
    few = np.arange(len(y)) % 4 == 0
    weighted = small(RealMLPClassifier, class_weight={False: 1.0, True: 50.0}).fit(X, y > 8)
    plain = small(RealMLPClassifier).fit(X, y > 8)
    assert weighted.predict(X).sum() > plain.predict(X).sum()
    zero = small(RealMLPRegressor).fit(X, np.where(few, 1e3, y), sample_weight=np.where(few, 0.0, 1.0))
    assert zero.predict(X).max() < 500


def test_rows_of_weight_0_are_in_no_split_and_their_predictions_are_of_all_members():
    X, y = table(200)
    weight = (np.arange(200) % 20 == 0).astype(float)
    regressor = small(RealMLPRegressor, n_folds=3).fit(X, y, weight)
    held = np.sort(np.concatenate([member.held for member in regressor.members_]))
    np.testing.assert_array_equal(held, np.flatnonzero(weight))
    rest = np.flatnonzero(weight == 0)
    np.testing.assert_allclose(regressor.out_of_fold_[rest], regressor.predict(X.iloc[rest]), rtol=1e-6)
    assert small(RealMLPRegressor).fit(X, y, (np.arange(200) < 3).astype(float)).predict(X).shape == (200,)
    with pytest.raises(ValueError, match="must not be 0 for all rows"):
        small(RealMLPClassifier, class_weight={False: 0, True: 0}).fit(X, y > 5)


def test_scorers_get_weights_and_callbacks_the_score():
    X, y = table()
    weights, seen = [], []

    def score(y, predicted, sample_weight=None):
        weights.append(sample_weight)
        return -float(np.mean((y - predicted) ** 2))

    record = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["val_score"]))
    weight = np.linspace(1, 2, 400).astype("float32")
    regressor = small(RealMLPRegressor, scoring=make_scorer(score), callbacks=[record], n_epochs=3)
    regressor.fit(X[:300], y[:300], weight[:300], X_val=X[300:], y_val=y[300:], sample_weight_val=weight[300:])
    np.testing.assert_array_equal(weights[0], weight[300:])
    assert seen == regressor.members_[0].history["val_score"]
    with pytest.raises(ValueError, match="is NaN on the rows held out"):
        small(RealMLPRegressor, scoring=lambda estimator, X, y: np.nan).fit(X, y)


def test_predictions_during_a_fit_are_those_of_the_fit_before():
    X, y = table()
    classifier, during = small(RealMLPClassifier).fit(X, y > 5), []
    before = classifier.predict_proba(X)
    watch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: during.append(classifier.predict_proba(X)))
    classifier.set_params(callbacks=[watch]).fit(X[["age"]], np.where(y > 5, "many", "few"))
    assert during
    assert all(np.array_equal(each, before) for each in during)
    assert classifier.classes_.tolist() == ["few", "many"]


def test_without_a_finished_epoch_there_is_no_best_one():
    rng = np.random.default_rng(0)
    regressor = small(RealMLPRegressor, n_epochs=50, time_limit=1e-9, validation_fraction=0.0, batch_size=8)
    regressor.fit(rng.normal(size=(200_000, 2)), rng.normal(size=200_000))
    assert regressor.members_[0].best_epoch is None


# ---------------------------------------------------------------- what people pass


def test_labels_of_any_kind():
    X, y = table(100)
    for labels, kind in (
        (pd.Series(y > 5, dtype="boolean"), "b"), (pd.Series((y > 5).astype(int), dtype="Int64"), "i"),
        (np.array([bool(each) for each in y > 5], object), "b"), ([3 if each else -1 for each in y > 5], "i"),
        (pd.Series(np.where(y > 5, "u", "v"), dtype="category"), "U"),
    ):  # fmt: skip
        classifier = small(RealMLPClassifier, n_epochs=1).fit(X, labels)
        assert classifier.classes_.dtype.kind == kind
        assert set(classifier.predict(X)) <= set(classifier.classes_)
    for wrong in (["a", None] * 50, np.array(["a", 1] * 50, object), pd.Series([True, pd.NA] * 50, dtype="boolean")):
        with pytest.raises((ValueError, TypeError), match=r"^y must"):
            small(RealMLPClassifier).fit(X, wrong)


def test_masked_values_are_refused():
    X = np.ma.masked_greater(np.random.default_rng(0).normal(size=(50, 2)), 1.0)
    with pytest.raises(ValueError, match="X must have no masked values"):
        small(RealMLPRegressor).fit(X, np.arange(50.0))
    with pytest.raises(ValueError, match="y must have no masked values"):
        small(RealMLPRegressor).fit(X.data, np.ma.masked_greater(np.arange(50.0), 40))


def test_tiny_and_odd_tables():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"c": list("abcdefghab"), "x": rng.normal(size=10)})
    assert small(RealMLPClassifier).fit(X, [0, 1] * 5).predict(X).shape == (10,)
    texts = pd.DataFrame({"a": ["x", "y"] * 10, "b": ["u", "v", "w", "u"] * 5})
    regressor = small(RealMLPRegressor).fit(texts, np.arange(20.0))
    unseen = pd.DataFrame({"a": ["z", None], "b": ["u", "new"]})
    assert np.isfinite(regressor.predict(unseen)).all()
    hundred = pd.DataFrame({"x": rng.normal(size=100), "c": rng.choice(list("abc"), 100)})
    folded = small(RealMLPClassifier, n_folds=5).fit(hundred, rng.choice(["u", "v", "w"], 100))
    assert folded.predict_proba(hundred).shape == (100, 3)
    rare = [0] * 99 + [1]  # a class of one row, which no split can share out
    assert small(RealMLPClassifier).fit(hundred, rare).predict(hundred).shape == (100,)


def test_several_quantities():
    X, y = table()
    regressor = small(RealMLPRegressor, n_epochs=30).fit(X, np.column_stack([y, -2 * y]))
    assert regressor.predict(X).shape == (400, 2)
    assert regressor.score(X, np.column_stack([y, -2 * y])) > 0.9


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("given", "held"), [({"n_ensembles": 2}, 100), ({"n_folds": 3}, 500), ({"validation_fraction": 0.0}, 300)]
)
def test_intervals_hold_their_share_of_new_targets(given, held):
    (X, y), (X_val, y_val), (X_new, y_new) = table(500), table(300, seed=1), table(1000, seed=2)
    other = {"X_val": X_val, "y_val": y_val} if "validation_fraction" in given else {}
    estimator = small(RealMLPRegressor, n_epochs=20, **given).fit(X, y, **other)
    assert len(estimator.residuals_) == held
    for coverage in (0.5, 0.9):
        lower, upper = estimator.predict_interval(X_new, coverage)
        np.testing.assert_allclose((lower + upper) / 2, estimator.predict(X_new), rtol=1e-6)
        inside = np.mean((lower <= y_new) & (y_new <= upper))
        # six standard deviations of the share, of the 100 rows held out and of the 1,000 new ones
        assert abs(inside - coverage) < 6 * np.sqrt(coverage * (1 - coverage) * (1 / 100 + 1 / 1000))


def test_the_margin_of_an_interval_is_a_residual_of_the_right_rank():
    X, y = table(100)
    estimator = small(RealMLPRegressor, n_epochs=2, validation_fraction=0.19).fit(X, np.column_stack([y, -3 * y]))
    held = estimator.members_[0].held
    missed = np.column_stack([y, -3 * y])[held] - estimator.predict(X.iloc[held])
    np.testing.assert_array_equal(estimator.residuals_, missed)
    lower, upper = estimator.predict_interval(X, 0.9)  # the 18th of 19, since 0.9 x 20 = 18
    np.testing.assert_allclose((upper - lower) / 2, np.tile(np.sort(np.abs(missed), axis=0)[17], (100, 1)), rtol=1e-9)
    with pytest.raises(ValueError, match=r"coverage=0\.99 needs 99 rows held out, got 19"):
        estimator.predict_interval(X, 0.99)
    with pytest.raises(ValueError, match=r"coverage must be between 0 and 1, got 90"):
        estimator.predict_interval(X, 90)
    with pytest.raises(TypeError, match=r"coverage must be a number, between 0 and 1, got '0\.9'"):
        estimator.predict_interval(X, "0.9")


def test_intervals_need_rows_held_out_whose_weight_is_not_0():
    X, y = table(100)
    estimator = small(RealMLPRegressor, n_epochs=2).fit(X, y)
    estimator.set_params(validation_fraction=0.0).fit(X, y)
    with pytest.raises(ValueError, match="predict_interval needs rows held out"):
        estimator.predict_interval(X)
    X_val, y_val = table(50, seed=1)
    y_val[0] = 1e6
    weight = np.ones(50)
    weight[0] = 0
    estimator.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    assert len(estimator.residuals_) == 49
    assert np.abs(estimator.residuals_).max() < 1e3


def test_dicts_and_frames_of_polars():
    polars = pytest.importorskip("polars")
    X, y = table()
    given = {name: X[name].tolist() for name in X}
    by_dict, by_frame = small(RealMLPRegressor).fit(given, y), small(RealMLPRegressor).fit(X, y)
    by_polars = small(RealMLPRegressor).fit(polars.from_pandas(X), y)
    np.testing.assert_array_equal(by_dict.predict(given), by_frame.predict(X))
    np.testing.assert_array_equal(by_polars.predict(polars.from_pandas(X)), by_frame.predict(X))
    with pytest.raises(ValueError, match="columns"):
        by_dict.predict({name: given[name] for name in list(given)[:2]})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_epochs": 0}, ValueError, "n_epochs"),
        ({"activation": "softmax"}, ValueError, "activation"),
        ({"hidden_layer_sizes": (32, 0)}, ValueError, "hidden_layer_sizes"),
        ({"n_folds": 1}, ValueError, "n_folds"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction"),
        ({"validation_fraction": 0.999}, ValueError, "leaves none to train on"),
        ({"validation_fraction": 0.0, "patience": 3}, ValueError, "need rows held out"),
        ({"n_folds": 51}, ValueError, "n_folds must be at most the number of rows, got 51 for n_samples=50"),
    ],
)
def test_invalid_parameters(given, error, message):
    X, y = table(50)
    with pytest.raises(error, match=message):
        small(RealMLPRegressor, **given).fit(X, y)


def test_an_error_leaves_the_estimator_as_it_was():
    X, y = table()
    classifier = small(RealMLPClassifier).fit(X, y > 5)
    before = classifier.predict_proba(X)
    for wrong in (np.zeros(len(y)), y):
        with pytest.raises(ValueError, match="class"):
            classifier.fit(X[["age"]], wrong)
    with pytest.raises(ValueError, match="y_val has classes"):
        classifier.fit(X, y > 5, X_val=X, y_val=np.full(len(y), 7))
    for given in ({"X_val": X}, {"sample_weight_val": np.ones(len(y))}):
        with pytest.raises(ValueError, match="both be given"):
            classifier.fit(X, y > 5, **given)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
    assert clone(classifier).get_params() == classifier.get_params()


def test_an_error_in_one_member_stops_all():
    X, y = table()
    scorer_calls = []

    def scorer(estimator, X, y):
        scorer_calls.append(1)
        raise ArithmeticError("no score")

    with pytest.raises(ArithmeticError, match="no score"):
        small(RealMLPRegressor, n_ensembles=4, n_epochs=500, scoring=scorer).fit(X, y)
    assert len(scorer_calls) <= 4
