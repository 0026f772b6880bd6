"""ColumnEmbedding: the columns without codes, then the embedding of each code."""

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
    torch_trainable,
)
from fastbp.layers import ColumnEmbedding


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    assert isinstance(part.layer, ColumnEmbedding)
    columns = part.layer.columns
    passing = [column for column in range(part.inputs) if column not in columns]
    found = [graph.add("Gather", x, graph.indices(f"{part.name}.passing", passing), axis=1)] if passing else []
    for column, table in zip(columns, graph.weights(part), strict=True):
        codes = graph.add("Gather", x, graph.indices(f"column {column}", column), axis=1)
        found.append(graph.add("Gather", table, graph.add("Cast", codes, to=graph.onnx.TensorProto.INT64), axis=0))
    return graph.add("Concat", *found, axis=1)


def embed(A, tables):
    """The columns without codes, then the embedding of each code; tables: {column: table}, ascending."""
    vectors = []
    for column, table in tables.items():
        codes = A[:, column].astype(np.int64)
        if not np.array_equal(codes, A[:, column]) or (codes < 0).any() or (codes >= len(table)).any():
            raise ValueError(
                f"column {column} of X must hold integer codes from 0 to {len(table) - 1}: correct it"
            )
        vectors.append(table[codes])
    return np.concatenate([np.delete(A, list(tables), axis=1), *vectors], axis=1)


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    assert isinstance(part.layer, ColumnEmbedding)
    pairs = zip(part.layer.columns, part.weights, strict=True)
    yield code.call("embed", "{" + ", ".join(f"{column}: {code.weight(part, name)}" for column, name in pairs) + "}")


def _to_torch(build: TorchModules, part: Part) -> list[Any]:
    from fastbp.exchange import torch_layers

    assert isinstance(part.layer, ColumnEmbedding)
    return [torch_layers.ColumnEmbedding(part.inputs, part.layer.tables, build.dtype)]


def _from_torch(module: Any, where: str, width: int) -> Found:
    columns, sizes, dimensions = zip(*module.tables, strict=True)
    weights = {f"embedding_{c}": as_floats(E.weight) for c, E in zip(columns, module.embeddings, strict=True)}
    return ColumnEmbedding(sizes, dimensions, columns, trainable=torch_trainable(module, where)), weights


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    layer, ops = part.layer, build.keras.ops
    assert isinstance(layer, ColumnEmbedding)
    passing = [column for column in range(part.inputs) if column not in layer.columns]
    found = [ops.take(X, passing, axis=1)] if passing else []
    for (column, codes, dimension), E in zip(layer.tables, part.weights.values(), strict=True):
        table = build.layer("Embedding", part, f"_{column}", [E], input_dim=codes, output_dim=dimension)
        found.append(table(ops.cast(X[:, column], "int32")))
    return ops.concatenate(found, axis=1) if len(found) > 1 else found[0]


LAYERS = {
    ColumnEmbedding: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_to_torch,
        torch_names=lambda part: {name: f"embeddings.{place}.weight" for place, name in enumerate(part.weights)},
        from_torch={"ColumnEmbedding": _from_torch},
        to_keras=_to_keras,
    )
}
