"""Forward and backward through a graph of nodes. Goodfellow et al. 2016, algorithms 6.3 and 6.4, and section 6.5.

A node reads the output of another, or the network's input; a sum reads two. Each is computed after those it reads, so
that forward runs through the list and backward through its reverse. Where several nodes read one output, its
derivative is the sum of what they pass down.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.reference.activations import functions_of, softmax
from fastbp.reference.normalization import (
    COLUMNS,
    ROWS,
    Normalized,
    move,
    normalize,
    normalize_backward,
    normalize_with,
)
from fastbp.reference.random import Draw, kept, normal
from fastbp.spec import INPUT, LayerSpec

Array = npt.NDArray[Any]


class Layer:
    """A node: its place in the graph, its weights and their gradients, views of two flat arenas, and its statistics.

    weights: kernel and bias of "dense", gamma and beta of "batch_norm" and "layer_norm", tables of "embedding";
    statistics: moving mean and variance of "batch_norm". passes: whether the derivatives by what it reads (below, skip)
    are wanted.
    """

    def __init__(
        self,
        spec: LayerSpec,
        number: int,
        weights: Sequence[Array],
        gradients: Sequence[Array],
        statistics: Sequence[Array],
        passes: tuple[bool, bool],
    ) -> None:
        self.spec, self.number, self.passes = spec, number, passes
        self.weights, self.gradients, self.statistics = list(weights), list(gradients), list(statistics)
        self.below, self.skip = number - 1 if spec.below is None else spec.below, spec.skip

    def reserve(self, rows: int) -> None:
        """Allocate once what forward and backward would otherwise allocate every step."""
        if self.spec.kind == "dense":
            W = self.weights[0]
            self.Z = np.empty((rows, W.shape[1]), W.dtype)
            self.dA_below = np.empty((rows, W.shape[0]), W.dtype)

    def ending_in(self, activation: str) -> "Layer":
        """The same node, sharing its weights, gradients and statistics, with another activation."""
        spec = self.spec._replace(activation=activation)
        return Layer(spec, self.number, self.weights, self.gradients, self.statistics, self.passes)


def passes(specs: Sequence[LayerSpec]) -> list[tuple[bool, bool]]:
    """Of each node, whether there are weights below what it reads, and below what a sum reads beside that."""
    weighty = {INPUT: False}
    result = []
    for number, spec in enumerate(specs):
        below = number - 1 if spec.below is None else spec.below
        wanted = weighty[below], spec.skip is not None and weighty[spec.skip]
        weighty[number] = any(wanted) or bool(spec.parameters)
        result.append(wanted)
    return result


def activate(Z: Array, spec: LayerSpec) -> Array:
    """A = f(Z)."""
    return softmax(Z) if spec.activation == "softmax" else functions_of(spec.activation).f(Z, spec.alpha)


def activation_delta(dA: Array, Z: Array, A: Array, spec: LayerSpec) -> Array:
    """dZ = dA f'(Z), written over dA; through softmax, which mixes a row, a (dA - sum_j a_j dA_j)."""
    if spec.activation == "softmax":
        dA -= (A * dA).sum(axis=1, keepdims=True)
        dA *= A
    elif spec.activation != "identity":
        dA *= functions_of(spec.activation).derivative(Z, A, spec.alpha)
    return dA


class Tape(NamedTuple):
    """What forward keeps of a node for backward; known: Normalized, or which outputs dropout kept."""

    A_below: Array
    Z: Array
    A: Array
    known: Any = None


def forward(X: Array, layers: Sequence[Layer], draw: Draw | None = None) -> tuple[Array, list[Tape]]:
    """Outputs (rows, output_size) and the tape. Algorithm 6.3.

    With a draw as in training, by statistics of the batch and random masks; without, as in predict.
    """
    A, tape = X, []
    outputs = {INPUT: X}
    for layer in layers:
        A_below = outputs[layer.below]
        known: Any = None
        match layer.spec.kind:
            case "dense":
                Z = np.matmul(A_below, layer.weights[0], out=layer.Z[: len(X)])
                if layer.spec.use_bias:
                    Z += layer.weights[1]
            case "batch_norm" | "layer_norm":
                Z, known = _normalized(A_below, layer, draw is not None)
            case "dropout" if draw is not None:
                known = kept(draw, layer.number, A_below.shape, layer.spec.values[0])
                Z = _dropped(A_below, known, layer)
            case "noise" if draw is not None:
                deviation = np.asarray(layer.spec.values[0], A.dtype)
                Z = A_below + deviation * normal(draw, layer.number, A_below.shape, A.dtype)
            case "embedding":
                Z = embed(A_below, layer.spec, layer.weights)
            case "add":
                assert layer.skip is not None
                Z = A_below + outputs[layer.skip]
            case _:
                Z = A_below
        if layer.spec.kind == "dense" and layer.spec.activation == "relu":
            A = np.maximum(Z, 0, out=Z)  # in place: its derivative needs no Z
        else:
            A = activate(Z, layer.spec)
        outputs[layer.number] = A
        tape.append(Tape(A_below, Z, A, known))
    return A, tape


