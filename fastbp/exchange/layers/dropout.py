"""Dropout and GaussianNoise, which do nothing in inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastbp.exchange.layer_weights import Part
from fastbp.exchange.translation import (
    Found,
    KerasLayers,
    LayerExchange,
    NumpyCode,
    OnnxGraph,
    TorchModules,
    wrong,
)
from fastbp.layers import Dropout, GaussianNoise


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    return x


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    return iter(())


def _dropout_to_torch(build: TorchModules, part: Part) -> list[Any]:
    assert isinstance(part.layer, Dropout)
    return [build.torch.nn.Dropout(part.layer.initial_rate)]


def _noise_to_torch(build: TorchModules, part: Part) -> list[Any]:
    from fastbp.exchange import torch_layers

    assert isinstance(part.layer, GaussianNoise)
    return [torch_layers.GaussianNoise(part.layer.stddev)]


def _dropout_to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    assert isinstance(part.layer, Dropout)
    return build.layer("Dropout", part, rate=part.layer.initial_rate)(X)


def _noise_to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    assert isinstance(part.layer, GaussianNoise)
    return build.layer("GaussianNoise", part, stddev=part.layer.stddev)(X)


def _dropout_from_keras(layer: Any, width: int) -> list[Found]:
    if layer.noise_shape is not None and any(size is not None for size in layer.noise_shape):
        raise wrong(layer.name, f"has the noise_shape {layer.noise_shape}", "leave it out")
    return [(Dropout(layer.rate), {})]


LAYERS = {
    Dropout: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_dropout_to_torch,
        from_torch={"Dropout": lambda module, where, width: (Dropout(module.p), {})},
        torch_functions={"dropout": "Dropout"},
        to_keras=_dropout_to_keras,
        from_keras={"Dropout": _dropout_from_keras},
    ),
    GaussianNoise: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_noise_to_torch,
        from_torch={"GaussianNoise": lambda module, where, width: (GaussianNoise(module.stddev), {})},
        to_keras=_noise_to_keras,
        from_keras={"GaussianNoise": lambda layer, width: [(GaussianNoise(layer.stddev), {})]},
    ),
}
