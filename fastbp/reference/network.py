"""Forward and backward pass through a graph of nodes. Goodfellow et al. 2016, algorithms 6.3 and 6.4, and section 6.5.

A node reads the output of another node or the network's input; a sum reads two. Nodes are sorted topologically, so the
forward pass runs through the list and the backward pass through its reverse. If several nodes read the same output,
its derivative is the sum of what they pass back (the chain rule of section 6.5.2).
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
from fastbp.reference.random import Draw, dropout_mask, normal
from fastbp.spec import INPUT, LayerSpec

Array = npt.NDArray[Any]


class Layer:
    """A node: its place in the graph, its weights and gradients (views of two flat buffers), and its moving statistics.

    Parameters
    ----------
    spec : LayerSpec
        The operation.
    number : int
        Index of the node.
    weights, gradients : sequence of arrays
        Kernel and bias of "dense", gamma and beta of "batch_norm" and "layer_norm", tables of "embedding", scale of
        "scale", alpha of "prelu" and "parametric", the matrices of "periodic"; their gradients.
    statistics : sequence of arrays
        Moving mean and variance of "batch_norm".
    passes : tuple of (bool, bool)
        Whether the derivatives with respect to its inputs (below, skip) are needed.
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
        """Allocate once what every forward and backward pass would otherwise allocate."""
        if self.spec.kind == "dense":
            W = self.weights[0]
            self.Z = np.empty((rows, W.shape[1]), W.dtype)
            self.dA_below = np.empty((rows, W.shape[0]), W.dtype)

    def ending_in(self, activation: str) -> "Layer":
        """The same node with another activation, sharing its weights, gradients and statistics."""
        spec = self.spec._replace(activation=activation)
        return Layer(spec, self.number, self.weights, self.gradients, self.statistics, self.passes)


def passes(specs: Sequence[LayerSpec]) -> list[tuple[bool, bool]]:
    """For each node, whether there are weights before its input, and before the second input of a sum."""
    has_weights = {INPUT: False}
    result = []
    for number, spec in enumerate(specs):
        below = number - 1 if spec.below is None else spec.below
        needed = has_weights[below], spec.skip is not None and has_weights[spec.skip]
        has_weights[number] = any(needed) or bool(spec.parameters)
        result.append(needed)
    return result


def activate(Z: Array, spec: LayerSpec) -> Array:
    """A = f(Z)."""
    return softmax(Z) if spec.activation == "softmax" else functions_of(spec.activation).f(Z, spec.alpha)


def activation_delta(dA: Array, Z: Array, A: Array, spec: LayerSpec) -> Array:
    """dZ = dA f'(Z), overwriting dA; softmax mixes the elements of a row: dZ = a (dA - sum_j a_j dA_j)."""
    if spec.activation == "softmax":
        dA -= (A * dA).sum(axis=1, keepdims=True)
        dA *= A
    elif spec.activation != "identity":
        dA *= functions_of(spec.activation).derivative(Z, A, spec.alpha)
    return dA


def pre_activation(
    spec: LayerSpec,
    weights: Sequence[Array],
    A_below: Array,
    A_skip: Array | None = None,
    statistics: Sequence[Array] = (),
    room: Array | None = None,
) -> tuple[Array, Normalized | None]:
    """Z of one node, and what normalization keeps for the backward pass; dropout and noise let everything pass.

    Parameters
    ----------
    spec : LayerSpec
        The operation.
    weights : sequence of arrays
        As in `Layer`.
    A_below, A_skip : array, shape (rows, inputs)
        Its inputs; the second of "add" alone.
    statistics : sequence of arrays
        Moving mean and variance to normalize with; none: those of the batch.
    room : array, optional
        Where the product of "dense" goes.
    """
    match spec.kind:
        case "dense":  # Z = A_below W + b
            Z: Array = np.matmul(A_below, weights[0], out=room)
            if spec.use_bias:
                Z += weights[1]
            return Z, None
        case "batch_norm" | "layer_norm":
            return _normalized(spec, weights, A_below, statistics)
        case "embedding":
            return embed(A_below, spec, weights), None
        case "scale":  # Z = A_below s
            return A_below * weights[0], None
        case "prelu":  # Z = max(A_below, 0) + alpha min(A_below, 0)
            return np.maximum(A_below, 0) + weights[0] * np.minimum(A_below, 0), None
        case "parametric":  # Z = A_below + alpha (f(A_below) - A_below)
            return A_below + weights[0] * (_inner(spec, A_below)[0] - A_below), None
        case "periodic":
            return periodic(A_below, spec, weights), None
        case "piecewise":
            return piecewise(A_below, spec, weights), None
        case "add":
            assert A_skip is not None
            return A_below + A_skip, None
        case _:
            return A_below, None


