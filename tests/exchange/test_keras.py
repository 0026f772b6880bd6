"""Keras 3 on PyTorch: models compute the same outputs, in both directions and through .keras files."""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

import fastbp
from fastbp import (
    Activation,
    BatchNorm,
    CustomActivation,
    Dense,
    Dropout,
    GaussianNoise,
    LayerNorm,
    Residual,
    Scale,
    Sequential,
    exchange,
)
from fastbp.exchange import ExchangeError, keras_models
from tests.exchange.cases import CASES, INPUTS, assert_close, assert_same_weights, make, rows

keras = pytest.importorskip("keras")
layers, ops = keras.layers, keras.ops

# Keras multiplies float64 in float32, except with the TensorFlow backend: its outputs get the bound of float32.
# Its functions are PyTorch's; some are composed of others, and softplus is z above 20.
EXTRA = dict.fromkeys(("softplus", "mish", "gelu", "gelu_tanh", "selu", "softmax", "silu"), 4.0)
CANONICAL = {  # an Activation after a Dense without one is merged into it: different layers, the same function
    "two activations", "Activation leaky_relu 0.3", "Activation elu 0.7", "Activation elu 1.5", "single unit",
    "leading identity", "Activation celu 0.5",
}  # fmt: skip


def outputs(model, X):
    return model(X).detach().numpy()  # a PyTorch tensor


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_round_trip(case, dtype):
    model = make(case, dtype)
    X = rows("float32").astype(dtype)
    theirs = exchange.to_keras(model)
    assert all(weight.dtype == dtype for weight in theirs.weights)
    assert theirs.output_shape == (None, model.output_size)
    again = exchange.from_keras(theirs, seed=3)
    assert_same_weights(model, again)
    if case not in CANONICAL:
        assert repr(again) == repr(model)
    if dtype == "float32":
        assert_close(model, X, outputs(theirs, X), dtype, EXTRA)
    else:
        weights = [W.astype("float32").astype("float64") for W in model.get_weights()]  # as Keras uses them
        model.set_weights(weights)
        short = Sequential(model.layers, input_size=INPUTS)
        short.set_weights(weights)
        assert_close(short, X.astype("float32"), outputs(exchange.to_keras(model), X), "float32", EXTRA)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by Keras on save
@pytest.mark.parametrize(
    "case", ["deep", "nested blocks", "ParametricActivation", "Dense gelu_tanh", "Activation elu 0.7", "frozen"]
)
def test_round_trip_through_a_keras_file(case, tmp_path):
    model, X = make(case), rows()
    theirs = exchange.to_keras(model)
    theirs.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(loaded, X), outputs(theirs, X))
    assert_same_weights(exchange.from_keras(loaded), model)


def test_layer_arguments_are_converted():
    dense = Dense(3, kernel_regularizer=fastbp.L1L2(0.125, 0.5), kernel_constraint=fastbp.MaxNorm(1.5), trainable=False)
    model = Sequential([BatchNorm(0.25, 1e-3), dense, LayerNorm(1e-4), Dense(1, kernel_regularizer="l1")], input_size=2)
    theirs = exchange.to_keras(model)
    norm, first, rows_norm, last = theirs.layers[1:]
    assert (norm.momentum, norm.epsilon, rows_norm.epsilon, first.trainable) == (0.75, 1e-3, 1e-4, False)
    assert first.kernel_regularizer(np.array([[1.0, -2.0]])).item() == pytest.approx(3 / 8 + 5 / 2)
    assert (first.kernel_constraint.max_value, first.kernel_constraint.axis) == (1.5, 0)
    assert last.kernel_regularizer.get_config()["l1"] == pytest.approx(0.01)
    again = exchange.from_keras(theirs)
    assert again.layers[:3] == model.layers[:3]
    assert again.layers[3].kernel_regularizer.l1 == pytest.approx(0.01)
    assert (
        exchange.from_keras(exchange.to_keras(Sequential([BatchNorm(), Dense(1)], input_size=2))).layers[0]
        == BatchNorm()
    )


def test_converted_model_can_be_trained():
    model = exchange.to_keras(make("Residual"))
    model.compile("adam", "mse")
    X = rows()
    before = model.evaluate(X, X[:, :1] * np.ones((1, 7)), verbose=0)
    model.fit(X, X[:, :1] * np.ones((1, 7)), epochs=2, verbose=0)
    assert model.evaluate(X, X[:, :1] * np.ones((1, 7)), verbose=0) < before


