"""scikit-learn's MLPs: the same predictions in both directions; fitted estimators that can be trained further."""

import pickle
import sys

import numpy as np
import pytest

import fastbp
from fastbp import Activation, BatchNorm, Dense, Dropout, GaussianNoise, LayerNorm, Sequential, exchange
from fastbp.exchange import ExchangeError
from tests.exchange.cases import assert_close, assert_same_weights

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

X = np.random.default_rng(0).normal(size=(90, 4))
LABELS = {
    "binary": np.where(X[:, 0] > 0, "yes", "no"),
    "multiclass": np.digitize(X[:, 0], [-0.5, 0.5]) * 10,
    "multilabel": (X[:, :3] > 0).astype(int),
}
TARGETS = {"one target": X[:, 0] * 2, "several targets": X[:, :2] + 1}
EXTRA = dict.fromkeys(("sigmoid", "softmax"), 4.0)  # errors of NumPy's exp and SciPy's expit


def fitted(kind, y, activation="relu", dtype="float64", **options):
    options = {"hidden_layer_sizes": [7, 5], "max_iter": 5, "random_state": 0} | options
    with pytest.warns(ConvergenceWarning):
        return kind(activation=activation, **options).fit(X.astype(dtype), y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("y", [*LABELS, *TARGETS])
def test_round_trip(y, activation, dtype):
    classifier = y in LABELS
    mlp = fitted(MLPClassifier if classifier else MLPRegressor, (LABELS | TARGETS)[y], activation, dtype)
    model, rows = exchange.from_sklearn(mlp), X.astype(dtype)
    outputs = mlp.predict_proba(rows) if classifier else mlp.predict(rows)
    outputs = outputs[:, 1:] if y == "binary" else outputs.reshape(len(X), -1)
    assert_close(model, rows, outputs, dtype, EXTRA)
    again = exchange.to_sklearn(model)
    assert type(again) is type(mlp)
    assert (again.activation, again.out_activation_) == (activation, mlp.out_activation_)
    np.testing.assert_array_equal(again.predict(rows), mlp.predict(rows))
    if classifier:
        np.testing.assert_array_equal(again.predict_proba(rows), mlp.predict_proba(rows))
        np.testing.assert_array_equal(again.classes_, mlp.classes_)
    assert again.coefs_[0].dtype == dtype
    assert_same_weights(exchange.from_sklearn(again), model)


OURS = {
    "no hidden layer": ([Dense(3, "softmax")], MLPClassifier),
    "two-unit softmax": ([Dense(6, "tanh"), Dense(2, "softmax")], MLPClassifier),
    "two-unit softmax without bias": ([Dense(6, "tanh"), Dense(2, "softmax", use_bias=False)], MLPClassifier),
    "one sigmoid": ([Dense(6, "relu"), Dense(6, "relu"), Dense(1, "sigmoid")], MLPClassifier),
    "sigmoids": ([Dense(6, "sigmoid"), Dense(4, "sigmoid")], MLPClassifier),
    "no bias": ([Dense(6, "relu", use_bias=False), Dense(2)], MLPRegressor),
    "noise, dropout, separate activations": (
        [GaussianNoise(0.1), Dense(6), Activation("tanh"), Dropout(0.3), Activation("identity"), Dense(1)],
        MLPRegressor,
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", OURS)
def test_estimators_match_converted_models(case, dtype):
    layers, kind = OURS[case]
    model, rows = Sequential(layers, input_size=4, dtype=dtype, seed=1), X.astype(dtype)
    model.set_weights([W + 0.1 for W in model.get_weights()])
    mlp = exchange.to_sklearn(model)
    assert isinstance(mlp, kind)
    outputs = mlp.predict_proba(rows) if kind is MLPClassifier else mlp.predict(rows).reshape(len(X), -1)
    if case == "one sigmoid":
        outputs = outputs[:, 1:]
    if case.startswith("binary"):  # sigmoid(z_1 - z_0): one more rounding of the weights, different for each output
        np.testing.assert_allclose(outputs, model.predict(rows), rtol=50 * np.finfo(dtype).eps)
    else:
        assert_close(model, rows, outputs, dtype, EXTRA)
    assert (mlp.n_features_in_, mlp.n_layers_, mlp.n_iter_, mlp.t_) == (4, len(mlp.coefs_) + 1, 0, 0)


def test_batch_norm_must_be_folded_first():
    model = Sequential([Dense(6), BatchNorm(), Activation("relu"), Dense(2)], input_size=4, dtype="float64")
    model.compile("adam", "mse")
    model.fit(X, X[:, :2], epochs=3)
    with pytest.raises(ExchangeError, match=r"Dense layers only, got layer 1, BatchNorm\(6\): use fastbp.fold"):
        exchange.to_sklearn(model)
    mlp = exchange.to_sklearn(fastbp.fold(model))
    np.testing.assert_allclose(mlp.predict(X), model.predict(X), rtol=1e-12, atol=1e-13)


def test_converted_estimators_can_be_trained_pickled_and_cloned():
    model = exchange.from_sklearn(fitted(MLPClassifier, LABELS["multiclass"]))
    mlp = exchange.to_sklearn(model)
    before = [W.copy() for W in mlp.coefs_]
    score = mlp.score(X, LABELS["multiclass"])
    for _ in range(20):
        mlp.partial_fit(X, LABELS["multiclass"])
    assert mlp.score(X, LABELS["multiclass"]) > score
    assert all((old != W).any() for W, old in zip(mlp.coefs_, before, strict=True))
    assert len(mlp.loss_curve_) == 20
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(mlp)).predict(X), mlp.predict(X))
    assert not hasattr(clone(mlp), "coefs_")


def test_converted_model_can_be_trained():
    mlp = fitted(MLPClassifier, LABELS["multiclass"], max_iter=30)
    model = exchange.from_sklearn(mlp)
    model.compile("adam", "cross_entropy")
    y = LABELS["multiclass"] // 10
    before = model.evaluate(X, y)["loss"]
    model.fit(X, y, epochs=20, batch_size=30)
    assert model.evaluate(X, y)["loss"] < before


def test_classes_come_from_the_model_or_the_argument():
    model = exchange.from_sklearn(fitted(MLPClassifier, LABELS["binary"]))
    assert exchange.to_sklearn(model).classes_.tolist() == ["no", "yes"]
    assert exchange.to_sklearn(model, classes=[False, True]).classes_.tolist() == [False, True]
    model.metadata = {}
    assert exchange.to_sklearn(model).classes_.tolist() == [0, 1]
    for classes in (["b", "a"], ["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="classes must be 2 labels in ascending order, one per output, got"):
            exchange.to_sklearn(model, classes=classes)


REFUSED = {
    **{
        name: (lambda name=name: [Dense(3, name), Dense(1)], f"scikit-learn has .* but layer 0, .* has '{name}'")
        for name in ("softsign", "relu6", "celu", "hard_swish")
    },
    "activations": (lambda: [Dense(3, "relu"), Dense(3, "tanh"), Dense(1)], "one activation for all .* relu, tanh"),
    "activation": (lambda: [Dense(3, "gelu"), Dense(1)], r"scikit-learn has .* but layer 0, Dense\(3\) has 'gelu'"),
    "output": (lambda: [Dense(3, "relu"), Dense(1, "tanh")], "scikit-learn's output has .* layer 1, .* 'tanh'"),
    "layer": (lambda: [LayerNorm(), Dense(1)], r"got layer 0, LayerNorm\(4\)"),
    "residual block": (lambda: [fastbp.Residual([Dense(4)]), Dense(1)], r"got layer 0, Residual\(4\)"),
    "custom activation": (
        lambda: [Dense(3, fastbp.CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square")), Dense(1)],
        "does not support custom functions, but layer 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_unsupported_models_are_refused(case):
    layers, message = REFUSED[case]
    with pytest.raises(ExchangeError, match=message):
        exchange.to_sklearn(Sequential(layers(), input_size=4))


def test_invalid_calls_are_refused(monkeypatch):
    with pytest.raises(TypeError, match="takes an MLPClassifier or an MLPRegressor, got list"):
        exchange.from_sklearn([])
    with pytest.raises(ExchangeError, match="fitted estimator"):
        exchange.from_sklearn(MLPRegressor())
    mlp = fitted(MLPRegressor, TARGETS["one target"])
    mlp.out_activation_ = "exp"
    with pytest.raises(ExchangeError, match=r"knows the activations identity, .* layer 2 has 'exp'"):
        exchange.from_sklearn(mlp)
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    for call in (exchange.from_sklearn, exchange.to_sklearn):
        with pytest.raises(ImportError, match=r'needs sklearn, which is missing: pip install "fastbp\[sklearn\]"'):
            call(mlp)
