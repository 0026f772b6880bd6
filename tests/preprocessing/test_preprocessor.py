"""Preprocessor: every form of a table, every kind of column, targets, files, and every error message."""

import json
import sys

import narwhals
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.preprocessing import OneHotEncoder, RobustScaler, StandardScaler

import fastbp
from fastbp import Preprocessor
from fastbp.datasets import read_csv
from fastbp.preprocessing.targets import guess_task
from fastbp.tables import columns
from fastbp.tables.columns import categories_of, looks_numeric
from fastbp.tables.values import is_missing

ROWS = {
    "age": [39, 50, None, 53, 28, 39],
    "wage": [1.5, -2.0, 1e3, 0.25, None, 8.0],
    "work": ["Private", "State", "Private", None, "?", " Private "],
    "member": [True, False, True, True, None, False],
    "zip": [7, 12, 7, 7, 5, 12],
}
LABELS = ["no", "yes", "no", "yes", "no", "no"]
NAN = float("nan")


def objects(values) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def csv_table(tmp_path) -> columns.Columns:
    lines = [",".join(ROWS)]
    lines += [",".join("" if v is None else str(v) for v in row) for row in zip(*ROWS.values(), strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table = read_csv(tmp_path / "a.csv", texts=["zip"])
    return columns.Columns(table.columns, list(table.X.T))


FORMS = {
    "dict of lists": lambda _: ROWS,
    "dict of object arrays": lambda _: {name: objects(values) for name, values in ROWS.items()},
    "dict of arrays": lambda _: ROWS | {"age": np.array([39, 50, NAN, 53, 28, 39]), "zip": np.array(ROWS["zip"], "u1")},
    "dict of strings": lambda _: {k: ["" if v is None else str(v) for v in values] for k, values in ROWS.items()},
    "extra columns, different order": lambda _: {"id": range(6)} | dict(reversed(ROWS.items())),
    "pandas": lambda _: pd.DataFrame(ROWS),
    "pandas nullable": lambda _: pd.DataFrame(ROWS).convert_dtypes(),
    "pandas categories": lambda _: pd.DataFrame(ROWS).astype({"work": "category", "zip": "category"}),
    "polars": lambda _: pl.DataFrame(ROWS),
    "polars categories": lambda _: pl.DataFrame(ROWS, schema_overrides={"work": pl.Categorical}),
    "pyarrow": lambda _: pa.table(ROWS),
    "narwhals": lambda _: narwhals.from_native(pl.DataFrame(ROWS)),
    "csv": csv_table,
    "rows": lambda _: [list(row) for row in zip(*ROWS.values(), strict=True)],
    "object array": lambda _: np.array(list(zip(*ROWS.values(), strict=True)), object),
}


@pytest.mark.parametrize("encoding", ["one_hot", "codes", "auto"])
@pytest.mark.parametrize("form", FORMS)
def test_every_table_format_gives_the_same_features(form: str, encoding: str, tmp_path) -> None:
    if form == "extra columns, different order":
        fitted = Preprocessor(encoding=encoding, categorical=["zip"], most_one_hot=2).fit(ROWS, LABELS)
    else:
        chosen = [4] if form in ("rows", "object array") else ["zip"]
        fitted = Preprocessor(encoding=encoding, categorical=chosen, most_one_hot=2).fit(FORMS[form](tmp_path), LABELS)
    expected = Preprocessor(encoding=encoding, categorical=["zip"], most_one_hot=2).fit(ROWS)
    np.testing.assert_array_equal(fitted.transform(FORMS[form](tmp_path)), expected.transform(ROWS))
    assert fitted.transform(FORMS[form](tmp_path)).dtype == np.float32


def test_features_of_each_kind_of_column() -> None:
    fitted = Preprocessor(categorical="zip").fit(ROWS)
    assert fitted.feature_names == (
        "age", "age missing", "wage", "wage missing", "work=Private", "work=State", "work missing", "member=False",
        "member=True", "member missing", "zip=12", "zip=5", "zip=7",
    )  # fmt: skip
    X = fitted.transform(ROWS)
    present = np.array([39, 50, 53, 28, 39])
    mean, deviation = present.mean(), present.std()
    filled = np.array([39, 50, 39, 53, 28, 39])  # with the median
    np.testing.assert_allclose(X[:, 0], (filled - mean) / deviation, rtol=1e-6)
    assert X[:, 1].tolist() == [0, 0, 1, 0, 0, 0]
    assert X[:, 4:7].tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]]
    assert X[:, 7:10].tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    coded = Preprocessor(encoding="codes", missing_indicator=False).fit(ROWS)
    assert coded.cardinalities == {2: 4, 3: 4}
    assert coded.transform(ROWS)[:, 2].tolist() == [2, 3, 2, 1, 1, 2]
    both = Preprocessor(encoding="auto", most_one_hot=2, categorical="zip").fit(ROWS)
    assert [rule.coded for rule in both.rules[2:]] == [False, False, True]
    assert both.cardinalities == {10: 5}


