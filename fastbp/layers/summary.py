"""A network as a table: its layers, their output shapes and parameters."""

from __future__ import annotations

import math

from fastbp.layers.graph import Block, parameters


def summary(blocks: tuple[Block, ...], input_size: int | None) -> str:
    """A table of blocks, output shapes and numbers of parameters, which are unknown ("?") without an input size.

    What is within a residual block stands below it, indented.

    >>> from fastbp.layers.graph import blocks_of
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
        known = not block.layer.has_weights or (block.inputs is not None and block.units is not None)
        indent = "  " * block.name.count(".")
        rows.append((indent + block.label, f"(n, {block.units or '?'})", f"{sizes[number]:,}" if known else "?"))
    rows.append(("total", "", "?" if input_size is None else f"{sum(sizes):,}"))
    if held and input_size is not None:
        rows.append(("of these not trained", "", f"{held:,}"))
    return rows


def _place(name: str) -> list[float]:
    """What sorts a residual block before its layers, and these before its projection."""
    return [float(part) if part.isdigit() else math.inf for part in name.split(".")]
