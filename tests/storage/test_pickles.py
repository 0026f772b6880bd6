"""Pickles and copies: training continues unchanged, versions are checked, missing parts are named."""

import copy
import dataclasses
import io
import math
import pickle
import sys
import types

import cloudpickle
import joblib
import numpy as np
import pytest

import fastbp
from fastbp import (
    Activation,
    BatchNorm,
    CheckpointError,
    CustomActivation,
    CustomLoss,
    Dense,
    Dropout,
    GaussianNoise,
    LayerNorm,
    Residual,
    Scale,
    Sequential,
)
from fastbp.model import sequential
from tests.engine.cases import run_python

X = np.random.default_rng(1).normal(size=(24, 3))
Y = X[:, :2] * 2


def squash(z):
    return math.tanh(z)


def squash_derivative(z):
    return 1 - math.tanh(z) ** 2


def squared(a, y):
    return (a - y) ** 2


def squared_derivative(a, y):
    return 2 * (a - y)


def inverse_decay(steps):
    return 0.1 / (1 + steps)


@dataclasses.dataclass(frozen=True)
class Spread:
    """A custom initializer."""

    size: float

    def __call__(self, rng, shape, dtype):
        return rng.normal(0, self.size, shape).astype(dtype)


EVERY_LAYER = [
    GaussianNoise(0.1), Dense(6, "tanh", kernel_regularizer="l2", kernel_constraint=fastbp.MaxNorm(2)), BatchNorm(),
    Activation("relu"), Residual([LayerNorm(), Dense(5, fastbp.ELU(0.5)), Dropout(0.2)]), Scale(),
    fastbp.PeriodicEmbedding(2, 3, [1, 0]), fastbp.PiecewiseLinearEmbedding({2: (0.0, 1.0)}, 2),
    fastbp.PReLU(0.1), fastbp.ParametricActivation(fastbp.ELU(0.3), 0.5),
    Dense(2),
]  # fmt: skip
MODELS = {
    "every layer": (EVERY_LAYER, "adam", "mse"),
    "states": (EVERY_LAYER, fastbp.AdamW(1e-2, use_ema=True, gradient_accumulation_steps=2, amsgrad=True), "huber"),
    "schedule": (EVERY_LAYER, fastbp.SGD(fastbp.Warmup(fastbp.CosineDecay(0.1, 30), 5), momentum=0.9), "mse"),
    "custom functions": (
        [Dense(4, CustomActivation(squash, squash_derivative)), Dense(2)], fastbp.SGD(inverse_decay),
        CustomLoss(squared, squared_derivative),
    ),
    "function in a schedule": ([Dense(2)], fastbp.SGD(fastbp.Warmup(inverse_decay, 3)), "mse"),
    "custom initializer": ([Dense(4, kernel_initializer=Spread(0.5)), Dense(2)], "rmsprop", "mse"),
}  # fmt: skip


def build(case, **options):
    layers, optimizer, loss = MODELS[case]
    model = Sequential(layers, seed=4, **options)
    model.compile(optimizer, loss, ["rmse"])
    model.metadata = {"note": "mine"}
    return model


