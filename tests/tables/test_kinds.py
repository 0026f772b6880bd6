"""Kinds of columns: numbers mixed with strings, row names, row numbers, and the warnings about them."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import fastbp
from fastbp import Preprocessor
from fastbp.tables.columns import Columns, columns_of
from fastbp.tables.kinds import settle

N = 60


def numbers(**others) -> list[str]:
    """Numbers as strings, some of them replaced: p7="." puts a point into row 7."""
    values = [f"{i / 7:.3f}" for i in range(N)]
    for place, other in others.items():
        values[int(place[1:])] = other
    return values


@pytest.mark.parametrize("text", [".", "nil", "-", "23,288", "12%", "$3", "n.a.", "1_000", "0x1f", "unknown"])
def test_string_among_numbers_is_missing(text: str) -> None:
    table = {"amount": numbers(p33=text), "x": range(N)}
    with pytest.warns(UserWarning, match="column 'amount' holds numbers, but 1 value is not a number: ") as caught:
        fitted = Preprocessor().fit(table)
    assert len(caught) == 1
    for part in (repr(text), "at row 33", "--missing", "--categorical amount"):
        assert part in str(caught[0].message)
    assert fitted.feature_names == ("amount", "amount missing", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is known by now, even as the only value
        assert fitted.transform({"amount": [text, "1"], "x": [1, 2]})[:, 1].tolist() == [1, 0]
        np.testing.assert_array_equal(Preprocessor(missing=[text]).fit_transform(table), fitted.transform(table))


@pytest.mark.parametrize("text", ["#N/A", "<NA>", "NULL", "-nan", " ? "])
def test_common_missing_value_markers_do_not_warn(text: str) -> None:
    assert Preprocessor().fit({"a": numbers(p3=text)}).feature_names == ("a", "a missing")


def test_strings_among_numbers_are_counted_with_their_lines() -> None:
    table = columns_of({"a": numbers(p5=".", p6="nil")})._replace(lines=np.arange(N) + 2)
    with pytest.warns(UserWarning, match=r"2 values are not numbers: '\.' at line 7, 'nil' at line 8"):
        settle(table)
    table = {"a": numbers(p5=".", p6=".")}
    with pytest.warns(UserWarning, match=r"'\.' \(2 times, first at row 5\)"):
        Preprocessor().fit(table)


def test_many_strings_make_categories_with_a_warning() -> None:
    values = numbers(**{f"p{i}": "x" for i in range(4)})
    with pytest.warns(UserWarning, match=r"'a' becomes categories, because 4 of its 60 values .*'x' \(4 times"):
        assert len(Preprocessor().fit({"a": values}).feature_names) > 10
    with pytest.warns(UserWarning, match="becomes categories, because 20 of its 20 values are not plain numbers: '1%'"):
        Preprocessor().fit({"a": ["1%", "2%"] * 10})
    assert Preprocessor().fit({"a": ["x", "y", "2"] * 10}).feature_names == ("a=2", "a=x", "a=y")


def test_few_strings_among_new_numbers_warn() -> None:
    fitted = Preprocessor(missing_indicator=False).fit({"a": numbers()})
    with pytest.warns(UserWarning, match="'a' must hold numbers, got 'nil' at row 9 and 1 more, treated as"):
        found = fitted.transform({"a": numbers(p9="nil", p10="nil")})
    assert found[9] == fitted.transform({"a": [None]})[0]
    with pytest.raises(ValueError, match="column 'a' must hold numbers, got 'nil' at row 0: correct it"):
        fitted.transform({"a": ["nil", 1.0]})


def test_kinds_do_not_depend_on_held_out_rows() -> None:
    """Three strings in 61 rows are below 5 %; in 48 of these rows they would be above."""
    values = [*numbers(p0="x", p1="x", p2="x"), "1"]
    with pytest.warns(UserWarning, match="3 values are not numbers"):
        table = settle(columns_of({"a": values}))
    fitted = Preprocessor().fit(table.take(np.arange(48)))
    assert fitted.feature_names == ("a", "a missing")
    assert fitted.transform({"a": ["x"]})[0, 1] == 1  # the markers of missing values are kept
    sparse = {"a": ["y" if i % 10 == 0 else str(i) for i in range(N)]}
    with pytest.warns(UserWarning, match="becomes categories"):
        settled = settle(columns_of(sparse))
    rows = np.flatnonzero([value != "y" for value in sparse["a"]])
    assert Preprocessor().fit(settled.take(rows)).feature_names[0] == "a=1"


def test_categories_of_held_out_rows_are_unseen() -> None:
    settled = settle(columns_of({"a": ["x", "y", "1", "z"], "b": pd.Categorical(["u", "v", "w", "u"])}))
    fitted = Preprocessor().fit(settled.take(np.array([0, 2])))
    assert fitted.feature_names == ("a=1", "a=x", "b=u", "b=w")
    assert fitted.transform(settled).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    truths = settle(columns_of({"a": [True, False, 1, "x"]}))
    assert Preprocessor().fit(truths.take(np.arange(3))).feature_names == ("a=False", "a=True")


# ---------------------------------------------------------------- left out


def test_row_names_are_left_out() -> None:
    table = {"name": [f"Jo {i}" for i in range(10)], "x": range(10)}
    with pytest.warns(UserWarning, match="column 'name' is left out: its 10 strings are all different"):
        fitted = Preprocessor().fit(table)
    assert fitted.feature_names == fitted.columns == ("x",)
    assert "all different" in str(fitted)
    assert fitted.transform({"x": [1]}).shape == (1, 1)
    assert len(Preprocessor(categorical="name").fit(table).feature_names) == 11
    assert len(Preprocessor().fit({"name": ["a", "b", "c"]}).feature_names) == 3  # too few rows to tell
    with pytest.warns(UserWarning, match="column 0 is left out"):
        by_place = Preprocessor().fit([list(row) for row in zip(*table.values(), strict=True)])
    assert by_place.transform([["new", 4.5]])[0, 0] == 0  # its position still counts


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "rownames", "Index"])
def test_row_numbers_are_left_out(name: str) -> None:
    with pytest.warns(UserWarning, match=f"column '{name}' is left out: these are row numbers; rename it"):
        fitted = Preprocessor().fit({name: range(1, 13), "x": range(12)})
    assert fitted.columns == ("x",)
    X = np.arange(24.0).reshape(12, 2)
    X[:, 0] = range(12)
    with pytest.warns(UserWarning, match="row numbers"):
        assert Preprocessor().fit(Columns((name, "x"), list(X.T), X)).columns == ("x",)
    assert len(Preprocessor().fit({"x": range(12), "index": range(12)}).columns) == 2
    assert len(Preprocessor().fit({"index": [3, 1] * 6, "x": range(12)}).columns) == 2


def test_row_numbers_of_repeatedly_written_files_are_left_out() -> None:
    with pytest.warns(UserWarning, match="row numbers"):
        fitted = Preprocessor().fit({"Unnamed: 0.1": [0, 1], "Unnamed: 0": [0, 1], "x": [1, 2], "Unnamed: 3": [3, 5]})
    assert fitted.columns == ("x", "Unnamed: 3")


def test_pandas_intervals_and_periods() -> None:
    bins = pd.DataFrame({"a": pd.cut([1, 2, 3], 2)})
    fitted = Preprocessor().fit(bins)
    np.testing.assert_array_equal(fitted.transform({"a": [str(each) for each in bins["a"]]}), fitted.transform(bins))
    months = pd.DataFrame({"a": pd.period_range("2020-11", periods=4, freq="M")})
    fitted = Preprocessor().fit(months)
    np.testing.assert_array_equal(fitted.transform({"a": list(map(str, months["a"]))}), fitted.transform(months))
    assert fitted.feature_names[:2] == ("a days", "a year")


def test_integers_beyond_float_precision() -> None:
    big = 2**53 + 1
    for table in ([[big, 0.5], [big - 1, 0.5]], {"a": [big, big - 1]}, pd.DataFrame({"a": pd.array([big, big - 1])})):
        assert Preprocessor(categorical=[0]).fit(table).feature_names[0].endswith(f"={big - 1}")
        assert Preprocessor(categorical=[0]).fit(table).feature_names[1].endswith(f"={big}")


def test_table_without_usable_columns_is_refused() -> None:
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="a column to learn from"):
        Preprocessor().fit({"a": [None, None]})


def test_columns_left_out_are_stored_with_the_model() -> None:
    table = {"id": [f"u{i}" for i in range(N)], "a": numbers(p3="."), "x": [None] * N}
    table["when"] = ["2020-01-01", "2021-07-09"] * 30
    with pytest.warns(UserWarning, match="all different|holds numbers|has no value"):
        fitted = Preprocessor(missing=["nil"]).fit(table)
    model = fastbp.Sequential([fastbp.Dense(1)], input_size=len(fitted.feature_names))
    model.metadata |= fitted.to_metadata()
    loaded = Preprocessor.of(model)
    assert loaded == fitted
    np.testing.assert_array_equal(loaded.transform(table), fitted.transform(table))


# ---------------------------------------------------------------- frames


def test_frames_with_integer_column_names() -> None:
    X = np.arange(9.0).reshape(3, 3)
    wanted = Preprocessor().fit_transform(X)
    for names in ([0, 1, 2], [10, 11, 12], [2, 0, 1], ["a", 1, 2], [(1, 2), "b", 3.5]):
        np.testing.assert_array_equal(Preprocessor().fit_transform(pd.DataFrame(X, columns=names)), wanted)


@pytest.mark.parametrize("values", [[3, 1, 2, 1], ["3", "1", "2", "1"], [3.0, 1.0, 2.0, 1.0]])
def test_categorical_columns_of_frames_are_categories(values) -> None:
    fitted = Preprocessor().fit(pd.DataFrame({"store": pd.Categorical(values)}))
    assert fitted.feature_names == ("store=1", "store=2", "store=3")
    for rows in ([1, "2.0", 3.0], pd.Series(["1", "2", "3"]), pd.Categorical([1, 2, 3]), pl.Series([1, 2, 3])):
        np.testing.assert_array_equal(fitted.transform({"store": rows}), np.eye(3))
    series = pd.Series(values, dtype="category")
    for column in (series, series.array, pl.Series(list(map(str, values)), dtype=pl.Categorical)):
        assert Preprocessor().fit({"store": column}) == fitted
