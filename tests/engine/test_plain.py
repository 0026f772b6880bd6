"""The low-level kernels: every activation and shape against float64 within the bound, every rule, invalid arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastbp
from fastbp import activations, kernels
from fastbp.isa.codes import KEEPS_SLOPES
from fastbp.reference import ACTIVATIONS, RULES
from fastbp.reference.activations import softmax

NAMES = activations.NAMES
# rows, in, out: below, at and above a line of 8 or 16, register tiles, panels and a block of 256
SHAPES = ((1, 1, 1), (2, 3, 5), (15, 17, 16), (16, 8, 33), (33, 70, 10), (130, 300, 49))
LARGEST_SLOPE = {"selu": 1.76, "gelu": 1.13, "gelu_tanh": 1.13, "silu": 1.1, "mish": 1.09, "hard_swish": 1.5}
OPTIMIZERS = (
    fastbp.SGD(0.1),
    fastbp.SGD(0.1, weight_decay=0.02),
    fastbp.SGD(0.1, momentum=0.9, weight_decay=0.02),
    fastbp.SGD(0.1, momentum=0.9, nesterov=True),
    fastbp.Adam(0.01),
    fastbp.Adam(0.01, weight_decay=0.02),
    fastbp.AdamW(lambda steps: 0.01 / (1 + steps)),
    fastbp.AdamW(0.01, amsgrad=True),
    fastbp.NAdam(0.01, weight_decay=0.02),
    fastbp.RMSprop(0.01, momentum=0.9, centered=True),
    fastbp.Adagrad(0.1, 0.1),
    fastbp.Adadelta(),
    fastbp.Lion(0.01, weight_decay=0.02),
)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_activation = pytest.mark.parametrize("name", NAMES)


class Layer(NamedTuple):
    """Arguments of a dense layer, and its results in float64."""

    X: Any
    W: Any
    b: Any
    dA: Any

    @staticmethod
    def random(rng, shape, dtype):
        rows, inputs, outputs = shape
        shapes = (rows, inputs), (inputs, outputs), (outputs,), (rows, outputs)
        return Layer(*(rng.uniform(-1, 1, s).astype(dtype) for s in shapes))

    def wide(self):
        return Layer(*(array.astype(np.float64) for array in self))

    def Z(self):
        return self.X @ self.W + self.b

    def Z_error(self):
        """2 (k + 1) u (|X| |W| + |b|), doubled if the reference has the same precision."""
        u = np.finfo(self.X.dtype).eps / 2
        factor = 2 * (self.X.shape[1] + 1) * u * (2 if self.X.dtype == np.float64 else 1)
        return factor * (np.abs(self.X).astype(float) @ np.abs(self.W) + np.abs(self.b))


def forward(name, Z):
    return softmax(Z) if name == "softmax" else ACTIVATIONS[name].f(Z, activations.DEFAULT_ALPHA[name])


@pytest.mark.parametrize("shape", SHAPES)
@each_activation
@each_dtype
def test_forward_is_within_the_bound(rng, dtype, name, shape):
    layer = Layer.random(rng, shape, dtype)
    A = kernels.dense_forward(layer.X, layer.W, layer.b, name)
    expected = forward(name, layer.wide().Z())
    assert A.dtype == dtype
    tiny, u = np.finfo(dtype).tiny, np.finfo(dtype).eps / 2
    error = layer.Z_error()
    if name == "softmax":  # errors of logits change a probability p by up to 2 p times the largest; then the sum
        error = 2 * error.max(axis=1, keepdims=True) * expected + (shape[2] + 4) * u * expected
    bound = LARGEST_SLOPE.get(name, 1) * error + 8 * u * np.abs(expected) + (shape[1] + 1) * tiny
    assert (np.abs(A - expected) <= bound).all()


@pytest.mark.parametrize("shape", SHAPES)
@each_activation
@each_dtype
def test_backward_is_within_the_bound(rng, dtype, name, shape):
    layer = Layer.random(rng, shape, dtype)
    A = kernels.dense_forward(layer.X, layer.W, layer.b, name)
    dX, dW, db = kernels.dense_backward(layer.dA, layer.X, layer.W, A, name, layer.b)
    wide, A = layer.wide(), A.astype(np.float64)
    u = np.finfo(dtype).eps / 2 * (1 if dtype == "float32" else 2)
    if name == "softmax":
        dZ = A * (wide.dA - (wide.dA * A).sum(axis=1, keepdims=True))
        error = 2 * (shape[2] + 4) * u * (A * (np.abs(wide.dA) + (np.abs(wide.dA) * A).sum(axis=1, keepdims=True)))
    else:
        slope = ACTIVATIONS[name].derivative(wide.Z(), A, activations.DEFAULT_ALPHA[name])
        dZ = wide.dA * slope
        # error of f': a few u and, if it is not a function of A or the reference uses Z, those of Z and A
        error = np.abs(wide.dA) * (8 * u + 2 * layer.Z_error() + 8 * u * np.abs(A))
    rows, outputs = shape[0], shape[2]
    for got, left, right, k, propagated in (
        (dX, dZ, wide.W.T, outputs, error @ np.abs(wide.W.T)),
        (dW, wide.X.T, dZ, rows, np.abs(wide.X.T) @ error),
        (db[None], np.ones((1, rows)), dZ, rows, np.ones((1, rows)) @ error),
    ):
        expected = left @ right
        bound = 2 * k * u * (np.abs(left) @ np.abs(right)) + propagated + 4 * u * np.abs(expected)
        assert got.dtype == dtype
        assert (np.abs(got - expected) <= bound + (k + 1) * np.finfo(dtype).tiny).all()


def test_custom_alpha_is_used(rng):
    layer = Layer.random(rng, (5, 4, 3), "float64")
    A = kernels.dense_forward(*layer[:3], fastbp.LeakyReLU(0.3))
    np.testing.assert_allclose(A, np.where(layer.Z() > 0, layer.Z(), 0.3 * layer.Z()), rtol=1e-14)


def test_biases_are_optional(rng):
    layer = Layer.random(rng, (5, 4, 3), "float64")
    A = kernels.dense_forward(layer.X, layer.W, None, "tanh")
    np.testing.assert_allclose(A, np.tanh(layer.X @ layer.W), rtol=1e-14)
    dX, dW, db = kernels.dense_backward(layer.dA, layer.X, layer.W, A, "tanh")
    dZ = layer.dA * (1 - A * A)
    for got, expected in ((dX, dZ @ layer.W.T), (dW, layer.X.T @ dZ), (db, dZ.sum(axis=0))):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


def test_no_rows_give_empty_outputs_and_zero_gradients(rng):
    layer = Layer.random(rng, (0, 4, 3), "float32")
    assert kernels.dense_forward(*layer[:3], "relu").shape == (0, 3)
    dX, dW, db = kernels.dense_backward(layer.dA, layer.X, layer.W, layer.dA, "relu")
    assert (dX.shape, dW.shape, db.shape) == ((0, 4), (4, 3), (3,))
    assert not dW.any()
    assert not db.any()


def test_out_is_filled_and_single_rows_are_bit_identical(rng):
    layer = Layer.random(rng, (40, 30, 20), "float32")
    out = np.empty((40, 20), np.float32)
    assert kernels.dense_forward(*layer[:3], "gelu", out) is out
    for row in (0, 17, 39):
        alone = kernels.dense_forward(layer.X[row : row + 1], layer.W, layer.b, "gelu")
        np.testing.assert_array_equal(alone[0], out[row])


def test_layers_of_the_same_shape_do_not_interfere(rng):
    one, two = (Layer.random(rng, (3, 4, 2), "float64") for _ in range(2))
    A = [kernels.dense_forward(*layer[:3], "relu") for layer in (one, two)]
    np.testing.assert_array_equal(kernels.dense_forward(*one[:3], "relu"), A[0])
    larger = Layer.random(rng, (50, 4, 2), "float64")
    np.testing.assert_allclose(kernels.dense_forward(*larger[:3], "identity"), larger.Z(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=[f"{type(o).__name__}{i}" for i, o in enumerate(OPTIMIZERS)])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (16,), (37, 11), (5, 3, 40)])
@each_dtype
def test_update_matches_the_reference(rng, dtype, shape, optimizer):
    W = rng.uniform(-1, 1, shape).astype(dtype)
    state = kernels.init_state(optimizer, W)
    W64 = W.astype(np.float64).reshape(-1)
    states = [np.zeros_like(W64) for _ in range(optimizer.n_states)]
    for step in range(5):
        grad = rng.uniform(-1, 1, shape).astype(dtype)
        row = optimizer.scalars(np.array([step]))[0].tolist()
        RULES[optimizer.rule](W64, grad.astype(np.float64).reshape(-1), states, row, np.empty_like(W64))
        assert kernels.update(optimizer, W, grad, state) is True
    assert state.step == 5
    np.testing.assert_allclose(W.reshape(-1), W64, rtol=0, atol=40 * np.finfo(dtype).eps)


def test_update_skips_elements_that_would_not_be_finite(rng):
    W = rng.random(40).astype(np.float32)
    grad, before = np.ones_like(W), W.copy()
    grad[7], grad[20] = np.nan, np.inf
    state = kernels.init_state("adam", W)
    assert kernels.update("adam", W, grad, state) is False
    changed = before != W
    assert not changed[[7, 20]].any()
    assert changed.sum() == 38
    assert all(np.isfinite(a).all() for a in state.arrays)


ONE = np.ones((2, 3), np.float32)
W32, B32, A32 = np.ones((3, 4), np.float32), np.ones(4, np.float32), np.ones((2, 4), np.float32)
READ_ONLY = A32.copy()
READ_ONLY.flags.writeable = False
BAD_FORWARD = [
    (([[1.0]], W32, B32, "relu"), TypeError, "X must be a NumPy array, got list: pass np.asarray"),
    ((ONE.astype("f2"), W32, B32, "relu"), TypeError, "X must be float32 or float64, got float16: pass X.astype"),
    ((ONE.astype(">f4"), W32, B32, "relu"), TypeError, "X must be float32 or float64, got >f4"),
    ((ONE, W32.astype("f8"), B32, "relu"), TypeError, "W must be float32 as X is, got float64: pass W.astype"),
    ((ONE[0], W32, B32, "relu"), ValueError, r"X must have shape \(any, any\), got \(3,\): reshape it to 2"),
    ((ONE, W32.T.copy(), B32, "relu"), ValueError, r"W must have shape \(3, any\), got \(4, 3\).*looks transposed"),
    ((ONE, W32, B32[:3], "relu"), ValueError, r"b must have shape \(4\), got \(3,\): X is"),
    ((ONE[:, ::-1], W32, B32, "relu"), ValueError, "X must be C-contiguous and aligned.*pass np.ascontiguousarray"),
    ((ONE[:, :0].copy(), W32[:0], B32, "relu"), ValueError, r"W must have an input and an output.*\(0, 4\): leave"),
    ((ONE, W32, B32, "rleu"), ValueError, "rleu"),
    ((ONE, W32, B32, "relu", A32[:1]), ValueError, r"out must have shape \(2, 4\), got \(1, 4\)"),
    ((ONE, W32, B32, "relu", READ_ONLY), ValueError, "out must be writable, got a read-only array"),
    ((A32, np.ones((4, 4), np.float32), B32, "relu", A32), ValueError, "out must not overlap X, got arrays that share"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_FORWARD)
def test_invalid_forward_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        kernels.dense_forward(*arguments)


@pytest.mark.parametrize("name", KEEPS_SLOPES)
def test_backward_refuses_missing_biases_if_slopes_need_them(name):
    with pytest.raises(ValueError, match=f"b must be given for '{name}'.*got None: pass the biases"):
        kernels.dense_backward(A32, ONE, W32, A32, name)


@pytest.mark.parametrize(
    ("dA", "A", "message"),
    [
        (A32[:1], A32, r"dA must have shape \(2, 4\), got \(1, 4\)"),
        (A32, A32.T.copy(), r"A must have shape \(2, 4\), got \(4, 2\)"),
    ],
)
def test_invalid_backward_arguments_are_refused(dA, A, message):
    with pytest.raises(ValueError, match=message):
        kernels.dense_backward(dA, ONE, W32, A, "relu")


STATE = kernels.State([np.zeros_like(W32), np.zeros_like(W32)])
BAD_UPDATE = [
    (("adma", W32, W32.copy(), STATE), ValueError, "optimizer must be .*did you mean 'adam'"),
    (("adam", W32, W32[:2], STATE), ValueError, r"grad must have shape \(3, 4\), got \(2, 4\)"),
    (("adam", W32, W32, STATE), ValueError, "W must not overlap grad"),
    (("sgd", W32, W32.copy(), STATE), ValueError, "state must have 0 arrays for sgd, got 2: pass init_state"),
    (("adam", W32, W32.copy(), [0, 0]), TypeError, "state must be what init_state gave, got list"),
    (("adam", READ_ONLY, A32, STATE), ValueError, "W must be writable"),
    (("adam", A32.copy(), A32, STATE), ValueError, r"state.arrays\[0\] must have shape \(2, 4\)"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_UPDATE)
def test_invalid_update_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        kernels.update(*arguments)
    assert (W32 == 1).all()


def test_import_does_not_load_numba():
    code = "import sys, fastbp.kernels; sys.exit('numba' in sys.modules)"
    variables = {**os.environ, "FASTBP_ISA": ""}  # a value would have to reach Numba at import
    assert subprocess.run([sys.executable, "-c", code], env=variables, check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'convolution'"):
        kernels.convolution  # noqa: B018
