"""Activation, and the activation of a Dense: rows of `fastbp.exchange.activations`, looked up for every format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp import activations
from fastbp.exchange.activations import ACTIVATIONS, KerasRule, OnnxRule, Ours
from fastbp.exchange.layer_weights import ExchangeError, Part, activation_of
from fastbp.exchange.translation import Found, KerasLayers, LayerExchange, NumpyCode, OnnxGraph, TorchModules, wrong
from fastbp.layers import Activation


def names_in(field: str) -> dict[str, Any]:
    """A column of the table: fastbp's names of the activations that a format has, and its own."""
    return {name: value for name, row in ACTIVATIONS.items() if (value := getattr(row, field)) is not None}


def translated(part: Part, field: str, tool: str) -> Any:
    """A field for the activation of a Dense or an Activation; ExchangeError if the format does not have it."""
    wanted, table = activation_of(part), names_in(field)
    if isinstance(wanted, activations.CustomActivation):
        raise ExchangeError(
            f"{tool} does not support custom functions, but {part.label} has the CustomActivation {wanted.name!r}: "
            f"use one of {', '.join(table)} instead, or save the model in fastbp's own format (Sequential.save)"
        )
    if wanted.name not in table:
        raise ExchangeError(
            f"{tool} has the activations {', '.join(table)}, but {part.label} has {wanted.name!r}: use one of these, "
            "or save the model in fastbp's own format (Sequential.save)"
        )
    return table[wanted.name]


def to_onnx(graph: OnnxGraph, part: Part, z: str) -> str:
    """Add the nodes of a layer's activation."""
    rule: str | OnnxRule = translated(part, "onnx", "ONNX")
    if graph.dtype == np.float64:
        rule = ACTIVATIONS[activation_of(part).name].onnx_float64 or rule
    if callable(rule):
        return rule(graph, z, activation_of(part).alpha)
    return graph.add(rule, z) if rule else z


def to_numpy(code: NumpyCode, part: Part) -> Iterator[str]:
    """The line of a layer's activation, if any."""
    function, wanted = translated(part, "numpy", "a module of NumPy"), activation_of(part)
    if function:
        yield code.call(function, *[wanted.alpha] * (wanted.name in activations.PARAMETRIC))


def to_torch(build: TorchModules, part: Part) -> list[Any]:
    """The module of a layer's activation, if any."""
    kind, wanted = translated(part, "torch", "PyTorch"), activation_of(part)
    options = ACTIVATIONS[wanted.name].torch_options(wanted.alpha)
    return [getattr(build.torch.nn, kind)(**options)] if kind else []


def keras_rule(part: Part) -> str | KerasRule:
    """What Keras's Dense and Activation take, or what applies a layer's activation."""
    rule: str | KerasRule = translated(part, "keras", "Keras")
    return rule


def _to_keras(build: KerasLayers, part: Part, X: Any) -> Any:
    rule = keras_rule(part)
    return build.layer("Activation", part, activation=rule)(X) if isinstance(rule, str) else rule(build, part, X)


# ---------------------------------------------------------------- reading

TORCH_CLASSES: dict[str, str] = {}  # class of torch.nn -> the row that reads it
for _name, _theirs in names_in("torch").items():
    if _theirs:
        TORCH_CLASSES.setdefault(_theirs, _name)
TORCH_FUNCTIONS = {ACTIVATIONS[name].torch_function or name: kind for kind, name in TORCH_CLASSES.items()}
KERAS_CLASSES = {kind: name for name, row in ACTIVATIONS.items() for kind in row.keras_classes}
KERAS_FUNCTIONS: dict[str, Ours] = {
    theirs: name for name, theirs in names_in("keras").items() if isinstance(theirs, str) and name != "identity"
} | names_in("keras_function")


def from_torch(module: Any, where: str, width: int) -> Found:
    """Read a module that is an activation."""
    name = TORCH_CLASSES[type(module).__name__]
    read = ACTIVATIONS[name].from_torch
    return Activation(read(module, where) if read else name), {}


def from_keras(layer: Any, width: int) -> list[Found]:
    """Read a layer or an operation that is an activation."""
    name = KERAS_CLASSES[type(layer).__name__]
    read = ACTIVATIONS[name].from_keras
    return [(Activation(read(layer) if read else name), {})]


def from_keras_function(layer: Any, width: int) -> list[Found]:
    """Read the activation function of a Dense or an Activation."""
    name = getattr(layer.activation, "__name__", "")
    if name == "linear":
        return []
    own = getattr(layer.activation, "__module__", "").startswith("keras.")
    if name not in KERAS_FUNCTIONS or not own:
        known = ", ".join(KERAS_FUNCTIONS)
        raise wrong(layer.name, f"has the activation {name or layer.activation!r}", f"use one of {known}")
    return [(Activation(KERAS_FUNCTIONS[name]), {})]


LAYERS = {
    Activation: LayerExchange(
        onnx=to_onnx,
        numpy=to_numpy,
        to_torch=to_torch,
        to_keras=_to_keras,
    )
}
