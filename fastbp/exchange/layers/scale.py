"""Scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastbp.exchange.layer_weights import Part, as_floats
from fastbp.exchange.layers import activation
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
    wrong,
)
from fastbp.layers import Scale

EQUATION = "ab,b->ab"  # of Keras's EinsumDense


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    return graph.add("Mul", x, *graph.weights(part))


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    yield f"A = A * {code.weight(part, 'scale')}"


def _to_torch(build: TorchModules, part: Part) -> list[Any]:
    from fastbp.exchange import torch_layers

    return [torch_layers.Scale(part.units, build.dtype)]


def _from_torch(module: Any, where: str, width: int) -> Found:
    check_width(where, module.num_features, width)
    return Scale(trainable=torch_trainable(module, where)), {"scale": as_floats(module.weight)}


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    weights = part.weights.values()
    return build.layer("EinsumDense", part, "", weights, equation=EQUATION, output_shape=part.units)(X)


def _from_keras(layer: Any, width: int) -> list[Found]:
    if layer.equation != EQUATION or layer.bias_axes:
        raise wrong(layer.name, f"computes {layer.equation!r}", f"use {EQUATION!r} without bias_axes, or a Dense")
    if layer.kernel_regularizer is not None or layer.kernel_constraint is not None:
        raise wrong(layer.name, "has a regularizer or a constraint", "leave it out")
    (scale,) = keras_arrays(layer)
    return [(Scale(trainable=layer.trainable), {"scale": scale}), *activation.from_keras_function(layer, width)]


LAYERS = {
    Scale: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_to_torch,
        torch_names=lambda part: {"scale": "weight"},
        from_torch={"Scale": _from_torch},
        to_keras=_to_keras,
        from_keras={"EinsumDense": _from_keras},
    )
}