@pytest.mark.parametrize("encoding", ["one_hot", "codes"])
def test_rare_and_unseen_categories(encoding: str) -> None:
    train = {"a": ["x", "x", "y", "y", "z", "?"], "b": ["u", "u", "u", "v", "v", "v"]}
    fitted = Preprocessor(encoding=encoding, min_frequency=2).fit(train)
    X = fitted.transform({"a": ["z", "new", None, "x"], "b": ["w", None, "u", "v"]})
    if encoding == "codes":
        assert X.tolist() == [[0, 0], [0, 1], [1, 2], [2, 3]]
    else:
        assert fitted.feature_names == ("a=x", "a=y", "a missing", "a other", "b=u", "b=v")
        assert X.tolist() == [[0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 1]]


def test_codes_fit_an_embedding() -> None:
    fitted = Preprocessor(encoding="codes", categorical=["zip", "age"]).fit(ROWS, LABELS)
    layers = [fastbp.ColumnEmbedding(fitted.cardinalities), fastbp.Dense(fitted.n_outputs, "softmax")]
    model = fastbp.Sequential(layers)
    model.compile("adam", "cross_entropy")
    model.fit(fitted.transform(ROWS), fitted.transform_target(LABELS), batch_size=3, epochs=2)
    new = {name: [None, "new"] for name in ("work", "member", "zip", "age")} | {"wage": [None, 3]}
    assert set(fitted.inverse_target(model.predict(fitted.transform(new)))) <= {"no", "yes"}


# ---------------------------------------------------------------- numbers


