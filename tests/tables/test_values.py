"""Values: as numbers, as strings, and as the same category in every container."""

import csv
import math
import runpy
import tempfile
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fastbp
from fastbp import Preprocessor
from fastbp.datasets import read_csv
from fastbp.tables.table import table_of
from fastbp.tables.values import (
    ABSENT,
    OTHER,
    Coded,
    are_names,
    as_booleans,
    as_number,
    as_text,
    coded,
    is_missing,
    numbers_in,
    places_in,
    texts_of,
)  # fmt: skip

BIG = 2**53 + 1


def objects(values) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


# ---------------------------------------------------------------- one value


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1", 1), (" -1.5 ", -1.5), ("+2", 2), (".5", 0.5), ("5.", 5), ("1e3", 1000), ("1E-3", 0.001), ("007", 7),
        ("inf", math.inf), ("-Infinity", -math.inf), ("1e999", math.inf), (3, 3), (np.int8(3), 3), (2.5, 2.5),
        (np.float32(0.5), 0.5), (Decimal("1.5"), 1.5), (Fraction(1, 2), 0.5), (10**400, math.inf),
        (-(10**400), -math.inf),
        ("3_5", None), ("1_000.0", None), ("0x1F", None), ("1,5", None), ("1 000", None), ("12%", None), ("$3", None),
        ("", None), ("nan", None), (".", None), ("-", None), ("+", None), ("e5", None), ("1e", None), ("--1", None),
        ("\u0661\u0662", None), ("\uff11", None), ("1j", None), (True, None), (np.True_, None), ("True", None),
        (None, None), (math.nan, None), (pd.NA, None), (b"1", None), ([1], None), (1j, None), ("1\n2", None),
    ],
)  # fmt: skip
def test_as_number(value, number) -> None:
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1, 1.0, "1", " 1 ", "1.0", "1.", "1.000", np.int64(1), np.uint8(1), np.float32(1), Decimal("1.0"),
          Decimal("1e0")), "1"),
        ((0, -0.0, "0", "-0", "-0.0", "0.0"), "0"),
        ((-7, "-7", "-7.0", -7.0), "-7"),
        ((0.1, "0.1", "0.10", ".1", np.float32(0.1), np.float16(0.1), "0.1000000000000000055511151231257827"), "0.1"),
        ((1e16, 10**16, "1e+16", "1E+16", "10000000000000000"), "10000000000000000"),
        ((1.5e-7, "1.5e-07", "1.5E-07"), "1.5e-07"),
        ((BIG, str(BIG), f"{BIG}.0", np.int64(BIG), Decimal(BIG)), str(BIG)),
        ((10**30, "1" + "0" * 30), str(10**30)), ((1e30, "1e+30"), str(int(1e30))),
        ((True, np.True_, "True", "true", "TRUE", " tRUE "), "True"),
        ((False, np.False_, "False", "false", "FALSE"), "False"),
        (("007",), "007"), (("+1",), "+1"), (("3_5",), "3_5"), (("00",), "00"), (("-01",), "-01"), (("1e5",), "1e5"),
        (("1e+999",), "1e+999"), (("0x10",), "0x10"), (("T",), "T"), (("yes",), "yes"), (("-",), "-"), ((".",), "."),
        (("1,5",), "1,5"), (("\u0661",), "\u0661"), ((" Straße ",), "Straße"),
        ((None, math.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "s"), Decimal("NaN"), "", " ", "?",
          "NA", "n/a", "NaN", "null", "None", "#N/A", "<NA>", "-nan"), None),
    ],
)  # fmt: skip
def test_canonical_spelling(values, text) -> None:
    for value in values:
        assert as_text(value) == text, value
        assert is_missing(value) == (text is None)


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.decimals(), st.fractions()))
@example("-.0")
@example("1e-400")
def test_canonical_spelling_is_idempotent(value) -> None:
    text = as_text(value)
    assert as_text(text) == text
    assert text is None or as_text(f" {text}\t") == text


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_number_and_its_string_are_the_same(number) -> None:
    for written in (str(number), repr(number)):
        assert as_text(written) == as_text(number)
        assert as_number(written) == as_number(number)


def test_other_types_are_refused() -> None:
    for value in ([1], {}, b"1", object(), 1j, np.zeros(2)):
        with pytest.raises(TypeError, match="got "):
            as_text(value)


# ---------------------------------------------------------------- columns


