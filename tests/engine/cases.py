"""Shared by the engine's tests: networks and data of any shape, optimizers, and the error bound.

The bound is a running error analysis alongside a computation in higher precision. With u the unit roundoff, a sum of
k products and a bias, rounded in any order, is off by at most (k + 1) u (|A||B| + |b|), doubled for safety; the error E
of one operand is scaled by the absolute value of the other; a function scales E by its Lipschitz constant and adds 4 u
of its own result. Numbers below the smallest normal one, 2^-126 or 2^-1022, may be flushed to 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp import optimizers
from fastbp.engine.engine import Engine
from fastbp.reference import ACTIVATIONS
from fastbp.spec import LayerSpec, Report, UpdateSpec, Waves

Array = np.ndarray
ROOT = Path(__file__).absolute().parents[2]
ALPHAS = {"leaky_relu": 0.01, "elu": 0.7, "celu": 0.6}
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
SMALLEST = {"float32": 2.0**-126, "float64": 2.0**-1022}
# Rule and decay -> optimizer. Learning rates are large enough for ten steps to make a difference.
OPTIMIZERS = {
    "sgd": optimizers.SGD(0.1),
    "sgd decay": optimizers.SGD(0.1, weight_decay=0.1),
    "momentum": optimizers.SGD(0.1, momentum=0.9),
    "momentum decay": optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "nesterov decay": optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": optimizers.Adam(0.01),
    "adam decay": optimizers.Adam(0.01, 0.8, 0.95, 1e-3, weight_decay=0.1),
    "adamw": optimizers.AdamW(0.01, weight_decay=0.1),
    "amsgrad": optimizers.Adam(0.01, amsgrad=True),
    "amsgrad decay": optimizers.Adam(0.01, amsgrad=True, weight_decay=0.1),
    "amsgradw decay": optimizers.AdamW(0.01, 0.8, 0.95, 1e-3, amsgrad=True, weight_decay=0.1),
    "nadam": optimizers.NAdam(0.01),
    "nadam decay": optimizers.NAdam(0.01, 0.8, 0.95, 1e-3, momentum_decay=0.1, weight_decay=0.1),
    "rmsprop": optimizers.RMSprop(0.01),
    "rmsprop decay": optimizers.RMSprop(0.01, 0.9, weight_decay=0.1),
    "rmsprop momentum": optimizers.RMSprop(0.01, momentum=0.9),
    "rmsprop centered": optimizers.RMSprop(0.01, centered=True),
    "rmsprop centered momentum decay": optimizers.RMSprop(0.01, 0.9, 0.5, 1e-3, centered=True, weight_decay=0.1),
    "adagrad": optimizers.Adagrad(0.05),
    "adagrad decay": optimizers.Adagrad(0.05, 0.1, weight_decay=0.1),
    "adadelta": optimizers.Adadelta(),
    "adadelta decay": optimizers.Adadelta(0.5, 0.95, 1e-3, weight_decay=0.1),
    "lion": optimizers.Lion(0.01),
    "lion decay": optimizers.Lion(0.01, 0.8, 0.95, weight_decay=0.1),
}


def spec(units: int, activation: str = "identity", **options: Any) -> LayerSpec:
    return LayerSpec(units, activation, ALPHAS.get(activation, 0.0), **options)


BATCH_NORM: dict[str, Any] = {"kind": "batch_norm", "values": (0.1, 1e-5)}
LAYER_NORM: dict[str, Any] = {"kind": "layer_norm", "values": (1e-5,)}
DROPOUT: dict[str, Any] = {"kind": "dropout", "values": (0.3,)}
FALLING: dict[str, Any] = {"kind": "dropout", "values": (0.5,), "schedule": lambda updates: 0.5 / (1 + updates)}
NOISE: dict[str, Any] = {"kind": "noise", "values": (0.5,)}
SCALE: dict[str, Any] = {"kind": "scale"}
PRELU: dict[str, Any] = {"kind": "prelu"}
SELU: dict[str, Any] = {"kind": "parametric", "function": "selu", "values": (0.0,)}
MISH: dict[str, Any] = {"kind": "parametric", "function": "mish", "values": (0.0,)}
LEAKY: dict[str, Any] = {"kind": "parametric", "function": "leaky_relu", "values": (0.3,)}
ADD: dict[str, Any] = {"kind": "add"}


def embedding(inputs: int, *tables: tuple[int, int, int], **options: Any) -> LayerSpec:
    """An embedding layer of `inputs` columns, with tables of (column, codes, dimension)."""
    units = inputs - len(tables) + sum(width for *_, width in tables)
    return LayerSpec(units, kind="embedding", use_bias=False, tables=tables, **options)


def periodic(inputs: int, *waves: Any, **options: Any) -> LayerSpec:
    """A periodic embedding on `inputs` columns, with the fields of `Waves`."""
    own = Waves(*waves)
    units = inputs + len(own.columns) * (own.width - 1)
    return LayerSpec(units, kind="periodic", use_bias=False, waves=own, **options)


def piecewise(inputs: int, dimension: int, edges: dict[int, tuple[float, ...]], **options: Any) -> LayerSpec:
    """A piecewise linear embedding on `inputs` columns, of {column: edges}."""
    tables = tuple((column, len(own) + 1, dimension) for column, own in edges.items())
    units = inputs + len(edges) * (dimension - 1)
    return LayerSpec(units, kind="piecewise", use_bias=False, tables=tables, edges=tuple(edges.values()), **options)


def with_codes(X: Array, layers: Sequence[LayerSpec], seed: int = 5) -> Array:
    """X with random codes in the columns that the first layer embeds, if any."""
    rng = np.random.default_rng(seed)
    for column, codes, _ in layers[0].tables if layers[0].kind == "embedding" else ():
        X[:, column] = rng.integers(0, codes, len(X))
    return X


def make_engine(
    inputs: int, layers: Sequence[LayerSpec], *, dtype: str = "float32", seed: int = 0, loss: str = "mse",
    optimizer: str = "sgd", kind: Callable[..., Engine] = Engine, update_spec: UpdateSpec | None = None,
) -> Engine:  # fmt: skip
    """An engine with weights of standard deviation 1 / sqrt(fan-in), so that activations keep their scale."""
    rng = np.random.default_rng(seed)
    engine = kind(inputs, layers, dtype=dtype, key=(seed, 7))
    weights = [rng.normal(0, W.shape[0] ** -0.5 if W.ndim == 2 else 0.3, W.shape) for W in engine.get_weights()]
    if any(layer.kind == "batch_norm" for layer in layers):  # variances must not be negative
        weights = [np.abs(W) if W.ndim == 1 else W for W in weights]
    engine.set_weights([W.astype(dtype) for W in weights])
    options = {} if update_spec is None else {"update_spec": update_spec}
    engine.configure(loss, OPTIMIZERS[optimizer].rule, **options)
    engine.reset_state(OPTIMIZERS[optimizer].n_states)
    return engine


def make_data(rows: int, inputs: int, outputs: int, *, loss: str = "mse", dtype: str = "float32", seed: int = 1):
    """Standard normal X, and targets in [0, 1], or labels for cross-entropy."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, inputs)).astype(dtype)
    if loss == "cross_entropy":
        return X, rng.integers(0, outputs, rows)
    return X, rng.random((rows, outputs)).astype(dtype)


