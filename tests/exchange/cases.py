"""Shared by the exchange tests: networks with every layer and activation, and how far two programs may differ.

The bound is that of tests/engine/cases.py for parts of a model: a running error analysis alongside a computation in
wider arithmetic, with u the unit roundoff. Our outputs and theirs must both be within it of the exact ones. Where a
tool's own functions are less accurate than 4 u of the result, its tests pass `extra`: the additional error of an
activation, in units of u.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastbp import (
    CELU,
    ELU,
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    GaussianNoise,
    LayerNorm,
    LeakyReLU,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    PReLU,
    Residual,
    Scale,
    Sequential,
    activations,
)
from fastbp.exchange.layer_weights import Part, activation_of, parts_of
from fastbp.reference import ACTIVATIONS
from tests.engine.cases import SMALLEST, UNIT, Array, Bounded, excess

N, INPUTS = 40, 6
RECTIFIERS = {"leaky_relu 0.3": LeakyReLU(0.3), "elu 0.7": ELU(0.7), "elu 1.5": ELU(1.5), "celu 0.5": CELU(0.5)}
CASES: dict[str, list[Any]] = {
    **{f"Dense {name}": [Dense(7, name)] for name in activations.NAMES},
    **{f"Activation {name}": [Dense(7), Activation(f), Dense(3)] for name, f in RECTIFIERS.items()},
    **{f"leading {name}": [Activation(name), Dense(5)] for name in activations.NAMES if name != "softmax"},
    "two activations": [Dense(7, "relu"), Activation("tanh"), Activation("tanh"), Dense(3)],
    "no bias": [Dense(7, "tanh", use_bias=False), Dense(2, use_bias=False)],
    "BatchNorm": [BatchNorm(0.3, 1e-3), Dense(4), BatchNorm(), Activation("relu"), BatchNorm(trainable=False)],
    "LayerNorm": [LayerNorm(1e-3), Dense(9), LayerNorm(), Activation("gelu"), LayerNorm(trainable=False)],
    "Scale": [Scale(), Dense(7), Scale(), Activation("tanh"), Scale(trainable=False), Residual([Dense(7), Scale()])],
    "PReLU": [PReLU(), Dense(7), PReLU(trainable=False), Residual([Dense(7), PReLU()]), Dense(2)],
    "PeriodicEmbedding": [
        PeriodicEmbedding(3, 5, frequency_scale=1.0), Dense(7, "tanh"),
        PeriodicEmbedding(2, 4, (1, 4), phases=False, keep_inputs=False, relu=True, frequency_scale=1.0),
        Dense(5), PeriodicEmbedding(2, 3, (0, 2), relu=True, trainable=False),
    ],
    "PiecewiseLinearEmbedding": [
        PiecewiseLinearEmbedding({1: (-1.0, 0.0, 0.5, 2.0), 4: (-0.5, 0.5)}, 3), Dense(5, "tanh"),
        PiecewiseLinearEmbedding([(-0.5, 0.1, 0.3)] * 5, 2, trainable=False),
    ],
    "ParametricActivation": [
        ParametricActivation("selu"), Dense(7), ParametricActivation("mish"), Dense(5),
        ParametricActivation(LeakyReLU(0.3), trainable=False), Residual([Dense(5), ParametricActivation("identity")]),
    ],
    "Dropout": [Dropout(0.1), Dense(7, "relu"), Dropout(0.5), Dense(3), Dropout(0.2)],
    "GaussianNoise": [GaussianNoise(0.5), Dense(7, "relu"), GaussianNoise(0.1), Dense(3)],
    "Residual": [Dense(7), Residual([Dense(7, "relu")]), Activation("relu"), Residual([Dense(5), Dense(7)])],
    "projection": [Residual([Dense(9, "tanh")]), Residual([Dense(4)]), Dense(2, "softmax")],
    "leading Residual": [Residual([LayerNorm(), Dense(INPUTS, "silu")])],
    "nested blocks": [Residual([Dense(8), Residual([Residual([Dense(8, "elu"), Dense(5)]), Dropout(0.1)]), Dense(3)])],
    "Residual without weights": [Dense(4), Residual([Activation("tanh"), Dropout(0.3)]), Residual([Dropout(0.1)])],
    "frozen": [Dense(5, "tanh", trainable=False), BatchNorm(trainable=False), Dense(2)],
    "single unit": [Dense(1), Activation("sigmoid")],
    "deep": [
        GaussianNoise(0.1), Dense(16, use_bias=False), BatchNorm(), Activation("relu"),
        *[Residual([LayerNorm(), Dense(16, name), Dropout(0.1), Dense(16)]) for name in ("gelu", "silu", "mish")],
        Residual([BatchNorm(), Dense(12, "gelu_tanh"), Residual([Dense(12, "softplus")]), Dense(10, "selu")]),
        LayerNorm(), Dense(8, LeakyReLU(0.2)), Dropout(0.2), Dense(5, "softmax"),
    ],
}  # fmt: skip


def make(case: str, dtype: str = "float32") -> Sequential:
    """The network of a case, with random weights of size 1 / sqrt(inputs), biases and statistics."""
    model = Sequential(CASES[case], input_size=INPUTS, dtype=dtype, seed=3)
    rng = np.random.default_rng(5)
    weights = [rng.normal(0, W.shape[0] ** -0.5 if W.ndim == 2 else 0.5, W.shape) for W in model.get_weights()]
    if any("BatchNorm" in repr(layer) for layer in CASES[case]):  # variances must not be negative
        weights = [np.abs(W) + 0.1 if W.ndim == 1 else W for W in weights]
    model.set_weights(weights)
    return model


def rows(dtype: str = "float32", n: int = N) -> Array:
    """Rows with standard deviation 3: far enough from 0 for the tails of activations."""
    return np.random.default_rng(6).normal(0, 3, (n, INPUTS)).astype(dtype)


class Exact:
    """A model in wider arithmetic, and the error bound of its outputs in float32 or float64."""

    def __init__(self, dtype: str, extra: dict[str, float] | None = None):
        self.u, self.smallest, self.extra = UNIT[dtype], SMALLEST[dtype], extra or {}
        self.wide = np.float64 if dtype == "float32" else np.longdouble

    def outputs(self, model: Sequential, X: Array) -> Bounded:
        """The outputs of a model for rows."""
        return self.layers(parts_of(model, "the test"), Bounded(X.astype(self.wide), np.zeros(X.shape)))

    def layers(self, parts: Iterable[Part], A: Bounded) -> Bounded:
        for part in parts:
            W = {name: values.astype(self.wide) for name, values in part.weights.items()}
            match part.layer:
                case Dense():
                    A = self.activate(self.product(A, W["kernel"], W.get("bias", self.wide(0))), part)
                case Activation():
                    A = self.activate(A, part)
                case BatchNorm(epsilon=epsilon):
                    A = self.batch_norm(A, epsilon, *W.values())
                case LayerNorm(epsilon=epsilon):
                    A = self.layer_norm(A, epsilon, *W.values())
                case Scale():
                    value = A.value * W["scale"]
                    A = Bounded(value, np.abs(W["scale"]) * A.error + self.u * np.abs(value) + self.smallest)
                case PReLU():
                    slope = np.maximum(1, np.abs(W["alpha"]))
                    value = np.where(A.value > 0, A.value, W["alpha"] * A.value)
                    A = Bounded(value, slope * A.error + 2 * self.u * np.abs(value) + self.smallest)
                case ParametricActivation():  # x + alpha (f - x): the errors of f and of three operations
                    f, alpha = self.activate(A, part), np.abs(W["alpha"])
                    change = f.value - A.value
                    value = A.value + W["alpha"] * change
                    error = (1 + alpha) * A.error + alpha * (f.error + 2 * self.u * np.abs(change))
                    A = Bounded(value, error + 2 * self.u * (np.abs(A.value) + np.abs(value)) + self.smallest)
                case PeriodicEmbedding():
                    A = self.periodic(A, part, W)
                case PiecewiseLinearEmbedding():
                    A = self.piecewise(A, part, W)
                case Residual():
                    below = self.product(A, W["projection"], self.wide(0)) if W else A
                    F = self.layers(part.within, A)
                    value = below.value + F.value
                    A = Bounded(value, below.error + F.error + 2 * self.u * np.abs(value))
        return A

    def piecewise(self, A: Bounded, part: Part, W: dict[str, Array]) -> Bounded:
        """Its slopes pass on the error of the input; sums of so many bins round as often."""
        assert isinstance(part.layer, PiecewiseLinearEmbedding)
        columns = list(part.layer.columns)
        values, errors = ([np.delete(each, columns, axis=1)] for each in (A.value, A.error))
        for column, edges, table in zip(columns, part.layer.edges, W.values(), strict=True):
            x, of_x, (w, b), V = A.value[:, [column]], A.error[:, [column]], table[:2], table[2:]
            lower, upper = (np.array(ends, self.wide) for ends in (edges[:-1], edges[1:]))
            bins, inverse = len(V), 1 / (upper - lower)
            least, most = np.append(-np.inf, np.zeros(bins - 1)), np.append(np.ones(bins - 1), np.inf)
            E = np.maximum(np.minimum((x - lower) * inverse, most), least)
            values.append(x * w + b + E @ V)
            sizes = np.abs(x * w) + np.abs(b) + np.abs(E) @ np.abs(V)
            steep = np.abs(w) + (inverse[:, np.newaxis] * np.abs(V)).max(axis=0)
            of_edges = self.u * (np.abs(x) + np.abs(np.array(edges)).max()) * 4
            errors.append(steep * (of_x + of_edges) + (bins + 6) * self.u * sizes + self.smallest)
        return Bounded(np.concatenate(values, axis=1), np.concatenate(errors, axis=1))

    def periodic(self, A: Bounded, part: Part, W: dict[str, Array]) -> Bounded:
        """Waves turn by the error of their angles, of which the rounding of turns is the largest part."""
        assert isinstance(part.layer, PeriodicEmbedding)
        waves = part.layer.waves(part.units)
        n, columns = len(A.value), list(waves.columns)
        x, of_x = A.value[:, columns][:, :, None], A.error[:, columns][:, :, None]
        angles = 2 * np.pi * x * W["frequencies"] + W.get("phases", 0)
        error = 2 * np.pi * np.abs(W["frequencies"]) * of_x + 8 * np.pi * self.u * (np.abs(angles) + 1) + 8 * self.u
        pair = (np.cos(angles),) if waves.phases else (np.cos(angles), np.sin(angles))
        basis, errors = np.concatenate(pair, axis=2), np.concatenate([error] * len(pair), axis=2)
        V = W["kernel"].reshape(len(columns), waves.waves, waves.outputs)
        value = np.einsum("rch,cho->rco", basis, V) + W["bias"]
        sizes = np.einsum("rch,cho->rco", np.abs(basis), np.abs(V)) + np.abs(W["bias"])
        error = np.einsum("rch,cho->rco", errors, np.abs(V)) + (waves.waves + 2) * self.u * sizes
        if waves.relu:
            value = np.maximum(value, 0)
        if waves.keeps:
            value, error = np.concatenate([value, x], axis=2), np.concatenate([error, of_x], axis=2)
        rest = (np.delete(each, columns, axis=1) for each in (A.value, A.error))
        return Bounded(*(np.concatenate([old, new.reshape(n, -1)], axis=1)
                         for old, new in zip(rest, (value, error), strict=True)))

    def product(self, A: Bounded, W: Array, b: Array) -> Bounded:
        k, size = len(W), (np.abs(A.value) + A.error) @ np.abs(W) + np.abs(b)
        return Bounded(A.value @ W + b, 2 * (k + 1) * self.u * size + A.error @ np.abs(W) + (k + 1) * self.smallest)

    def activate(self, Z: Bounded, part: Part) -> Bounded:
        name, alpha = activation_of(part).name, activation_of(part).alpha
        added = self.extra.get(name, 0.0) * self.u * np.maximum(1, np.abs(Z.value))
        if name == "softmax":
            return self.softmax(Z, added)
        f = ACTIVATIONS[name]
        A, grid = f.f(Z.value, alpha), np.arange(-12, 12, 2.0**-8)
        slope = 1.01 * np.abs(f.derivative(grid, f.f(grid, alpha), alpha)).max()  # at most 1 % more between grid points
        return Bounded(A, slope * Z.error + 4 * self.u * np.abs(A) + added + self.smallest)

    def softmax(self, Z: Bounded, added: Array) -> Bounded:
        """dp = p (dz - sum p dz); see tests/engine/cases.py."""
        V = Z.value - Z.value.max(axis=1, keepdims=True)
        P = np.exp(V)
        P /= P.sum(axis=1, keepdims=True)
        E = 2 * Z.error + 2 * self.u * (np.abs(V) + 8 + V.shape[1]) + added
        return Bounded(P, P * (E + (P * E).sum(axis=1, keepdims=True)) + self.smallest)

    def batch_norm(self, A: Bounded, epsilon: float, *weights: Array) -> Bounded:
        """Six roundings of s (|x| + |mean|) + |beta|, in either order: (x - mean) s + beta, x s + (beta - mean s)."""
        gamma, beta, mean, variance = weights
        s = gamma / np.sqrt(variance + epsilon)
        size = np.abs(s) * (np.abs(A.value) + np.abs(mean)) + np.abs(beta)
        return Bounded((A.value - mean) * s + beta, np.abs(s) * A.error + 8 * self.u * size)

    def layer_norm(self, A: Bounded, epsilon: float, gamma: Array, beta: Array) -> Bounded:
        """Each quantity's error follows from those of its terms; sums of n terms in any order, the variance as
        mean(d^2) or as mean(x^2) - mean^2. Doubled to cover the second order."""
        n, u, X = A.value.shape[1], self.u, A.value

        def mean(T: Array) -> Array:
            return T.mean(axis=1, keepdims=True)

        d = X - mean(X)
        variance = mean(d * d)
        sigma = np.sqrt(variance + epsilon)
        d_error = A.error + mean(A.error) + n * u * mean(np.abs(X)) + u * np.abs(d)
        sigma_error = (2 * mean(np.abs(d) * d_error) + (n + 3) * u * mean(X * X)) / (2 * sigma) + 2 * u * sigma
        hat = d / sigma
        hat_error = d_error / sigma + np.abs(hat) / sigma * sigma_error + u * np.abs(hat)
        error = np.abs(gamma) * hat_error + 3 * u * (np.abs(gamma * hat) + np.abs(beta))
        return Bounded(gamma * hat + beta, 2 * error)


def assert_close(model: Sequential, X: Array, theirs: Any, dtype: str, extra: dict[str, float] | None = None) -> None:
    """Our outputs for X are within the bound, and theirs within the bound plus their activations' extra error."""
    theirs = np.asarray(theirs)
    assert theirs.shape == (len(X), model.output_size)
    assert excess(model.predict(X), Exact(dtype).outputs(model, X)) <= 1
    assert excess(theirs, Exact(dtype, extra).outputs(model, X)) <= 1


def assert_same_weights(model: Sequential, other: Sequential) -> None:
    """Bit-identical, with the same dtype."""
    for W, again in zip(model.get_weights(), other.get_weights(), strict=True):
        assert W.dtype == again.dtype
        np.testing.assert_array_equal(W, again)
