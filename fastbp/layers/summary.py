"""The summary of a network: its layers, output shapes and numbers of parameters."""

from __future__ import annotations

import math

from fastbp.layers.graph import Block, parameters


def summary(blocks: tuple[Block, ...], input_size: int | None) -> str:
    """A table of layers, output shapes and numbers of parameters ("?" without an input size).

    The layers of a residual block are indented below it.

    >>> from fastbp.layers.graph import blocks_of
    >>> print(summary(blocks_of([Dense(4), Residual([BatchNorm(), Dense(6)]), Activation("relu")], 2), 2))
    layer                 output shape  parameters
    Dense(4, identity)    (n, 4)                12
    Residual(relu)        (n, 6)                 0
      BatchNorm           (n, 4)                16
      Dense(6, identity)  (n, 6)                30
      Projection(6)       (n, 6)                24
    total                                       82
    non-trainable                                8
    """
    rows = summary_rows(blocks, input_size)
    left, middle, right = (max(len(row[column]) for row in rows) for column in range(3))
    return "\n".join(f"{name:<{left}}  {shape:<{middle}}  {size:>{right}}" for name, shape, size in rows)


def summary_rows(blocks: tuple[Block, ...], input_size: int | None) -> list[tuple[str, str, str]]:
    """The rows of the table, header first."""
    sizes, frozen = [0] * len(blocks), 0
    for parameter in parameters(blocks):
        size = math.prod(parameter.shape)
        sizes[parameter.block] += size
        frozen += 0 if parameter.trainable else size
    rows = [("layer", "output shape", "parameters")]
    for number in sorted(range(len(blocks)), key=lambda number: _sort_key(blocks[number].name)):
        block = blocks[number]
        is_known = not block.layer.has_weights or (block.inputs is not None and block.units is not None)
        indent = "  " * block.name.count(".")
        rows.append((indent + block.label, f"(n, {block.units or '?'})", f"{sizes[number]:,}" if is_known else "?"))
    rows.append(("total", "", "?" if input_size is None else f"{sum(sizes):,}"))
    if frozen and input_size is not None:
        rows.append(("non-trainable", "", f"{frozen:,}"))
    return rows


def _sort_key(name: str) -> list[float]:
    """Sort a residual block before its layers, and these before its projection."""
    return [float(part) if part.isdigit() else math.inf for part in name.split(".")]