def test_coded_columns() -> None:
    column = coded(objects([1, True, "1", 1.0, None, math.nan, 1]))
    assert column.codes.tolist() == [0, 1, 2, 3, -1, -1, 0]
    assert texts_of(objects([1, True, "1", 1.0, None, "?", "true"])).codes.tolist() == [0, 1, 0, 0, -1, -1, 1]
    assert np.asarray(column[1:3]).tolist() == [True, "1"]
    assert column[0] == 1
    assert column[4] is None
    assert len(column[np.array([0, 2])]) == 2
    floats = coded(np.array([2.0, math.nan, -1.0, 2.0]))
    assert (floats.codes.tolist(), floats.values) == ([1, -1, 0, 1], (-1.0, 2.0))


def test_numbers_in() -> None:
    found = numbers_in(objects(["1", ".", 2, None, True, "."]))
    np.testing.assert_array_equal(found.numbers, [1, math.nan, 2, math.nan, math.nan, math.nan])
    assert found.rows.tolist() == [1, 4, 5]
    assert [*found.others] == [".", True, "."]
    assert found.others.values == (".", True)
    assert as_booleans(found) is found
    truths = as_booleans(numbers_in(objects([0.0, "TRUE", False, None])))
    np.testing.assert_array_equal(truths.numbers, [0, 1, 0, math.nan])
    assert not len(truths.rows)
    assert numbers_in(objects([10**400, 1])).numbers.tolist() == [math.inf, 1]


def test_places_of_booleans_and_old_spellings() -> None:
    values = objects([1, 0.0, "1", True, "false", 2, None])
    assert places_in(values, ("False", "True")).tolist() == [1, 0, 1, 1, 0, OTHER, ABSENT]
    assert places_in(objects([True, "FALSE", 1]), ("0", "1")).tolist() == [1, 0, 1]
    assert places_in(objects([True]), ("0", "1", "2")).tolist() == [OTHER]
    # files of earlier versions hold TRUE and true as two categories, and #N/A as one
    assert places_in(objects(["true", "TRUE", True, "#N/A"]), ("TRUE", "true", "#N/A")).tolist() == [1, 0, 0, 2]
    assert places_in(objects([1, "1.0", "1"]), ("1.0", "x")).tolist() == [0, 0, 0]
    assert places_in(Coded(np.array([0, -1]), ["x"]), ("1.0", "x")).tolist() == [1, ABSENT]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"1", "2"}, False), ({"007", "8"}, True), ({"+1", "-1"}, True), ({str(2**63), "1"}, True),
        ({"1.0", "2"}, False), ({"a", "007"}, False), ({f"{i:04d}" for i in range(101)}, False),
    ],
)  # fmt: skip
def test_are_names(labels, names: bool) -> None:
    assert are_names(labels) is names


# ---------------------------------------------------------------- the same category in every container

CATEGORIES = {
    "integers": ([1, 2, 3, 1, 2], [1.0, 2.0, 3.0, 1.0, 2.0], ["1", "2.0", "3", "1.00", "2"]),
    "booleans": ([True, False, True], ["TRUE", "FALSE", "TRUE"], ["true", "false", "True"], [1, 0, 1], [1.0, 0.0, 1.0]),
    "big": ([BIG, BIG - 1, BIG], [str(BIG), str(BIG - 1), f"{BIG}.0"], [*np.array([BIG, BIG - 1, BIG])]),
    "fractions": ([0.1, 2.5], ["0.10", "2.5"], [Decimal("0.1"), Decimal("2.50")]),
}


def in_containers(values):
    """The same column in every form of a table that can hold it; c is its name."""
    yield {"c": list(values)}
    yield {"c": objects(values)}
    yield {"c": np.array(values) if len(set(map(type, values))) == 1 else objects(values)}
    yield {"c": [str(value) for value in values]}
    yield [[value] for value in values]
    if len(set(map(type, values))) == 1 and not isinstance(values[0], np.integer):
        yield from (pd.DataFrame({"c": values}), pl.DataFrame({"c": values}), pa.table({"c": list(values)}))
        yield pd.DataFrame({"c": pd.Categorical(values)})
        yield pd.DataFrame({"c": list(values)}, dtype=object)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([["c", "other"], *([value, "x"] for value in values)])
        table = read_csv(path, texts=["c"])
        yield table_of(table.X, table.columns)


