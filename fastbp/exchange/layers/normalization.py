"""BatchNorm and LayerNorm."""

from __future__ import annotations

import warnings
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
    wrong,
)
from fastbp.layers import BatchNorm, LayerNorm
from fastbp.util.types import Array

# ---------------------------------------------------------------- ONNX


def _batch_norm_onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    assert isinstance(part.layer, BatchNorm)
    epsilon = part.layer.epsilon
    if graph.dtype == np.float64:  # an attribute is a float32: 1e-5 would be off by 3e-13
        part = part._replace(weights=part.weights | {"moving_variance": part.weights["moving_variance"] + epsilon})
        epsilon = 0.0
    return graph.add("BatchNormalization", x, *graph.weights(part), epsilon=epsilon)


def _layer_norm_onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    assert isinstance(part.layer, LayerNorm)
    if graph.dtype == np.float32:
        return graph.add("LayerNormalization", x, *graph.weights(part), axis=-1, epsilon=part.layer.epsilon)
    gamma, beta = graph.weights(part)  # the operator's epsilon is a float32, and its means may be
    axis = graph.axis()
    d = graph.add("Sub", x, graph.add("ReduceMean", x, axis))
    variance = graph.add("ReduceMean", graph.add("Mul", d, d), axis)
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.number(part.layer.epsilon)))
    return graph.add("Add", graph.add("Mul", graph.add("Div", d, deviation), gamma), beta)


# ---------------------------------------------------------------- NumPy; both functions are copied into modules


def batch_norm(A, gamma, beta, mean, variance, epsilon):
    """gamma (A - mean) / sqrt(variance + epsilon) + beta, with the moving statistics."""
    return (A - mean) * (gamma / np.sqrt(variance + A.dtype.type(epsilon))) + beta


def layer_norm(A, gamma, beta, epsilon):
    """gamma (A - mean) / sqrt(variance + epsilon) + beta, with the statistics of each row."""
    D = A - A.mean(axis=1, keepdims=True)
    variance = np.square(D).mean(axis=1, keepdims=True)
    return D / np.sqrt(variance + A.dtype.type(epsilon)) * gamma + beta


def _batch_norm_numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    assert isinstance(part.layer, BatchNorm)
    yield code.call("batch_norm", *(code.weight(part, name) for name in part.weights), part.layer.epsilon)


def _layer_norm_numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    assert isinstance(part.layer, LayerNorm)
    yield code.call("layer_norm", *(code.weight(part, name) for name in part.weights), part.layer.epsilon)


# ---------------------------------------------------------------- PyTorch


def _batch_norm_to_torch(build: TorchModules, part: Part) -> list[Any]:
    assert isinstance(part.layer, BatchNorm)
    return [build.torch.nn.BatchNorm1d(part.units, part.layer.epsilon, part.layer.momentum, dtype=build.dtype)]


def _layer_norm_to_torch(build: TorchModules, part: Part) -> list[Any]:
    assert isinstance(part.layer, LayerNorm)
    return [build.torch.nn.LayerNorm(part.units, part.layer.epsilon, dtype=build.dtype)]


def _torch_affine(module: Any, where: str, width: int) -> tuple[dict[str, Array], bool]:
    """gamma and beta, and whether they are trainable; 1 and 0 if a module has none."""
    weights = {"gamma": np.ones(width, np.float32), "beta": np.zeros(width, np.float32)}
    given = {"gamma": module.weight, "beta": module.bias}
    weights |= {name: as_floats(values) for name, values in given.items() if values is not None}
    if module.weight is not None and module.bias is None:
        warnings.warn(f"{where!r} has no bias: fastbp's layer has one, 0, and trains it", stacklevel=6)
    return weights, torch_trainable(module, where)


