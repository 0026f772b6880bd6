"""The table of a diagnosis, one line per layer; long tables omit repetitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_COLUMNS = ("activation", "signal", "gradient", "passed_back", "dead", "saturated", "update")
_MOST_LINES = 40  # longer tables omit repeated layers
_LONGEST_BLOCK = 12  # longest repeated block of layers


def cells(layers: Sequence[Any]) -> list[list[str]]:
    """Rows of the table, starting with the header."""
    head = ["layer", "", *(name.replace("_", " ") for name in _COLUMNS), "verdict"]
    rows, left_out = [head], 0
    for layer in layers:
        if _like_its_neighbours(layers, layer.number):
            left_out += 1
            continue
        if left_out:
            rows.append(["…", f"{left_out} more like these", *[""] * len(_COLUMNS), ""])
            left_out = 0
        values = [_cell(name, getattr(layer, name)) for name in _COLUMNS]
        rows.append([str(layer.number), layer.label, *values, layer.verdict])
    return rows


def lines(layers: Sequence[Any]) -> list[str]:
    """The table as aligned text."""
    rows = cells(layers)
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    result = []
    for row in rows:
        numbers = [cell.rjust(w) for cell, w in zip(row, wide, strict=True)]
        result.append("  ".join([numbers[0], row[1].ljust(wide[1]), *numbers[2:-1], row[-1]]).rstrip())
    return result


def _like_its_neighbours(layers: Sequence[Any], i: int) -> bool:
    """Whether a long table can omit a layer, because it is among equal layers or repeated blocks."""
    if len(layers) <= _MOST_LINES or i < 4 or i >= len(layers) - 4:
        return False
    return any(_repeats(layers, i, period) for period in range(1, _LONGEST_BLOCK + 1))


def _repeats(layers: Sequence[Any], i: int, period: int) -> bool:
    """Whether the two periods before and the two after a layer are equal."""
    first, last = i - 2 * period, i + 2 * period
    if first < 0 or last >= len(layers):
        return False
    kinds = [(layer.label, layer.verdict) for layer in layers[first : last + 1]]
    return kinds[period:] == kinds[:-period]


def _cell(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.0%}" if name in ("dead", "saturated") else f"{value:.2g}"
