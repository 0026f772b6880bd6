"""Pictures of training: needs matplotlib, the extra `plot`. Figures stand by themselves: pyplot and its state are not
touched, no backend is chosen, and nothing is kept, so what is saved is gone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastbp.diagnosis import Diagnosis
    from fastbp.rate_finder import RateSearch
    from fastbp.training import History

# Okabe and Ito 2008: colours that the colour-blind tell apart.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)
VERDICT_COLOURS = {"exploding": RED, "dead": "#000000", "saturated": PURPLE, "vanishing": ORANGE}
LOG_FROM = 10.0  # a range of values this wide is drawn on a logarithmic scale
MANY = 40  # points from which markers would hide the line


def plot_history(history: History | Mapping[str, Sequence[float]], path: str | os.PathLike[str] | None = None) -> Any:
    """Draw what fit reports over the epochs: the loss, and the metrics below it; on validation data dashed.

    history: what fit returned, or its `history`. path: the file to write, its name's ending the format (png, pdf, svg);
    without one the figure is returned. A loss that spans a factor of ten has a logarithmic scale.
    Raises ImportError, with the command that installs it, where matplotlib is missing, TypeError or ValueError for what
    is no history.

    >>> plot_history({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]}).axes[0].get_ylabel()
    'loss'
    """
    columns = _columns(history)
    names = list(dict.fromkeys(name.removeprefix("val_") for name in columns))
    metrics = [name for name in names if name != "loss"]
    panels = (["loss"] if "loss" in names else []) + (["metrics"] if metrics else [])
    figure, axes = _figure(len(panels), 6.4, 3.2)
    for axis, panel in zip(axes, panels, strict=True):
        shown = ["loss"] if panel == "loss" else metrics
        for name, colour in zip(shown, _cycle(len(shown)), strict=True):
            for key, style in ((name, "-"), (f"val_{name}", "--")):
                if key in columns:
                    label = name if style == "-" else f"{name}, validation"
                    values = np.asarray(columns[key], np.float64)
                    _line(axis, np.arange(1, len(values) + 1), values, label, colour, style)
        axis.set_ylabel(panel if panel == "loss" or len(metrics) > 1 else metrics[0])
        if panel == "loss":
            _log_if_wide(axis, [v for key in ("loss", "val_loss") for v in columns.get(key, ())])
        if axis.lines:
            axis.legend(frameon=False)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return _done(figure, path)


def plot_diagnosis(diagnosis: Diagnosis, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw a diagnosis over the layers: norms, shares of ill units, updates; bands are coloured by verdict.

    path: the file to write; without one the figure is returned. Values of 0, which a logarithmic scale cannot show,
    are triangles at the foot. Raises ImportError where matplotlib is missing.

    >>> from fastbp.diagnosis import Diagnosis, LayerDiagnosis
    >>> layer = LayerDiagnosis(0, "Dense(1, identity)", 1.0, 0.5, 0.1, 0.1, math.nan, math.nan, 0.001)
    >>> plot_diagnosis(Diagnosis(0.5, 10, (layer,), "healthy", ())).axes[0].get_ylabel()
    'norms'
    """
    layers = diagnosis.layers
    number = np.array([layer.number for layer in layers])

    def column(name: str) -> Any:
        values = np.array([getattr(layer, name) for layer in layers], np.float64)
        return np.where(np.isfinite(values), values, math.nan)

    figure, (norms, shares, updates) = _figure(3, 8.0, 2.6, ratios=(2.2, 1.0, 1.0))
    pictured = (
        (norms, "activation", "activation, rms", BLUE, "-"),
        (norms, "signal", "signal, of the rms", GREEN, "-"),
        (norms, "gradient", "gradient of the kernel, rms", ORANGE, "--"),
        (norms, "passed_back", "gradient passed back", RED, "-"),
        (updates, "update", "update / kernel", BLUE, "-"),
    )
    for place, (axis, name, label, colour, style) in enumerate(pictured):
        _logarithmic_line(axis, number, column(name), label, colour, style, 0.02 + 0.025 * place * (axis is norms))
    updates.axhline(1e-3, color=GREY, linestyle=":", linewidth=1.2, label="0.001, usual")
    for axis in (norms, updates):
        _log(axis)
    for name, colour in (("dead", "#000000"), ("saturated", PURPLE)):
        _line(shares, number, 100 * column(name), f"{name} units", colour, "-")
    norms.set_ylabel("norms")
    norms.set_title(f"{diagnosis.verdict}: loss {diagnosis.loss:.4g} over {diagnosis.rows} rows", fontsize="medium")
    shares.set_ylabel("% of units")
    shares.set_ylim(-5, 105)
    updates.set_ylabel("update / kernel")
    updates.set_xlabel("layer, from the input")
    updates.xaxis.get_major_locator().set_params(integer=True)
    updates.set_xlim(-0.6, len(layers) - 0.4)
    for axis in (norms, shares, updates):
        for verdict, first, last in _runs(diagnosis):
            axis.axvspan(first - 0.5, last + 0.5, color=VERDICT_COLOURS[verdict], alpha=0.15, linewidth=0)
    _verdict_legend(norms, diagnosis)
    for axis in (shares, updates):
        _legend_beside(axis, axis.get_legend_handles_labels()[0])
    return _done(figure, path)