# ---------------------------------------------------------------- models made with Keras


def functional():
    """Blocks with and without a projection, a sum by operator, a nested model, activations in every form."""
    x = keras.Input((2, 3))
    h = layers.Flatten()(x)
    h = keras.Sequential([layers.Dense(8, "swish"), layers.BatchNormalization(momentum=0.9)])(h)
    a = layers.LeakyReLU(negative_slope=0.3)(layers.Dense(8, "leaky_relu")(h))
    h = h + layers.Dropout(0.1)(a)
    b = layers.Dense(5, "elu")(layers.LayerNormalization()(h))
    h = layers.Add()([layers.ReLU(negative_slope=0.1)(b), layers.Dense(5, use_bias=False)(h)])
    h = ops.tanh(layers.GaussianNoise(0.1)(layers.ELU(alpha=0.5)(h)))
    return keras.Model(x, layers.Softmax()(layers.Dense(3)(layers.Identity()(h))))


def test_functional_model_is_read():
    keras.utils.set_random_seed(0)
    theirs = functional()
    model, X = exchange.from_keras(theirs), rows()
    assert_close(model, X, outputs(theirs, X.reshape(-1, 2, 3)), "float32", EXTRA)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Dense", "BatchNorm", "Residual", "Residual", "Activation", "GaussianNoise", "Activation", "Dense"]
    assert model.layers[1] == BatchNorm(0.1, 1e-3)
    assert repr(model.layers[2].layers) == repr(
        (Dense(8, fastbp.LeakyReLU(0.2)), Activation(fastbp.LeakyReLU(0.3)), Dropout(0.1))
    )
    assert model.layers[-1].activation.name == "softmax"


READ = {
    "relu": (lambda: layers.ReLU(), [Activation("relu")]),
    "mish": (lambda: layers.Activation("mish"), [Activation("mish")]),
    "linear": (lambda: layers.Activation("linear"), []),
    "gelu": (lambda: layers.Activation("gelu"), [Activation("gelu")]),
    "leaky relu": (lambda: layers.Activation("leaky_relu"), [Activation(fastbp.LeakyReLU(0.2))]),
    "celu": (lambda: layers.Activation("celu"), [Activation(fastbp.CELU(1.0))]),
    "hard swish": (lambda: layers.Activation("hard_swish"), [Activation("hard_swish")]),
    "elu": (lambda: layers.ELU(alpha=0.25), [Activation(fastbp.ELU(0.25))]),
    "dropout": (lambda: layers.Dropout(0.25), [Dropout(0.25)]),
    "noise": (lambda: layers.GaussianNoise(0.25), [GaussianNoise(0.25)]),
    "prelu": (lambda: layers.PReLU(), [fastbp.PReLU()]),
    "frozen prelu": (lambda: layers.PReLU(trainable=False), [fastbp.PReLU(trainable=False)]),
    "scale": (lambda: layers.EinsumDense("ab,b->ab", 3, activation="tanh"), [Scale(), Activation("tanh")]),
    "frozen scale": (lambda: layers.EinsumDense("ab,b->ab", 3, trainable=False), [Scale(trainable=False)]),
    "frozen": (lambda: layers.LayerNormalization(trainable=False), [LayerNorm(1e-3, trainable=False)]),
    "no affine weights": (
        lambda: layers.BatchNormalization(center=False, scale=False, trainable=False),
        [BatchNorm(0.01, 1e-3, trainable=False)],
    ),
}


@pytest.mark.parametrize("case", READ)
def test_layers_are_read(case):
    layer, expected = READ[case]
    theirs = keras.Sequential(
        [keras.Input((3,)), layers.BatchNormalization(), layers.Flatten(), layer(), layers.Dense(2)]
    )
    model = exchange.from_keras(theirs)
    assert list(model.layers[1:-1]) == expected


WARNED = {
    "no gamma": (lambda: layers.BatchNormalization(scale=False), "has no gamma or no beta"),
    "bias l2": (lambda: layers.Dense(3, bias_regularizer="l2"), "has a bias_regularizer, which fastbp does not have"),
}


@pytest.mark.parametrize("case", WARNED)
def test_differences_in_training_warn(case):
    layer, message = WARNED[case]
    theirs = keras.Sequential([keras.Input((3,)), layer(), layers.Dense(2)])
    with pytest.warns(UserWarning, match=message):
        model = exchange.from_keras(theirs)
    assert_close(model, rows()[:, :3], outputs(theirs, rows()[:, :3]), "float32")


