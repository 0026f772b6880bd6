"""User-defined losses and activations: they train like the built-in ones they imitate, in files and copies, without
recompiling the engine; and what is rejected.
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


OWN_LOSS = CustomLoss(squared, squared_slope)
OWN_TANH = CustomActivation(squash, squash_slope)
OWN_LEAKY = CustomActivation(leak, leak_slope)
OBJECTS = {"squared": OWN_LOSS, "squash": OWN_TANH, "leak": OWN_LEAKY}


def network(own: bool, dtype: str = "float32", **options) -> Sequential:
    first, second = (OWN_TANH, OWN_LEAKY) if own else ("tanh", LeakyReLU(0.25))
    model = Sequential([Dense(20, first), Dense(18, second), Dense(2, first)], seed=4, dtype=dtype, **options)
    model.compile("adam", OWN_LOSS if own else "mse", ["rmse"])
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_is_that_of_the_built_in_equivalents(dtype: str) -> None:
    own, built_in = network(True, dtype), network(False, dtype)
    weight = np.arange(N) % 3 + 0.5
    first = own.fit(X, Y, batch_size=11, epochs=3, sample_weight=weight).history
    second = built_in.fit(X, Y, batch_size=11, epochs=3, sample_weight=weight).history
    # 12 steps of Adam, which divides a gradient by its own size: see test_ten_steps_beside_pytorch
    limit = {"float32": 5e-4, "float64": 1e-11}[dtype]
    for name, values in second.items():
        np.testing.assert_allclose(first[name], values, rtol=limit)
    for W, expected in zip(own.get_weights(), built_in.get_weights(), strict=True):
        np.testing.assert_allclose(W, expected, rtol=limit, atol=limit)
    np.testing.assert_allclose(own.predict(X), built_in.predict(X), rtol=limit, atol=limit)


@pytest.mark.parametrize("kind", [Engine, ReferenceEngine])
@pytest.mark.parametrize("last", ["identity", "softmax", "tanh"])
def test_a_loss_is_fused_with_nothing(last: str, kind) -> None:
    gradients = []
    for loss in (OWN_LOSS.rule, "mse"):
        engine = make_engine(3, [spec(4, "relu"), spec(2, last)], dtype="float64", kind=kind)
        engine.configure(loss, "sgd")
        gradients.append(engine.gradients(X.astype(float), Y.astype(float)))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-14)
    for dW, expected in zip(gradients[0][1], gradients[1][1], strict=True):
        np.testing.assert_allclose(dW, expected, atol=1e-14)


@pytest.mark.parametrize("kind", [Engine, ReferenceEngine])
def test_a_network_of_many_own_activations(kind) -> None:
    """More than there are built-in ones: their places in the table do not overlap."""
    factors = [0.5 + k / 20 for k in range(15)]
    own = [CustomActivation(lambda z, f=f: f * z, lambda z, f=f: f + 0 * z, name=f"times {f:g}") for f in factors]
    engine = kind(2, [LayerSpec(2, activation.rule, use_bias=False) for activation in own], dtype="float64")
    engine.set_weights([np.eye(2) for _ in own])
    X = np.array([[1.0, -2.0]])
    out = np.empty((1, 2))
    engine.predict(X, out)
    product = math.prod(factors)
    np.testing.assert_allclose(out, product * X, rtol=1e-13)
    engine.configure("mse", "sgd")
    _, gradients = engine.gradients(X, np.zeros((1, 2)))
    np.testing.assert_allclose(gradients[0], np.outer(X, X) * product**2, rtol=1e-12)


@pytest.mark.jit
def test_compiled_functions_are_taken_as_they_are() -> None:
    f, slope = numba.njit(squared), numba.njit(squared_slope)
    model = Sequential([Dense(2)], seed=4, dtype="float64")
    model.compile("sgd", CustomLoss(f, slope))
    other = Sequential([Dense(2)], seed=4, dtype="float64")
    other.compile("sgd", OWN_LOSS)
    assert model.evaluate(X, Y) == other.evaluate(X, Y)
    assert f.signatures


@pytest.mark.jit
def test_threads_give_the_same_bits() -> None:
    wide = np.random.default_rng(0).normal(size=(600, 200)).astype(np.float32)
    results = []
    for n_threads in (1, 2):
        model = Sequential([Dense(400, OWN_TANH), Dense(2, OWN_LEAKY)], seed=4)
        model.compile("sgd", OWN_LOSS)
        model.fit(wide, wide[:, :2], batch_size=200, epochs=2, n_threads=n_threads)
        results.append(model.get_weights())
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


COUNT = """
from tests.engine import test_custom as t
from fastbp.kernels import jit
t.network(False).fit(t.X, t.Y)
before = sorted(p.name for p in jit.cache_dir().glob("*/*"))
notice = jit.NOTICE.given
t.network(True).fit(t.X, t.Y)
print(before == sorted(p.name for p in jit.cache_dir().glob("*/*")), notice, jit.NOTICE.given)
"""


@pytest.mark.jit
def test_the_engine_is_not_compiled_again_and_nothing_is_added_to_its_cache() -> None:
    network(True).fit(X, Y)  # so that the engine is on disk
    assert run_python("-c", COUNT).stdout.split() == ["True", "False", "False"]


# ---------------------------------------------------------------- files and copies


def test_a_loaded_model_goes_on_with_its_own_functions(tmp_path) -> None:
    model = network(True)
    model.fit(X, Y)
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model", custom_objects=OBJECTS)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.fit(X, Y).history == model.fit(X, Y).history


MISSING = {
    "nothing": (None, "the CustomActivation 'squash', whose functions no file holds, and custom_objects holds nothing"),
    "the loss": (
        {"squash": OWN_TANH, "leak": OWN_LEAKY},
        "CustomLoss 'squared'.*custom_objects holds 'squash', 'leak'",
    ),
    "another kind": (OBJECTS | {"squared": OWN_TANH}, r"'squared'.*got CustomActivation\(.* for it"),
    "a function": (OBJECTS | {"squash": squash}, "'squash'.*got <function squash at .* for it"),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_named(case: str, tmp_path) -> None:
    model = network(True, input_size=3)
    model.save(tmp_path / "model")
    objects, text = MISSING[case]
    with pytest.raises(CheckpointError, match=text) as caught:
        fastbp.load(tmp_path / "model", custom_objects=objects)
    assert "pass fastbp.load(path, custom_objects={" in str(caught.value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_go_on_as_the_model_would(copied) -> None:
    model = network(True)
    model.fit(X, Y)
    other = copied(model)
    assert model.fit(X, Y).history == other.fit(X, Y).history


def test_the_plain_kernels_take_an_own_activation() -> None:
    W, b = np.ones((3, 2), np.float32), np.zeros(2, np.float32)
    A = fastbp.kernels.dense_forward(X, W, b, OWN_TANH)
    expected = fastbp.kernels.dense_forward(X, W, b, "tanh")
    np.testing.assert_allclose(A, expected, rtol=1e-6)
    own = fastbp.kernels.dense_backward(Y, X, W, A, OWN_TANH, b)
    for ours, theirs in zip(own, fastbp.kernels.dense_backward(Y, X, W, A, "tanh"), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)  # sums of 40 float32 products
    with pytest.raises(ValueError, match="b must be given for 'squash'"):
        fastbp.kernels.dense_backward(Y, X, W, A, OWN_TANH)


# ---------------------------------------------------------------- the check of the derivative


ACCEPTED = {
    "smooth": (math.sin, math.cos),
    "a kink": (abs, lambda z: math.copysign(1.0, z)),
    "steps of one": (lambda z: z - math.floor(z), lambda z: 1.0),
    "a logarithm": (math.log, lambda z: 1 / z),
    "an overflow": (lambda z: math.exp(1000 * z), lambda z: 1000 * math.exp(1000 * z)),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_kinks_jumps_and_poles_are_allowed(case: str) -> None:
    function, derivative = ACCEPTED[case]
    assert CustomActivation(function, derivative, name="mine").name == "mine"


def test_a_straight_through_derivative_needs_no_check() -> None:
    with pytest.raises(ValueError, match=r"derivative must be that of 'round', .* check=False"):
        CustomActivation(round, lambda z: 1.0)
    own = CustomActivation(lambda z: 1.0 if z > 0 else -1.0, lambda z: 1.0, name="binary", check=False)
    model = Sequential([Dense(4, own), Dense(2)])
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch(X, Y))


REFUSED = {
    "no function": (lambda: CustomLoss("squared", squared_slope), TypeError, "function must be a function of 2 numbe"),
    "no derivative": (lambda: CustomActivation(squash, None), TypeError, "derivative must be a function of 1 number,"),
    "wrong": (lambda: CustomLoss(squared, lambda a, y: a - y), ValueError, "derivative must be that of 'squared', but"),
    "wrong below 0": (lambda: CustomActivation(leak, lambda z: 1.0), ValueError, "it is 1, where central differences"),
    "wrong sign": (lambda: CustomActivation(squash, lambda z: -squash_slope(z)), ValueError, "derivative must be that"),
    "nowhere finite": (lambda: CustomActivation(lambda z: math.nan, squash_slope), ValueError, "finite somewhere"),
    "a loss's name": (lambda: CustomLoss(squared, squared_slope, name="mse"), ValueError, "built-in losses, got 'mse'"),
    "an activation's": (lambda: CustomActivation(squash, squash_slope, name="tanh"), ValueError, "ions, got 'tanh'"),
    "no name": (lambda: CustomLoss(squared, squared_slope, name=""), TypeError, "name must be a string"),
    "a lambda": (lambda: CustomLoss(lambda a, y: a - y, lambda a, y: 1.0), ValueError, "got '<lambda>'"),
    "a lambda too": (lambda: CustomActivation(lambda z: z, lambda z: 1.0), ValueError, "must have a name"),
    "check": (lambda: CustomLoss(squared, squared_slope, check=1), TypeError, "check must be True or False"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_belong_together_is_refused(case: str) -> None:
    make, error, text = REFUSED[case]
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)


def test_the_worst_point_is_named() -> None:
    with pytest.raises(ValueError, match=r"at \(-4\.0129\) it is 0, where central differences give 48\.3101"):
        CustomActivation(lambda z: z**3, lambda z: 0.0, name="cube")


@pytest.mark.jit
def test_what_numba_cannot_compile_is_told() -> None:
    names = {1: "one"}

    def strange(a, y):
        return (a - y) ** 2 + len(names.get(1, "")) * 0

    model = Sequential([Dense(2)])
    model.compile("sgd", CustomLoss(strange, squared_slope))
    with pytest.raises(TypeError, match="function and derivative of a custom loss must compile with Numba"):
        model.evaluate(X, Y)


def test_own_objects_are_found_as_they_are() -> None:
    assert losses.get(OWN_LOSS) is OWN_LOSS
    assert activations.get(OWN_TANH) is OWN_TANH
    assert "squash" in Sequential([Dense(2, OWN_TANH)], input_size=3).summary()