def by_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    **{
        f"protocol {n}": lambda model, n=n: pickle.loads(pickle.dumps(model, n))
        for n in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "cloudpickle": lambda model: pickle.loads(cloudpickle.dumps(model)),
    "joblib": by_joblib,
}


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("how", ["deepcopy", "protocol 5"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_continues_bit_for_bit(case, how, dtype):
    model = build(case, dtype=dtype)
    model.fit(X, Y, batch_size=7, epochs=2)
    model.learning_rate *= 0.5
    other = COPIES[how](model)
    assert repr(other) == repr(model)
    assert (other.metadata, other.learning_rate) == (model.metadata, model.learning_rate)
    assert other._arguments == model._arguments
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert other.fit(X, Y, batch_size=7, epochs=3).history == model.fit(X, Y, batch_size=7, epochs=3).history
    for W, V in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(W, V)
    for states, others in zip(model._engine.get_state(), other._engine.get_state(), strict=True):
        for S, T in zip(states, others, strict=True):
            np.testing.assert_array_equal(S, T)


@pytest.mark.parametrize("how", COPIES)
def test_every_copy_trains_the_same_and_independently(how):
    model = build("every layer")
    model.fit(X, Y, batch_size=7, epochs=2)
    other = COPIES[how](model)
    before = other.predict(X)
    assert other.fit(X, Y).history == copy.deepcopy(model).fit(X, Y).history  # the copy shares nothing with the model
    np.testing.assert_array_equal(model.predict(X), before)


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("compiled", [True, False])
def test_model_without_weights_round_trips(case, compiled):
    model = build(case) if compiled else Sequential(MODELS[case][0], seed=4)
    other = pickle.loads(pickle.dumps(model))
    assert other.input_size is None
    assert repr(other) == repr(model)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert other.compiled is compiled


def test_pickle_has_plain_values_and_one_name_of_fastbp():
    function, (state,) = build("states", input_size=3).__reduce__()
    assert function is sequential.restored
    assert state["versions"] == {
        "fastbp": fastbp.__version__, "numpy": np.__version__, "numba": __import__("numba").__version__
    }  # fmt: skip
    names = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            names.add(f"{module}.{name}")
            return super().find_class(module, name)

    Reader(io.BytesIO(pickle.dumps(build("states", input_size=3)))).load()
    assert {name for name in names if name.startswith("fastbp")} == {"fastbp.model.sequential.restored"}


def lambdas():
    model = Sequential([Dense(2, CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square"))], input_size=3)
    model.compile(fastbp.SGD(lambda steps: 0.1 / (1 + steps)), "mse")
    return model


def test_cloudpickle_accepts_lambdas():
    model = lambdas()
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(model)
    for other in (pickle.loads(cloudpickle.dumps(model)), copy.deepcopy(model)):
        assert other.fit(X, Y, batch_size=5).history == copy.deepcopy(model).fit(X, Y, batch_size=5).history


MAIN = """
import math, pickle, sys, cloudpickle, fastbp

def cube(z):
    return z * z * z

def slope(z):
    return 3 * z * z

own = fastbp.CustomActivation(cube, slope)
model = fastbp.Sequential([fastbp.Dense(1, own, kernel_initializer=fastbp.initializers.Constant(1.0))], input_size=1)
sys.stdout.write(cloudpickle.dumps(model).hex())
"""


def test_cloudpickle_carries_functions_of_a_script():
    model = pickle.loads(bytes.fromhex(run_python("-c", MAIN).stdout))
    assert model.predict([[2.0]]).item() == 8


@pytest.fixture
def module(monkeypatch):
    """A user's module with an activation function and its derivative."""
    result = types.ModuleType("mine")
    exec("def cube(z):\n    return z * z * z\ndef slope(z):\n    return 3 * z * z\n", vars(result))
    monkeypatch.setitem(sys.modules, "mine", result)
    return result


def test_missing_function_is_named(module, monkeypatch):
    model = Sequential([Dense(2, CustomActivation(module.cube, module.slope))], input_size=3)
    text = pickle.dumps(model)
    assert pickle.loads(text).layers[0].activation == model.layers[0].activation
    vars(module).pop("slope")
    with pytest.raises(
        CheckpointError, match=r"needs mine.slope for the CustomActivation 'cube', which is not found her"
    ):
        pickle.loads(text)
    monkeypatch.setitem(sys.modules, "mine", None)
    with pytest.raises(CheckpointError, match=r"needs mine\.cube .*: make it importable, as it was where"):
        pickle.loads(text)


def test_functions_registered_by_value_are_in_the_pickle(module, monkeypatch):
    model = Sequential([Dense(2, CustomActivation(module.cube, module.slope))], input_size=3)
    cloudpickle.register_pickle_by_value(module)
    try:
        text = cloudpickle.dumps(model)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    expected = model.predict(X)
    monkeypatch.setitem(sys.modules, "mine", None)
    np.testing.assert_array_equal(pickle.loads(text).predict(X), expected)


def pickled_with(change):
    function, (state,) = build("every layer", input_size=3).__reduce__()
    change(state)
    return pickle.dumps(Raw(function, state))


class Raw:
    """Pickled as a function call."""

    def __init__(self, function, state):
        self.call = function, (state,)

    def __reduce__(self):
        return self.call


UNREADABLE = {
    "a later format": (
        lambda s: s.update(format=2, versions={"fastbp": "9.9"}),
        r"of fastbp 9\.9, has the format 2, but this fastbp, 0\.1\.0, reads format 1: upgrade .*Sequential.save",
    ),
    "no format": (lambda s: s.clear(), "of fastbp an unknown version, has the format None"),
    "an unknown layer": (
        lambda s: s["model"]["layers"].append({"class": "layers.Spline", "config": {}}), "'layers.Spline', .* upgrade"),
    "a missing tensor": (lambda s: s["tensors"].pop("1.bias"), "lacks the tensor '1.bias'"),
    "another shape": (lambda s: s["tensors"].update({"1.bias": np.zeros(9, "f4")}), r"'1.bias' is float32 \(9,\)"),
    "an invalid object": (lambda s: s["model"]["optimizer"].update(object=5), "an invalid object"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_unreadable_pickle_says_why(case):
    change, text = UNREADABLE[case]
    with pytest.raises(CheckpointError, match=text):
        pickle.loads(pickled_with(change))


def test_file_cannot_refer_to_objects(tmp_path):
    """A reference to a pickled object counts as damage in a file."""
    with pytest.raises(CheckpointError):
        fastbp.storage.configs.from_config({"object": 0})


def test_pickles_of_the_first_release_load():
    """They contain a Snapshot, and name the function that makes a model of it."""
    model = build("every layer")
    model.fit(X, Y)
    text = pickle.dumps(Raw(fastbp.Sequential.from_snapshot, model.snapshot()))
    np.testing.assert_array_equal(pickle.loads(text).predict(X), model.predict(X))