# ---------------------------------------------------------------- refused models


def chain(*chosen, shape=(4,)):
    return lambda: keras.Sequential([keras.Input(shape), *[layer() for layer in chosen], layers.Dense(2)])


def graph(function):
    def make():
        x = keras.Input((4,))
        return keras.Model(x, function(x))

    return make


def two_inputs():
    a, b = keras.Input((4,)), keras.Input((4,))
    return keras.Model([a, b], layers.Dense(2)(a + b))


def shared(x):
    dense = layers.Dense(4)
    return dense(dense(x))


REFUSED = {
    "not built": (lambda: keras.Sequential([layers.Dense(2)]), "takes a built model with one input and one output"),
    "two inputs": (two_inputs, "has 2 and 1"),
    "two outputs": (graph(lambda x: [layers.Dense(2)(x), layers.Dense(2)(x)]), "has 1 and 2"),
    "matrix input": (chain(lambda: layers.Dense(3), shape=(4, 5)), r"takes shape \(4, 5\): start with a Flatten"),
    "layer": (chain(lambda: layers.UnitNormalization()), "reads Dense, .* but 'unit_norm.*' is UnitNorm"),
    "custom activation": (chain(lambda: layers.Dense(3, activation=lambda x: x * 2)), "has the activation '<lambda>'"),
    "activation": (chain(lambda: layers.Dense(3, activation="hard_sigmoid")), "activation 'hard_sigmoid'.*one of"),
    "operation": (graph(lambda x: layers.Dense(2)(ops.exp(x))), "is Exp"),
    "bounded relu": (chain(lambda: layers.ReLU(max_value=6)), "max_value=6"),
    "matrix product": (chain(lambda: layers.EinsumDense("ab,bc->ac", 3)), "computes 'ab,bc->ac', .* or a Dense"),
    "scale with a bias": (chain(lambda: layers.EinsumDense("ab,b->ab", 4, bias_axes="b")), "without bias_axes"),
    "prelu with a penalty": (
        chain(lambda: layers.PReLU(alpha_regularizer="l2")), "has a regularizer or a constraint"
    ),
    "scale with a penalty": (
        chain(lambda: layers.EinsumDense("ab,b->ab", 4, kernel_regularizer="l2")), "has a regularizer or a constraint"
    ),
    "penalty": (
        chain(lambda: layers.Dense(3, kernel_regularizer=keras.regularizers.OrthogonalRegularizer())), "OrthogonalRegu"
    ),
    "constraint": (chain(lambda: layers.Dense(3, kernel_constraint="non_neg")), "kernel_constraint NonNeg"),
    "shared weights": (graph(shared), "is called more than once"),
    "Multiply": (graph(lambda x: layers.Multiply()([layers.Dense(4)(x), x])), "is Multiply"),
    "sum of three": (graph(lambda x: layers.Add()([layers.Dense(4)(x), x, x])), "two inputs"),
    "two branches": (graph(lambda x: layers.Add()([layers.Dense(4)(x), layers.Dense(4)(x)])), r"a sum must be X \+ F"),
    "noise shape": (chain(lambda: layers.Dropout(0.5, noise_shape=(None, 1))), "noise_shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_unsupported_models_are_refused(case):
    theirs, message = REFUSED[case]
    with pytest.raises(ExchangeError, match=message):
        exchange.from_keras(theirs())


def test_invalid_calls_are_refused(monkeypatch):
    own = CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square")
    with pytest.raises(ExchangeError, match=r"Keras does not support custom functions, but layer 0"):
        exchange.to_keras(Sequential([Dense(5, own)], input_size=3))
    with pytest.raises(TypeError, match=r"takes a keras.Model, got list"):
        exchange.from_keras([])
    with pytest.raises(ValueError, match="to_keras needs the weights"):
        exchange.to_keras(Sequential([Dense(2)]))
    monkeypatch.delitem(keras_models.LAYERS, Residual)
    with pytest.raises(ExchangeError, match=r"Keras must be given .* got layer 0, Residual\(7\)"):
        exchange.to_keras(Sequential([Residual([Dense(7)]), Dense(1)], input_size=7))
    monkeypatch.setitem(sys.modules, "keras", None)
    for call in (exchange.to_keras, exchange.from_keras):
        with pytest.raises(ImportError, match=r'needs keras, which is missing: pip install "fastbp\[keras\]"'):
            call(make("frozen"))