class Tape(NamedTuple):
    """What the forward pass keeps of a node for the backward pass; saved: Normalized, or dropout's mask and rate."""

    A_below: Array
    Z: Array
    A: Array
    saved: Any = None


def forward(X: Array, layers: Sequence[Layer], draw: Draw | None = None) -> tuple[Array, list[Tape]]:
    """Forward pass, algorithm 6.3.

    Parameters
    ----------
    X : array, shape (rows, input_size)
        Inputs.
    layers : sequence of Layer
        The nodes, in topological order.
    draw : Draw, optional
        In training: batch statistics are used, and random masks drawn. Without it: moving statistics, no masks.

    Returns
    -------
    A : array, shape (rows, output_size)
        Outputs.
    tape : list of Tape
        What `backward` needs, node by node.
    """
    A, tape = X, []
    outputs = {INPUT: X}
    for layer in layers:
        A_below = outputs[layer.below]
        saved: Any = None
        match layer.spec.kind:
            case "dropout" if draw is not None:
                rate = _rate(layer.spec, draw)
                saved = dropout_mask(draw, layer.number, A_below.shape, rate), rate
                Z = _dropped(A_below, *saved)
            case "noise" if draw is not None:
                deviation = np.asarray(layer.spec.values[0], A.dtype)
                Z = A_below + deviation * normal(draw, layer.number, A_below.shape, A.dtype)
            case _:
                A_skip = None if layer.skip is None else outputs[layer.skip]
                statistics = layer.statistics if draw is None else ()
                room = layer.Z[: len(X)] if layer.spec.kind == "dense" else None
                Z, saved = pre_activation(layer.spec, layer.weights, A_below, A_skip, statistics, room)
        if layer.spec.kind == "dense" and layer.spec.activation == "relu":
            A = np.maximum(Z, 0, out=Z)  # in place: its derivative does not need Z
        else:
            A = activate(Z, layer.spec)
        outputs[layer.number] = A
        tape.append(Tape(A_below, Z, A, saved))
    return A, tape


def backward(dA: Array, layers: Sequence[Layer], tape: list[Tape]) -> None:
    """Backward pass, algorithm 6.4: fill the gradients of all nodes.

    Parameters
    ----------
    dA : array, shape (rows, output_size)
        Derivative with respect to the outputs; overwritten.
    layers : sequence of Layer
        The nodes, as in `forward`.
    tape : list of Tape
        The result of `forward`.
    """
    derivatives = {layers[-1].number: dA}
    for layer, (A_below, Z, A, saved) in zip(reversed(layers), reversed(tape), strict=True):
        if layer.number not in derivatives:  # no weights at or before it
            continue
        dZ = activation_delta(derivatives.pop(layer.number), Z, A, layer.spec)
        dA_below = dZ
        match layer.spec.kind:
            case "dense":  # dW = A_below' dZ, db = column sums of dZ, dA_below = dZ W'
                np.matmul(A_below.T, dZ, out=layer.gradients[0])
                if layer.spec.use_bias:
                    dZ.sum(axis=0, out=layer.gradients[1])
                if layer.passes[0]:
                    dA_below = np.matmul(dZ, layer.weights[0].T, out=layer.dA_below[: len(dZ)])
            case "batch_norm" | "layer_norm":
                axis = COLUMNS if layer.spec.kind == "batch_norm" else ROWS
                dA_below, *gradients = normalize_backward(dZ, layer.weights[0], saved, axis)
                for view, gradient in zip(layer.gradients, gradients, strict=True):
                    view[:] = gradient
            case "embedding":
                embedding_gradients(A_below, dZ, layer.spec, layer.gradients)
            case "dropout":
                dA_below = _dropped(dZ, *saved)
            case "scale":  # ds = column sums of dZ A_below, dA_below = dZ s
                (dZ * A_below).sum(axis=0, out=layer.gradients[0])
                dA_below = dZ * layer.weights[0]
            case "prelu":  # dalpha = column sums of dZ min(A_below, 0)
                (dZ * np.minimum(A_below, 0)).sum(axis=0, out=layer.gradients[0])
                dA_below = np.where(A_below > 0, dZ, layer.weights[0] * dZ)
            case "parametric":  # dalpha = column sums of dZ (f - A_below), dA_below = dZ (1 + alpha (f' - 1))
                f, slope = _inner(layer.spec, A_below)
                (dZ * (f - A_below)).sum(axis=0, out=layer.gradients[0])
                dA_below = dZ + layer.weights[0] * (slope - 1) * dZ
            case "periodic":
                dA_below = periodic_backward(A_below, dZ, layer)
            case "piecewise":
                dA_below = piecewise_backward(A_below, dZ, layer)
        if layer.skip is not None and layer.passes[1]:  # a sum passes its derivative to both inputs
            _pass(derivatives, layer.skip, dZ.copy())
        if layer.passes[0]:
            _pass(derivatives, layer.below, dA_below)