def make_numbers(rows: int = 501, columns: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(7, 3, (rows, columns)) ** 3


def test_scaling_matches_scikit_learn() -> None:
    X = make_numbers()
    np.testing.assert_allclose(Preprocessor().fit_transform(X), StandardScaler().fit_transform(X), rtol=1e-6, atol=1e-7)
    robust = Preprocessor(scaling="robust").fit_transform(X)
    np.testing.assert_allclose(robust, RobustScaler().fit_transform(X), rtol=1e-6, atol=1e-7)
    assert (Preprocessor(scaling="none").fit_transform(X) == X.astype("float32")).all()


def test_one_hot_matches_scikit_learn() -> None:
    X = np.random.default_rng(0).choice(["a", "b", "c"], (50, 3)).astype(object)
    np.testing.assert_array_equal(Preprocessor().fit_transform(X), OneHotEncoder().fit_transform(X).toarray())


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("scaling", ["robust", "standard", "none", 0.5])
def test_one_hot_features_may_be_scaled_as_numbers_are(scaling: str | float, clip: bool) -> None:
    """Two categories as -1 and 1; missing, rare and unseen ones as 0 before scaling. Holzmüller et al. 2024."""
    rng = np.random.default_rng(0)
    table = {
        "two": rng.choice(["a", "b", None], 200, p=[0.6, 0.3, 0.1]).astype(object),
        "many": rng.choice(["p", "q", "r", "s", "?"], 200, p=[0.5, 0.3, 0.1, 0.09, 0.01]).astype(object),
        "same": np.array(["x"] * 200, object),
    }
    table["many"][7] = "rare"
    two = 1.0 * (table["two"] == "b") - (table["two"] == "a")
    raw = np.column_stack([two, *(1.0 * (table["many"] == each) for each in "pqrs"), np.ones(200)])
    options = {"scaling": scaling, "clip": clip}
    fitted = Preprocessor(scale_one_hot=True, min_frequency=2, **options).fit(table)
    assert fitted.feature_names == ("two=b", "many=p", "many=q", "many=r", "many=s", "same=x")
    numbers = Preprocessor(**options).fit(raw)  # the same columns as numbers
    np.testing.assert_allclose(fitted.transform(table), numbers.transform(raw), rtol=2e-7, atol=1e-15)
    unseen = {"two": ["c"], "many": ["new"], "same": [None]}
    np.testing.assert_allclose(fitted.transform(unseen), numbers.transform(np.zeros((1, 6))), rtol=2e-7, atol=1e-15)


def test_clipping_is_smooth() -> None:
    X = np.array([[-1e300], [-1.0], [0.0], [0.5], [3.0], [1e300]])
    fitted = Preprocessor(scaling="none", clip=True).fit(X)
    with np.errstate(over="ignore"):
        expected = np.where(np.abs(X) > 1e100, 3 * np.sign(X), X / np.sqrt(1 + (X / 3) ** 2))
    np.testing.assert_allclose(fitted.transform(X), expected, rtol=1e-7)


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_constant_columns_become_zero(scaling: str) -> None:
    """And stay so for whatever comes later, of which nothing was learnt."""
    X = np.array([[1e9, 0.1]] * 7)
    fitted = Preprocessor(scaling=scaling).fit(X)
    np.testing.assert_allclose(fitted.transform(X), 0, atol=1e-15)
    np.testing.assert_allclose(fitted.transform(np.array([[-1e30, 7.0]])), 0, atol=1e-15)
    assert "0, since it is constant" in str(fitted)


def test_robust_scaling_with_equal_quartiles() -> None:
    """Scales by half the range."""
    X = np.array([[0.0]] * 9 + [[10.0]])
    assert Preprocessor(scaling="robust").fit_transform(X).ravel().tolist() == [0.0] * 9 + [2.0]


def test_fixed_scale() -> None:
    X = np.array([[0, 128, 255]] * 2, np.uint8)
    fitted = Preprocessor(scaling=255).fit(X)
    np.testing.assert_array_equal(fitted.transform(np.array([[255, 0, 51]])), np.float32([[1, 0, 0.2]]))
    np.testing.assert_array_equal(fitted.transform([[NAN, 255, 0]]), np.float32([[0, 1, 0]]))


def test_missing_values_are_filled_with_the_training_median() -> None:
    X = np.array([[1.0, 5.0], [2.0, NAN], [30.0, 7.0]])
    fitted = Preprocessor(scaling="none").fit(X)
    assert fitted.feature_names == ("x0", "x1", "x1 missing")
    assert fitted.transform([[NAN, NAN]]).tolist() == [[2, 6, 1]]
    without = Preprocessor(scaling="none", missing_indicator=False).fit(X)
    assert without.transform([[NAN, NAN]]).tolist() == [[2, 6]]


def test_column_without_values_is_left_out_permanently() -> None:
    with pytest.warns(UserWarning, match="column 'a' is left out: it has no value in the training rows"):
        fitted = Preprocessor(scaling="none").fit({"a": [None, "?"], "b": [1.0, 2.0]})
    assert fitted.feature_names == fitted.columns == ("b",)
    for later in ([None, 5e9], ["abc", None], [True, {}]):
        assert fitted.transform({"a": objects(later), "b": [1.0, 2.0]}).tolist() == [[1], [2]]
    assert fitted.transform({"b": [3.0]}).tolist() == [[3]]


def test_array_equals_its_separate_columns() -> None:
    X = make_numbers(1000, 7)
    X[5, 3] = X[7, 5] = NAN
    whole = Preprocessor().fit(X)
    single = Preprocessor().fit({f"x{i}": column for i, column in enumerate(X.T)})
    for other in (X, X.astype("float32"), np.asfortranarray(X), X[::-1][:30]):
        named = {f"x{i}": column for i, column in enumerate(np.asarray(other).T)}
        np.testing.assert_array_equal(whole.transform(other), whole.transform(named))
        # sums of 1,000 numbers, added in a different order
        np.testing.assert_allclose(single.transform(named), whole.transform(other), rtol=1e-6, atol=1e-6)


def test_array_columns_can_be_categorical() -> None:
    X = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 5.0], [4.0, NAN, 3.0]])
    fitted = Preprocessor(categorical=[1, 2], scaling="none").fit(X)
    assert fitted.feature_names == ("x0", "x1=2", "x1 missing", "x2=3", "x2=5")
    assert fitted.transform(X).tolist() == [[1, 1, 0, 1, 0], [2, 1, 0, 0, 1], [4, 0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        (None, True), (NAN, True), (np.float32("nan"), True), (pd.NA, True), (pd.NaT, True), ("", True),
        (" ? ", True), ("NaN", True), ("None", True), ("N/A", True), ("null", True), (0, False), (False, False),
        ("0", False), ("nano", False), ("-", False),
    ],
)  # fmt: skip
def test_is_missing(value, missing: bool) -> None:
    assert is_missing(value) is missing


