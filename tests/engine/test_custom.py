"""User-defined losses and activations: they train like the built-in ones they imitate, survive saving and copying, and
do not recompile the engine; invalid ones are refused.
"""

from __future__ import annotations

import copy
import math
import pickle

import numba
import numpy as np
import pytest

import fastbp
import fastbp.kernels
from fastbp import CheckpointError, CustomActivation, CustomLoss, Dense, LeakyReLU, Sequential, activations, losses
from fastbp.engine.engine import Engine
from fastbp.reference import ReferenceEngine
from fastbp.spec import LayerSpec
from tests.engine.cases import make_engine, run_python, spec

N = 40
X = np.random.default_rng(8).normal(size=(N, 3)).astype(np.float32)
Y = np.random.default_rng(9).normal(size=(N, 2)).astype(np.float32)


def squared(a, y):
    return (a - y) ** 2


def squared_slope(a, y):
    return 2 * (a - y)


def squash(z):
    return math.tanh(z)


def squash_slope(z):
    return 1 - math.tanh(z) ** 2


def leak(z):
    return z if z > 0 else 0.25 * z


def leak_slope(z):
    return 1.0 if z > 0 else 0.25


CUSTOM_LOSS = CustomLoss(squared, squared_slope)
CUSTOM_TANH = CustomActivation(squash, squash_slope)
CUSTOM_LEAKY = CustomActivation(leak, leak_slope)
OBJECTS = {"squared": CUSTOM_LOSS, "squash": CUSTOM_TANH, "leak": CUSTOM_LEAKY}


def network(custom: bool, dtype: str = "float32", **options) -> Sequential:
    first, second = (CUSTOM_TANH, CUSTOM_LEAKY) if custom else ("tanh", LeakyReLU(0.25))
    model = Sequential([Dense(20, first), Dense(18, second), Dense(2, first)], seed=4, dtype=dtype, **options)
    model.compile("adam", CUSTOM_LOSS if custom else "mse", ["rmse"])
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_matches_built_in_equivalents(dtype: str) -> None:
    custom, built_in = network(True, dtype), network(False, dtype)
    weight = np.arange(N) % 3 + 0.5
    first = custom.fit(X, Y, batch_size=11, epochs=3, sample_weight=weight).history
    second = built_in.fit(X, Y, batch_size=11, epochs=3, sample_weight=weight).history
    # 12 steps of Adam, which divides a gradient by its own magnitude: see test_ten_steps_match_pytorch
    limit = {"float32": 5e-4, "float64": 1e-11}[dtype]
    for name, values in second.items():
        np.testing.assert_allclose(first[name], values, rtol=limit)
    for W, expected in zip(custom.get_weights(), built_in.get_weights(), strict=True):
        np.testing.assert_allclose(W, expected, rtol=limit, atol=limit)
    np.testing.assert_allclose(custom.predict(X), built_in.predict(X), rtol=limit, atol=limit)


@pytest.mark.parametrize("kind", [Engine, ReferenceEngine])
@pytest.mark.parametrize("last", ["identity", "softmax", "tanh"])
def test_custom_loss_is_not_fused_with_the_last_activation(last: str, kind) -> None:
    gradients = []
    for loss in (CUSTOM_LOSS.rule, "mse"):
        engine = make_engine(3, [spec(4, "relu"), spec(2, last)], dtype="float64", kind=kind)
        engine.configure(loss, "sgd")
        gradients.append(engine.gradients(X.astype(float), Y.astype(float)))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-14)
    for dW, expected in zip(gradients[0][1], gradients[1][1], strict=True):
        np.testing.assert_allclose(dW, expected, atol=1e-14)


@pytest.mark.parametrize("kind", [Engine, ReferenceEngine])
def test_network_of_many_custom_activations(kind) -> None:
    """More than there are built-in ones: their entries in the table do not overlap."""
    factors = [0.5 + k / 20 for k in range(15)]
    custom = [CustomActivation(lambda z, f=f: f * z, lambda z, f=f: f + 0 * z, name=f"times {f:g}") for f in factors]
    engine = kind(2, [LayerSpec(2, activation.rule, use_bias=False) for activation in custom], dtype="float64")
    engine.set_weights([np.eye(2) for _ in custom])
    X = np.array([[1.0, -2.0]])
    out = np.empty((1, 2))
    engine.predict(X, out)
    product = math.prod(factors)
    np.testing.assert_allclose(out, product * X, rtol=1e-13)
    engine.configure("mse", "sgd")
    _, gradients = engine.gradients(X, np.zeros((1, 2)))
    np.testing.assert_allclose(gradients[0], np.outer(X, X) * product**2, rtol=1e-12)


