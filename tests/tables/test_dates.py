"""Dates and times as features, the same from every container."""

import datetime as dt
import runpy

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbp
from fastbp import Preprocessor
from fastbp.tables.dates import as_days, days_in, parts_of

WHEN = pd.date_range("2019-12-28 05:00", periods=60, freq="37h")
STRINGS = [when.isoformat() for when in WHEN]
FORMS = {
    "strings": STRINGS,
    "strings with a space": [text.replace("T", " ") for text in STRINGS],
    "strings in UTC": [f"{text}Z" for text in STRINGS],
    "strings with an offset": [f"{(when + pd.Timedelta(hours=2)).isoformat()}+02:00" for when in WHEN],
    "strings with slashes": [f"{when:%Y/%m/%d %H:%M}" for when in WHEN],
    "datetime64": WHEN.to_numpy(),
    "seconds": WHEN.to_numpy().astype("M8[s]"),
    "timestamps": list(WHEN),
    "datetimes": WHEN.to_pydatetime(),
}


@pytest.mark.parametrize("form", [*FORMS, "pandas", "time zone", "polars", "pyarrow"])
def test_dates_are_the_same_in_every_container(form: str) -> None:
    frames = {
        "pandas": lambda: pd.DataFrame({"d": WHEN}),
        "time zone": lambda: pd.DataFrame({"d": WHEN.tz_localize("UTC").tz_convert("Asia/Tokyo")}),
        "polars": lambda: pl.DataFrame({"d": WHEN.to_pydatetime()}),
        "pyarrow": lambda: pa.table({"d": WHEN.to_pydatetime()}),
    }
    table = frames[form]() if form in frames else {"d": FORMS[form]}
    fitted = Preprocessor().fit({"d": STRINGS})
    expected = fitted.transform({"d": STRINGS})
    np.testing.assert_array_equal(fitted.transform(table), expected)
    np.testing.assert_array_equal(Preprocessor().fit(table).transform({"d": STRINGS}), expected)