def test_categories_do_not_depend_on_the_value_type() -> None:
    assert categories_of(objects([3, 3.0, "3", np.int8(3), True, np.True_])) == ["3", "3", "3", "3", "True", "True"]
    assert categories_of(np.array([3, 4], "i2")) == ["3", "4"]
    assert categories_of(np.array([True, False])) == ["True", "False"]
    assert looks_numeric(objects(["1e3", 2, None, " 5 "]))
    assert not looks_numeric(objects([True, 2]))
    assert not looks_numeric(objects(["1,5"]))


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a", "b"], ("a", "b")),
        ([" b", "a ", "b"], ("a", "b")),
        ([7, 3, 7], (3, 7)),
        ([True, False, True], (False, True)),
        ([[2], [0], [2]], (0, 2)),
        (pd.Series(["b", "a", "b"], dtype="category"), ("a", "b")),
        (pl.Series(["b", "a", "b"]), ("a", "b")),
        (objects([2, 1, 2]), (1, 2)),
    ],
    ids=str,
)
def test_classes_round_trip(labels, classes) -> None:
    p = Preprocessor().fit([[0.0], [1.0], [2.0]], labels)
    assert p.classes == classes
    assert p.n_outputs == 2
    assert p.transform_target(labels).tolist() == [1, 0, 1]
    assert p.transform_target(labels).dtype == np.int64
    assert p.inverse_target(np.eye(2)[[1, 0, 1]]).tolist() == [classes[i] for i in (1, 0, 1)]
    assert p.inverse_target(np.array([[0.7], [0.2], [0.5]])).tolist() == [classes[i] for i in (1, 0, 1)]


def test_classes_in_a_given_order() -> None:
    p = Preprocessor(classes=["low", "high", "never"]).fit([[0], [1]], ["high", "low"])
    assert p.transform_target(["never", "low"]).tolist() == [2, 0]
    assert p.n_outputs == 3
    whole = Preprocessor(task="classification").fit([[0.0], [1.0]], [1.0, 2.0])
    assert whole.classes == (1, 2)


@pytest.mark.parametrize("shape", [(20,), (20, 2), (20, 1)])
def test_regression_targets_round_trip(shape) -> None:
    y = np.random.default_rng(0).normal(1e5, 1e4, shape)
    p = Preprocessor().fit(np.zeros((20, 1)), y)
    assert p.classes == ()
    scaled = p.transform_target(y)
    assert scaled.shape == (20, p.n_outputs)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(p.target_scale, y.reshape(20, -1).std(axis=0))
    # float32 values of order 1, shifted by 1e5
    np.testing.assert_allclose(p.inverse_target(scaled), y[:, 0] if shape == (20, 1) else y, rtol=1e-6)


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.arange(100) % 100, "classification"),
        (np.arange(101), "regression"),
        (np.array([0.0, 1.0]), "regression"),
        (np.zeros((4, 2), int), "regression"),
        (np.array(["a"]), "classification"),
        (np.array([True]), "classification"),
    ],
)
def test_task_is_inferred(y, task: str) -> None:
    assert guess_task(y) == task


# ---------------------------------------------------------------- immutability and files


def test_fitted_preprocessor_is_immutable() -> None:
    assert str(Preprocessor()) == repr(Preprocessor())
    p = Preprocessor().fit(ROWS, LABELS)
    with pytest.raises(AttributeError):
        p.scaling = "robust"
    with pytest.raises(AttributeError):
        del p.scaling
    with pytest.raises(RuntimeError, match="is not fitted yet: call fit"):
        Preprocessor().transform(ROWS)
    with pytest.raises(RuntimeError, match=r"without targets: call fit\(X, y\)"):
        Preprocessor().fit(ROWS).transform_target(LABELS)


