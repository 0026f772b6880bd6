"""Residual. `fastbp.exchange.residual_graphs` reads one: a sum of two branches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastbp.exchange.layer_weights import Part
from fastbp.exchange.translation import KerasLayers, LayerExchange, NumpyCode, OnnxGraph, TorchModules
from fastbp.layers import Residual


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    above = graph.layers(part.within, x)
    graph.prefix = part.name
    below = graph.add("MatMul", x, *graph.weights(part)) if part.weights else x
    return graph.add("Add", below, above)


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    below = f"below_{part.name.replace('.', '_')}"
    yield f"{below} = A"
    yield from code.lines(part.within)
    yield f"A = {below} @ {code.weight(part, 'projection')} + A" if part.weights else f"A = {below} + A"


def _to_torch(build: TorchModules, part: Part) -> list[Any]:
    from fastbp.exchange import torch_layers

    projection = build.linear(part.inputs, part.units, False) if part.weights else None
    return [torch_layers.Residual(build.sequence(part.within), projection)]


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    below = X
    if part.weights:
        projection = build.layer("Dense", part, "_projection", part.weights.values(), units=part.units, use_bias=False)
        below = projection(X)
    return build.layer("Add", part)([below, build.layers(part.within, X)])


LAYERS = {
    Residual: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_to_torch,
        torch_names=lambda part: {"projection": "projection.weight"},
        torch_transposed=("projection",),
        to_keras=_to_keras,
    )
}
