"""`fastbp export` of models with preprocessing: raw rows in, labels or units out, or a last line on what is missing."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import csv
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Preprocessor, Sequential
from fastbp.cli.commands import main

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras
N = 40
rng = np.random.default_rng(0)
HEIGHT, YEAR = 170 + 10 * rng.normal(size=N), rng.integers(1900, 2025, N)
ROWS = np.column_stack([HEIGHT, YEAR]).astype(np.float64)
LABELS = np.where(rng.normal(size=N) > 0, "tall", "short")
LETTERS = np.where(rng.normal(size=N) > 0, "a", "b")
KINDS = {
    "strings": (LABELS, None),
    "integers": (np.where(LABELS == "tall", 7, 3), None),
    "reordered classes": (LABELS, ("tall", "short")),
    "three classes": (np.arange(N) % 3, None),
    "regression": (HEIGHT * 100 + 5, None),
    "two targets": (np.column_stack([HEIGHT * 100, YEAR * 0.001]), None),
}


def save_model(y, classes=None, table=None, activation=None, units=None):
    """An untrained model with its preprocessor, saved as m.safetensors."""
    preprocessor = Preprocessor(classes=classes).fit({"height": HEIGHT, "year": YEAR} if table is None else table, y)
    last = activation or ("softmax" if preprocessor.classes else "identity")
    inputs = len(preprocessor.feature_names)
    model = Sequential([Dense(5, "tanh"), Dense(units or preprocessor.n_outputs, last)], input_size=inputs, seed=1)
    model.metadata |= preprocessor.to_metadata()
    model.save("m.safetensors")
    return model, preprocessor


def run_export(to, capsys):
    ending = {"sklearn": "joblib", "torch": "pt"}.get(to, to)
    Path(f"m.{ending}").unlink(missing_ok=True)  # the default output is never overwritten
    assert main(["export", "m.safetensors", "--to", to]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"wrote m.{ending}, ")
    return f"m.{ending}", lines[-1]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_takes_raw_rows_and_returns_labels_or_units(kind, capsys):
    model, preprocessor = save_model(*KINDS[kind])
    path, line = run_export("onnx", capsys)
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    outputs, predictions = session.run(None, {"input": ROWS})
    expected = model.predict(preprocessor.transform(ROWS))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    wanted = preprocessor.inverse_target(expected)
    if preprocessor.classes:
        assert predictions.tolist() == wanted.tolist()
    else:
        np.testing.assert_allclose(predictions, wanted.reshape(N, -1), rtol=1e-5)
    assert "columns height, year in this order" in line


def test_onnx_imputes_missing_numbers(capsys):
    gaps = HEIGHT.copy()
    gaps[3] = np.nan
    preprocessor = Preprocessor(missing_indicator=False).fit({"height": gaps, "year": YEAR}, LABELS)
    model = Sequential([Dense(2, "softmax")], input_size=2)
    model.metadata |= preprocessor.to_metadata()
    model.save("m.safetensors")
    rows = np.column_stack([gaps, YEAR])
    outputs = model.predict(preprocessor.transform(rows))
    session = pytest.importorskip("onnxruntime").InferenceSession(run_export("onnx", capsys)[0])
    np.testing.assert_allclose(session.run(["output"], {"input": rows})[0], outputs, atol=1e-6)
    pipeline = pytest.importorskip("joblib").load(run_export("sklearn", capsys)[0])
    np.testing.assert_allclose(pipeline.predict_proba(rows), outputs, atol=1e-5)


def test_onnx_labels_for_one_sigmoid(capsys):
    model, preprocessor = save_model(LABELS, activation="sigmoid", units=1)
    session = pytest.importorskip("onnxruntime").InferenceSession(run_export("onnx", capsys)[0])
    wanted = preprocessor.inverse_target(model.predict(preprocessor.transform(ROWS)))
    assert session.run(["label"], {"input": ROWS})[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_sklearn_export_is_a_pipeline(kind, capsys):
    model, preprocessor = save_model(*KINDS[kind])
    path, _ = run_export("sklearn", capsys)
    pipeline = pytest.importorskip("joblib").load(path)
    outputs = model.predict(preprocessor.transform(ROWS))
    wanted = preprocessor.inverse_target(outputs)
    if preprocessor.classes:
        assert pipeline.predict(ROWS).tolist() == wanted.tolist()
        assert list(pipeline.classes_) == sorted(preprocessor.classes)
    else:
        np.testing.assert_allclose(pipeline.predict(ROWS), wanted, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_keras_scales_and_last_line_lists_the_classes(kind, capsys):
    model, preprocessor = save_model(*KINDS[kind])
    path, line = run_export("keras", capsys)
    found = pytest.importorskip("keras").models.load_model(path)(ROWS.astype(np.float32)).detach().numpy()
    wanted = model.predict(preprocessor.transform(ROWS))
    if preprocessor.classes:
        assert ", ".join(map(str, preprocessor.classes)) in line
    else:
        wanted = preprocessor.inverse_target(wanted).reshape(N, -1)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)  # float32 of years


def test_last_line_says_what_a_format_leaves_out(capsys):
    save_model(LABELS)
    _, line = run_export("torch", capsys)
    assert "first prepare (scale and encode) rows by fastbp.Preprocessor.of(fastbp.load('m.safetensors'))" in line
    assert "classes short, tall" in line
    save_model(KINDS["regression"][0])
    assert "prediction = output * [" in run_export("torch", capsys)[1]
    save_model(LABELS, table={"height": HEIGHT, "letter": LETTERS})
    for to in ("onnx", "sklearn", "keras", "torch"):
        assert "first prepare" in run_export(to, capsys)[1]
    save_model(HEIGHT, activation="softplus")
    for to in ("keras", "torch"):
        assert "prediction = output * [" in run_export(to, capsys)[1]


def test_labels_are_exported_without_scaling(capsys):
    model, preprocessor = save_model(LABELS, table={"height": HEIGHT, "letter": LETTERS})
    features = preprocessor.transform({"height": HEIGHT, "letter": LETTERS})
    wanted = preprocessor.inverse_target(model.predict(features)).tolist()
    mlp = pytest.importorskip("joblib").load(run_export("sklearn", capsys)[0])
    assert mlp.predict(features).tolist() == wanted
    session = pytest.importorskip("onnxruntime").InferenceSession(run_export("onnx", capsys)[0])
    assert session.run(["label"], {"input": features})[0].tolist() == wanted


# ---------------------------------------------------------------- fastbp predict --proba


@pytest.mark.parametrize("one", [False, True])
def test_proba_writes_class_probabilities(one, capsys):
    labels = np.where(LABELS == "tall", 'ta"ll, very', "short")
    model, preprocessor = save_model(labels, activation="sigmoid" if one else "softmax", units=1 if one else 2)
    np.savez("rows.npz", X=ROWS, y=labels)
    outputs = model.predict(preprocessor.transform(ROWS))
    probabilities = np.hstack([1 - outputs, outputs]) if one else outputs
    for output in ("p.csv", "p.npy", "p.npz"):
        assert main(["predict", "m.safetensors", "rows.npz", "--proba", "-o", output]) == 0
    with open("p.csv", newline="") as file:
        names, *lines = csv.reader(file)
    assert names == ["prediction", "probability_short", 'probability_ta"ll, very']
    assert [line[0] for line in lines] == preprocessor.inverse_target(outputs).tolist()
    np.testing.assert_allclose(np.array([line[1:] for line in lines], float), probabilities)
    np.testing.assert_array_equal(np.load("p.npy"), probabilities)
    with np.load("p.npz") as archive:
        np.testing.assert_array_equal(archive["probability"], probabilities)
        assert archive["classes"].tolist() == ["short", 'ta"ll, very']
    capsys.readouterr()
    assert main(["predict", "m.safetensors", "rows.npz", "--proba"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("prediction,probability_short,")


@pytest.mark.parametrize(("y", "activation"), [(HEIGHT, None), (LABELS, "identity")])
def test_proba_needs_probabilities(y, activation, capsys):
    save_model(y, activation=activation)
    np.savez("rows.npz", X=ROWS, y=y)
    assert main(["predict", "m.safetensors", "rows.npz", "--proba"]) == 2
    assert "--proba needs a" in capsys.readouterr().err


def test_exports_without_target(capsys):
    preprocessor = Preprocessor().fit(ROWS)
    model = Sequential([Dense(1)], input_size=2)
    model.metadata |= preprocessor.to_metadata()
    model.save("m.safetensors")
    for to in ("onnx", "sklearn", "keras", "torch"):
        run_export(to, capsys)
    assert fastbp.load("m.safetensors").input_size == 2