def _batch_norm_from_torch(module: Any, where: str, width: int) -> Found:
    check_width(where, module.num_features, width)
    if module.running_mean is None:
        raise wrong(where, "has no running statistics", "pass track_running_stats=True")
    if module.momentum is None:
        raise wrong(where, "has momentum=None, a plain average,", "pass a number such as 0.1")
    weights, trainable = _torch_affine(module, where, width)
    weights["moving_mean"], weights["moving_variance"] = as_floats(module.running_mean), as_floats(module.running_var)
    return BatchNorm(module.momentum, module.eps, trainable=trainable), weights


def _layer_norm_from_torch(module: Any, where: str, width: int) -> Found:
    if len(module.normalized_shape) != 1:
        raise wrong(where, f"normalizes over the shape {tuple(module.normalized_shape)}", "normalize over one axis")
    check_width(where, module.normalized_shape[0], width)
    weights, trainable = _torch_affine(module, where, width)
    return LayerNorm(module.eps, trainable=trainable), weights


# ---------------------------------------------------------------- Keras


def _batch_norm_to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    layer = part.layer
    assert isinstance(layer, BatchNorm)
    momentum = round(1 - layer.momentum, 15)
    weights = part.weights.values()
    return build.layer("BatchNormalization", part, "", weights, momentum=momentum, epsilon=layer.epsilon)(X)


def _layer_norm_to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    assert isinstance(part.layer, LayerNorm)
    return build.layer("LayerNormalization", part, "", part.weights.values(), epsilon=part.layer.epsilon)(X)


def _keras_affine(layer: Any, names: tuple[str, ...], width: int) -> dict[str, Array]:
    """gamma, beta and statistics; 1 and 0 if a layer has no gamma or beta."""
    if layer.axis not in (-1, 1, [-1], [1], (-1,), (1,)):
        raise wrong(layer.name, f"normalizes along the axis {layer.axis}", "pass axis=-1")
    weights = {"gamma": np.ones(width, np.float32), "beta": np.zeros(width, np.float32)}
    if not (layer.scale and layer.center) and layer.trainable:
        warnings.warn(
            f"{layer.name!r} has no gamma or no beta: fastbp's layer has both, and trains them", stacklevel=6
        )
    own = [name for name, has in (("gamma", layer.scale), ("beta", layer.center)) if has]
    return weights | dict(zip((*own, *names), keras_arrays(layer), strict=True))


def _batch_norm_from_keras(layer: Any, width: int) -> list[Found]:
    weights = _keras_affine(layer, ("moving_mean", "moving_variance"), width)
    return [(BatchNorm(round(1 - layer.momentum, 15), layer.epsilon, trainable=layer.trainable), weights)]


def _layer_norm_from_keras(layer: Any, width: int) -> list[Found]:
    if getattr(layer, "rms_scaling", False):
        raise wrong(layer.name, "divides by the root mean square", "pass rms_scaling=False")
    return [(LayerNorm(layer.epsilon, trainable=layer.trainable), _keras_affine(layer, (), width))]


AFFINE = {"gamma": "weight", "beta": "bias"}
LAYERS = {
    BatchNorm: LayerExchange(
        onnx=_batch_norm_onnx,
        numpy=_batch_norm_numpy,
        to_torch=_batch_norm_to_torch,
        torch_names=lambda part: AFFINE | {"moving_mean": "running_mean", "moving_variance": "running_var"},
        from_torch={"BatchNorm1d": _batch_norm_from_torch},
        to_keras=_batch_norm_to_keras,
        from_keras={"BatchNormalization": _batch_norm_from_keras},
    ),
    LayerNorm: LayerExchange(
        onnx=_layer_norm_onnx,
        numpy=_layer_norm_numpy,
        to_torch=_layer_norm_to_torch,
        torch_names=lambda part: AFFINE,
        from_torch={"LayerNorm": _layer_norm_from_torch},
        to_keras=_layer_norm_to_keras,
        from_keras={"LayerNormalization": _layer_norm_from_keras},
    ),
}