def test_features_of_dates() -> None:
    fitted = Preprocessor().fit({"d": STRINGS})
    cycles = ("of year", "of week", "of day")
    names = ("d days", "d year", *(f"d {wave} {part}" for part in cycles for wave in ("sin", "cos")))
    assert fitted.feature_names == names
    X = fitted.transform({"d": STRINGS})
    np.testing.assert_allclose(X[:, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(X[:, :2].std(axis=0), 1, rtol=1e-6)
    angle = 2 * np.pi * (WHEN.hour + WHEN.minute / 60).to_numpy() / 24
    np.testing.assert_allclose(X[:, 6:], np.stack([np.sin(angle), np.cos(angle)], 1), atol=1e-6)
    week = 2 * np.pi * (WHEN.day_of_week.to_numpy() / 7 + angle / (14 * np.pi))
    np.testing.assert_allclose(X[:, 4:6], np.stack([np.sin(week), np.cos(week)], 1), atol=1e-6)
    raw = Preprocessor(scaling="none").fit_transform({"d": ["2020-01-01", "2020-01-03", "2020-01-02"]})
    assert raw[:, 0].tolist() == [-1, 1, 0]  # days since their median


def test_constant_parts_are_left_out() -> None:
    assert Preprocessor().fit({"d": ["12:30", "13:45"] * 6}).feature_names == ("d days", "d sin of day", "d cos of day")
    days = ["2020-01-01", "2020-01-02"] * 6
    assert [name for name in Preprocessor().fit({"d": days}).feature_names if "day" in name[3:]] == []


def test_missing_dates() -> None:
    table = {"d": [dt.date(2020, 1, 1), None, dt.date(2020, 3, 1), "NaT", dt.date(2021, 1, 1)]}
    with pytest.raises(ValueError, match="d"):
        Preprocessor().fit(table).transform({"d": ["soon"]})
    fitted = Preprocessor(missing=["NaT"]).fit(table)
    X = fitted.transform(table)
    assert X[:, -1].tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_array_equal(X[1, :-1], fitted.transform({"d": ["2020-03-01"]})[0, :-1])  # the median
    frame = pl.DataFrame({"d": [dt.date(2020, 1, 1), None]})
    assert Preprocessor().fit(frame).transform(frame)[:, -1].tolist() == [0, 1]


def test_dates_can_be_categories() -> None:
    days = [dt.date(2020, 1, 2), dt.date(2021, 3, 4)]
    forms = (
        {"d": days}, {"d": np.array(days, "M8[D]")}, {"d": ["2020-01-02", "2021-03-04"]}, pl.DataFrame({"d": days}),
        pd.DataFrame({"d": pd.to_datetime(days)}),
    )  # fmt: skip
    for form in forms:
        fitted = Preprocessor(categorical="d").fit(form)
        assert fitted.feature_names == ("d=2020-01-02", "d=2021-03-04")
        for other in forms:
            np.testing.assert_array_equal(fitted.transform(other), np.eye(2))
    noon = Preprocessor(categorical="d").fit({"d": [dt.datetime(2020, 1, 2, 12), "x"]})
    assert noon.feature_names == ("d=2020-01-02 12:00:00", "d=x")


def test_few_strings_among_dates_are_missing() -> None:
    table = {"d": ["2020-01-01", "2020-02-01"] * 20 + ["0000-00-00"]}
    with pytest.warns(UserWarning, match="column 'd' holds dates, but 1 value is not a date: '0000-00-00' at row 40"):
        fitted = Preprocessor().fit(table)
    assert fitted.transform({"d": ["0000-00-00"]})[0, -1] == 1


@pytest.mark.parametrize("text", ["03/04/2020", "3.4.20", "31-12-2020", "3-Apr-20", "1/1/85", "3/4/2020 12:00"])
def test_ambiguous_dates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"'d' must hold dates as YYYY-MM-DD, got .* at row 0, .*make it categorical"):
        Preprocessor().fit({"d": [text] * 3})
    assert Preprocessor(categorical="d").fit({"d": [text] * 3}).feature_names == (f"d={text}",)


@pytest.mark.parametrize("text", ["2020", "20200101", "2020-13-01", "2020-02-30", "25:00", "2020Q5", "Mayor 2020"])
def test_other_strings_are_not_dates(text: str) -> None:
    assert as_days(text) is None


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2020-5", "2020-05-01"), ("2020Q2", "2020-04-01"), ("2020-Q4", "2020-10-01"), ("1960q1", "1960-01-01"),
        ("2020m05", "2020-05-01"), ("3-Apr-2020", "2020-04-03"), ("Jan 5, 2020", "2020-01-05"),
        ("Sept 2020", "2020-09-01"),
        ("Jan-1-1995", "1995-01-01"), ("31 December 1999", "1999-12-31"), ("2020/1/2", "2020-01-02"),
    ],
)  # fmt: skip
def test_unambiguous_spellings_are_dates(text: str, date: str) -> None:
    assert as_days(text) == as_days(date) is not None


@given(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)))
def test_days_match_the_calendar(when: dt.datetime) -> None:
    days = as_days(when.isoformat())
    assert days == pytest.approx((when - dt.datetime(1970, 1, 1)) / dt.timedelta(days=1), abs=1e-9)
    assert as_days(when) == days
    assert days_in(np.array([when], "M8[us]")).numbers[0] == pytest.approx(days, abs=1e-9)
    parts = parts_of(np.array([float((when.date() - dt.date(1970, 1, 1)).days)]), ("year", "of week"))
    assert parts["year"][0] == when.year
    assert round(7 * parts["of week"][0]) == when.weekday()


def test_exported_module_reads_dates(tmp_path) -> None:
    table = {"d": [*STRINGS, None], "x": [*range(60), "2"]}
    fitted = Preprocessor(clip=True).fit(table)
    model = fastbp.Sequential([fastbp.Dense(1)], input_size=len(fitted.feature_names))
    model.metadata |= fitted.to_metadata()
    fastbp.exchange.to_numpy(model, tmp_path / "net.py")
    prepare = runpy.run_path(str(tmp_path / "net.py"))["prepare"]
    for rows in (table, {"d": WHEN.to_numpy(), "x": np.arange(60)}, {"d": list(WHEN), "x": [True] * 60}):
        np.testing.assert_allclose(prepare(rows), fitted.transform(rows), rtol=1e-6)