def _pass(derivatives: dict[int, Array], node: int, dA: Array) -> None:
    """Add to the derivative by a node's output; the array passed may be overwritten from then on."""
    if node in derivatives:
        derivatives[node] += dA
    else:
        derivatives[node] = dA


def _inner(spec: LayerSpec, X: Array) -> tuple[Array, Array]:
    """f(X) and f'(X) of a parametric node's function."""
    functions, (alpha,) = functions_of(spec.function), spec.values
    F = functions.f(X, alpha)
    return F, functions.derivative(X, F, alpha)


def embed(X: Array, spec: LayerSpec, tables: Sequence[Array]) -> Array:
    """The columns without codes, then each code's row of its table. Goodfellow et al. 2016, section 12.4.2."""
    others = np.delete(X, [column for column, *_ in spec.tables], axis=1)
    vectors = [E[X[:, column].astype(np.int64)] for E, (column, *_) in zip(tables, spec.tables, strict=True)]
    return np.concatenate([others, *vectors], axis=1)


def embedding_gradients(X: Array, dZ: Array, spec: LayerSpec, gradients: Sequence[Array]) -> None:
    """dE of each table: the row of a code gets the sum of the derivatives of all rows of X with that code."""
    start = X.shape[1] - len(spec.tables)
    for dE, (column, _, dimension) in zip(gradients, spec.tables, strict=True):
        dE[:] = 0
        np.add.at(dE, X[:, column].astype(np.int64), dZ[:, start : start + dimension])
        start += dimension


