"""The command line: suggestions, options for rows, columns and learning rate, warnings about poor models."""

import io
import re
import sys
import warnings

import numpy as np
import pytest

import fastbp
from fastbp.cli.commands import main
from fastbp.cli.scoring import no_better_than_constant
from fastbp.preprocessing.preprocessor import Preprocessor

N = 200
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
NOISE = RNG.normal(size=N)


def write(name, y, columns="a,b,name,y", encoding="utf-8"):
    rows = [f"{a:.5f},{b:.5f},n{i % 5},{v}" for i, ((a, b), v) in enumerate(zip(X, y, strict=True))]
    with open(name, "w", encoding=encoding) as file:
        file.write("\n".join([columns, *rows]) + "\n")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with three files: a classification, a regression, and a target of pure noise."""
    monkeypatch.chdir(tmp_path)
    write("classes.csv", ["p" if a > 0 else "q" for a in X[:, 0]])
    write("numbers.csv", 3 * X[:, 0])
    write("noise.csv", NOISE)
    return tmp_path


def run(*arguments):
    try:
        return main([*map(str, arguments)])
    except SystemExit as stop:
        return stop.code


SUGGESTED = {
    "command": (["trian", "x.csv"], "did you mean 'train'?"),
    "command of other tools": (["evaluate", "x.csv"], "did you mean 'predict'?"),
    "option": (["train", "x.csv", "--dorp", "a"], "unknown option --dorp: did you mean --drop?"),
    "option of other tools": (["train", "x.csv", "--lr", "0.1"], "unknown option --lr: did you mean --learning-rate?"),
    "with =": (["train", "x.csv", "--lr=0.1"], "did you mean --learning-rate?"),
    "one dash": (["train", "x.csv", "-lr", "0.1"], "did you mean --learning-rate?"),
    "underscores": (["train", "x.csv", "--batch_size", "8"], "did you mean --batch-size?"),
    "threads": (["train", "x.csv", "--n_jobs", "8"], "did you mean --threads?"),
    "case": (["train", "x.csv", "--activation", "Relu"], "did you mean 'relu'?"),
    "synonym": (["train", "x.csv", "--activation", "swish"], "did you mean 'silu'?"),
    "loss": (["train", "x.csv", "--loss", "bce"], "did you mean 'binary_cross_entropy'?"),
    "nothing similar": (["train", "x.csv", "--frobnicate"], "unknown option --frobnicate: --help lists all"),
    "learning rate": (["train", "x.csv", "--learning-rate", "fast"], "must be a number or auto, got 'fast'"),
}


@pytest.mark.parametrize("case", SUGGESTED)
def test_suggestions(case, capsys):
    arguments, text = SUGGESTED[case]
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert text in err
    assert out == ""


def test_unrelated_names_are_not_suggested(capsys):
    assert run("train", "x.csv", "--optimizer", "rprop") == 2
    assert "did you mean" not in capsys.readouterr().err


def test_without_arguments_commands_are_listed(capsys):
    assert run() == 2
    out, err = capsys.readouterr()
    assert out == ""
    for command in ("train", "predict", "export", "bench", "warmup", "autotune", "info"):
        assert re.search(rf"^ +{command} +\w", err, re.MULTILINE)


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "cp932", "cp1252", "utf-8"])
def test_unencodable_characters_do_not_fail(monkeypatch, encoding):
    write("city.csv", ["\u00fc" if a > 0 else "\u5e02" for a in X[:, 0]], "a,b,\u57ce\u5e02,y")
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    for data in ("numbers.csv", "city.csv"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            assert run("train", data, "--target", "y", "--epochs", "2", "-o", f"{data}.model") == 0
            assert run("predict", f"{data}.model", data) == 0
    assert b"model" in streams[0].buffer.getvalue()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_missing_stdout_or_stderr(monkeypatch, folder, capsys, name):
    monkeypatch.setattr(sys, name, None)
    assert run("train", "numbers.csv", "--target", "y", "--epochs", "2") == 0
    assert (folder / "numbers.safetensors").exists()
    assert run("predict", "numbers.safetensors", "numbers.csv", "-o", "p.csv") == 0
    assert run("train", "nowhere.csv") == 2
    out, err = capsys.readouterr()
    assert "nowhere" not in out
    assert ("nowhere" in err) == (name == "stdout")
    assert run("predict", "numbers.safetensors", "numbers.csv") == (2 if name == "stdout" else 0)
    assert ("name a file with --output" in capsys.readouterr().err) == (name == "stdout")


class ClosedPipe(io.StringIO):
    """A pipe whose reader has exited."""

    def write(self, text):
        raise BrokenPipeError


def test_training_continues_when_stdout_is_closed(monkeypatch, folder):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", ClosedPipe())
        assert run("train", "numbers.csv", "--target", "y", "--epochs", "2") == 0
    assert (folder / "numbers.safetensors").exists()


# ---------------------------------------------------------------- rows, columns, the learning rate


def test_dropped_column_is_not_a_feature(capsys):
    assert run("train", "classes.csv", "--target", "y", "-q", "--drop", "name", "--drop", "b", "--epochs", "2") == 0
    out = capsys.readouterr().out
    assert "1 feature, 2 classes" in out
    assert "categor" not in out
    assert Preprocessor.of(fastbp.load("classes.safetensors")).columns == ("a",)
    with open("few.csv", "w", encoding="utf-8") as file:
        file.write("a\n1.0\n-1.0\n")
    assert run("predict", "classes.safetensors", "few.csv") == 0
    assert len(capsys.readouterr().out.split()) == 3


@pytest.mark.parametrize(
    ("drop", "text"),
    [(["nme"], "'nme' is not a feature column of classes.csv: did you mean 'name'?"), (["y"], "'y' is not a feature"),
     (["a", "b", "name"], "leaves no column")],
)  # fmt: skip
def test_invalid_drop_is_rejected(drop, text, capsys):
    options = [part for name in drop for part in ("--drop", name)]
    assert run("train", "classes.csv", "--target", "y", *options) == 2
    assert text in capsys.readouterr().err


def test_unnamed_columns_cannot_be_dropped(capsys):
    np.savez("a.npz", X=X, y=NOISE)
    assert run("train", "a.npz", "--drop", "0") == 2
    assert "columns with names" in capsys.readouterr().err


def test_early_stopping_ends_training_early(capsys):
    options = ["--early-stopping", "--patience", "2", "--epochs", "300", "-q"]
    assert run("train", "noise.csv", "--target", "y", *options) == 0
    out, err = capsys.readouterr()
    assert "at most 300 epochs" in out
    assert int(re.search(r"s for (\d+) epoch", out)[1]) < 100
    assert "no better than the mean" in err


@pytest.mark.parametrize(("fraction", "rows"), [("0.25", 120), ("0", 160), (None, 160)])
def test_validation_rows_are_not_trained_on(monkeypatch, fraction, rows):
    seen = []
    real = fastbp.Sequential.fit

    def fit(self, X, y, **options):
        seen.append((len(X), options["validation_data"]))
        return real(self, X, y, **options)

    monkeypatch.setattr(fastbp.Sequential, "fit", fit)
    options = [] if fraction is None else ["--validation-split", fraction]
    assert run("train", "classes.csv", "--target", "y", "--epochs", "2", "-q", *options) == 0
    ((trained, validation),) = seen
    assert trained == rows
    assert (validation is None) == (rows == 160)
    assert validation is None or len(validation[0]) == 40


@pytest.mark.parametrize("options", [["--validation-split", "1"], ["--validation-split", "-0.1"],
                                     ["--early-stopping", "--validation-split", "0"]])  # fmt: skip
def test_invalid_validation_split_is_rejected(options, capsys):
    assert run("train", "classes.csv", "--target", "y", *options) == 2
    assert "--validation-split must be" in capsys.readouterr().err


def test_auto_searches_for_a_learning_rate(capsys):
    assert run("train", "numbers.csv", "--target", "y", "--learning-rate", "auto", "--epochs", "3", "-q") == 0
    rate = float(re.search(r"learning rate ([\d.e-]+)", capsys.readouterr().out)[1])
    assert rate != 0.001
    assert 1e-5 < rate < 1


def test_failed_search_keeps_the_default_learning_rate(capsys, monkeypatch):
    monkeypatch.setattr(fastbp.RateSearch, "flat", True)
    options = ["--learning-rate", "auto", "--epochs", "1", "-q", "--drop", "name"]
    assert run("train", "numbers.csv", "--target", "y", *options) == 0
    out, err = capsys.readouterr()
    assert "learning rate 0.001," in out
    assert "no learning rate helped" in err


# ---------------------------------------------------------------- poor models


def test_useless_model_is_reported(capsys):
    assert run("train", "noise.csv", "--target", "y", "--epochs", "60", "-q") == 0
    assert "the model is no better than the mean of the target" in capsys.readouterr().err
    assert run("train", "numbers.csv", "--target", "y", "--epochs", "60", "-q") == 0
    assert capsys.readouterr().err == ""


CLASSES = Preprocessor().fit(X, np.array(["p", "q"])[(X[:, 0] > 0).astype(int)])
ONE_HOT = np.eye(2)


@pytest.mark.parametrize(
    ("outputs", "y", "expected"),
    [([0, 0, 0, 1], [0, 0, 1, 1], ""), ([0, 0, 0, 0], [0, 0, 1, 1], "always predicting 'p', which has 50.00 %"),
     ([1, 1, 0, 1], [0, 0, 0, 1], "75.00 %"), ([0, 0], [0, 0], "")],
)  # fmt: skip
def test_majority_class_is_the_baseline(outputs, y, expected):
    warning = no_better_than_constant(CLASSES, ONE_HOT[outputs], np.array(y), np.array([0, 0, 1]))
    assert expected in warning
    assert bool(warning) == bool(expected)


# ---------------------------------------------------------------- scores of predictions


@pytest.fixture
def model(capsys):
    kinds = np.array(["1", "2", "A", "B"])[RNG.integers(0, 4, N)]
    write("kinds.csv", kinds)
    run("train", "kinds.csv", "--target", "y", "-q", "--epochs", "1", "-o", "m.safetensors")
    capsys.readouterr()
    return kinds


def test_numeric_class_names_are_scored(model, capsys):
    write("part.csv", np.where(np.isin(model, ["1", "2"]), model, "1"))
    assert run("predict", "m.safetensors", "part.csv", "-o", "p.csv") == 0
    assert re.fullmatch(r"accuracy \d+\.\d\d %\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("unknown", "expected"), [(N, "not scored: no class in the target was seen in training"), (50, "150 rows; 50 with")]
)
def test_unknown_classes_do_not_prevent_predictions(model, folder, capsys, unknown, expected):
    write("new.csv", ["Z"] * unknown + list(model[unknown:]))
    assert run("predict", "m.safetensors", "new.csv", "-o", "p.csv") == 0
    assert expected in capsys.readouterr().err
    assert len((folder / "p.csv").read_text(encoding="utf-8").splitlines()) == N + 1


def test_string_target_does_not_prevent_predictions(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run("train", "numbers.csv", "--target", "y", "-q", "--epochs", "1")
    write("words.csv", ["much"] * N)
    capsys.readouterr()
    assert run("predict", "numbers.safetensors", "words.csv", "-o", "p.csv") == 0
    assert "not scored" in capsys.readouterr().err
