"""`fastbp train` and `predict` on real-world tables: spellings, missing values, dates, held-out rows."""

import re

import numpy as np
import pandas as pd
import pytest

import fastbp
from fastbp.cli.commands import main
from fastbp.datasets import split_table
from fastbp.preprocessing.preprocessor import Preprocessor

pytestmark = pytest.mark.filterwarnings("default")  # warnings are shown, as by the command
N = 300


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=N)


def run(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    code = main([str(each) for each in arguments])
    return code, *capsys.readouterr()


def train(capsys, *options, target="y") -> tuple[str, str]:
    code, out, err = run(capsys, "train", "t.csv", "--target", target, "-q", "-o", "m.safetensors", *options)
    assert code == 0, err
    return out, err


def score(capsys, file: str) -> float:
    code, _, err = run(capsys, "predict", "m.safetensors", file, "-o", "p.csv")
    assert code == 0, err
    return float(err.split()[1])


def model() -> Preprocessor:
    found = Preprocessor.of(fastbp.load("m.safetensors"))
    assert found is not None
    return found


def test_float_and_integer_spellings_are_one_category(capsys, x) -> None:
    kind = np.random.default_rng(1).integers(1, 5, N)
    whole = pd.DataFrame({"x": x, "kind": kind, "y": np.where(kind % 2 == 0, "even", "odd")})
    gaps = whole.astype({"kind": float})
    gaps.loc[:4, "kind"] = np.nan  # so pandas writes 1.0 for 1
    gaps.to_csv("t.csv", index=False)
    whole.to_csv("new.csv", index=False)
    train(capsys, "--categorical", "kind")
    assert model().feature_names[1:5] == ("kind=1", "kind=2", "kind=3", "kind=4")
    assert score(capsys, "new.csv") > 95


LABELS = [("1_3", "1_4"), ("007", "042"), ("+1", "-1"), ("TRUE", "FALSE"), ("12345678901234567890", "2")]


@pytest.mark.parametrize("labels", LABELS)
def test_labels_keep_their_spelling(capsys, x, labels) -> None:
    pd.DataFrame({"x": x, "y": np.where(x > 0, *labels)}).to_csv("t.csv", index=False)
    train(capsys)
    code, out, _ = run(capsys, "predict", "m.safetensors", "t.csv")
    assert code == 0
    assert set(out.split()[1:]) == set(labels)


def test_numbers_with_underscores_are_strings(capsys, x) -> None:
    pd.DataFrame({"lot": [f"{i % 9}_{i % 7}" for i in range(N)], "x": x, "y": x}).to_csv("t.csv", index=False)
    assert re.search(r"^lot +\d+ categories", train(capsys)[0], re.MULTILINE)


def test_column_empty_in_training_is_left_out(capsys, x) -> None:
    pd.DataFrame({"x": x, "empty": np.nan, "y": 2 * x}).to_csv("t.csv", index=False)
    pd.DataFrame({"x": x, "empty": 50000.0, "y": 2 * x}).to_csv("numbers.csv", index=False)
    pd.DataFrame({"x": x, "empty": "abc", "y": 2 * x}).to_csv("strings.csv", index=False)
    pd.DataFrame({"x": x, "y": 2 * x}).to_csv("without.csv", index=False)
    assert "warning: column 'empty' is left out: it has no value" in train(capsys)[1]
    for file in ("numbers.csv", "strings.csv", "without.csv"):
        assert score(capsys, file) > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_one_string_among_numbers_is_missing(capsys, x, seed: int) -> None:
    """In whichever part of the split it falls."""
    amount = (10 * x).round(3).astype(str)
    amount[33] = "."
    pd.DataFrame({"amount": amount, "y": np.where(x > 0, "pos", "neg")}).to_csv("t.csv", index=False)
    out, err = train(capsys, "--seed", seed, "--epochs", 10)
    assert err.count("warning") == 1
    assert "column 'amount' holds numbers, but 1 value is not a number: '.' at line 35" in err
    assert float(re.search(r"test accuracy +([\d.]+)", out)[1]) > 85
    assert score(capsys, "t.csv") > 85
    named = train(capsys, "--missing", "nil,.", "--seed", seed, "--epochs", 10)
    assert named[1] == ""
    assert model().missing == ("nil", ".")


def test_kind_of_column_does_not_depend_on_seed(capsys, x) -> None:
    """Of all rows, 4 % are strings; of the 240 training rows it may be more or less than 5 %."""
    rng = np.random.default_rng(3)
    values = x.round(2).astype(str)
    values[rng.choice(N, 14, replace=False)] = "low"
    pd.DataFrame({"a": values, "x": x, "y": x}).to_csv("t.csv", index=False)
    for seed in range(6):
        train(capsys, "--seed", seed, "--epochs", 1)
        assert model().feature_names[0] == "a"


def test_dates_are_features_but_row_names_and_numbers_are_not(capsys, x) -> None:
    when = pd.date_range("2023-01-01", periods=N, freq="D")
    season = np.cos(2 * np.pi * when.day_of_year.to_numpy() / 365.25)
    table = pd.DataFrame({"when": when, "who": [f"Jo {i}" for i in range(N)], "x": x, "y": season + 0.1 * x})
    table.to_csv("t.csv")  # with row numbers
    out, err = train(capsys, "--epochs", 150)
    assert "column '' is left out: these are row numbers" in err
    assert "column 'who' is left out: its 300 strings are all different" in err
    assert "date" in out
    assert float(re.search(r"test R² +([\d.]+)", out)[1]) > 0.9
    assert set(model().columns) == {"when", "x"}
    table[["x", "when", "y"]].to_csv("new.csv", index=False)
    assert score(capsys, "new.csv") > 0.9


def test_integer_regression_is_not_stratified(capsys, x) -> None:
    """The test rows are those of any other regression, not the lowest value of every class."""
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(90), 4))[:N]
    pd.DataFrame({"x": x, "y": y}).to_csv("t.csv", index=False)
    rows = {}
    for name in ("y", "y + 0.5"):
        table = fastbp.datasets.Table(x[:, None], y + 0.5 * (name != "y"))
        rows[name] = split_table(table, seed=3, task="regression").x_test
    np.testing.assert_array_equal(rows["y"], rows["y + 0.5"])
    train(capsys, "--task", "regression", "--epochs", 1)


