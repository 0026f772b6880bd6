"""From a list of layers to the graph that an engine runs: its operations, their weights, and a table of both."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp import activations, initializers
from fastbp.data import Array
from fastbp.layers import (
    PROJECTION,
    Activation,
    BatchNorm,
    Block,
    ColumnEmbedding,
    Dense,
    Dropout,
    GaussianNoise,
    Layer,
    LayerNorm,
    Residual,
)

if TYPE_CHECKING:
    from fastbp.spec import LayerSpec

IDENTITY = activations.get("identity")
WEIGHTY = Dense | BatchNorm | LayerNorm | ColumnEmbedding
ONES, ZEROS = initializers.Constant(1.0), initializers.Zeros()


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
            units = _units(layer, width)
            activation = activations.get(layer.activation) if isinstance(layer, Dense | Activation) else IDENTITY
            blocks.append(Block(name, layer, activation, width, units))
            width = units
        position, takes_activation = position + 1, isinstance(layer, Dense | BatchNorm | LayerNorm | Residual)
    return width


def _units(layer: Layer, width: int | None) -> int | None:
    if isinstance(layer, ColumnEmbedding):
        return None if width is None else layer.units_of(width)
    return layer.units if isinstance(layer, Dense) else width


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
    from fastbp.spec import LayerSpec

    result = []
    for block in blocks:
        assert block.units is not None
        spec = LayerSpec(block.units, block.activation.rule, block.activation.alpha, below=block.below, skip=block.skip)
        layer = block.layer
        match layer:
            case Dense(kernel_regularizer=penalty, kernel_constraint=bound):
                spec = spec._replace(use_bias=layer.use_bias, max_norm=0.0 if bound is None else bound.max_value)
                if penalty is not None and not isinstance(penalty, str):
                    spec = spec._replace(l1=penalty.l1, l2=penalty.l2)
            case Activation():
                spec = spec._replace(kind="activation", use_bias=False)
            case BatchNorm():
                spec = spec._replace(kind="batch_norm", values=(layer.momentum, layer.epsilon))
            case LayerNorm():
                spec = spec._replace(kind="layer_norm", values=(layer.epsilon,))
            case Dropout():
                spec = spec._replace(kind="dropout", values=(layer.rate,))
            case GaussianNoise():
                spec = spec._replace(kind="noise", values=(layer.stddev,))
            case Residual():
                spec = spec._replace(kind="add")
            case ColumnEmbedding(embeddings_regularizer=penalty):
                spec = spec._replace(kind="embedding", use_bias=False, tables=layer.tables)
                if penalty is not None:
                    spec = spec._replace(l1=penalty.l1, l2=penalty.l2)
        if isinstance(layer, WEIGHTY):
            spec = spec._replace(multiplier=layer.learning_rate_multiplier, trainable=layer.trainable)
        result.append(spec)
    return result


class Parameter(NamedTuple):
    """One array of weights: the number of its block, its name, shape and initial values, and what may change it.

    statistic: a moving mean or variance, which follows the batches; trainable: updates may change it.
    """

    block: int
    name: str
    shape: tuple[int, ...]
    initializer: initializers.Initializer
    statistic: bool = False
    trainable: bool = True


def parameters(blocks: Iterable[Block]) -> list[Parameter]:
    """Every array of weights, in the order of `Sequential.get_weights`; an input width not known yet counts as 0."""
    result = []
    for number, block in enumerate(blocks):
        layer, units = block.layer, block.units or 0
        arrays: list[tuple[str, tuple[int, ...], initializers.Initializer]] = []
        if isinstance(layer, Dense):
            arrays.append(("kernel", (block.inputs or 0, units), initializers.get(layer.kernel_initializer)))
            if layer.use_bias:
                arrays.append(("bias", (units,), initializers.get(layer.bias_initializer)))
        elif isinstance(layer, ColumnEmbedding):
            arrays += [
                (f"embedding_{column}", (codes, dimension), layer.embeddings_initializer)
                for column, codes, dimension in layer.tables
            ]
        elif isinstance(layer, BatchNorm | LayerNorm):
            arrays += [("gamma", (units,), ONES), ("beta", (units,), ZEROS)]
        else:
            continue
        for name, shape, initializer in arrays:
            result.append(Parameter(number, f"{block.name}.{name}", shape, initializer, trainable=layer.trainable))
        if isinstance(layer, BatchNorm):
            for name, initializer in (("moving_mean", ZEROS), ("moving_variance", ONES)):
                result.append(Parameter(number, f"{block.name}.{name}", (units,), initializer, True, False))
    return result


def check_statistics(wanted: Iterable[Parameter], weights: Iterable[Array]) -> None:
    """Raise ValueError for a moving variance that is negative: its root would not be a number."""
    for parameter, array in zip(wanted, weights, strict=True):
        if parameter.name.endswith(".moving_variance") and np.any(array < 0):
            raise ValueError(
                f"{parameter.name} must not be negative, but holds {array.min()}: pass variances, not deviations"
            )


def summary(blocks: tuple[Block, ...], input_size: int | None) -> str:
    """A table of blocks, output shapes and numbers of parameters, which are unknown ("?") without an input size.

    What is within a residual block stands below it, indented.

    >>> print(summary(blocks_of([Dense(4), Residual([BatchNorm(), Dense(6)]), Activation("relu")], 2), 2))
    layer                 output shape  parameters
    Dense(4, identity)    (n, 4)                12
    Residual(relu)        (n, 6)                 0
      BatchNorm           (n, 4)                16
      Dense(6, identity)  (n, 6)                30
      Projection(6)       (n, 6)                24
    total                                       82
    of these not trained                         8
    """
    rows = summary_rows(blocks, input_size)
    left, middle, right = (max(len(row[column]) for row in rows) for column in range(3))
    return "\n".join(f"{name:<{left}}  {shape:<{middle}}  {size:>{right}}" for name, shape, size in rows)


def summary_rows(blocks: tuple[Block, ...], input_size: int | None) -> list[tuple[str, str, str]]:
    """The lines of that table, its header first."""
    sizes, held = [0] * len(blocks), 0
    for parameter in parameters(blocks):
        size = math.prod(parameter.shape)
        sizes[parameter.block] += size
        held += 0 if parameter.trainable else size
    rows = [("layer", "output shape", "parameters")]
    for number in sorted(range(len(blocks)), key=lambda number: _place(blocks[number].name)):
        block = blocks[number]
        weighty = isinstance(block.layer, WEIGHTY)
        known = not weighty or (block.inputs is not None and block.units is not None)
        indent = "  " * block.name.count(".")
        rows.append((indent + block.label, f"(n, {block.units or '?'})", f"{sizes[number]:,}" if known else "?"))
    rows.append(("total", "", "?" if input_size is None else f"{sum(sizes):,}"))
    if held and input_size is not None:
        rows.append(("of these not trained", "", f"{held:,}"))
    return rows


def _place(name: str) -> list[float]:
    """What sorts a residual block before its layers, and these before its projection."""
    return [float(part) if part.isdigit() else math.inf for part in name.split(".")]
