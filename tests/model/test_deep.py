"""Depth: what lets 200 layers learn, what does not, and how an exploding network is diagnosed and fixed."""

import math
import warnings

import pytest

import fastbp
from fastbp import SGD, Adam, BatchNorm, CosineDecay, Dense, LayerNorm, Residual, Sequential
from fastbp.datasets import load_named

DIGITS = load_named("digits")  # 20 % are held out
X, X_TEST = DIGITS.x_train / DIGITS.scale, DIGITS.x_test / DIGITS.scale
WIDTH, DEPTH = 64, 200
EPOCHS, BATCH_SIZE = 12, 32
STEPS = EPOCHS * math.ceil(len(X) / BATCH_SIZE)

pytestmark = pytest.mark.jit


def relu():
    return Dense(WIDTH, "relu", kernel_initializer="he_normal")


def compiled(hidden, optimizer):
    model = Sequential([*hidden, Dense(10, "softmax")], input_size=X.shape[1])
    model.compile(optimizer, "cross_entropy", ["accuracy"])
    return model


def fit(model):
    return model.fit(X, DIGITS.y_train, batch_size=BATCH_SIZE, epochs=EPOCHS)


def diagnose(model):
    return fastbp.diagnose(model, X, DIGITS.y_train)


def accuracy(model):
    return model.evaluate(X_TEST, DIGITS.y_test)["accuracy"]


def adam():
    return Adam(CosineDecay(2e-3, STEPS))


@pytest.mark.parametrize("norm", [LayerNorm, BatchNorm])
def test_200_layers_learn_with_residual_blocks_and_normalization(norm):
    hidden = [Dense(WIDTH), *[Residual([norm(), relu()]) for _ in range(DEPTH - 2)], norm()]
    model = compiled(hidden, adam())
    assert sum(array.ndim == 2 for array in model.get_weights()) == DEPTH
    fit(model)
    assert accuracy(model) >= 0.96
    assert diagnose(model).healthy


def test_200_sigmoid_layers_learn_nothing_and_are_diagnosed_as_vanishing():
    model = compiled([Dense(WIDTH, "sigmoid")] * (DEPTH - 1), adam())
    before = diagnose(model)
    history = fit(model)
    # chance level: all ten classes are about equally frequent
    assert accuracy(model) < 0.15
    assert history.history["loss"][-1] == pytest.approx(math.log(10), abs=0.01)
    for found in (before, diagnose(model)):
        assert found.verdict == "vanishing"
        assert set(range(DEPTH - 10)) <= set(found.ill("vanishing"))
        assert found.findings[0].startswith("vanishing: layers 0–")
        assert "(Dense(64, sigmoid))" in found.findings[0]


def growing():
    """Without normalization, F(X) is as large as X, and each of 30 blocks scales A = X + F(X) by sqrt 2."""
    return [Dense(WIDTH), *[Residual([relu()]) for _ in range(30)]]


@pytest.mark.parametrize("learning_rate", [1.0, 0.01])
def test_exploding_network_is_diagnosed_and_diverges(learning_rate):
    model = compiled(growing(), SGD(learning_rate))
    found = diagnose(model)
    assert found.verdict == "exploding"
    assert {0, 1, 59, 60} <= set(found.ill("exploding"))  # the lowest by their gradients, the highest by activations
    assert found.findings[0].startswith("exploding: layers 0 (Dense(64, identity)), 1, 3, …, ")
    assert "clip gradients by their global norm" in found.findings[0]
    with pytest.warns(fastbp.DivergenceWarning):
        fit(model)
    assert diagnose(model).verdict == "exploding"


def test_clipping_by_global_norm_stabilizes_an_exploding_network():
    model = compiled(growing(), SGD(CosineDecay(1.0, STEPS), global_clipnorm=1.0))
    assert diagnose(model).verdict == "exploding"
    with warnings.catch_warnings(action="error", category=fastbp.DivergenceWarning):
        fit(model)
    assert accuracy(model) >= 0.95
    assert diagnose(model).healthy