def test_string_in_numeric_target_is_rejected(capsys, x) -> None:
    y = x.round(3).astype(str)
    y[7] = "nil"
    pd.DataFrame({"x": x, "y": y}).to_csv("t.csv", index=False)
    code, _, err = run(capsys, "train", "t.csv", "--target", "y", "-q")
    assert code == 2
    assert "y holds numbers, but got 'nil' at line 9: correct it, leave the row out" in err
    with pytest.raises(ValueError, match="got 'nil' at row 7"):
        Preprocessor().fit({"x": x}, y)
    with pytest.raises(ValueError, match="numeric target, got strings such as 'nil'"):
        Preprocessor(task="regression").fit({"x": x}, y)
    grades = ["1", "2", "3"] * 10 + ["x"]
    assert Preprocessor().fit({"x": range(31)}, grades).classes == ("1", "2", "3", "x")


def test_target_of_distinct_strings_is_refused_unless_the_task_is_given(capsys, x) -> None:
    pd.DataFrame({"x": x, "y": [f"name {i}" for i in range(N)]}).to_csv("t.csv", index=False)
    code, _, err = run(capsys, "train", "t.csv", "--target", "y", "-q")
    assert code == 2
    assert f"y has a different string in each of its {N} rows, such as 'name 0'" in err
    assert "--target" in err
    train(capsys, "--task", "classification", "--epochs", 1)


def test_zero_padded_numbers_can_be_regressed(capsys, x) -> None:
    pd.DataFrame({"x": x, "y": [f"{i % 7:03d}" for i in range(N)]}).to_csv("t.csv", index=False)
    assert "regression" in train(capsys, "--task", "regression", "--epochs", 1)[0]
