"""Exported NumPy modules compute the same outputs as the models, on machines without fastbp."""

import json
import os
import runpy
import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp import CustomActivation, Dense, Preprocessor, Sequential, exchange
from fastbp.exchange import ExchangeError, activations, numpy_module
from tests.exchange.cases import CASES, INPUTS, assert_close, make, rows

# NumPy's exp, tanh and log1p are accurate to about one ulp; functions composed of several, to a few.
EXTRA = dict.fromkeys(("sigmoid", "silu", "gelu_tanh", "mish", "softplus", "selu", "softmax"), 4.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.py"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_match_the_model(case, dtype, path):
    model, X = make(case, dtype), rows(dtype)
    exchange.to_numpy(model, path)
    outputs = runpy.run_path(path)["predict"](X)
    assert outputs.dtype == dtype
    assert_close(model, X, outputs, dtype, EXTRA)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in fastbp.activations.NAMES if name != "softmax"])
def test_activation_tails_are_finite_and_accurate(name, dtype, path):
    model = Sequential([fastbp.Activation(name), Dense(1, use_bias=False)], input_size=1, dtype=dtype)
    model.set_weights([[[1.0]]])
    X = np.array([[-1e4], [-800.0], [-90.0], [-30.0], [-1e-3], [0.0], [1e-3], [30.0], [90.0], [800.0], [1e4]], dtype)
    exchange.to_numpy(model, path)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        outputs = runpy.run_path(path)["predict"](X)
    # the engine flushes subnormal numbers to 0; rounding z changes exp(-z^2 / 2) by z^2 u of its value
    tiny = np.finfo(dtype).tiny * 1e5
    np.testing.assert_allclose(outputs, model.predict(X), rtol=1000 * np.finfo(dtype).eps, atol=tiny)


STANDALONE = """
import sys
assert sys.path.pop(0) == ""
sys.path.insert(0, sys.argv[1])
import net, numpy as np
outputs = net.predict(np.load("X.npy"))
assert not [name for name in sys.modules if name.startswith(("fastbp", "numba", "llvmlite", "safetensors"))]
np.save("outputs.npy", outputs)
print(net.METADATA, net.predict.__doc__)
"""


@pytest.mark.parametrize("inside", [True, False, None])
def test_module_needs_only_numpy(inside, path, tmp_path, monkeypatch):
    model, X = make("deep"), rows()
    model.metadata = {"note": 'a "quoted" ünïcode\n\\line {brace}'}
    monkeypatch.setattr(numpy_module, "INSIDE", 100)
    exchange.to_numpy(model, path, inside=inside)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.npz", "net.py"][inside is True :]
    np.save(tmp_path / "X.npy", X)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STANDALONE, str(tmp_path)], cwd=tmp_path, env=environment, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(repr(model.metadata))
    assert f"The outputs (n, 5) for X (n, {INPUTS})" in done.stdout
    assert_close(model, X, np.load(tmp_path / "outputs.npy"), "float32", EXTRA)


def test_module_contains_only_the_functions_it_uses(path):
    exchange.to_numpy(make("Dense relu"), path)
    text = path.read_text(encoding="utf-8")
    assert "def relu(Z):" in text
    assert not any(f"def {name}" in text for name in ("gelu", "layer_norm", "softmax", "predict_raw"))
    assert "import math" not in text
    assert f"A network of fastbp {fastbp.__version__}" in text
    assert "Dense(7, relu)" in text
    exchange.to_numpy(make("Dense mish"), path)  # which calls softplus
    assert "def softplus(Z):" in path.read_text(encoding="utf-8")


def test_every_activation_has_a_function():
    assert tuple(activations.ACTIVATIONS) == fastbp.activations.NAMES
    names = [row.numpy for row in activations.ACTIVATIONS.values()]
    assert all(name is not None for name in names)
    assert all(hasattr(activations, name) for name in names if name)


def test_every_layer_has_all_converters():
    every = {getattr(fastbp.layers, name) for name in fastbp.layers.__all__}
    assert set(numpy_module.LAYERS) == every
    for row in numpy_module.LAYERS.values():
        assert all((row.onnx, row.numpy, row.to_torch, row.to_keras))


def test_npz_file_of_another_module_is_refused(path, tmp_path):
    exchange.to_numpy(make("Residual"), path, inside=False)
    first = path.read_text(encoding="utf-8")
    exchange.to_numpy(make("deep"), path, inside=False)
    path.write_text(first, encoding="utf-8")
    with pytest.raises(ValueError, match=r"net\.npz is damaged, or does not belong to .*net\.py: export both again"):
        runpy.run_path(path)


