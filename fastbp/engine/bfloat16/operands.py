"""Room for operands of bfloat16: of activations and deltas in a workspace, of kernels beside the parameters.

What they are is said in `kernels.passes.operands`. Offsets and pitches count words of 16 bits; a line has 32 of them, a
block of a product 16 lines. Pitches are odd numbers of lines, for the reason that those of panels are (see `plan`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastbp.engine.planning.plan import Arena, Node, ceil_div, multiple, odd, passes_through
from fastbp.isa.codes import ACTIVATIONS
from fastbp.kernels.schema.fields import INPUT, Layer

PANEL, LINE, BLOCK = 16, 32, 512
ONE = 0x3F80  # 1.0
# Bytes of operands up to which the last-level cache keeps them until they are read: beyond, they are written past it.
MOST_CACHED = 40 << 20
SIMPLE = ACTIVATIONS["identity"], ACTIVATIONS["relu"]  # activations whose slopes the rounded outputs tell


class Operands(NamedTuple):
    """Words of a workspace, and where lines of ones stand: (offset, pitch, how many) of each array of rows."""

    words: int
    ones: list[tuple[int, int, int]]


def blocks_pitch(n: int) -> int:
    """The pitch of panels of blocks for n steps."""
    return odd(ceil_div(n, LINE) * PANEL) * LINE


def kernel_layout(nodes: Sequence[Node]) -> tuple[np.ndarray, int]:
    """(nodes, 4): offset and pitch of the kernels' rows, then of their columns; and how many words there are."""
    layout, room = np.zeros((len(nodes), 4), np.int64), Arena(0)
    for row, node in zip(layout, nodes, strict=True):
        if node.dense:
            rows, columns = blocks_pitch(node.inputs), blocks_pitch(node.outputs)
            row[:2] = room.take(ceil_div(node.outputs, PANEL) * rows), rows
            row[2:] = room.take(multiple(ceil_div(node.inputs, PANEL), 2) * columns), columns
    return layout, room.end


def place(rows: np.ndarray, nodes: Sequence[Node], panels: int, training: bool, sparse: bool) -> Operands:
    """Writes into the plan's rows where every operand lies; returns how much room they take."""
    room, ones = Arena(0), []
    readers = _readers(nodes, training, sparse)
    layout, _ = kernel_layout(nodes)
    rows[: len(nodes), Layer.KERNEL_ROWS : Layer.KERNEL_COLUMNS_PITCH + 1] = layout

    rows_pitch = blocks_pitch(panels * PANEL)

    def outputs(n: int) -> tuple[int, int, int, int]:
        pairs, pitch = room.take(panels * blocks_pitch(n)), blocks_pitch(n)
        if not training:
            return pairs, pitch, -1, 0
        start, apart = room.take(ceil_div(n + 1, PANEL) * rows_pitch), rows_pitch
        ones.append((start + n // PANEL * apart + n % PANEL * LINE, BLOCK, ceil_div(panels, 2)))
        return pairs, pitch, start, apart

    rows[:, [Layer.OUT_PAIRS, Layer.OUT_ROWS, Layer.FED_PAIRS, Layer.FED_ROWS]] = -1
    if INPUT in readers:
        rows[0, Layer.FED_PAIRS : Layer.FED_ROWS_PITCH + 1] = outputs(nodes[0].inputs)
    for index, node in enumerate(nodes):
        if index in readers:
            rows[index, Layer.OUT_PAIRS : Layer.OUT_ROWS_PITCH + 1] = outputs(node.outputs)
        if node.dense:
            source = _source(nodes, node.below, training)
            fields = Layer.FED_PAIRS if source == INPUT else Layer.OUT_PAIRS
            rows[index, Layer.IN_PAIRS : Layer.IN_ROWS_PITCH + 1] = rows[max(0, source), fields : fields + 4]
        rows[index, Layer.KEEPS] = _keeps(nodes, index, training, sparse)
    if training:
        _deltas(rows, nodes, panels, room)
    for row in rows[len(nodes) :]:  # other targets of deltas
        row[Layer.KEEPS] = 1
    return Operands(room.end, ones)


def _source(nodes: Sequence[Node], index: int, training: bool) -> int:
    """The node whose outputs are read: a prediction passes through dropout and noise."""
    while index != INPUT and not training and passes_through(nodes[index]):
        index = nodes[index].below
    return index


def _readers(nodes: Sequence[Node], training: bool, sparse: bool) -> dict[int, list[int]]:
    """The dense nodes that read operands, by what they read."""
    readers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        if node.dense and not (sparse and index == 0):
            readers.setdefault(_source(nodes, node.below, training), []).append(index)
    return readers


def _keeps(nodes: Sequence[Node], index: int, training: bool, sparse: bool) -> bool:
    """Whether anyone reads a node's outputs in float32: whoever is not one dense node, or the slope of an activation
    that rounded outputs do not tell."""
    if not nodes[index].dense or (sparse and index == 0) or index == len(nodes) - 1:
        return True
    reading = [i for i, node in enumerate(nodes) if index in (_source(nodes, node.below, training), node.skip)]
    if nodes[index].code not in SIMPLE or (training and len(reading) > 1):
        return True
    return not all(nodes[i].dense for i in reading)


def _deltas(rows: np.ndarray, nodes: Sequence[Node], panels: int, room: Arena) -> None:
    """Room for the deltas of dense nodes, in turns where the plan's own are."""
    take = _turns(room)
    pairs_pitch = max(blocks_pitch(node.outputs) for node in nodes)  # one, as workers take panels through all layers
    turned_pitch = blocks_pitch(panels * PANEL)
    turned_size = max(ceil_div(node.outputs, PANEL) for node in nodes) * turned_pitch
    for index, node in enumerate(nodes):
        rows[index, Layer.DELTA_PAIRS] = -1
        if node.dense:
            if node.below != INPUT:
                rows[index, Layer.DELTA_PAIRS] = take("pairs", int(rows[index, Layer.D]), panels * pairs_pitch)
                rows[index, Layer.DELTA_PAIRS_PITCH] = pairs_pitch
            rows[index, Layer.DELTA_TURNED] = take("turned", int(rows[index, Layer.DT]), turned_size)
            rows[index, Layer.DELTA_TURNED_PITCH] = turned_pitch


def _turns(room: Arena) -> Callable[[str, int, int], int]:
    """Room of a kind for each place that the plan has given to deltas in float32."""
    known: dict[tuple[str, int], int] = {}

    def take(kind: str, place: int, size: int) -> int:
        if (kind, place) not in known:
            known[kind, place] = room.take(size)
        return known[kind, place]

    return take
