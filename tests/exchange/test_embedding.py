"""ColumnEmbedding in every format that supports it."""

import os
import runpy

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

from fastbp import ColumnEmbedding, Dense, Sequential, exchange
from tests.exchange.cases import assert_same_weights

CASES = {
    "some columns": ({1: 5, 3: 4}, 5),
    "all columns": ({0: 3, 1: 4}, 2),
    "one column": ({0: 3}, 1),
    "frozen": ({2: 7}, 4),
}


def make(case, dtype):
    tables, inputs = CASES[case]
    layer = ColumnEmbedding(tables, 3, trainable=case != "frozen")
    model = Sequential([layer, Dense(6, "tanh"), Dense(2)], input_size=inputs, dtype=dtype)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, inputs)).astype(dtype)
    for column, codes in tables.items():
        X[:, column] = rng.integers(0, codes, 30)
    return model, X


def via_onnx(model, X, path):
    exchange.to_onnx(model, path / "net.onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession(path / "net.onnx")
    return session.run(None, {"input": X})[0]


def via_numpy(model, X, path):
    exchange.to_numpy(model, path / "net.py")
    return runpy.run_path(path / "net.py")["predict"](X)


def via_torch(model, X, path):
    torch = pytest.importorskip("torch")
    module = exchange.to_torch(model)
    again = exchange.from_torch(module)
    assert repr(again) == repr(model)
    assert_same_weights(again, model)
    return module(torch.from_numpy(X)).detach().numpy()


def via_keras(model, X, path):
    return exchange.to_keras(model)(X).detach().numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("convert", [via_onnx, via_numpy, via_torch, via_keras])
def test_outputs_match_the_model(convert, case, dtype, tmp_path):
    model, X = make(case, dtype)
    limit = 1e-6 if dtype == "float32" or convert is via_keras else 2e-15  # a few u; Keras multiplies in float32
    np.testing.assert_allclose(convert(model, X, tmp_path), model.predict(X), rtol=0, atol=limit)


@pytest.mark.parametrize("code", [-1, 5, 0.5])
def test_numpy_module_refuses_invalid_codes(code, tmp_path):
    model, X = make("some columns", "float32")
    exchange.to_numpy(model, tmp_path / "net.py")
    X[3, 1] = code
    with pytest.raises(ValueError, match="column 1 of X must hold integer codes from 0 to 4: correct it"):
        runpy.run_path(tmp_path / "net.py")["predict"](X)