@pytest.mark.parametrize("name", CATEGORIES)
def test_categories_are_the_same_in_every_container(name: str) -> None:
    forms = [form for values in CATEGORIES[name] for form in in_containers(values)]
    rows = [len(values) for values in CATEGORIES[name]]
    assert len(set(rows)) == 1
    fitted = Preprocessor(categorical=[0]).fit({"c": CATEGORIES[name][0]})
    expected = fitted.transform({"c": CATEGORIES[name][0]})
    assert expected.sum() == rows[0]
    for form in forms:
        np.testing.assert_array_equal(fitted.transform(form), expected, str(form))


SPELLINGS = {
    int: (str, float, lambda n: f"{n}.0", np.int64, Decimal, lambda n: f" {n} "),
    bool: (str, np.bool_, lambda b: str(b).upper(), lambda b: str(b).lower()),
    str: (str, lambda text: f" {text}"),
}
VALUES = st.one_of(
    st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=6),
    st.lists(st.sampled_from(["a", "007", "3_5", "+1", "1e5", "ü"]), min_size=1, max_size=6),
)


@settings(deadline=None, max_examples=60)
@given(values=VALUES, data=st.data())
def test_categories_are_recognized_in_any_spelling_and_container(values, data) -> None:
    """Each value has a spelling of its own, and the column comes in every container."""
    fitted = Preprocessor(categorical=[0]).fit({"c": values})
    spell = [data.draw(st.sampled_from(SPELLINGS[type(value)])) for value in values]
    spelled = [each(value) for each, value in zip(spell, values, strict=True)]
    expected = fitted.transform({"c": values})
    for form in in_containers(spelled):
        np.testing.assert_array_equal(fitted.transform(form), expected)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-5, 5) | st.booleans() | st.sampled_from(["x", "1.0", "TRUE", "?", "007", None]),
                min_size=2, max_size=9))  # fmt: skip
def test_exported_module_reads_the_same_values(values) -> None:
    fitted = Preprocessor(categorical=["c"], missing=["nil"]).fit({"c": ["x", *values], "n": range(len(values) + 1)})
    model = fastbp.Sequential([fastbp.Dense(1)], input_size=len(fitted.feature_names))
    model.metadata |= fitted.to_metadata()
    rows = {"c": [*values, 1.0, "true", " nil", "new"], "n": ["1", "2.5", "nil", None] + [7] * len(values)}
    with tempfile.TemporaryDirectory() as folder:
        fastbp.exchange.to_numpy(model, f"{folder}/net.py")
        module = runpy.run_path(f"{folder}/net.py")
    np.testing.assert_allclose(module["prepare"](rows), fitted.transform(rows), rtol=1e-6)


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("labels", "classes", "later"),
    [
        ([1, 2, 1], (1, 2), (["1", "2", "1.0"], [1.0, 2.0, 1.0], objects([1, 2.0, 1]))),
        (["TRUE", "FALSE", "TRUE"], ("FALSE", "TRUE"), ([True, False, True], ["true", "False", "TRUE"], [1, 0, 1])),
        ([True, False, True], (False, True), (["TRUE", "FALSE", "true"], [1, 0, 1], ["1", "0", "1"])),
        (["007", "042", "007"], ("007", "042"), (["007", " 042", "007"],)),
        (["1_3", "1_4", "1_3"], ("1_3", "1_4"), (["1_3", "1_4", "1_3"],)),
        (["1", "a", "1.0"], ("1", "a"), (["1.00", "a", "1"],)),
    ],
)
def test_labels_are_recognized_in_any_spelling(labels, classes, later) -> None:
    fitted = Preprocessor().fit({"x": [1.0, 2.0, 3.0]}, labels)
    assert fitted.classes == classes
    expected = fitted.transform_target(labels).tolist()
    for each in later:
        assert fitted.transform_target(each).tolist() == expected


def test_different_labels_are_refused() -> None:
    fitted = Preprocessor().fit({"x": [1.0, 2.0, 3.0]}, ["007", "042", "007"])
    with pytest.raises(ValueError, match="got '7' at row 0"):
        fitted.transform_target(["7"])
    quantities = Preprocessor(task="regression").fit({"x": [1.0, 2.0, 3.0]}, ["007", "+1", "2.5"])
    scaled = quantities.transform_target([7, 1, 2.5])
    np.testing.assert_allclose(quantities.inverse_target(scaled), [7, 1, 2.5], rtol=1e-6)
