"""PReLU and ParametricActivation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp import activations
from fastbp.exchange.layer_weights import Part, activation_of, as_floats
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
from fastbp.layers import Activation, ParametricActivation, PReLU


def prelu(Z, alpha):
    """z where z > 0, else alpha z."""
    return np.where(Z > 0, Z, alpha * Z)


def _prelu_onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    (alpha,) = graph.weights(part)
    if graph.dtype == np.float32:
        return graph.add("PRelu", x, alpha)
    zero = graph.number(0.0)  # runtimes lack PRelu in float64
    return graph.add("Add", graph.add("Max", x, zero), graph.add("Mul", graph.add("Min", x, zero), alpha))


def _prelu_numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    yield code.call("prelu", code.weight(part, "alpha"))


def _prelu_to_torch(build: TorchModules, part: Part) -> list[Any]:
    return [build.torch.nn.PReLU(part.units, dtype=build.dtype)]


def _prelu_from_torch(module: Any, where: str, width: int) -> Found:
    alpha = as_floats(module.weight)
    if len(alpha) != 1:
        check_width(where, len(alpha), width)
    return PReLU(trainable=torch_trainable(module, where)), {"alpha": np.array(np.broadcast_to(alpha, width))}


def _prelu_to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    return build.layer("PReLU", part, "", part.weights.values())(X)


def _prelu_from_keras(layer: Any, width: int) -> list[Found]:
    if layer.alpha_regularizer is not None or layer.alpha_constraint is not None:
        raise wrong(layer.name, "has a regularizer or a constraint", "leave it out")
    (alpha,) = keras_arrays(layer)
    return [(PReLU(trainable=layer.trainable), {"alpha": np.array(np.broadcast_to(alpha, width))})]


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    (alpha,) = graph.weights(part)
    change = graph.add("Sub", activation.to_onnx(graph, part, x), x)
    return graph.add("Add", x, graph.add("Mul", change, alpha))


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    yield "Z = A"
    yield from activation.to_numpy(code, part)
    yield f"A = Z + {code.weight(part, 'alpha')} * (A - Z)"


def _to_torch(build: TorchModules, part: Part) -> list[Any]:
    from fastbp.exchange import torch_layers

    function = activation.to_torch(build, part) or [build.torch.nn.Identity()]
    return [torch_layers.ParametricActivation(part.units, function[0], build.dtype)]


def _from_torch(module: Any, where: str, width: int) -> Found:
    check_width(where, module.num_features, width)
    if type(module.function).__name__ not in {*activation.TORCH_CLASSES, "Identity"}:
        known = ", ".join(activation.TORCH_CLASSES)
        raise wrong(where, f"has the function {module.function!r}", f"use one of {known}")
    function: Any = Activation("identity")
    if type(module.function).__name__ != "Identity":
        function, _ = activation.from_torch(module.function, where, width)
    layer = ParametricActivation(function.activation, trainable=torch_trainable(module, where))
    return layer, {"alpha": as_floats(module.weight)}


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    from fastbp.exchange import keras_layers

    activation.keras_rule(part)  # or an error that says what Keras has
    function = activation_of(part)
    layer = keras_layers.ParametricActivation(
        function.name, function.alpha, name=f"layer_{part.name.replace('.', '_')}", dtype=build.dtype
    )
    layer.trainable = getattr(part.layer, "trainable", True)
    build.weights.append((layer, list(part.weights.values())))
    return layer(X)


def _from_keras(layer: Any, width: int) -> list[Found]:
    function = activations.Activation(layer.function, layer.parameter)
    (alpha,) = keras_arrays(layer)
    return [(ParametricActivation(function, trainable=layer.trainable), {"alpha": alpha})]


LAYERS = {
    PReLU: LayerExchange(
        onnx=_prelu_onnx,
        numpy=_prelu_numpy,
        to_torch=_prelu_to_torch,
        torch_names=lambda part: {"alpha": "weight"},
        from_torch={"PReLU": _prelu_from_torch},
        to_keras=_prelu_to_keras,
        from_keras={"PReLU": _prelu_from_keras},
    ),
    ParametricActivation: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_to_torch,
        torch_names=lambda part: {"alpha": "weight"},
        from_torch={"ParametricActivation": _from_torch},
        to_keras=_to_keras,
        from_keras={"ParametricActivation": _from_keras},
    ),
}