@pytest.mark.parametrize("flat", [True, False])
def test_clamped_targets_stay_within_those_of_the_training_rows(flat: bool) -> None:
    y = np.array([3.0, 1.0, 7.0, 5.0, 5.0, 3.0])
    y = y if flat else np.column_stack([y, -10 * y])
    p = Preprocessor(clamp_targets=True).fit(ROWS, y)
    outputs = np.full((3, p.n_outputs), [[-9.0], [0.0], [9.0]])
    low, high = y.min(axis=0), y.max(axis=0)
    np.testing.assert_allclose(p.inverse_target(outputs), [low, y.mean(axis=0), high], rtol=1e-12)
    np.testing.assert_allclose(p.inverse_target(p.transform_target(y)), y, rtol=1e-6)
    free = Preprocessor().fit(ROWS, y).inverse_target(outputs)
    assert (free[0] < low).all()
    assert Preprocessor(clamp_targets=True).fit(ROWS, LABELS).classes


FITTED = {
    "clamped": lambda: Preprocessor(clamp_targets=True).fit(ROWS, [3.0, 1.0, 7.5, 5.0, 5.0, 3.0]),
    "classes": lambda: Preprocessor(categorical="zip", min_frequency=2, clip=True).fit(ROWS, LABELS),
    "scaled": lambda: Preprocessor(scale_one_hot=True, scaling="robust", clip=True).fit(ROWS, LABELS),
    "codes": lambda: Preprocessor(encoding="codes", scaling="robust").fit(ROWS, [7, 3, 7, 3, 1, 1]),
    "array": lambda: Preprocessor(scaling=16).fit(make_numbers(6), make_numbers(6)),
    "no targets": lambda: Preprocessor().fit(ROWS),
    "booleans": lambda: Preprocessor().fit(ROWS, [True, False] * 3),
}


@pytest.mark.parametrize("name", FITTED)
def test_round_trip_through_a_model_file(name: str, tmp_path) -> None:
    p = FITTED[name]()
    model = fastbp.Sequential([fastbp.Dense(2)], input_size=len(p.feature_names))
    assert Preprocessor.of(model) is None
    model.metadata |= p.to_metadata()
    model.save(tmp_path / "model.safetensors")
    loaded = Preprocessor.of(fastbp.load(tmp_path / "model.safetensors"))
    assert loaded == p
    X = make_numbers(6) if name == "array" else ROWS
    np.testing.assert_array_equal(loaded.transform(X), p.transform(X))


def of_metadata(text: str, key: str = "fastbp.preprocessor", inputs: int = 3) -> Preprocessor | None:
    model = fastbp.Sequential([fastbp.Dense(2)], input_size=inputs)
    model.metadata[key] = text
    return Preprocessor.of(model)


OLD = {"shift": [1.0, 2.0, 3.0], "scale": [2.0, 2.0, 4.0], "columns": ["a", "b", "c"], "classes": ["x", "y"],
       "y_shift": [], "y_scale": []}  # fmt: skip


def test_files_of_version_0_1_are_read() -> None:
    old = of_metadata(json.dumps(OLD), "fastbp.preparation")
    assert old is not None
    assert old.columns == ("a", "b", "c")
    assert old.transform({"c": [7.0], "b": [0.0], "a": [2.0]}).tolist() == [[0.5, -1, 1]]
    assert old.inverse_target(np.array([[0.1, 0.9]])).tolist() == ["y"]
    pictures = OLD | {"shift": [0.0], "scale": [4.0], "columns": [], "classes": [], "y_shift": [5.0], "y_scale": [2.0]}
    old = of_metadata(json.dumps(pictures), "fastbp.preparation")
    assert old is not None
    assert old.transform(np.array([[4, 8, 16]], np.uint8)).tolist() == [[1, 2, 4]]
    assert old.inverse_target(np.array([[1.0]])).tolist() == [[7.0]]