def plot_learning_rate(search: RateSearch, path: str | os.PathLike[str] | None = None) -> Any:
    """Draw a learning-rate range test: the loss over the rate, and what it suggests.

    path: the file to write; without one the figure is returned. Raises ImportError where matplotlib is missing.

    >>> from fastbp import RateSearch
    >>> plot_learning_rate(RateSearch((0.01, 0.1), (1.0, 0.5), (1.0, 0.5), 0.02, 0.01, False)).axes[0].get_xscale()
    'log'
    """
    figure, (axis,) = _figure(1, 6.4, 4.0)
    smoothed, losses = np.array(search.smoothed), np.array(search.losses)
    axis.plot(search.rates, losses, color=GREY, linewidth=0.8, alpha=0.6, label="loss of a step")
    axis.plot(search.rates, smoothed, color=BLUE, linewidth=2, label="smoothed")
    for rate, name, colour, style in (
        (search.steepest, "steepest descent", ORANGE, "--"),
        (search.tenth_of_minimum, "a tenth of the minimum's", GREEN, ":"),
    ):
        chosen = ", suggested" if rate == search.suggestion else ""
        axis.axvline(rate, color=colour, linestyle=style, linewidth=1.6, label=f"{rate:.1e}: {name}{chosen}")
    low, high = float(smoothed.min()), float(smoothed.max())
    room = 0.1 * (high - low) or 1.0
    axis.set_ylim(min(low, float(np.quantile(losses, 0.02))) - room, high + room)  # single steps may be far out
    axis.set_xscale("log")
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss")
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.14), ncols=2)
    return _done(figure, path)


# ---------------------------------------------------------------- within


def _figure(panels: int, width: float, height: float, ratios: Sequence[float] | None = None) -> tuple[Any, list[Any]]:
    """A figure with panels one above another that share their x axis."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib, which is not installed: pip install "fastbp[plot]" installs it'
        ) from error
    figure = Figure(figsize=(width, height * panels if panels > 1 else max(height, 3.6)), layout="constrained")
    grid = {"height_ratios": ratios} if ratios is not None else None
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False, gridspec_kw=grid)[:, 0]
    for axis in axes:
        axis.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, list(axes)


def _done(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is None:
        return figure
    figure.savefig(os.fspath(path), dpi=150)
    figure.clear()
    return None


def _line(axis: Any, x: Any, values: Any, label: str, colour: str, style: str) -> None:
    """A line, with markers where points are few or stand alone; none where there is nothing to show."""
    if np.isnan(values).all():
        return
    marker = "o" if len(x) <= MANY else None
    axis.plot(x, values, style, color=colour, label=label, linewidth=1.6, marker=marker, markersize=3.5)


def _logarithmic_line(axis: Any, x: Any, values: Any, label: str, colour: str, style: str, foot: float) -> None:
    """A line of what is positive, and triangles for what is 0, at a height of their own near the foot of the panel."""
    _line(axis, x, np.where(values > 0, values, math.nan), label, colour, style)
    zeros = x[values == 0]
    if len(zeros):
        new = None if (values > 0).any() else label
        heights = np.full(len(zeros), foot)
        axis.plot(zeros, heights, "v", color=colour, markersize=3.5, transform=axis.get_xaxis_transform(), label=new)


def _log(axis: Any) -> None:
    """A logarithmic scale of two decades at least; without anything positive on it, of 0.001 to 1."""
    positive = np.concatenate(
        [[], *(np.asarray(line.get_ydata(), np.float64) for line in axis.lines if _has_data(line))]
    )
    positive = positive[positive > 0]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1e-2, 1e-1)
    room = max(10**0.5, (100 * low / high) ** 0.5, (high / low) ** 0.05)
    axis.set_yscale("log")
    axis.set_ylim(low / room, high * room)


def _has_data(line: Any) -> bool:
    """Whether a line's heights are data, and not places in the panel."""
    return str(line.get_label())[:1] != "_" and line.get_marker() != "v"


def _log_if_wide(axis: Any, values: Sequence[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > LOG_FROM * min(finite):
        axis.set_yscale("log")


def _cycle(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _runs(diagnosis: Diagnosis) -> list[tuple[str, int, int]]:
    """Runs of neighbours with the same verdict, but for the healthy: verdict, first and last layer."""
    result: list[tuple[str, int, int]] = []
    for layer in diagnosis.layers:
        if layer.verdict == "healthy":
            continue
        if result and result[-1][0] == layer.verdict and result[-1][2] == layer.number - 1:
            result[-1] = (layer.verdict, result[-1][1], layer.number)
        else:
            result.append((layer.verdict, layer.number, layer.number))
    return result


def _verdict_legend(axis: Any, diagnosis: Diagnosis) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles, _ = axis.get_legend_handles_labels()
    if any(line.get_marker() == "v" for line in axis.lines):
        handles.append(Line2D([], [], color=GREY, marker="v", linestyle="", label="exactly 0"))
    for verdict, colour in VERDICT_COLOURS.items():
        if diagnosis.ill(verdict):
            handles.append(Patch(color=colour, alpha=0.15, label=verdict))
    _legend_beside(axis, handles)


def _legend_beside(axis: Any, handles: list[Any]) -> None:
    if handles:  # an empty legend is a warning
        axis.legend(handles=handles, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _columns(history: Any) -> dict[str, list[float]]:
    """The columns of a History or a dict of them."""
    columns = getattr(history, "history", history)
    if not isinstance(columns, Mapping):
        came = type(history).__name__
        raise TypeError(f"history must be what fit returns, but {came} came: pass its History, or a dict of columns")
    result = {str(name): list(values) for name, values in columns.items()}
    if not result or not all(result.values()):
        raise ValueError("history must hold an epoch at least, but holds none: pass the History of a fit")
    return result