@pytest.mark.parametrize("X", [np.zeros(INPUTS), np.zeros((2, INPUTS + 1)), np.zeros((1, 2, 3)), [["a"] * INPUTS], 3])
def test_module_refuses_wrong_inputs(X, path):
    exchange.to_numpy(make("no bias"), path)
    with pytest.raises(ValueError, match=r"X must be numbers of the shape \(n, 6\), got .*: reshape it"):
        runpy.run_path(path)["predict"](X)


PREPARED = {  # as `fastbp train` writes them: scaled by means and standard deviations, or by one divisor
    "labels": {"shift": [5.0, 5.0, 5.0], "scale": [1.0, 10.0, 100.0], "columns": ["a", "b", "c"],
               "classes": ["it's", 'a "b"'], "y_shift": [], "y_scale": []},
    "integers": {"shift": [0.0], "scale": [255.0], "columns": [], "classes": [3, 7], "y_shift": [], "y_scale": []},
    "targets": {"shift": [5.0, 5.0, 5.0], "scale": [1.0, 10.0, 100.0], "columns": ["a", "b", "c"], "classes": [],
                "y_shift": [1.0, -20.0], "y_scale": [3.0, 0.5]},
}  # fmt: skip


@pytest.mark.parametrize("kind", PREPARED)
def test_preparation_adds_predict_raw(kind, path):
    """From raw values to labels or targets."""
    X, content = np.random.default_rng(0).normal(5, [1.0, 10.0, 100.0], (60, 3)), PREPARED[kind]
    model = Sequential([Dense(8, "tanh"), Dense(2, "softmax" if content["classes"] else "identity")], input_size=3)
    model.metadata["fastbp.preparation"] = json.dumps(content)
    exchange.to_numpy(model, path)
    module = runpy.run_path(path)
    outputs = model.predict((X - content["shift"]) / content["scale"])
    if content["classes"]:
        expected = np.array(content["classes"])[outputs.argmax(axis=1)]
        np.testing.assert_array_equal(module["predict_raw"](X), expected)
        assert len(set(expected.tolist())) == 2
    else:
        expected = outputs * content["y_scale"] + content["y_shift"]
        np.testing.assert_allclose(module["predict_raw"](X), expected, rtol=1e-5, atol=1e-5)  # about 10 u
    assert module["COLUMNS"] == tuple(content["columns"])
    assert "predict_raw(X)" in module["__doc__"]


RULES = [
    ["number", "age", 38.0, 40.0, 10.0, True, 0.1],
    ["category", "work", ["Private", "State-gov"], 0.1, 0.2, False],
    ["category", "code", ["1", "2.5", "True"], 0.0, 0.0, False],
    ["number", "gain", 0.0, 100.0, 2.0, False, 0.0],
    ["category", "place", ["here", "there"], 0.0, 0.0, True],
]
TABLE = {
    "place": ["there", "here", "?", "elsewhere"],
    "age": [50, None, float("nan"), "30"],
    "work": [" Private ", "?", "State-gov", "never seen"],
    "code": [1.0, 2.5, True, None],
    "gain": [100, 102, 98, 110],
    "more": [0, 0, 0, 0],
}
FEATURES = [  # age, age missing; Private, State-gov, missing, other; 1, 2.5, True; gain; code of place
    [1.0, 0, 1, 0, 0, 0, 1, 0, 0, 0.0, 3],
    [-0.2, 1, 0, 0, 1, 0, 0, 1, 0, 1.0, 2],
    [-0.2, 1, 0, 1, 0, 0, 0, 0, 1, -1.0, 1],
    [-1.0, 0, 0, 0, 0, 1, 0, 0, 0, 5.0, 0],
]


def table_model(targets, clip=False, units=2, version=1):
    content = {"version": version, "options": {"clip": clip}, "named": True, "columns": RULES, "targets": targets}
    model = Sequential([Dense(units, "sigmoid" if targets["classes"] else "identity")], input_size=11)
    model.metadata["fastbp.preprocessor"] = json.dumps(content)
    return model


