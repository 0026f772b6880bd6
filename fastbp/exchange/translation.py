"""What one layer is in every format, and the tools that its translations are given, one class a format.

`fastbp.exchange.layers` holds a `LayerExchange` for each layer, in one file per kind of layer; activations stand in
`fastbp.exchange.activations`. The formats' own modules read the weights' names, write files and assemble graphs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbp.exchange.layer_weights import ExchangeError, Part, as_floats
from fastbp.layers import Layer
from fastbp.util.types import Array

Found = tuple[Layer, dict[str, Array]]  # a layer that was read, and its weights


@dataclass(frozen=True)
class LayerExchange:
    """The translations of one layer; None: the format does not have it.

    onnx: adds nodes to a graph; returns the name of their output.
    numpy: lines of code that change A; functions of the same file that they call are copied into the module.
    to_torch: the modules of torch.nn, with uninitialized weights, all of one layer in a row.
    torch_names: fastbp's names of the weights -> those in the modules' state_dict.
    torch_transposed: weights of which PyTorch has the transpose.
    from_torch: class of module -> reads one, of this name in messages, on inputs of this width.
    torch_functions: function or method -> class of module that does the same.
    to_keras: applies a layer of Keras to a tensor.
    from_keras: class of layer -> reads one on inputs of this width.
    """

    onnx: Callable[[OnnxGraph, Part, str], str] | None = None
    numpy: Callable[[NumpyCode, Part], Iterator[str]] | None = None
    to_torch: Callable[[TorchModules, Part], list[Any]] | None = None
    torch_names: Callable[[Part], Mapping[str, str]] = lambda part: {}
    torch_transposed: tuple[str, ...] = ()
    from_torch: Mapping[str, Callable[[Any, str, int], Found]] = field(default_factory=dict)
    torch_functions: Mapping[str, str] = field(default_factory=dict)
    to_keras: Callable[[KerasLayers, Part, Any], Any] | None = None
    from_keras: Mapping[str, Callable[[Any, int], list[Found]]] = field(default_factory=dict)


Table = Mapping[type, LayerExchange]


def translation(table: Table, part: Part, name: str, tool: str) -> Any:
    """Look up a layer's translation, a field of LayerExchange; ExchangeError if it is missing."""
    found = getattr(table.get(type(part.layer)), name, None)
    if found is None:
        known = ", ".join(sorted(kind.__name__ for kind, each in table.items() if getattr(each, name)))
        raise ExchangeError(
            f"{tool} must be given layers that it supports ({known}), got {part.label}: convert a model without it, "
            "or save this one in fastbp's own format (Sequential.save)"
        )
    return found


# ---------------------------------------------------------------- writing


