"""Dense: a linear layer and its activation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp import constraints, regularizers
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
from fastbp.layers import Dense


def _onnx(graph: OnnxGraph, part: Part, x: str) -> str:
    weights = graph.weights(part)
    return activation.to_onnx(graph, part, graph.add("Gemm" if len(weights) == 2 else "MatMul", x, *weights))


def _numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    bias = f" + {code.weight(part, 'bias')}" if "bias" in part.weights else ""
    yield f"A = A @ {code.weight(part, 'kernel')}{bias}"
    yield from activation.to_numpy(code, part)


def _to_torch(build: TorchModules, part: Part) -> list[Any]:
    return [build.linear(part.inputs, part.units, "bias" in part.weights), *activation.to_torch(build, part)]


def _from_torch(module: Any, where: str, width: int) -> Found:
    check_width(where, module.in_features, width)
    weights = {"kernel": np.ascontiguousarray(as_floats(module.weight).T)}
    if module.bias is not None:
        weights["bias"] = as_floats(module.bias)
    return Dense(module.out_features, use_bias=len(weights) == 2, trainable=torch_trainable(module, where)), weights


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    layer = part.layer
    assert isinstance(layer, Dense)
    penalty, bound = regularizers.get(layer.kernel_regularizer), layer.kernel_constraint
    keras, rule = build.keras, activation.keras_rule(part)
    dense = build.layer(
        "Dense", part, weights=part.weights.values(), units=part.units, use_bias=layer.use_bias,
        activation=rule if isinstance(rule, str) else None,
        kernel_regularizer=None if penalty is None else keras.regularizers.L1L2(penalty.l1, penalty.l2),
        kernel_constraint=None if bound is None else keras.constraints.MaxNorm(bound.max_value, axis=0),
    )  # fmt: skip
    return dense(X) if isinstance(rule, str) else rule(build, part, dense(X))


def _from_keras(layer: Any, width: int) -> list[Found]:
    weights = dict(zip(("kernel", "bias")[: 1 + layer.use_bias], keras_arrays(layer), strict=True))
    for name in ("bias_regularizer", "activity_regularizer", "bias_constraint"):
        if getattr(layer, name, None) is not None:
            warnings.warn(
                f"{layer.name!r} has a {name}, which fastbp does not have: training would differ", stacklevel=6
            )
    dense = Dense(
        layer.units, use_bias=layer.use_bias, trainable=layer.trainable,
        kernel_regularizer=_regularizer(layer), kernel_constraint=_constraint(layer),
    )  # fmt: skip
    return [(dense, weights), *activation.from_keras_function(layer, width)]


def _regularizer(layer: Any) -> regularizers.L1L2 | None:
    given = layer.kernel_regularizer
    if given is None:
        return None
    if type(given).__name__ not in ("L1", "L2", "L1L2"):
        raise wrong(layer.name, f"has the kernel_regularizer {type(given).__name__}", "use L1, L2 or L1L2")
    return regularizers.L1L2(float(getattr(given, "l1", 0.0)), float(getattr(given, "l2", 0.0)))


def _constraint(layer: Any) -> constraints.MaxNorm | None:
    given = layer.kernel_constraint
    if given is None:
        return None
    if type(given).__name__ != "MaxNorm" or given.axis != 0:
        raise wrong(layer.name, f"has the kernel_constraint {type(given).__name__}", "use MaxNorm along axis 0")
    return constraints.MaxNorm(float(given.max_value))


LAYERS = {
    Dense: LayerExchange(
        onnx=_onnx,
        numpy=_numpy,
        to_torch=_to_torch,
        torch_names=lambda part: {"kernel": "weight", "bias": "bias"},
        torch_transposed=("kernel",),
        from_torch={"Linear": _from_torch},
        to_keras=_to_keras,
        from_keras={"Dense": _from_keras},
    )
}
