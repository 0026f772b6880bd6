"""Shared parts of all plots: figures and panels, lines, scales, legends, colours."""

from __future__ import annotations

import functools
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.util.atomic_write import atomic_write

# Okabe and Ito 2008: colours that the colour-blind can distinguish.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)
LOG_FROM = 10.0  # ranges wider than this factor use a logarithmic scale
MANY = 40  # from this number of points on, markers would hide the line


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size in inches; ImportError with the remedy if matplotlib is missing."""
    return _figure_class()(figsize=(width, height), layout="constrained")


def check_picture(path: str | os.PathLike[str]) -> None:
    """Check early that a plot can be written: ImportError without matplotlib, ValueError for a bad extension."""
    known = new_figure(1, 1).canvas.get_supported_filetypes()
    if Path(path).suffix.removeprefix(".").lower() not in known:
        raise ValueError(f"cannot draw {os.fspath(path)}: the file extension must be one of {', '.join(sorted(known))}")


@functools.cache
def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib, which is not installed: pip install "fastbp[plot]" installs it'
        ) from error

    class Picture(Figure):
        """A figure that a notebook shows by itself, whatever backend is chosen or none."""

        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Picture


def panels(n: int, width: float, height: float, ratios: Sequence[float] | None = None) -> tuple[Any, list[Any]]:
    """A figure with n panels stacked vertically, with a shared x axis."""
    figure = new_figure(width, height * n if n > 1 else max(height, 3.6))
    return figure, panels_in(figure, n, ratios)


def panels_in(figure: Any, n: int, ratios: Sequence[float] | None = None) -> list[Any]:
    """n panels stacked vertically in a figure or subfigure."""
    grid = {"height_ratios": ratios} if ratios is not None else None
    axes = figure.subplots(n, 1, sharex=True, squeeze=False, gridspec_kw=grid)[:, 0]
    for axis in axes:
        plain(axis)
    return list(axes)


def plain(axis: Any) -> Any:
    """A light grid behind the data, no frame at the top and right, thousands separated."""
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter(_thousands_class()())
    axis.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return axis


@functools.cache
def _thousands_class() -> Any:
    from matplotlib.ticker import ScalarFormatter

    class Thousands(ScalarFormatter):
        """Tick labels as "12,000" where matplotlib would write "12000"."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            text = str(super().__call__(x, pos))
            whole = text.lstrip("\N{MINUS SIGN}-").partition(".")[0]
            plain_number = whole.isdigit() and not self.get_offset()
            return text.replace(whole, f"{int(whole):,}", 1) if plain_number and len(whole) > 3 else text

    return Thousands


def legend_above(axis: Any, columns: int = 2) -> None:
    """A legend above the panel, where it hides no curve."""
    if axis.get_legend_handles_labels()[0]:
        place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2}
        axis.legend(frameon=False, ncols=columns, **place)


def distinct(labels: Sequence[str]) -> list[str]:
    """Names of layers, with their numbers from the input where several are called the same.

    >>> distinct(["Dense(4, tanh)", "Dense(4, tanh)", "Dense(1, identity)"])
    ['0: Dense(4, tanh)', '1: Dense(4, tanh)', 'Dense(1, identity)']
    """
    return [f"{i}: {label}" if list(labels).count(label) > 1 else label for i, label in enumerate(labels)]


def done(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    """Save and clear the figure, or return it if there is no path."""
    if path is None:
        return figure
    name = os.fsdecode(path)
    ending = os.path.splitext(name)[1].removeprefix(".").lower()
    if not ending and not os.path.exists(name):
        name, ending = f"{name}.png", "png"
    with atomic_write(name) as file:
        figure.savefig(file, dpi=150, format=ending or "png")
    figure.clear()
    return None


def line(axis: Any, x: Any, values: Any, label: str, colour: str, style: str) -> None:
    """A line, with markers if there are few or isolated points; nothing if all values are NaN."""
    if np.isnan(values).all():
        return
    marker = "o" if len(x) <= MANY else None
    axis.plot(x, values, style, color=colour, label=label, linewidth=1.6, marker=marker, markersize=3.5)


def logarithmic_line(axis: Any, x: Any, values: Any, label: str, colour: str, style: str, foot: float) -> None:
    """A line of the positive values, and triangles for zeros at a height near the bottom of the panel."""
    line(axis, x, np.where(values > 0, values, math.nan), label, colour, style)
    zeros = x[values == 0]
    if len(zeros):
        new = None if (values > 0).any() else label
        heights = np.full(len(zeros), foot)
        axis.plot(zeros, heights, "v", color=colour, markersize=3.5, transform=axis.get_xaxis_transform(), label=new)


def log_scale(axis: Any) -> None:
    """A logarithmic scale of at least two decades; from 0.001 to 1 if there are no positive values."""
    positive = np.concatenate(
        [[], *(np.asarray(line.get_ydata(), np.float64) for line in axis.lines if _has_data(line))]
    )
    positive = positive[positive > 0]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1e-2, 1e-1)
    room = max(10**0.5, (100 * low / high) ** 0.5, (high / low) ** 0.05)
    axis.set_yscale("log")
    axis.set_ylim(low / room, high * room)


def _has_data(line: Any) -> bool:
    """Whether a line's y values are data, not positions in the panel."""
    return str(line.get_label())[:1] != "_" and line.get_marker() != "v"


def log_if_wide(axis: Any, values: Sequence[float]) -> None:
    """Use a logarithmic scale if the values are positive and span more than a factor of ten."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > LOG_FROM * min(finite):
        axis.set_yscale("log")


def cycle(n: int) -> list[str]:
    """n colours, repeating."""
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def legend_beside(axis: Any, handles: list[Any]) -> None:
    """A legend to the right of the panel."""
    if handles:  # an empty legend is a warning
        axis.legend(handles=handles, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
