"""From a list of layers to the graph that an engine runs: its operations and their weights."""

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
    """One operation of a network: a layer with the activation above it, what it reads, and its place.

    name: its number among its neighbours, below a dot within a residual block, such as "2.0"; the block itself, whose
    operation is the sum, is "2", its projection "2.projection". units, inputs: outputs and inputs a row, None where not
    known yet. below, skip: as in `fastbp.spec.LayerSpec`.
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
        """What summaries and warnings call it, such as ``Dense(10, softmax)``."""
        if self.name.endswith(PROJECTION):
            return f"Projection({self.units})"
        return self.layer.label(self.activation.name)


class Parameter(NamedTuple):
    """One array of weights: the number of its block, its name, shape and initial values, and what may change it.

    statistic: a moving mean or variance, which follows the batches; trainable: updates may change it.
    """

    block: int
    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    statistic: bool = False
    trainable: bool = True


def checked(layers: Any) -> tuple[Layer, ...]:
    """layers as a tuple, or an error that says what a list of layers must be."""
    result = as_layers(layers, "layers")
    if not any(isinstance(layer, Dense) for layer in flattened(result)):
        raise ValueError(f"layers must hold at least one Dense, but {list(result)!r} came: add one")
    for place, layer in enumerate(flattened(result)):
        if isinstance(layer, ColumnEmbedding) and place:
            raise ValueError(
                "a ColumnEmbedding must be the first layer, as it reads codes, but it came as another: move it to the "
                "front, once, with all columns of codes"
            )
    return result


def flattened(layers: Iterable[Layer]) -> Iterable[Layer]:
    """All layers, those of residual blocks after the block."""
    for layer in layers:
        yield layer
        if isinstance(layer, Residual):
            yield from flattened(layer.layers)


def blocks_of(layers: Iterable[Layer], input_size: int | None = None) -> tuple[Block, ...]:
    """The operations of a network, each after those it reads; softmax anywhere but in the last is a ValueError.

    Without an input size, widths that depend on it are None, and a residual block on them has no projection.
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
    """Append the operations of layers, on an input of this width; returns that of their output."""
    position, takes_activation = 0, False  # whether an Activation may become one with the block below it
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
    """What an engine is made of; widths must be known."""
    result = []
    for block in blocks:
        assert block.units is not None
        rule, alpha = block.activation.rule, block.activation.alpha
        node = block.layer.node(block.units)
        result.append(node._replace(activation=rule, alpha=alpha, below=block.below, skip=block.skip))
    return result


def parameters(blocks: Iterable[Block]) -> list[Parameter]:
    """Every array of weights, in the order of `Sequential.get_weights`; an input width not known yet counts as 0."""
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
    """Raise ValueError for a moving variance that is negative: its root would not be a number."""
    for parameter, array in zip(wanted, weights, strict=True):
        if parameter.name.endswith(".moving_variance") and np.any(array < 0):
            raise ValueError(
                f"{parameter.name} must not be negative, but holds {array.min()}: pass variances, not deviations"
            )