def backward(dA: Array, layers: Sequence[Layer], tape: list[Tape]) -> None:
    """Fill the gradients of every node, from the derivative by the outputs; dA is written over. Algorithm 6.4."""
    derivatives = {layers[-1].number: dA}
    for layer, (A_below, Z, A, known) in zip(reversed(layers), reversed(tape), strict=True):
        if layer.number not in derivatives:  # there is nothing to learn below what reads it
            continue
        dZ = activation_delta(derivatives.pop(layer.number), Z, A, layer.spec)
        dA_below = dZ
        match layer.spec.kind:
            case "dense":
                np.matmul(A_below.T, dZ, out=layer.gradients[0])
                if layer.spec.use_bias:
                    dZ.sum(axis=0, out=layer.gradients[1])
                if layer.passes[0]:
                    dA_below = np.matmul(dZ, layer.weights[0].T, out=layer.dA_below[: len(dZ)])
            case "batch_norm" | "layer_norm":
                axis = COLUMNS if layer.spec.kind == "batch_norm" else ROWS
                dA_below, *gradients = normalize_backward(dZ, layer.weights[0], known, axis)
                for place, gradient in zip(layer.gradients, gradients, strict=True):
                    place[:] = gradient
            case "embedding":
                embedding_gradients(A_below, dZ, layer.spec, layer.gradients)
            case "dropout":
                dA_below = _dropped(dZ, known, layer)
        if layer.skip is not None and layer.passes[1]:
            _pass(derivatives, layer.skip, dZ.copy())
        if layer.passes[0]:
            _pass(derivatives, layer.below, dA_below)


def _pass(derivatives: dict[int, Array], node: int, dA: Array) -> None:
    """Add to the derivative by a node's output, which may be written over from then on."""
    if node in derivatives:
        derivatives[node] += dA
    else:
        derivatives[node] = dA


def embed(X: Array, spec: LayerSpec, tables: Sequence[Array]) -> Array:
    """The columns that hold no codes, then every code's row of its table. Goodfellow et al. 2016, section 12.4.2."""
    passing = np.delete(X, [column for column, *_ in spec.tables], axis=1)
    vectors = [E[X[:, column].astype(np.int64)] for E, (column, *_) in zip(tables, spec.tables, strict=True)]
    return np.concatenate([passing, *vectors], axis=1)


def embedding_gradients(X: Array, dZ: Array, spec: LayerSpec, gradients: Sequence[Array]) -> None:
    """dE of every table: to a code's row, the sum of the derivatives of all rows that have this code."""
    start = X.shape[1] - len(spec.tables)
    for dE, (column, _, dimension) in zip(gradients, spec.tables, strict=True):
        dE[:] = 0
        np.add.at(dE, X[:, column].astype(np.int64), dZ[:, start : start + dimension])
        start += dimension


def _normalized(X: Array, layer: Layer, training: bool) -> tuple[Array, Normalized | None]:
    gamma, beta = layer.weights
    *_, epsilon = layer.spec.values
    if layer.spec.kind == "batch_norm" and not training:
        mean, variance = layer.statistics
        return gamma * normalize_with(X, mean, variance, epsilon) + beta, None
    known = normalize(X, epsilon, COLUMNS if layer.spec.kind == "batch_norm" else ROWS)
    return gamma * known.X_hat + beta, known


def _dropped(A: Array, keeps: Array, layer: Layer) -> Array:
    """A / (1 - rate) where kept, else 0. Srivastava et al. 2014; divided here, so that predict need not multiply."""
    return np.where(keeps, A / np.asarray(1 - layer.spec.values[0], A.dtype), np.zeros((), A.dtype))


def move_statistics(layers: Sequence[Layer], tape: list[Tape]) -> None:
    """Let the moving statistics follow those of a batch that was trained on."""
    for layer, (*_, known) in zip(layers, tape, strict=True):
        if layer.statistics:
            moving_mean, moving_variance = layer.statistics
            move(moving_mean, moving_variance, known, momentum=layer.spec.values[0])