@pytest.mark.jit
def test_compiled_functions_are_used_as_they_are() -> None:
    f, slope = numba.njit(squared), numba.njit(squared_slope)
    model = Sequential([Dense(2)], seed=4, dtype="float64")
    model.compile("sgd", CustomLoss(f, slope))
    other = Sequential([Dense(2)], seed=4, dtype="float64")
    other.compile("sgd", CUSTOM_LOSS)
    assert model.evaluate(X, Y) == other.evaluate(X, Y)
    assert f.signatures


@pytest.mark.jit
def test_two_threads_are_bit_identical_to_one() -> None:
    wide = np.random.default_rng(0).normal(size=(600, 200)).astype(np.float32)
    results = []
    for n_threads in (1, 2):
        model = Sequential([Dense(400, CUSTOM_TANH), Dense(2, CUSTOM_LEAKY)], seed=4)
        model.compile("sgd", CUSTOM_LOSS)
        model.fit(wide, wide[:, :2], batch_size=200, epochs=2, n_threads=n_threads)
        results.append(model.get_weights())
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


CACHE_SCRIPT = """
from tests.engine import test_custom as t
from fastbp.kernels import jit
t.network(False).fit(t.X, t.Y)
before = sorted(p.name for p in jit.cache_dir().glob("*/*"))
notice = jit.NOTICE.given
t.network(True).fit(t.X, t.Y)
print(before == sorted(p.name for p in jit.cache_dir().glob("*/*")), notice, jit.NOTICE.given)
"""


@pytest.mark.jit
def test_custom_functions_neither_recompile_the_engine_nor_grow_its_cache() -> None:
    network(True).fit(X, Y)  # puts the compiled engine on disk
    assert run_python("-c", CACHE_SCRIPT).stdout.split() == ["True", "False", "False"]


# ---------------------------------------------------------------- files and copies


def test_loaded_model_resumes_with_custom_functions(tmp_path) -> None:
    model = network(True)
    model.fit(X, Y)
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model", custom_objects=OBJECTS)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.fit(X, Y).history == model.fit(X, Y).history


MISSING = {
    "none": (
        None,
        "the CustomActivation 'squash', whose functions are not saved in files, and custom_objects holds nothing",
    ),
    "no loss": (
        {"squash": CUSTOM_TANH, "leak": CUSTOM_LEAKY},
        "CustomLoss 'squared'.*custom_objects holds 'squash', 'leak'",
    ),
    "wrong class": (OBJECTS | {"squared": CUSTOM_TANH}, r"'squared'.*got CustomActivation\(.* for it"),
    "plain function": (OBJECTS | {"squash": squash}, "'squash'.*got <function squash at .* for it"),
}


