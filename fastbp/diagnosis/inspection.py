"""Shared parts of the diagnostics: a copy of the model, a sample of rows, the nodes and their outputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp.data.arrays import Rows
from fastbp.data.csr import SparseRows
from fastbp.util.arguments import count
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.model.sequential import Sequential
    from fastbp.spec import LayerSpec


class Node(NamedTuple):
    """One operation of a network: number from the input, name and label, spec, and its slice of get_weights()."""

    number: int
    name: str  # as in the names of weights, such as "2" or, in a residual block, "2.0"
    label: str  # such as ``Dense(10, softmax)``
    spec: LayerSpec
    arrays: slice


def twin(model: Sequential, *, width: int, dtype: Any = None) -> Sequential:
    """A copy of a model with its weights, optimizer state and counters, built for rows of this width, to experiment on.

    dtype "float64" converts all of it. The model itself is not built; its copy draws the same initial weights.
    """
    result = copy.copy(model)
    result.build(width)
    if dtype is None:
        return result
    snapshot = result.snapshot()
    weights = [array.astype(dtype) for array in snapshot.weights]
    states = [[array.astype(dtype) for array in state] for state in snapshot.states]
    return type(model).from_snapshot(snapshot._replace(dtype=np.dtype(dtype), weights=weights, states=states))


def some_rows(model: Sequential, X: Any, y: Any, rows: int) -> tuple[Array, Array]:
    """X and y, validated as in fit; at most `rows` rows, evenly spaced, so that sorted data stay mixed."""
    few = some_weighted_rows(model, X, y, None, rows)
    return few.X, few.y


def some_weighted_rows(model: Sequential, X: Any, y: Any, sample_weight: Any, rows: int) -> Rows:
    """The same with sample weights; X is dense."""
    X, y, weight = model.inputs.rows(X, y, sample_weight)
    n, most = len(X), count(rows, "rows")
    if n > most:
        chosen = np.linspace(0, n - 1, most).round().astype(np.int64)
        X, y, weight = X[chosen], y[chosen], None if weight is None else weight[chosen]
    return Rows(X.toarray() if isinstance(X, SparseRows) else X, y, weight)


# ---------------------------------------------------------------- nodes

def nodes(specs: Sequence[LayerSpec], names: Sequence[tuple[str, str]] | None = None) -> list[Node]:
    """The nodes of a network with their arrays, in the order of get_weights(); names: name and label of each."""
    names = names or [(str(number), spec.kind) for number, spec in enumerate(specs)]
    result, start = [], 0
    for number, (spec, (name, label)) in enumerate(zip(specs, names, strict=True)):
        result.append(Node(number, name, label, spec, slice(start, start + spec.n_arrays)))
        start += spec.n_arrays
    return result


def nodes_of(model: Sequential) -> list[Node]:
    """The nodes of a built model."""
    specs = model.require_engine("looking at its layers").specs
    return nodes(specs, [(block.name, block.label) for block in model.blocks])


# ---------------------------------------------------------------- outputs


class Output(NamedTuple):
    """Intermediate results of a node, (rows, units): its input, its pre-activation Z and its activation A."""

    below: Array
    Z: Array
    A: Array


def outputs(network: Sequence[Node], weights: Sequence[Array], X: Array) -> list[Output]:
    """The outputs of every node for X, normalized by the statistics of X as in training, without dropout and noise.

    weights: as returned by get_weights(). One forward pass in NumPy. Goodfellow et al. 2016, algorithm 6.3.
    """
    from fastbp.reference.network import activate, pre_activation

    result: list[Output] = []

    def output_of(number: int) -> Array:
        return X if number < 0 else result[number].A

    with np.errstate(all="ignore"):  # the caller checks for values that are not finite
        for node in network:
            spec = node.spec
            below = output_of(node.number - 1 if spec.below is None else spec.below)
            skip = None if spec.skip is None else output_of(spec.skip)
            Z, _ = pre_activation(spec, weights[node.arrays], below, skip)
            result.append(Output(below, Z, activate(Z, spec)))
    return result
