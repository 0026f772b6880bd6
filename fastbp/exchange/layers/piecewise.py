"""PiecewiseLinearEmbedding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp.exchange.layer_weights import Part, as_floats
from fastbp.exchange.translation import (
    Found,
    KerasLayers,
    LayerExchange,
    NumpyCode,
    OnnxGraph,
    TorchModules,
    check_width,
    keras_arrays,
    torch_trainable,
)
from fastbp.layers import PiecewiseLinearEmbedding


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    layer = part.layer
    assert isinstance(layer, PiecewiseLinearEmbedding)
    others = [column for column in range(part.inputs) if column not in layer.columns]
    found = [graph.add("Gather", x, graph.indices(f"{part.name}.others", others), axis=1)] if others else []
    for column, edges, table in zip(layer.columns, layer.edges, part.weights.values(), strict=True):
        name, bins = f"{part.name}.{column}", len(edges) - 1
        lower, upper = np.array(edges[:-1]), np.array(edges[1:])
        value = graph.add("Gather", x, graph.indices(f"column {column}", [column]), axis=1)
        share = graph.add("Sub", value, graph.weight(f"{name}.lower", lower))
        share = graph.add("Mul", share, graph.weight(f"{name}.inverse", 1 / (upper - lower)))
        share = graph.add("Min", share, graph.weight(f"{name}.most", np.append(np.ones(bins - 1), np.inf)))
        share = graph.add("Max", share, graph.weight(f"{name}.least", np.append(-np.inf, np.zeros(bins - 1))))
        parts = {"w": table[:1], "b": table[1:2], "V": table[2:]}
        w, b, V = (graph.weight(f"{name}.{key}", rows) for key, rows in parts.items())
        linear = graph.add("Add", graph.add("MatMul", value, w), b)
        found.append(graph.add("Add", linear, graph.add("MatMul", share, V)))
    return graph.add("Concat", *found, axis=1)


def piecewise(A, tables):
    """The other columns, then of each column a piecewise linear function; tables: {column: (edges, w, b and V)}."""
    parts = [np.delete(A, list(tables), axis=1)]
    for column, (edges, (w, b, *V)) in tables.items():
        x, edges = A[:, column], np.asarray(edges, A.dtype)
        k = np.clip(np.searchsorted(edges[:-1], x, "right") - 1, 0, len(V) - 1)
        share = ((x - edges[k]) / (edges[k + 1] - edges[k]))[:, np.newaxis]
        below = np.concatenate([np.zeros_like(V[:1]), np.cumsum(V, axis=0, dtype=A.dtype)[:-1]])
        parts.append(x[:, np.newaxis] * w + b + below[k] + share * np.array(V)[k])
    return np.concatenate(parts, axis=1)


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    layer = part.layer
    assert isinstance(layer, PiecewiseLinearEmbedding)
    pairs = zip(layer.columns, layer.edges, part.weights, strict=True)
    tables = ", ".join(f"{column}: ({list(edges)}, {code.weight(part, name)})" for column, edges, name in pairs)
    yield code.call("piecewise", "{" + tables + "}")


def _to_torch(build: TorchModules, part: Part) -> list[Any]:
    from fastbp.exchange import torch_layers

    layer = part.layer
    assert isinstance(layer, PiecewiseLinearEmbedding)
    return [
        torch_layers.PiecewiseLinearEmbedding(part.inputs, layer.columns, layer.edges, layer.dimension, build.dtype)
    ]


def _from_torch(module: Any, where: str, width: int) -> Found:
    check_width(where, module.in_features, width)
    weights = {f"embedding_{c}": as_floats(E.weight) for c, E in zip(module.columns, module.tables, strict=True)}
    layer = PiecewiseLinearEmbedding(
        module.edges, module.dimension, module.columns, trainable=torch_trainable(module, where)
    )
    return layer, weights


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    from fastbp.exchange import keras_layers

    own = part.layer
    assert isinstance(own, PiecewiseLinearEmbedding)
    layer = keras_layers.PiecewiseLinearEmbedding(
        own.columns, own.edges, own.dimension, name=f"layer_{part.name.replace('.', '_')}", dtype=build.dtype
    )
    layer.trainable = own.trainable
    build.weights.append((layer, list(part.weights.values())))
    return layer(X)


def _from_keras(layer: Any, width: int) -> list[Found]:
    own = PiecewiseLinearEmbedding(layer.edges, layer.dimension, layer.columns, trainable=layer.trainable)
    names = [name for name, *_ in own.weights(width, 0)]
    return [(own, dict(zip(names, keras_arrays(layer), strict=True)))]


LAYERS = {
    PiecewiseLinearEmbedding: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_to_torch,
        torch_names=lambda part: {name: f"tables.{place}.weight" for place, name in enumerate(part.weights)},
        from_torch={"PiecewiseLinearEmbedding": _from_torch},
        to_keras=_to_keras,
        from_keras={"PiecewiseLinearEmbedding": _from_keras},
    )
}