@pytest.mark.parametrize("case", MISSING)
def test_missing_custom_object_is_named(case: str, tmp_path) -> None:
    model = network(True, input_size=3)
    model.save(tmp_path / "model")
    objects, message = MISSING[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        fastbp.load(tmp_path / "model", custom_objects=objects)
    assert "pass fastbp.load(path, custom_objects={" in str(caught.value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_train_like_the_model(copied) -> None:
    model = network(True)
    model.fit(X, Y)
    other = copied(model)
    assert model.fit(X, Y).history == other.fit(X, Y).history


def test_low_level_kernels_accept_custom_activations() -> None:
    W, b = np.ones((3, 2), np.float32), np.zeros(2, np.float32)
    A = fastbp.kernels.dense_forward(X, W, b, CUSTOM_TANH)
    expected = fastbp.kernels.dense_forward(X, W, b, "tanh")
    np.testing.assert_allclose(A, expected, rtol=1e-6)
    custom = fastbp.kernels.dense_backward(Y, X, W, A, CUSTOM_TANH, b)
    for got, expected in zip(custom, fastbp.kernels.dense_backward(Y, X, W, A, "tanh"), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5)  # sums of 40 float32 products
    with pytest.raises(ValueError, match="b must be given for 'squash'"):
        fastbp.kernels.dense_backward(Y, X, W, A, CUSTOM_TANH)


# ---------------------------------------------------------------- derivative check


ACCEPTED = {
    "smooth": (math.sin, math.cos),
    "kink": (abs, lambda z: math.copysign(1.0, z)),
    "jumps": (lambda z: z - math.floor(z), lambda z: 1.0),
    "logarithm": (math.log, lambda z: 1 / z),
    "overflow": (lambda z: math.exp(1000 * z), lambda z: 1000 * math.exp(1000 * z)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_kinks_jumps_and_poles_pass_the_check(case: str) -> None:
    function, derivative = ACCEPTED[case]
    assert CustomActivation(function, derivative, name="mine").name == "mine"


def test_straight_through_derivative_needs_check_false() -> None:
    with pytest.raises(ValueError, match=r"derivative must be that of 'round', .* check=False"):
        CustomActivation(round, lambda z: 1.0)
    binary = CustomActivation(lambda z: 1.0 if z > 0 else -1.0, lambda z: 1.0, name="binary", check=False)
    model = Sequential([Dense(4, binary), Dense(2)])
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch(X, Y))


REFUSED = {
    "no function": (lambda: CustomLoss("squared", squared_slope), TypeError, "function must be a function of 2 numbe"),
    "no derivative": (lambda: CustomActivation(squash, None), TypeError, "derivative must be a function of 1 number,"),
    "wrong": (lambda: CustomLoss(squared, lambda a, y: a - y), ValueError, "derivative must be that of 'squared', but"),
    "wrong below 0": (lambda: CustomActivation(leak, lambda z: 1.0), ValueError, "it is 1, where central differences"),
    "wrong sign": (lambda: CustomActivation(squash, lambda z: -squash_slope(z)), ValueError, "derivative must be that"),
    "nowhere finite": (lambda: CustomActivation(lambda z: math.nan, squash_slope), ValueError, "finite somewhere"),
    "name of mse": (lambda: CustomLoss(squared, squared_slope, name="mse"), ValueError, "built-in losses, got 'mse'"),
    "name of tanh": (lambda: CustomActivation(squash, squash_slope, name="tanh"), ValueError, "ions, got 'tanh'"),
    "empty name": (lambda: CustomLoss(squared, squared_slope, name=""), TypeError, "name must be a string"),
    "lambda loss": (lambda: CustomLoss(lambda a, y: a - y, lambda a, y: 1.0), ValueError, "got '<lambda>'"),
    "lambda activation": (lambda: CustomActivation(lambda z: z, lambda z: 1.0), ValueError, "must have a name"),
    "check of 1": (lambda: CustomLoss(squared, squared_slope, check=1), TypeError, "check must be True or False"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_custom_functions_are_refused(case: str) -> None:
    make, error, message = REFUSED[case]
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


def test_wrong_derivative_error_names_the_worst_point() -> None:
    with pytest.raises(ValueError, match=r"at \(-4\.0129\) it is 0, where central differences give 48\.3101"):
        CustomActivation(lambda z: z**3, lambda z: 0.0, name="cube")


@pytest.mark.jit
def test_function_that_numba_cannot_compile_is_refused() -> None:
    names = {1: "one"}

    def uncompilable(a, y):
        return (a - y) ** 2 + len(names.get(1, "")) * 0

    model = Sequential([Dense(2)])
    model.compile("sgd", CustomLoss(uncompilable, squared_slope))
    with pytest.raises(TypeError, match="function and derivative of a custom loss must compile with Numba"):
        model.evaluate(X, Y)


def test_get_returns_custom_objects_unchanged() -> None:
    assert losses.get(CUSTOM_LOSS) is CUSTOM_LOSS
    assert activations.get(CUSTOM_TANH) is CUSTOM_TANH
    assert "squash" in Sequential([Dense(2, CUSTOM_TANH)], input_size=3).summary()
