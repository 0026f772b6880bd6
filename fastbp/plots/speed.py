"""Comparison of step times."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fastbp.plots.figures import COLOURS, GREY, done, new_figure, plain

MARKERS = "os^Dvp*X"
Times = Mapping[str, Mapping[str, Sequence[float]]]


def plot_speed(
    times: Times, path: str | os.PathLike[str] | None = None, *, base: str = "fastbp", title: str | None = None
) -> Any:
    """Plot step times relative to a base, task by task: a marker for the median, a line for the range.

    ::

        ratio of a round = seconds of the other / seconds of the base, in that round

    Parameters
    ----------
    times : dict
        {task: {name: seconds per step, by round}}. Each task contains the base, whose time is written at the right.
    path : str or path-like, optional
        File to write. Without it the figure is returned.
    base : str, default "fastbp"
        The name to compare with.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib Figure or None
        Colours and markers in order of first occurrence. The axis is logarithmic; to the right of 1 the base is faster.

    Raises
    ------
    ValueError
        For a task without the base, times that are not positive, and unequal numbers of rounds.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> figure = plot_speed({"10-5-1": {"NumPy": [2e-5, 3e-5], "fastbp": [2e-6, 2e-6]}})
    >>> figure.axes[0].get_xlabel()
    'time of a step ÷ that of fastbp'
    """
    others = list(dict.fromkeys(name for measured in times.values() for name in measured if name != base))
    _check(times, base, others)
    figure = new_figure(8.6, 1.6 + 0.2 * len(times) + 0.07 * len(times) * len(others))
    axis = plain(figure.subplots())
    axis.axvline(1.0, color=GREY, linewidth=1.6)
    for number, name in enumerate(others):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        shift = 0.0 if len(others) == 1 else 0.6 * (number / (len(others) - 1) - 0.5)
        label: str | None = name
        for place, measured in enumerate(times.values()):
            if name in measured:
                ratios = [a / b for a, b in zip(measured[name], measured[base], strict=True)]
                axis.plot([min(ratios), max(ratios)], [place + shift] * 2, color=colour, linewidth=1.4)
                axis.plot(statistics.median(ratios), place + shift, marker, color=colour, markersize=6, label=label)
                label = None
    _label_tasks(axis, times, base, title)
    figure.legend(frameon=False, loc="outside lower center", ncols=min(len(others), 6))
    return done(figure, path)


def _check(times: Times, base: str, others: Sequence[str]) -> None:
    if not times or not others:
        raise ValueError(f"times must have at least one task with {base!r} and another name, got none: measure one")
    for task, measured in times.items():
        if base not in measured:
            raise ValueError(f"times of {task!r} must include {base!r}, got {', '.join(measured)}: measure it too")
        rounds = {len(seconds) for seconds in measured.values()}
        if len(rounds) != 1 or 0 in rounds:
            raise ValueError(
                f"times of {task!r} must have equal numbers of rounds, got {sorted(rounds)}: pair them"
            )
        if not all(0 < second < float("inf") for seconds in measured.values() for second in seconds):
            raise ValueError(f"times of {task!r} must be positive and finite: measure again")


def _label_tasks(axis: Any, times: Times, base: str, title: str | None) -> None:
    """Tasks at the left, from top to bottom, and the times of the base at the right."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=99))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.8), max(high, 1.3))
    axis.set_ylim(len(times) - 0.5, -0.5)
    axis.set_yticks(range(len(times)), list(times), fontsize=8.5)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(f"time of a step ÷ that of {base}")
    axis.text(1.02, 1.01, base, transform=axis.transAxes, fontsize=8.5, va="bottom", color=GREY)
    for place, measured in enumerate(times.values()):
        text = _duration(statistics.median(measured[base]))
        axis.text(1.02, place, text, transform=axis.get_yaxis_transform(), fontsize=8.5, va="center", color=GREY)
    if title is not None:
        axis.set_title(title, fontsize="medium")


def _duration(seconds: float) -> str:
    """Formatted as "0.24 µs", "52.8 µs", "1.29 ms", "402 ms" or "2.1 s".

    >>> _duration(2.4e-7), _duration(0.00129), _duration(0.4019)
    ('0.24 µs', '1.29 ms', '402 ms')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
