"""Translation of a list of layers into the graph that an engine runs: its operations and their weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp import activations
from fastbp.initializers import Initializer
from fastbp.layers.activation import Activation
from fastbp.layers.base import Layer, as_layers
from fastbp.layers.dense import Dense
from fastbp.layers.embedding import ColumnEmbedding
from fastbp.layers.residual import Residual
from fastbp.spec import LayerSpec

IDENTITY = activations.get("identity")
PROJECTION = ".projection"


class Block(NamedTuple):
    """One operation of a network: a layer merged with the activation that follows it, its inputs, and its place.

    name: its index among its siblings, with a dot within residual blocks, such as "2.0"; a residual block, whose
    operation is the sum, is "2", its projection "2.projection". units, inputs: number of outputs and inputs, None if
    unknown. below, skip: as in `fastbp.spec.LayerSpec`.
    """

    name: str
    layer: Layer
    activation: activations.Activation
    inputs: int | None
    units: int | None
    below: int | None = None
    skip: int | None = None

    @property
    def label(self) -> str:
        """The name in summaries and warnings, such as ``Dense(10, softmax)``."""
        if self.name.endswith(PROJECTION):
            return f"Projection({self.units})"
        return self.layer.label(self.activation.name)


class Parameter(NamedTuple):
    """One array of a network: the index of its block, its name, shape and initializer.

    statistic: a moving mean or variance, updated from batches; trainable: whether updates may change it.
    """

    block: int
    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    statistic: bool = False
    trainable: bool = True


def checked(layers: Any) -> tuple[Layer, ...]:
    """Return layers as a tuple, or raise an error that says what a list of layers must be."""
    result = as_layers(layers, "layers")
    if not any(isinstance(layer, Dense) for layer in flattened(result)):
        raise ValueError(f"layers must hold at least one Dense, got {list(result)!r}: add one")
    for position, layer in enumerate(flattened(result)):
        if isinstance(layer, ColumnEmbedding) and position:
            raise ValueError(
                "a ColumnEmbedding must be the first layer, because it reads codes, got one further up: use a single "
                "one, with all columns of codes, as the first layer"
            )
    return result


def flattened(layers: Iterable[Layer]) -> Iterable[Layer]:
    """All layers; those of a residual block follow the block."""
    for layer in layers:
        yield layer
        if isinstance(layer, Residual):
            yield from flattened(layer.layers)


def blocks_of(layers: Iterable[Layer], input_size: int | None = None) -> tuple[Block, ...]:
    """The operations of a network, each after its inputs; softmax is a ValueError except in the last.

    Without an input size, widths that depend on it are None, and a residual block of unknown width has no projection.
    """
    blocks: list[Block] = []
    _append(blocks, layers, "", input_size)
    for position, block in enumerate(blocks[:-1]):
        if block.activation.name == "softmax":
            raise ValueError(
                f"softmax must be the activation of the last layer, but {block.label} is number {position} of "
                f"{len(blocks)}: use another activation there"
            )
    return tuple(blocks)


def _append(blocks: list[Block], layers: Iterable[Layer], prefix: str, width: int | None) -> int | None:
    """Append the operations of layers on an input of this width; return the width of their output."""
    position, takes_activation = 0, False  # whether an Activation is merged into the block before it
    for layer in layers:
        if isinstance(layer, Activation) and takes_activation and blocks[-1].activation == IDENTITY:
            blocks[-1] = blocks[-1]._replace(activation=activations.get(layer.activation))
            continue
        name = f"{prefix}{position}"
        if isinstance(layer, Residual):
            width = _append_residual(blocks, layer, name, width)
        else:
            units = layer.units_of(width)
            activation = activations.get(layer.activation) if isinstance(layer, Dense | Activation) else IDENTITY
            blocks.append(Block(name, layer, activation, width, units))
            width = units
        position, takes_activation = position + 1, layer.takes_activation
    return width


def _append_residual(blocks: list[Block], residual: Residual, name: str, width: int | None) -> int | None:
    below = len(blocks) - 1  # -1: the network's input
    units = _append(blocks, residual.layers, f"{name}.", width)
    skip = below
    if units != width and width is not None and units is not None:
        skip = len(blocks) - 1
        projection = Dense(units, use_bias=False)
        blocks.append(Block(name + PROJECTION, projection, IDENTITY, width, units, below=below))
    blocks.append(Block(name, residual, IDENTITY, units, units, skip=skip))
    return units


def specs_of(blocks: Iterable[Block]) -> list[LayerSpec]:
    """The node specifications for an engine; all widths must be known."""
    result = []
    for block in blocks:
        assert block.units is not None
        rule, alpha = block.activation.rule, block.activation.alpha
        node = block.layer.node(block.units)
        result.append(node._replace(activation=rule, alpha=alpha, below=block.below, skip=block.skip))
    return result


def parameters(blocks: Iterable[Block]) -> list[Parameter]:
    """All arrays of weights, in the order of `Sequential.get_weights`; an unknown input width counts as 0."""
    return [
        Parameter(
            number, f"{block.name}.{name}", shape, initializer, statistic, not statistic and _is_trainable(block.layer)
        )
        for number, block in enumerate(blocks)
        for name, shape, initializer, statistic in block.layer.weights(block.inputs or 0, block.units or 0)
    ]


def _is_trainable(layer: Any) -> bool:
    return bool(layer.trainable)


def check_statistics(wanted: Iterable[Parameter], weights: Iterable[npt.NDArray[Any]]) -> None:
    """Raise ValueError if a moving variance is negative."""
    for parameter, array in zip(wanted, weights, strict=True):
        if parameter.name.endswith(".moving_variance") and np.any(array < 0):
            raise ValueError(
                f"{parameter.name} must not be negative, got {array.min()}: pass variances, not standard deviations"
            )
