"""Parameters between the user's shapes, kernel (in, out) and bias (out,), and their panels in an arena."""

from __future__ import annotations

import numpy as np

from fastbp.engine.plan import Node, ceil_div, table_sizes


def pack(arena: np.ndarray, offset: int, pitch: int, lanes: int, kernel: np.ndarray, bias: np.ndarray | None) -> None:
    """Writes a layer's parameters: panel p, line k holds kernel[k, p*lanes : (p+1)*lanes]; biases follow, a line."""
    inputs, outputs = kernel.shape
    panels = _panels(arena, offset, pitch, lanes, outputs)
    for p in range(len(panels)):
        columns = slice(p * lanes, min((p + 1) * lanes, outputs))
        width = columns.stop - columns.start
        panels[p, :inputs, :width] = kernel[:, columns]
        if bias is not None:
            panels[p, inputs, :width] = bias[columns]


def unpack(
    arena: np.ndarray, offset: int, pitch: int, lanes: int, inputs: int, outputs: int
) -> tuple[np.ndarray, np.ndarray]:
    """A layer's kernel and bias, as copies."""
    panels = _panels(arena, offset, pitch, lanes, outputs)
    rows = panels[:, : inputs + 1].transpose(1, 0, 2).reshape(inputs + 1, -1)[:, :outputs]
    return rows[:inputs].copy(), rows[inputs].copy()  # rows is a view of the arena where nothing had to move


def tables(arena: np.ndarray, offset: int, lanes: int, node: Node) -> list[np.ndarray]:
    """An embedding's tables, (codes, length of a vector), as views."""
    views = []
    for size, (_, codes, width) in zip(table_sizes(node, lanes), node.tables, strict=True):
        views.append(arena[offset : offset + codes * width].reshape(codes, width))
        offset += size
    return views


def _panels(arena: np.ndarray, offset: int, pitch: int, lanes: int, outputs: int) -> np.ndarray:
    n = ceil_div(outputs, lanes)
    return arena[offset : offset + n * pitch].reshape(n, pitch // lanes, lanes)
