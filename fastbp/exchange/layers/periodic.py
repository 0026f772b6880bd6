"""PeriodicEmbedding."""

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
from fastbp.layers import PeriodicEmbedding
from fastbp.spec import Waves


def _waves(part: Part) -> Waves:
    assert isinstance(part.layer, PeriodicEmbedding)
    return part.layer.waves(part.units)


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    waves, (frequencies, *phases, _, bias) = _waves(part), graph.weights(part)
    kernel = part.weights["kernel"].reshape(len(waves.columns), waves.waves, waves.outputs)
    own, last = graph.indices(f"{part.name}.columns", list(waves.columns)), graph.indices("last", [2])
    column = graph.add("Unsqueeze", graph.add("Gather", x, own, axis=1), last)
    turns = graph.add("Mul", column, frequencies)
    if phases:
        turns = graph.add("Add", turns, graph.add("Mul", phases[0], graph.number(0.5 / np.pi)))
    basis = _sine(graph, graph.add("Add", turns, graph.number(0.25)))  # a cosine; runtimes lack Cos in float64
    if not phases:
        basis = graph.add("Concat", basis, _sine(graph, turns), axis=2)
    V = graph.weight(f"{part.name}.kernel", kernel)
    z = graph.add("Add", graph.add("Einsum", basis, V, equation="rch,cho->rco"), bias)
    z = graph.add("Relu", z) if waves.relu else z
    z = graph.add("Flatten", graph.add("Concat", z, column, axis=2) if waves.keeps else z, axis=1)
    others = [column for column in range(part.inputs) if column not in waves.columns]
    if not others:
        return z
    return graph.add("Concat", graph.add("Gather", x, graph.indices(f"{part.name}.others", others), axis=1), z, axis=1)


def _sine(graph: OnnxGraph, turns: str) -> str:
    rest = graph.add("Sub", turns, graph.add("Round", turns))
    return graph.add("Sin", graph.add("Mul", rest, graph.number(2 * np.pi)))


def periodic(A, columns, frequencies, phases, kernel, bias, keeps, relu):
    """The other columns, then of each of these columns what its waves become."""
    x = A[:, columns][:, :, np.newaxis]
    turns = x * frequencies if phases is None else x * frequencies + phases * np.asarray(0.5 / np.pi, A.dtype)
    angles = np.asarray(2 * np.pi, A.dtype) * (turns - np.rint(turns))
    waves = np.cos(angles) if phases is not None else np.concatenate([np.cos(angles), np.sin(angles)], axis=2)
    Z = np.einsum("rch,cho->rco", waves, kernel.reshape(len(bias), waves.shape[2], -1)) + bias
    Z = np.maximum(Z, 0) if relu else Z
    Z = np.concatenate([Z, x], axis=2) if keeps else Z
    return np.concatenate([np.delete(A, columns, axis=1), Z.reshape(len(A), -1)], axis=1)


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    waves = _waves(part)
    names = ("frequencies", "phases", "kernel", "bias")
    weights = [code.weight(part, name) if name in part.weights else None for name in names]
    yield code.call("periodic", list(waves.columns), *weights, bool(waves.keeps), bool(waves.relu))


def _to_torch(build: TorchModules, part: Part) -> list[Any]:
    from fastbp.exchange import torch_layers

    return [torch_layers.PeriodicEmbedding(part.inputs, *_waves(part), dtype=build.dtype)]


def _layer(waves: Waves, trainable: bool) -> PeriodicEmbedding:
    return PeriodicEmbedding(
        waves.outputs, waves.frequencies, waves.columns, phases=waves.phases, keep_inputs=waves.keeps, relu=waves.relu,
        trainable=trainable,
    )  # fmt: skip


def _from_torch(module: Any, where: str, width: int) -> Found:
    check_width(where, module.in_features, width)
    weights = {name: as_floats(array) for name, array in module.named_parameters()}
    return _layer(Waves(*module.waves), torch_trainable(module, where)), weights


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    from fastbp.exchange import keras_layers

    layer = keras_layers.PeriodicEmbedding(
        *_waves(part), name=f"layer_{part.name.replace('.', '_')}", dtype=build.dtype
    )
    layer.trainable = getattr(part.layer, "trainable", True)
    build.weights.append((layer, list(part.weights.values())))
    return layer(X)


def _from_keras(layer: Any, width: int) -> list[Found]:
    waves = Waves(*layer.waves)
    return [(_layer(waves, layer.trainable), dict(zip(waves.shapes, keras_arrays(layer), strict=True)))]


LAYERS = {
    PeriodicEmbedding: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_to_torch,
        torch_names=lambda part: {name: name for name in part.weights},
        from_torch={"PeriodicEmbedding": _from_torch},
        to_keras=_to_keras,
        from_keras={"PeriodicEmbedding": _from_keras},
    )
}
