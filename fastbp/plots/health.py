"""Plots of layer health: a diagnosis, and gradients during training."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastbp.plots.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    distinct,
    done,
    legend_beside,
    line,
    log_scale,
    logarithmic_line,
    panels,
)
from fastbp.util.types import Array

VERDICT_COLOURS = {"exploding": RED, "dead": "#000000", "saturated": PURPLE, "vanishing": ORANGE}
FEW = 10  # up to this number of layers, each is named in the legend


class Diagnosis(Protocol):
    """The result of `fastbp.diagnose`, as far as it is plotted."""

    @property
    def loss(self) -> float: ...
    @property
    def rows(self) -> int: ...
    @property
    def layers(self) -> Sequence[Any]: ...
    @property
    def verdict(self) -> str: ...
    def ill(self, verdict: str) -> Sequence[int]: ...


class GradientHealth(Protocol):
    """The callback `fastbp.GradientHealth`, as far as it is plotted."""

    epochs: list[int]
    layers: list[str]
    verdicts: list[list[str]]

    @property
    def gradient(self) -> Array: ...
    @property
    def update(self) -> Array: ...


def plot_diagnosis(diagnosis: Diagnosis, path: str | os.PathLike[str] | None = None) -> Any:
    """Plot a diagnosis by layer: norms, shares of dead and saturated units, updates; bands show the verdicts.

    Parameters
    ----------
    diagnosis : Diagnosis
        The result of `fastbp.diagnose`.
    path : str or path-like, optional
        File to write. Without it the figure is returned.

    Returns
    -------
    matplotlib Figure or None
        Zeros, which a logarithmic scale cannot show, are triangles at the bottom.

    Raises
    ------
    ImportError
        If matplotlib is missing.

    Examples
    --------
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

    figure, (norms, shares, updates) = panels(3, 8.0, 2.6, ratios=(2.2, 1.0, 1.0))
    pictured = (
        (norms, "activation", "activation, rms", BLUE, "-"),
        (norms, "signal", "signal, of the rms", GREEN, "-"),
        (norms, "gradient", "gradient of the kernel, rms", ORANGE, "--"),
        (norms, "passed_back", "gradient passed back", RED, "-"),
        (updates, "update", "update / kernel", BLUE, "-"),
    )
    for place, (axis, name, label, colour, style) in enumerate(pictured):
        logarithmic_line(axis, number, column(name), label, colour, style, 0.02 + 0.025 * place * (axis is norms))
    updates.axhline(1e-3, color=GREY, linestyle=":", linewidth=1.2, label="0.001, usual")
    for axis in (norms, updates):
        log_scale(axis)
    for name, colour in (("dead", "#000000"), ("saturated", PURPLE)):
        line(shares, number, 100 * column(name), f"{name} units", colour, "-")
    norms.set_ylabel("norms")
    norms.set_title(f"{diagnosis.verdict}: loss {diagnosis.loss:.4g} over {diagnosis.rows:,} rows", fontsize="medium")
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
        legend_beside(axis, axis.get_legend_handles_labels()[0])
    return done(figure, path)