def train(
    engine: Engine, X: Array, y: Array, optimizer: str, bounds: Sequence[int], *, order: Array | None = None,
    first: int = 0, **options,
) -> tuple[Report, Array]:  # fmt: skip
    """Run steps first, first + 1, ... on the rows between the bounds; return the report and the losses."""
    steps = len(bounds) - 1
    losses = np.full(steps, -1.0)
    scalars = OPTIMIZERS[optimizer].scalars(np.arange(first, first + steps))
    order = np.arange(bounds[-1]) if order is None else order
    engine.steps_since_compile = first
    return engine.train(X, y, order, np.array(bounds), scalars, losses, **options), losses


def predict(engine: Engine, X: Array, **options) -> Array:
    out = np.empty((len(X), engine.output_size), engine.dtype)
    engine.predict(X, out, **options)
    return out


def everything(engine: Engine) -> list[Array]:
    """All weights and states."""
    return [*engine.get_weights(), *(array for state in engine.get_state() for array in state)]


def assert_same_bits(got: Sequence[Array], expected: Sequence[Array]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"))


# -- the bound -----------------------------------------------------------------------------------------------------
class Constants(NamedTuple):
    """The largest |f'| of an activation, the largest |f''| where it exists, and the jump of f' at 0."""

    slope: float
    curvature: float
    jump: float


@cache
def constants(name: str) -> Constants:
    """Measured on a grid of spacing 2^-10, between whose points derivatives change by less than 0.1 %."""
    Z = np.arange(-12, 12, 2.0**-10)
    f = ACTIVATIONS[name]
    D = f.derivative(Z, f.f(Z, ALPHAS.get(name, 0.0)), ALPHAS.get(name, 0.0)).astype(float)
    curvatures = np.abs(np.diff(D)) * 2.0**10
    kink = (Z[:-1] <= 0) & (Z[1:] >= 0)
    jump = float(np.abs(np.diff(D))[kink].max()) if name in ("relu", "leaky_relu", "elu", "selu") else 0.0
    return Constants(1.001 * float(np.abs(D).max()), 1.001 * float(curvatures[~kink].max()), 1.001 * jump)


class Bounded(NamedTuple):
    """Values in higher precision, and how far the engine may be from them."""

    value: Array
    error: Array


class Wide:
    """Forward, loss and backward in higher precision, float64 or longdouble, with a bound for each result."""

    def __init__(self, layers: Sequence[LayerSpec], weights: Sequence[Array], dtype: str):
        self.u, self.smallest = UNIT[dtype], SMALLEST[dtype]
        self.wide = np.float64 if dtype == "float32" else np.longdouble
        self.layers, rest = layers, iter(weights)
        self.weights = []
        for layer in layers:
            W = next(rest).astype(self.wide) if layer.dense else None
            self.weights.append((W, next(rest).astype(self.wide) if layer.dense and layer.use_bias else self.wide(0)))

    def forward(self, X: Array, loss: str = "mse") -> Bounded:
        """The outputs; records what backward needs."""
        A, E = X.astype(self.wide), np.zeros(X.shape)
        self.tape = []
        for layer, (W, b) in zip(self.layers, self.weights, strict=True):
            below = Bounded(A, E)
            if W is not None:
                k = len(W)
                size = (np.abs(A) + E) @ np.abs(W)
                E = 2 * (k + 1) * self.u * (size + np.abs(b)) + E @ np.abs(W) + (k + 1) * self.smallest
                A = A @ W + b
            Z = Bounded(A, E)
            A, E = self.softmax(Z) if layer.activation == "softmax" else self.activate(Z, layer.activation)
            self.tape.append((below, Z))
        self.A = Bounded(A, E)
        return self.A

    def activate(self, Z: Bounded, name: str) -> Bounded:
        A = ACTIVATIONS[name].f(Z.value, ALPHAS.get(name, 0.0))
        return Bounded(A, constants(name).slope * Z.error + 4 * self.u * np.abs(A) + self.smallest)

    def softmax(self, Z: Bounded) -> Bounded:
        """dp = p (dz - sum p dz), where rounding z - max costs u |z - max|, exp 2 u, the sum of n terms in 16 partial
        sums (n / 16 + 4) u, and the division u; doubled for second-order terms. Terms may underflow to 0."""
        V = Z.value - Z.value.max(axis=1, keepdims=True)
        P = np.exp(V)
        P /= P.sum(axis=1, keepdims=True)
        E = 2 * Z.error + 2 * self.u * (np.abs(V) + 8 + V.shape[1] / 8)
        return Bounded(P, P * (E + (P * E).sum(axis=1, keepdims=True)) + self.smallest)

    def slopes(self, Z: Bounded, name: str) -> Bounded:
        """f' and its error: due to that of z, to a kink that z may lie on either side of, and 16 u of its own."""
        c = constants(name)
        D = ACTIVATIONS[name].derivative(Z.value, ACTIVATIONS[name].f(Z.value, ALPHAS.get(name, 0.0)),
                                         ALPHAS.get(name, 0.0)).astype(self.wide)  # fmt: skip
        return Bounded(D, c.curvature * Z.error + c.jump * (np.abs(Z.value) <= Z.error)
                       + 16 * self.u * max(1.0, c.slope))  # fmt: skip

    def product(self, A: Bounded, B: Bounded) -> Bounded:
        """A B, where both have errors."""
        k = A.value.shape[1]
        size_A, size_B = np.abs(A.value), np.abs(B.value)
        rounding = 2 * (k + 1) * self.u * ((size_A + A.error) @ (size_B + B.error)) + (k + 1) * self.smallest
        return Bounded(A.value @ B.value, rounding + A.error @ (size_B + B.error) + size_A @ B.error)

    def times(self, D: Bounded, F: Bounded) -> Bounded:
        """D F, elementwise."""
        value = D.value * F.value
        error = np.abs(F.value) * D.error + (np.abs(D.value) + D.error) * F.error + 2 * self.u * np.abs(value)
        return Bounded(value, error + self.smallest)

    def gradients(self, X: Array, y: Array, loss: str, sample_weight: Array | None = None):
        """The mean loss and the gradient of every parameter, each with its bound."""
        self.forward(X)
        w = np.ones(len(X)) if sample_weight is None else sample_weight.astype(self.wide)
        share = (w / w.sum()).astype(self.wide)[:, np.newaxis]
        total, D = {"mse": self.mse, "cross_entropy": self.cross_entropy}.get(loss, self.binary)(y, share)
        found: list[Bounded] = []
        for index in range(len(self.layers) - 1, -1, -1):
            (W, _), (below, _) = self.weights[index], self.tape[index]
            if W is None:
                Delta = D
            else:
                if self.layers[index].use_bias:
                    ones = Bounded(np.ones((1, len(X)), self.wide), np.zeros((1, len(X))))
                    bias = self.product(ones, D)
                    found.append(Bounded(bias.value[0], bias.error[0]))
                found.append(self.product(Bounded(below.value.T, below.error.T), D))
                Delta = self.product(D, Bounded(W.T, np.zeros(W.T.shape)))
            if index:
                D = self.times(Delta, self.slopes(self.tape[index - 1][1], self.layers[index - 1].activation))
        return total, found[::-1]

    def mse(self, y: Array, share: Array) -> tuple[Bounded, Bounded]:
        """sum s (a - y)^2 / n; the derivative with respect to a is rounded four times: difference, 1/n, product, s."""
        (A, E), n = self.A, y.shape[1]
        T = A - y
        loss = float((share * T * T).sum() / n)
        error = float((share * (2 * np.abs(T) * E + E * E)).sum() / n) + (n + 8) * self.u * loss
        scale = 2 * share / n
        D = Bounded(scale * T, scale * E + 6 * self.u * scale * (np.abs(T) + E) + self.smallest)
        if self.layers[-1].activation != "softmax":
            return Bounded(loss, error), self.times(D, self.slopes(self.tape[-1][1], self.layers[-1].activation))
        # p (d - sum d p): one product, one sum, one difference, one product
        inner = (D.value * A).sum(axis=1, keepdims=True)
        inner_error = (D.error * (A + E) + np.abs(D.value) * E).sum(axis=1, keepdims=True)
        inner_error = inner_error + (n / 8 + 8) * self.u * (np.abs(D.value) * A).sum(axis=1, keepdims=True)
        V = D.value - inner
        V_error = D.error + inner_error + 2 * self.u * (np.abs(D.value) + np.abs(inner))
        return Bounded(loss, error), self.times(Bounded(V, V_error), Bounded(A, E))

    def cross_entropy(self, y: Array, share: Array) -> tuple[Bounded, Bounded]:
        """sum s (log sum exp z - z_y), derivative s (p - 1_y); y labels or rows of probabilities."""
        Z = self.tape[-1][1]
        n = Z.value.shape[1]
        T = np.eye(n)[y] if y.ndim == 1 else y.astype(self.wide)
        P = self.softmax(Z)
        top = Z.value.max(axis=1, keepdims=True)
        logsum = top + np.log(np.exp(Z.value - top).sum(axis=1, keepdims=True))
        each = T * (logsum - Z.value)
        loss = float((share * each).sum())
        # error of logsum: the errors of z, the roundings of softmax's sum, of the logarithm and of the addition
        spread = np.abs(Z.value - top)
        logsum_error = (P.value * (Z.error + self.u * spread)).sum(axis=1, keepdims=True) + self.u * (
            n / 16 + 8 + 4 * np.abs(top) + 4 * np.abs(logsum - top))
        error = T * (logsum_error + Z.error + 2 * self.u * (np.abs(logsum) + np.abs(Z.value))) + (n + 4) * self.u * each
        mass = T.sum(axis=1, keepdims=True)
        D = Bounded(share * (P.value * mass - T),
                    share * (P.error * mass + (n / 4 + 6) * self.u * (P.value * mass + T)) + self.smallest)
        return Bounded(loss, 2 * float((share * error).sum())), D

    def binary(self, y: Array, share: Array) -> tuple[Bounded, Bounded]:
        """sum s (softplus(z) - y z) / n, derivative s (sigmoid(z) - y) / n."""
        Z, E = self.tape[-1][1]
        n = y.shape[1]
        soft, positive = np.log1p(np.exp(-np.abs(Z))), np.maximum(Z, 0)
        sigmoid = np.where(Z < 0, np.exp(-np.abs(Z)), 1) / (1 + np.exp(-np.abs(Z)))
        each = positive - Z * y + soft
        loss = float((share * each).sum() / n)
        error = E + 8 * self.u * (positive + np.abs(Z * y) + soft) + (n + 4) * self.u * np.abs(each)
        scale = share / n
        D = scale * (sigmoid - y)
        D_error = scale * (E / 4 + 8 * self.u * (sigmoid + np.abs(y))) + self.smallest
        return Bounded(loss, float((share * error).sum() / n)), Bounded(D, D_error)


def excess(got: Array, expected: Bounded) -> float:
    """The largest error as a multiple of its bound: at most 1 if the bound holds."""
    error = np.abs(np.asarray(got).astype(np.asarray(expected.value).dtype) - expected.value)
    worst = float(np.max(error / expected.error, initial=0.0))
    return worst if worst == worst else np.inf


# -- processes -----------------------------------------------------------------------------------------------------
def run_python(*arguments: str, check: bool = True, **environment: str | None) -> subprocess.CompletedProcess:
    """Run a new interpreter that can import the package and these tests; None unsets a variable."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    variables = {name: value for name, value in variables.items() if value is not None}
    done = subprocess.run([sys.executable, *arguments], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


def run_threads(name: str) -> dict:
    """Call a function of `threads` in a process that may start 16 threads, more than the usual number of cores."""
    done = run_python("-W", "error", "-m", "tests.engine.threads", name, NUMBA_NUM_THREADS="16", OMP_NUM_THREADS=None)
    return json.loads(done.stdout.splitlines()[-1])