class OnnxGraph:
    """Builds nodes and weights; x is the name of a tensor (batch, width)."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any], table: Table):
        self.onnx, self.dtype, self.table = onnx, dtype, table
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.prefix = ""

    def layers(self, parts: Iterable[Part], x: str) -> str:
        """Apply layers to x."""
        for part in parts:
            translate = translation(self.table, part, "onnx", "ONNX")
            self.prefix = part.name
            x = translate(self, part, x)
        return x

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        name = f"{self.prefix}.{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, values: Array) -> str:
        """Add an initializer."""
        self.initializers[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(values, self.dtype), name)
        return name

    def weights(self, part: Part) -> list[str]:
        """Add all weights of a layer."""
        return [self.weight(f"{part.name}.{name}", values) for name, values in part.weights.items()]

    def number(self, value: float) -> str:
        """Add a scalar constant."""
        return self.weight(f"constant {value!r}", np.array(value))

    def axis(self) -> str:
        """The feature axis."""
        return self.indices("features", [1])

    def indices(self, name: str, values: int | list[int]) -> str:
        """Add integers: axes or columns."""
        self.initializers[name] = self.onnx.numpy_helper.from_array(np.array(values, np.int64), name)
        return name


class NumpyCode:
    """Lines of code that apply layers to A, with the weights in W; one operation a line."""

    def __init__(self, table: Table):
        self.table = table

    def lines(self, parts: Iterable[Part]) -> Iterator[str]:
        """Apply layers."""
        for part in parts:
            yield from translation(self.table, part, "numpy", "a module of NumPy")(self, part)

    def call(self, function: str, *arguments: object) -> str:
        """Apply a function."""
        return f"A = {function}({', '.join(['A', *map(str, arguments)])})"

    def weight(self, part: Part, name: str) -> str:
        """An array."""
        return f'W["{part.name}.{name}"]'


class TorchModules:
    """Modules with uninitialized weights."""

    def __init__(self, torch: Any, dtype: Any, table: Table):
        self.torch, self.dtype, self.table = torch, dtype, table

    def sequence(self, parts: Iterable[Part]) -> Any:
        """The nn.Sequential of layers."""
        modules: list[Any] = []
        for part in parts:
            modules += translation(self.table, part, "to_torch", "PyTorch")(self, part)
        return self.torch.nn.Sequential(*modules)

    def linear(self, inputs: int, units: int, bias: bool) -> Any:
        """An nn.Linear."""
        return self.torch.nn.utils.skip_init(self.torch.nn.Linear, inputs, units, bias=bias, dtype=self.dtype)


class KerasLayers:
    """Keras layers on symbolic tensors, and the weights to set afterwards."""

    def __init__(self, keras: Any, dtype: str, table: Table):
        self.keras, self.dtype, self.table = keras, dtype, table
        self.weights: list[tuple[Any, list[Array]]] = []

    def layers(self, parts: Iterable[Part], X: Any) -> Any:
        """Apply layers to X."""
        for part in parts:
            X = translation(self.table, part, "to_keras", "Keras")(self, part, X)
        return X

    def layer(self, kind: str, part: Part, suffix: str = "", weights: Iterable[Array] = (), **options: Any) -> Any:
        """A layer of keras.layers, named by its position."""
        name = f"layer_{part.name.replace('.', '_')}{suffix}"
        made = getattr(self.keras.layers, kind)(name=name, dtype=self.dtype, **options)
        made.trainable = getattr(part.layer, "trainable", True)
        self.weights.append((made, list(weights)))
        return made


# ---------------------------------------------------------------- reading


def wrong(where: str, what: str, remedy: str) -> ExchangeError:
    """The error for an option that fastbp does not have."""
    return ExchangeError(f"{where!r} {what}, which fastbp does not have: {remedy}")


def torch_trainable(module: Any, where: str) -> bool:
    """Whether a module's weights are trained; a warning if only some are."""
    needs = {parameter.requires_grad for parameter in module.parameters()}
    if len(needs) == 2:
        warnings.warn(f"{where!r} has some trainable and some frozen weights: all will be trainable", stacklevel=6)
    return any(needs)


def check_width(where: str, wants: int, width: int) -> None:
    """Raise ExchangeError unless a module takes what the layer before gives."""
    if wants != width:
        raise ExchangeError(f"{where!r} takes {wants} features, but the layer before gives {width}: correct the module")


def keras_arrays(layer: Any) -> Iterator[Array]:
    """The weights; get_weights would warn with PyTorch as the backend and NumPy 2."""
    if getattr(layer, "quantization_mode", None) is not None:
        raise wrong(layer.name, f"is quantized, {layer.quantization_mode}", "convert the model before quantize()")
    own = [variable for variable in layer.weights if not variable.name.startswith("lora_")]
    if unknown := [v.name for v in own if v.name not in KERAS_WEIGHTS and not v.name.startswith("table_")]:
        raise wrong(layer.name, f"has the weights {', '.join(unknown)}", "use a plain layer")
    if getattr(layer, "lora_enabled", False):  # the property includes the product of the low-rank factors
        return (as_floats(layer.kernel if variable.name == "kernel" else variable.value) for variable in own)
    if len(own) < len(layer.weights):
        raise wrong(layer.name, "has LoRA's weights, but they are not enabled", "use a plain layer")
    return (as_floats(variable.value) for variable in own)


KERAS_WEIGHTS = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance", "alpha", "frequencies", "phases")