LABELS = {"classes": ["<=50K", ">50K"], "shift": [], "scale": [], "flat": True}


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("clip", [False, True])
def test_table_columns_become_features(clip, units, path):
    """As dict and as rows, with missing values, unseen categories and numbers as strings."""
    model = table_model(LABELS, clip, units)
    exchange.to_numpy(model, path)
    module, features = runpy.run_path(path), np.array(FEATURES, np.float32)
    if clip:
        for column in (0, 9):
            features[:, column] /= np.sqrt(1 + (features[:, column] / 3) ** 2)
    names = [rule[1] for rule in RULES]
    for table in (TABLE, [list(row) for row in zip(*(TABLE[name] for name in names), strict=True)]):
        found = module["prepare"](table)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, features, rtol=2e-7)
        outputs = model.predict(found)
        chosen = outputs.argmax(axis=1) if units == 2 else (outputs[:, 0] >= 0.5).astype(int)
        np.testing.assert_array_equal(module["predict_raw"](table), np.array(LABELS["classes"])[chosen])
    with pytest.raises(ValueError, match=r"X must have 5 columns, got shape .*: pass the columns of training"):
        module["predict_raw"]([[1, 2, 3]])


@pytest.mark.parametrize("clip", [False, True])
def test_scaled_categories_become_features(clip, path):
    preprocessor = Preprocessor(scaling="robust", scale_one_hot=True, clip=clip, categorical=["code"])
    preprocessor.fit({name: values for name, values in TABLE.items() if name != "more"})
    model = Sequential([Dense(2, "softmax")], input_size=len(preprocessor.feature_names))
    model.metadata |= preprocessor.to_metadata()
    exchange.to_numpy(model, path)
    features = runpy.run_path(path)["prepare"](TABLE)
    np.testing.assert_allclose(features, preprocessor.transform(TABLE), rtol=2e-7, atol=1e-15)


@pytest.mark.parametrize("flat", [True, False])
def test_regression_outputs_are_in_original_units(flat, path):
    model = table_model({"classes": [], "shift": [100.0], "scale": [8.0], "flat": flat}, units=1)
    exchange.to_numpy(model, path)
    expected = model.predict(FEATURES) * 8.0 + 100
    found = runpy.run_path(path)["predict_raw"](TABLE)
    assert found.shape == ((4,) if flat else (4, 1))
    np.testing.assert_allclose(found.reshape(4, 1), expected, rtol=1e-5)  # about 10 u of 100


def test_clamped_outputs_stay_within_bounds(path):
    targets = {"classes": [], "shift": [100.0], "scale": [8.0], "flat": True, "bounds": [[-0.01, 0.02]]}
    model = table_model(targets, units=1)
    exchange.to_numpy(model, path)
    found, free = runpy.run_path(path)["predict_raw"](TABLE), model.predict(FEATURES)[:, 0] * 8.0 + 100
    np.testing.assert_allclose(found, np.clip(free, 99.92, 100.16), rtol=1e-5)
    assert (found != free).any()


def test_unreadable_metadata_is_refused(path):
    model = table_model(LABELS, version=7)
    with pytest.raises(ExchangeError, match=r"preprocessor' have the version 7, but this fastbp knows 1: upgrade"):
        exchange.to_numpy(model, path)
    for text in ("{", "{}", "[]", '{"version": 1, "columns": [["picture", null]], "options": {}}'):
        model.metadata["fastbp.preprocessor"] = text
        with pytest.raises(ExchangeError, match=r"'fastbp.preprocessor' cannot be read: .*use another copy"):
            exchange.to_numpy(model, path)
    assert not path.exists()


def square():
    return CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square")


REFUSED = {
    "custom activation": (lambda p: exchange.to_numpy(Sequential([Dense(3, square())], input_size=2), p), "'square'"),
    "no weights": (lambda p: exchange.to_numpy(Sequential([Dense(3)]), p), "to_numpy needs the weights"),
    "suffix": (lambda p: exchange.to_numpy(make("frozen"), p.with_name("net.npz")), "must name a module.*'net.npz'"),
    "dash": (lambda p: exchange.to_numpy(make("frozen"), p.with_name("my-net.py")), "such as net.py, got 'my-net.py'"),
    "keyword": (lambda p: exchange.to_numpy(make("frozen"), p.with_name("class.py")), "such as net.py, got 'class.py'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_exports_are_refused(case, path, tmp_path):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call(path)
    assert not list(tmp_path.iterdir())


def test_unsupported_layer_is_named(monkeypatch, path):
    monkeypatch.delitem(numpy_module.LAYERS, fastbp.BatchNorm)
    with pytest.raises(ExchangeError, match=r"a module of NumPy must be given .* got layer 0, BatchNorm\(6\)"):
        exchange.to_numpy(make("BatchNorm"), path)