def waves_of(X: Array, spec: LayerSpec, weights: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Of each column of waves: cosines and sines, (rows, columns, frequencies), and its outputs before ReLU."""
    assert spec.waves is not None
    n, outputs = len(spec.waves.columns), spec.waves.outputs
    turns = X[:, spec.waves.columns][:, :, np.newaxis] * weights[0]
    if spec.waves.phases:
        turns += weights[1] * np.asarray(0.5 / np.pi, X.dtype)
    angles = np.asarray(2 * np.pi, X.dtype) * (turns - np.rint(turns))  # large ones would lose their digits
    C, S = np.cos(angles), np.sin(angles)
    basis = C if spec.waves.phases else np.concatenate([C, S], axis=2)
    kernel = weights[-2].reshape(n, spec.waves.waves, outputs)
    return C, S, np.einsum("rch,cho->rco", basis, kernel) + weights[-1]


def periodic(X: Array, spec: LayerSpec, weights: Sequence[Array]) -> Array:
    """The other columns, then of each column of waves what becomes of it. Gorishniy et al. 2022."""
    assert spec.waves is not None
    columns, (_, _, Z) = spec.waves.columns, waves_of(X, spec, weights)
    if spec.waves.relu:
        Z = np.maximum(Z, 0)
    if spec.waves.keeps:
        Z = np.concatenate([Z, X[:, columns][:, :, np.newaxis]], axis=2)
    return np.concatenate([np.delete(X, columns, axis=1), Z.reshape(len(X), -1)], axis=1)


def periodic_backward(X: Array, dZ: Array, layer: Layer) -> Array:
    """The gradients of its weights, and dX: the chain rule through outputs, waves and angles."""
    waves, weights = layer.spec.waves, layer.weights
    assert waves is not None
    n, start = len(waves.columns), X.shape[1] - len(waves.columns)
    x = X[:, waves.columns][:, :, np.newaxis]
    C, S, Z = waves_of(X, layer.spec, weights)
    own = dZ[:, start:].reshape(len(X), n, waves.width)
    d = own[:, :, : waves.outputs] * (Z > 0 if waves.relu else 1)
    kernel = weights[-2].reshape(n, waves.waves, waves.outputs)
    basis = C if waves.phases else np.concatenate([C, S], axis=2)
    layer.gradients[-2][:] = np.einsum("rch,rco->cho", basis, d).reshape(n, -1)
    d.sum(axis=0, out=layer.gradients[-1])
    slopes = np.einsum("rco,cho->rch", d, kernel)
    angles = -S * slopes[:, :, : waves.frequencies]
    if waves.phases:
        angles.sum(axis=0, out=layer.gradients[1])
    else:
        angles += C * slopes[:, :, waves.frequencies :]
    two_pi = np.asarray(2 * np.pi, X.dtype)
    layer.gradients[0][:] = two_pi * (angles * x).sum(axis=0)
    dX = np.empty_like(X)
    dX[:, np.delete(np.arange(X.shape[1]), waves.columns)] = dZ[:, :start]
    dX[:, waves.columns] = two_pi * (angles * weights[0]).sum(axis=2)
    if waves.keeps:
        dX[:, waves.columns] += own[:, :, -1]
    return dX


def encoding(x: Array, edges: Sequence[float]) -> tuple[Array, Array]:
    """How much of each bin lies below x, (rows, bins), 0 to 1 but for the ends; and its derivative."""
    lower, upper = (np.asarray(ends, x.dtype) for ends in (edges[:-1], edges[1:]))
    E = (x[:, np.newaxis] - lower) / (upper - lower)
    own = np.clip(np.searchsorted(lower, x, "right") - 1, 0, len(lower) - 1)[:, np.newaxis]
    bins = np.arange(len(lower))
    E = np.where(bins < own, 1, np.where(bins > own, 0, E)).astype(x.dtype)
    return E, np.where(bins == own, 1 / (upper - lower), 0).astype(x.dtype)


def piecewise(X: Array, spec: LayerSpec, tables: Sequence[Array]) -> Array:
    """The other columns, then of each column x w + b + e V. Gorishniy et al. 2022, version B of rtdl_num_embeddings."""
    columns = [column for column, *_ in spec.tables]
    parts = [np.delete(X, columns, axis=1)]
    for (w, b, *V), column, edges in zip(tables, columns, spec.edges, strict=True):
        x = X[:, column]
        parts.append(x[:, np.newaxis] * w + b + encoding(x, edges)[0] @ np.array(V))
    return np.concatenate(parts, axis=1)


def piecewise_backward(X: Array, dZ: Array, layer: Layer) -> Array:
    """The gradients of its tables, and dX."""
    columns = [column for column, *_ in layer.spec.tables]
    start = X.shape[1] - len(columns)
    dX = np.empty_like(X)
    dX[:, np.delete(np.arange(X.shape[1]), columns)] = dZ[:, :start]
    of_tables = zip(layer.weights, layer.gradients, columns, layer.spec.edges, strict=True)
    for (w, _, *V), gradient, column, edges in of_tables:
        x, d = X[:, column], dZ[:, start : start + len(w)]
        E, slopes = encoding(x, edges)
        gradient[0], gradient[1], gradient[2:] = x @ d, d.sum(axis=0), E.T @ d
        dX[:, column] = (d * (w + slopes @ np.array(V))).sum(axis=1)
        start += len(w)
    return dX


def _normalized(
    spec: LayerSpec, weights: Sequence[Array], X: Array, statistics: Sequence[Array]
) -> tuple[Array, Normalized | None]:
    gamma, beta, *_ = weights
    *_, epsilon = spec.values
    if statistics:
        mean, variance = statistics
        return gamma * normalize_with(X, mean, variance, epsilon) + beta, None
    saved = normalize(X, epsilon, COLUMNS if spec.kind == "batch_norm" else ROWS)
    return gamma * saved.X_hat + beta, saved


def _rate(spec: LayerSpec, draw: Draw) -> float:
    """The rate of a dropout in this step."""
    return float(spec.values[0] if spec.schedule is None else spec.schedule(np.array([draw.update]))[0])


def _dropped(A: Array, mask: Array, rate: float) -> Array:
    """A / (1 - rate) where kept, else 0: inverted dropout, prediction needs no factor. Srivastava et al. 2014."""
    return np.where(mask, A / np.asarray(1 - rate, A.dtype), np.zeros((), A.dtype))


def move_statistics(layers: Sequence[Layer], tape: list[Tape]) -> None:
    """Update the moving statistics with those of a training batch."""
    for layer, (*_, saved) in zip(layers, tape, strict=True):
        if layer.statistics:
            moving_mean, moving_variance = layer.statistics
            move(moving_mean, moving_variance, saved, momentum=layer.spec.values[0])
