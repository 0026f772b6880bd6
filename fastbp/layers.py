"""The layers a network is composed of: declarations, frozen and without weights.

`blocks_of` turns a list of them into what an engine runs, one block for each dense layer or activation standing alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

from fastbp import activations, initializers
from fastbp.arguments import count, flag


@final
@dataclass(frozen=True)
class Dense:
    """A fully connected layer.

        A = f(X W + b)

    X: (n, in). W: kernel (in, units). b: bias (units,), unless use_bias is False. A: (n, units), f the activation.
    activation, kernel_initializer and bias_initializer are names or objects; "softmax" is for the last layer only.
    Raises TypeError or ValueError for units that are no whole number of at least 1, and for unknown names.
    Goodfellow et al. 2016, section 6.1. As Keras's Dense and, but for its initial weights, PyTorch's Linear.

    >>> Dense(128, "relu").units
    128
    """

    units: int
    activation: str | activations.Activation = "identity"
    use_bias: bool = field(default=True, kw_only=True)
    kernel_initializer: str | initializers.Initializer = field(default="glorot_uniform", kw_only=True)
    bias_initializer: str | initializers.Initializer = field(default="zeros", kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "use_bias", flag(self.use_bias, "use_bias"))
        object.__setattr__(self, "units", count(self.units, "units"))
        object.__setattr__(self, "activation", activations.get(self.activation))
        for name in ("kernel_initializer", "bias_initializer"):
            object.__setattr__(self, name, initializers.get(getattr(self, name)))


@final
@dataclass(frozen=True)
class Activation:
    """An activation function as a layer of its own.

        A = f(Z)

    Z, A: (n, units of the layer below). After a Dense without activation it costs nothing: the two become one.
    Raises ValueError for an unknown name.

    >>> Activation("relu").activation.name
    'relu'
    """

    activation: str | activations.Activation

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", activations.get(self.activation))


Layer = Dense | Activation


class Block(NamedTuple):
    """One operation of the network: a dense layer with its activation, or (dense None) an activation alone."""

    dense: Dense | None
    activation: activations.Activation

    @property
    def label(self) -> str:
        """What summaries and warnings call it, such as ``Dense(10, softmax)``."""
        if self.dense is None:
            return f"Activation({self.activation.name})"
        return f"Dense({self.dense.units}, {self.activation.name})"


def checked(layers: Any) -> tuple[Layer, ...]:
    """layers as a tuple, or an error that says what a list of layers must be."""
    if isinstance(layers, Dense | Activation) or not isinstance(layers, Iterable):
        raise TypeError(f"layers must be a list of layers, but {layers!r} came: pass a list such as [Dense(10)]")
    result = tuple(layers)
    for position, layer in enumerate(result):
        if not isinstance(layer, Dense | Activation):
            remedy = f"write {layer.__name__}(…)" if isinstance(layer, type) else "use Dense(…) or Activation(…)"
            raise TypeError(f"layers must hold layers, but layers[{position}] is {layer!r}: {remedy}")
    if not any(isinstance(layer, Dense) for layer in result):
        raise ValueError(f"layers must hold at least one Dense, but {list(result)!r} came: add one")
    return result


def blocks_of(layers: tuple[Layer, ...]) -> tuple[Block, ...]:
    """The operations of a network, bottom up; softmax anywhere but in the last is a ValueError."""
    result: list[Block] = []
    for layer in layers:
        activation = activations.get(layer.activation)
        if isinstance(layer, Dense):
            result.append(Block(layer, activation))
        elif result and result[-1].dense is not None and result[-1].activation.name == "identity":
            result[-1] = result[-1]._replace(activation=activation)
        else:
            result.append(Block(None, activation))
    for position, block in enumerate(result[:-1]):
        if block.activation.name == "softmax":
            raise ValueError(
                f"softmax must be the activation of the last layer, but {block.label} is number {position} of "
                f"{len(result)}: use another activation there"
            )
    return tuple(result)


def widths(network: tuple[Block, ...], input_size: int) -> list[int]:
    """Features going into each block and, last, coming out of the network: one more than there are blocks."""
    result = [input_size]
    for block in network:
        result.append(result[-1] if block.dense is None else block.dense.units)
    return result


class Parameter(NamedTuple):
    """The name, shape and initial values of one array of weights."""

    name: str
    shape: tuple[int, ...]
    initializer: initializers.Initializer


def parameters(network: tuple[Block, ...], input_size: int) -> list[tuple[int, Parameter]]:
    """Every array of weights with the number of its block, in the order of `Sequential.get_weights`."""
    result = []
    for position, (block, width) in enumerate(zip(network, widths(network, input_size), strict=False)):
        if block.dense is None:
            continue
        dense = block.dense
        kernel, bias = initializers.get(dense.kernel_initializer), initializers.get(dense.bias_initializer)
        result.append((position, Parameter(f"{position}.kernel", (width, dense.units), kernel)))
        if dense.use_bias:
            result.append((position, Parameter(f"{position}.bias", (dense.units,), bias)))
    return result


def summary(network: tuple[Block, ...], input_size: int | None) -> str:
    """A table of blocks, output shapes and numbers of parameters, which are unknown ("?") without an input size."""
    sizes = [0] * len(network)
    for position, parameter in parameters(network, input_size or 1):
        sizes[position] += math.prod(parameter.shape)
    first = next(i for i, block in enumerate(network) if block.dense is not None)
    rows = [("layer", "output shape", "parameters")]
    for position, (block, width) in enumerate(zip(network, widths(network, input_size or 0)[1:], strict=True)):
        known = input_size is not None or position != first
        rows.append((block.label, f"(n, {width or '?'})", f"{sizes[position]:,}" if known else "?"))
    rows.append(("total", "", "?" if input_size is None else f"{sum(sizes):,}"))
    left, middle, right = (max(len(row[column]) for row in rows) for column in range(3))
    return "\n".join(f"{name:<{left}}  {shape:<{middle}}  {size:>{right}}" for name, shape, size in rows)
