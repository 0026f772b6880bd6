"""`fastbp export`: what it writes, what it says, and how it fails."""

import os
import runpy
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential, exchange
from fastbp.cli.commands import main
from fastbp.cli.export import FORMATS


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A saved model of three classes."""
    monkeypatch.chdir(tmp_path)
    result = Sequential([Dense(6, "tanh"), Dense(3, "softmax")], input_size=4)
    result.save("flowers.v1.safetensors")
    return result


def read_onnx(path, X):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return session.run(None, {"input": X})[0]


def read_torch(path, X):
    torch = pytest.importorskip("torch")
    model = Sequential([Dense(6, "tanh"), Dense(3, "softmax")], input_size=4)
    exchange.load_state_dict(model, torch.load(path))
    return model.predict(X)


def read_keras(path, X):
    return pytest.importorskip("keras").models.load_model(path)(X).detach().numpy()


READ = {
    "numpy": lambda path, X: runpy.run_path(path)["predict"](X),
    "onnx": read_onnx,
    "torch": read_torch,
    "keras": read_keras,
    "sklearn": lambda path, X: pytest.importorskip("joblib").load(path).predict_proba(X),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by Keras when it saves
@pytest.mark.parametrize("to", FORMATS)
def test_every_format_round_trips(to, model, tmp_path, capsys):
    X = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    (tmp_path / "sub").mkdir()
    for output in (None, f"sub/net{FORMATS[to].ending}"):
        options = [] if output is None else ["--output", output]
        assert main(["export", "flowers.v1.safetensors", "--to", to, *options]) == 0
        path = output or ("flowers_v1" if to == "numpy" else "flowers.v1") + FORMATS[to].ending
        assert capsys.readouterr().out == f"wrote {path}, {os.path.getsize(path):,} bytes\n"
        np.testing.assert_allclose(READ[to](path, X), model.predict(X), atol=1e-6)  # probabilities: a few roundings
    assert len(list(tmp_path.iterdir())) == 3  # the model, its export, the folder
    assert len(list((tmp_path / "sub").iterdir())) == 1


def test_trained_model_predicts_the_same_in_numpy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--layers", "8", "--epochs", "2", "--quiet"]
    assert main(["train", "digits", *options]) == 0
    assert main(["export", "digits.safetensors", "--to", "numpy"]) == 0
    assert main(["predict", "digits.safetensors", "digits", "--output", "predictions.npy"]) == 0
    split = fastbp.datasets.load_named("digits", seed=0)
    labels = runpy.run_path("digits.py")["predict_raw"](split.x_test)
    np.testing.assert_array_equal(labels, np.load("predictions.npy"))


INVALID = {
    "missing file": (["export", "none", "--to", "numpy"], "none"),
    "not a model": (["export", "text", "--to", "numpy"], "not a fastbp model"),
    "wrong extension": (
        ["export", "flowers.v1.safetensors", "--to", "onnx", "-o", "net.py"],
        "must end in .onnx for --to onnx, got 'net.py'",
    ),
    "missing folder": (["export", "flowers.v1.safetensors", "--to", "onnx", "-o", "x/net.onnx"], "no folder 'x'"),
    "invalid module": (["export", "flowers.v1.safetensors", "--to", "numpy", "-o", "a b.py"], "must name a module"),
    "unsupported layer": (["export", "norm.safetensors", "--to", "sklearn"], "use fastbp.fold for BatchNorm"),
}  # fmt: skip


@pytest.mark.parametrize("case", INVALID)
def test_errors_are_one_line_and_write_nothing(case, model, tmp_path, capsys):
    Sequential([Dense(3), fastbp.BatchNorm(), Dense(1)], input_size=2).save("norm.safetensors")
    (tmp_path / "text").write_text("not a model, but long enough")
    before = sorted(tmp_path.rglob("*"))
    arguments, text = INVALID[case]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("fastbp export: ")
    assert text in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_package_error_is_one_line(model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "flowers.v1.safetensors", "--to", "onnx"]) == 2
    expected = 'fastbp export: this needs onnx, which is missing: pip install "fastbp[onnx]"\n'
    assert capsys.readouterr().err == expected


def test_help_lists_the_formats(capsys):
    for arguments in (["export", "--help"], ["export", "x", "--to", "pickle"]):
        with pytest.raises(SystemExit):
            main(arguments)
        printed = capsys.readouterr()
        assert all(to in printed.out + printed.err for to in FORMATS)