@pytest.mark.parametrize("key", ["fastbp.preprocessor", "fastbp.preparation"])
@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "7", '{"shift": 1}', '{"shift": [], "none": []}',
        json.dumps(OLD | {"scale": [0.0] * 3}), json.dumps(OLD | {"shift": ["a"] * 3}), "[" * 100_000,
    ],
    ids=range(9),
)  # fmt: skip
def test_damaged_metadata_is_refused(text: str, key: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        of_metadata(text, key)


def tampered(**changes) -> str:
    content = json.loads(FITTED["classes"]().to_metadata()["fastbp.preprocessor"])
    return json.dumps(content | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": []}, {"columns": [["number", "a", 1, 1, 0, False, 0]]}, {"columns": [["number", 5, 1, 1, 1, 0, 0]]},
        {"columns": [["number", "a", 1, NAN, 1, False, 0]]}, {"columns": [["colour", "a"]]}, {"columns": 3},
        {"columns": [["category", "a", [1], 0, 0, False]]}, {"columns": [["category", "a", "xy", 0, 0, False]]},
        {"options": {"fly": 1}}, {"options": {"scaling": "no"}}, {"options": []},
        {"targets": {"classes": [], "shift": [], "scale": [], "flat": True}}, {"targets": 1},
        {"targets": {"classes": ["a"], "shift": [], "scale": [], "flat": True}},
        {"targets": {"classes": [["a"], ["b"]], "shift": [], "scale": [], "flat": True}},
        {"targets": {"classes": [], "shift": [0.0], "scale": [0.0], "flat": True}},
    ],
    ids=range(16),
)  # fmt: skip
def test_tampered_metadata_is_refused(changes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        of_metadata(tampered(**changes))


def test_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read: the version is 9, and this fastbp reads 1"):
        of_metadata(tampered(version=9))


def test_str_shows_a_table_of_columns() -> None:
    text = str(Preprocessor(categorical="zip", min_frequency=2, encoding="auto", most_one_hot=1).fit(ROWS))
    assert text.splitlines()[0].split() == ["column", "kind", "becomes", "missing"]
    assert "age     number                     (x - 41.8) / 8.931, and whether it is missing   16.7 %\n" in text
    assert "work    1 category, 16.7 % rare    3 features                                      33.3 %\n" in text
    assert text.endswith("zip     2 categories, 16.7 % rare  codes")


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "clustering"}, ValueError, "task must be one of None, 'classification', 'regression', got 'clus"),
        ({"encoding": "hash"}, ValueError, "encoding must be one of 'one_hot', 'codes', 'auto', got 'hash'"),
        ({"scaling": "minmax"}, ValueError, "scaling must be one of .* or a positive number, got 'minmax'"),
        ({"scaling": 0}, ValueError, "positive number"),
        ({"scaling": True}, ValueError, "positive number"),
        ({"min_frequency": 0}, ValueError, "min_frequency must be at least 1"),
        ({"clip": 3}, TypeError, "clip"),
        ({"categorical": [1.5]}, TypeError, "names or numbers of columns, got 1.5"),
    ],
)
def test_invalid_options_are_refused(options, error, message: str) -> None:
    with pytest.raises(error, match=message):
        Preprocessor(**options)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (None, TypeError, "X must be a table, got None"),
        ("a.csv", TypeError, "must be a table, got 'a.csv': pass an array, a dict of columns or a DataFrame"),
        ([1, 2], ValueError, r"two dimensions, \(rows, columns\), got shape \(2,\)"),
        ([[1, 2], [3]], ValueError, "rows of equal length"),
        (np.zeros((0, 2)), ValueError, "at least one row and one column, got 0 × 2"),
        ({}, ValueError, "got 0 × 0"),
        (np.zeros((2, 2), complex), TypeError, "numbers, strings, booleans or dates, got complex128"),
        ({"a": np.array([1], "m8[D]")}, TypeError, r"column 'a', must hold .* got timedelta64.*: divide it by"),
        ({"a": [1, 2], "b": [1]}, ValueError, "column 'a' has 2 rows and column 'b' has 1: pass complete rows"),
        ({"a": np.zeros((2, 2))}, ValueError, "column 'a', must have one dimension"),
        ({"a": 5}, TypeError, "column 'a', must be an array or a list, got int"),
        ({1: [0], "1": [0]}, ValueError, "distinct column names, got '1' twice"),
        ({"a": [1, float("inf")]}, ValueError, r"column 'a' must be finite, got inf at row 1: leave"),
        (np.array([[1, 2], [3, -np.inf]]), ValueError, "column 1 must be finite, got -inf at row 1"),
        ({"a": [[1], [2]]}, ValueError, "one dimension"),
        ({"a": [[1], [2, 3]]}, ValueError, "column 'a', must hold one value per row"),
        ({"a": objects([{}, "x"])}, TypeError, r"strings, numbers or booleans, got \{\} \(dict\) at row 0"),
        ({"a": [1e308, -1e308]}, ValueError, "column 'a' has numbers too large"),
        ({"a": [10**5000, 1]}, ValueError, "column 'a' must be finite, got an integer beyond 1e308 at row 0"),
        (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), ValueError, "masked"),
        (pl.DataFrame({"a": [[1, 2]]}), TypeError, "'a'.* got List"),
        (pl.DataFrame({"a": [1]}).lazy(), TypeError, "DataFrame that is in memory"),
    ],
    ids=range(22),
)
def test_invalid_tables_are_refused(X, error, message: str) -> None:
    with pytest.raises(error, match=message), np.errstate(all="ignore"):
        Preprocessor().fit(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (ROWS | {"wage": [1, 2, 3, "much", 5, 6]}, "column 'wage' must hold numbers, got 'much' at row 3: "),
        (ROWS | {"age": [1, 2, 3, 4, 5, np.inf]}, "column 'age' must be finite, got inf at row 5"),
        ({name: values for name, values in ROWS.items() if name not in ("age", "zip")}, "lacks age, zip: its"),
        (np.zeros((2, 3)), "the 5 columns of the training data, got 3: pass a table with their names, or these"),
    ],
)
def test_transform_refuses_mismatched_tables(X, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessor().fit(ROWS).transform(X)


def test_transform_refuses_mismatched_arrays() -> None:
    fitted = Preprocessor().fit(np.eye(3))
    with pytest.raises(ValueError, match="the 3 columns of the training data, got 2: pass these in the same order"):
        fitted.transform(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="column 2 must be finite, got inf at row 1"):
        fitted.transform([[0, 0, 0], [0, 0, np.inf]])


@pytest.mark.parametrize("key", ["pay", 5, -1])
def test_unknown_categorical_columns_are_refused(key) -> None:
    with pytest.raises(ValueError, match=f"categorical has {key!r}, which is not a column of X: these are age, wage"):
        Preprocessor(categorical=key).fit(ROWS)


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        (["a"] * 6, {}, ValueError, r"only one class \(a\)"),
        (["a", "b"], {}, ValueError, "a target for each row of X, got 2 for 6 rows"),
        (["a", "b", None, "a", "b", "a"], {}, ValueError, "row 2 has none"),
        (["a", "b", "?", "a", "b", "a"], {}, ValueError, "row 2 has none"),
        ([1.5, 2, NAN, 1, 1, 1], {}, ValueError, "y must be finite, got nan at row 2"),
        ([1.5, 2, 1, 1, 1, 1], {"task": "classification"}, ValueError, "integers or strings as classes, got"),
        (["a", "b"] * 3, {"task": "regression"}, ValueError, "numeric target, got strings such as 'a'"),
        (np.zeros((6, 2), int), {"task": "classification"}, ValueError, "one class per row"),
        (["a", "b", "c"] * 2, {"classes": ["a", "b"]}, ValueError, "training data, a, b, got 'c' at row 2"),
        (objects(["a", 1] * 3), {}, TypeError, "values of one type, got 'a' among others"),
        (np.zeros(6, complex), {}, TypeError, "got complex"),
        (np.zeros((6, 1, 1)), {}, ValueError, r"shape \(rows,\) or \(rows, targets\)"),
    ],
)
def test_invalid_targets_are_refused(y, options, error, message: str) -> None:
    with pytest.raises(error, match=message):
        Preprocessor(**options).fit(ROWS, y)


def test_mismatched_targets_and_outputs_are_refused() -> None:
    p = Preprocessor().fit(ROWS, LABELS)
    with pytest.raises(ValueError, match="y must hold classes of the training data, no, yes, got 'maybe' at row 1"):
        p.transform_target(["no", "maybe"])
    with pytest.raises(ValueError, match=r"outputs must have shape \(rows, 2\), got \(1, 3\)"):
        p.inverse_target(np.zeros((1, 3)))
    q = Preprocessor().fit(ROWS, np.arange(6.0))
    with pytest.raises(ValueError, match="y must have 1 targets per row, got 2"):
        q.transform_target(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="y must hold numbers, got 'a'"):
        q.transform_target(["a"])


def test_missing_narwhals_names_the_pip_command(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(ImportError, match=r'pip install "fastbp\[dataframe\]"'):
        Preprocessor().fit(pd.DataFrame(ROWS))