def plot_gradient_health(health: GradientHealth, path: str | os.PathLike[str] | None = None) -> Any:
    """Plot what the callback GradientHealth recorded: gradients and updates of each layer per epoch, and verdicts.

    Layers range from dark, at the input, to bright. Lines many powers of ten apart mean that gradients vanish or
    explode on their way. Zeros are triangles at the bottom, values that are not finite crosses at the top. A third
    panel, present if any layer has a problem, colours each layer by its verdict.

    Parameters
    ----------
    health : GradientHealth
        The callback, after training.
    path : str or path-like, optional
        File to write. Without it the figure is returned.

    Returns
    -------
    matplotlib Figure or None
        The figure.

    Raises
    ------
    ValueError
        If nothing has been recorded yet.
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> from fastbp.callbacks import GradientHealth
    >>> model = Sequential([Dense(4, "tanh"), Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> health = GradientHealth(np.eye(3), [1.0, 2.0, 3.0])
    >>> history = model.fit(np.eye(3), [1.0, 2.0, 3.0], epochs=2, callbacks=[health])
    >>> [axis.get_ylabel() for axis in plot_gradient_health(health).axes]
    ['gradient, rms', 'update / weights']
    """
    if not health.epochs:
        raise ValueError("health must have at least one record, got none: pass it to fit as a callback first")
    ill = any(verdict != "healthy" for epoch in health.verdicts for verdict in epoch)
    figure, axes = panels(3 if ill else 2, 7.6, 2.5, ratios=(1.6, 1.2, 1.0) if ill else (1.6, 1.2))
    epochs, layers, names = np.array(health.epochs), len(health.layers), distinct(health.layers)
    for axis, values, label in zip(
        axes, (health.gradient, health.update), ("gradient, rms", "update / weights"), strict=False
    ):
        for number in range(layers):
            _layer_line(axis, epochs, values[:, number], names[number], _shade(number, layers))
        axis.set_ylabel(label)
    usual = axes[1].axhline(1e-3, color=GREY, linestyle=":", linewidth=1.2, label="0.001, usual")
    for axis in axes[:2]:
        log_scale(axis)
    _layer_legend(axes[0], names)
    legend_beside(axes[1], [usual])
    if ill:
        _verdict_map(axes[2], health)
    axes[-1].set_xlabel("epochs done")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return done(figure, path)


# ---------------------------------------------------------------- details


def _runs(diagnosis: Diagnosis) -> list[tuple[str, int, int]]:
    """Runs of adjacent layers with the same verdict other than healthy: verdict, first and last layer."""
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
    legend_beside(axis, handles)


def _shade(number: int, layers: int) -> Any:
    """From dark to bright, but still visible on white."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * number / max(layers - 1, 1))


def _layer_line(axis: Any, epochs: Any, values: Any, label: str, colour: Any) -> None:
    """A layer's line, with triangles for zeros and crosses for values that are not finite, unless all are NaN."""
    lost = ~np.isfinite(values)
    if np.isnan(values).all():
        return
    logarithmic_line(axis, epochs, np.where(lost, math.nan, values), label, colour, "-", 0.03)
    if lost.any():
        heights = np.full(int(lost.sum()), 0.97)
        axis.plot(
            epochs[lost], heights, "x", color=colour, markersize=5, transform=axis.get_xaxis_transform(), label="_"
        )


def _layer_legend(axis: Any, labels: Sequence[str]) -> None:
    """A legend of few layers, with the output at the top; for many layers a colour bar."""
    if len(labels) <= FEW:
        legend_beside(axis, axis.get_legend_handles_labels()[0][::-1])
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    shades = LinearSegmentedColormap.from_list("layers", [_shade(i, 64) for i in range(64)])
    scale = ScalarMappable(Normalize(0, len(labels) - 1), shades)
    bar = axis.figure.colorbar(scale, ax=axis, label="layer, from the input", pad=0.02)
    bar.ax.yaxis.get_major_locator().set_params(integer=True)


def _verdict_map(axis: Any, health: GradientHealth) -> None:
    """A cell per layer and recorded epoch, coloured by verdict."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    verdicts = [*VERDICT_COLOURS, "healthy"]
    colours = [*VERDICT_COLOURS.values(), "#EEEEEE"]
    cells = np.array([[verdicts.index(verdict) for verdict in epoch] for epoch in health.verdicts]).T
    edges = _edges(np.array(health.epochs, np.float64))
    colour_map = ListedColormap(colours)
    axis.grid(False)
    axis.pcolormesh(edges, np.arange(len(cells) + 1) - 0.5, cells, cmap=colour_map, vmin=-0.5, vmax=len(colours) - 0.5)
    axis.set_ylabel("layer")
    axis.yaxis.get_major_locator().set_params(integer=True)
    seen = {verdict for epoch in health.verdicts for verdict in epoch}
    legend_beside(axis, [Patch(color=c, label=v) for v, c in zip(verdicts, colours, strict=True) if v in seen])


def _edges(places: Any) -> Any:
    """Boundaries halfway between positions, and as far beyond the first and the last."""
    if len(places) == 1:
        return places[0] + np.array([-0.5, 0.5])
    between = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - between[0]], between, [2 * places[-1] - between[-1]]])
