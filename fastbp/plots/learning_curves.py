"""Plots of learning curves and of learning rate range tests."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastbp.plots.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    cycle,
    done,
    legend_above,
    line,
    log_if_wide,
    panels,
    panels_in,
)

if TYPE_CHECKING:
    from fastbp.training.history import History


class RateSearch(Protocol):
    """The result of `fastbp.find_learning_rate`, as far as it is plotted."""

    @property
    def rates(self) -> Sequence[float]: ...
    @property
    def losses(self) -> Sequence[float]: ...
    @property
    def smoothed(self) -> Sequence[float]: ...
    @property
    def steepest(self) -> float: ...
    @property
    def tenth_of_minimum(self) -> float: ...
    @property
    def suggestion(self) -> float: ...


def plot_history(
    history: History | Mapping[str, Sequence[float]],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> Any:
    """Plot the learning curves: the loss per epoch and the metrics below it; dashed on validation data.

    Parameters
    ----------
    history : History or dict
        The result of fit, or its attribute ``history``.
    path : str or path-like, optional
        File to write; the extension determines the format (png, pdf, svg). Without it the figure is returned.
    title : str, optional
        Title of the figure, such as the dataset.

    Returns
    -------
    matplotlib Figure or None
        A loss that spans more than a factor of ten is on a logarithmic scale.

    Raises
    ------
    ImportError
        If matplotlib is missing; with the command that installs it.
    TypeError, ValueError
        If history is not a history, or empty.

    Examples
    --------
    >>> plot_history({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]}).axes[0].get_ylabel()
    'loss'
    """
    shown = _panels(_columns(history))
    figure, axes = panels(len(shown), 6.4, 3.2)
    _draw(axes, shown)
    if title is not None:
        figure.suptitle(title, fontsize="medium")
    return done(figure, path)


def draw_history(figure: Any, history: History | Mapping[str, Sequence[float]], held_out: str = "validation") -> None:
    """The same in an existing figure or subfigure; held_out: label of the data not trained on."""
    shown = _panels(_columns(history))
    _draw(panels_in(figure, len(shown)), shown, held_out)


def plot_learning_rate(search: RateSearch, path: str | os.PathLike[str] | None = None) -> Any:
    """Plot a learning rate range test: the loss over the learning rate, and the suggestions.

    Parameters
    ----------
    search : RateSearch
        The result of `fastbp.find_learning_rate`.
    path : str or path-like, optional
        File to write. Without it the figure is returned.

    Returns
    -------
    matplotlib Figure or None
        The figure.

    Raises
    ------
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from fastbp import RateSearch
    >>> plot_learning_rate(RateSearch((0.01, 0.1), (1.0, 0.5), (1.0, 0.5), 0.02, 0.01, False)).axes[0].get_xscale()
    'log'
    """
    figure, (axis,) = panels(1, 6.4, 4.0)
    smoothed, losses = np.array(search.smoothed), np.array(search.losses)
    flat = getattr(search, "flat", False)
    axis.set_title("No learning rate helped: the loss hardly falls" if flat else "Learning rate range test")
    axis.plot(search.rates, losses, color=GREY, linewidth=0.8, alpha=0.6, label="loss of a step")
    axis.plot(search.rates, smoothed, color=BLUE, linewidth=2, label="smoothed")
    candidates = (
        (search.steepest, "steepest descent", ORANGE, "--"),
        (search.tenth_of_minimum, "a tenth of the minimum", GREEN, ":"),
    )
    for rate, name, colour, style in () if flat else candidates:
        chosen = ", suggested" if rate == search.suggestion else ""
        axis.axvline(rate, color=colour, linestyle=style, linewidth=1.6, label=f"{rate:.1e}: {name}{chosen}")
    low, high = float(smoothed.min()), float(smoothed.max())
    room = 0.1 * (high - low) or 1.0
    axis.set_ylim(min(low, float(np.quantile(losses, 0.02))) - room, high + room)  # single steps may be outliers
    axis.set_xscale("log")
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss")
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.14), ncols=2)
    return done(figure, path)


# ---------------------------------------------------------------- details


Columns = dict[str, list[float]]
RATE = "learning_rate"  # the column added by callbacks that change it


def _panels(columns: Columns) -> list[tuple[str, Columns]]:
    """Title and columns of each panel: the loss, the metrics, the learning rate."""
    names = list(dict.fromkeys(name.removeprefix("val_") for name in columns))
    metrics = [name for name in names if name not in ("loss", RATE)]
    parts = [
        ("loss", [name for name in names if name == "loss"]),
        (metrics[0] if len(metrics) == 1 else "metrics", metrics),
        ("learning rate", [name for name in names if name == RATE]),
    ]
    return [(title, {key: columns[key] for key in _keys(part, columns)}) for title, part in parts if part]


def _keys(names: Sequence[str], columns: Columns) -> list[str]:
    return [key for name in names for key in (name, f"val_{name}") if key in columns]


def _draw(axes: Sequence[Any], shown: Sequence[tuple[str, Columns]], held_out: str = "validation") -> None:
    """Draw the panels; one colour per name, dashed for held-out data, which has its own where there is one name."""
    for axis, (title, columns) in zip(axes, shown, strict=True):
        names = list(dict.fromkeys(key.removeprefix("val_") for key in columns))
        colours = dict(zip(names, cycle(len(names)), strict=True))
        for key, column in columns.items():
            name, values = key.removeprefix("val_"), np.asarray(column, np.float64)
            words = name.replace("_", " ")
            beside = "training " * (f"val_{name}" in columns)
            label, style = (beside + words, "-") if key == name else (f"{held_out} {words}", "--")
            colour = ORANGE if key != name and len(names) == 1 else colours[name]
            line(axis, np.arange(1, len(values) + 1), values, label, colour, style)
        axis.set_ylabel(title.replace("_", " "))
        if title in ("loss", "learning rate"):
            log_if_wide(axis, [value for column in columns.values() for value in column])
        legend_above(axis)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)


def _columns(history: Any) -> dict[str, list[float]]:
    """The columns of a History or of a dict."""
    columns = getattr(history, "history", history)
    if not isinstance(columns, Mapping):
        got = type(history).__name__
        raise TypeError(f"history must be the result of fit, got {got}: pass its History, or a dict of columns")
    result = {str(name): list(values) for name, values in columns.items()}
    if not result or not all(result.values()):
        raise ValueError("history must have at least one epoch, got none: pass the History of a fit")
    return result
