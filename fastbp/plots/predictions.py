"""Plots of predictions against known targets: the confusion matrix, and predicted over true values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.metrics import confusion_matrix
from fastbp.metrics.confusion import labels_of
from fastbp.plots.figures import BLUE, GREY, ORANGE, done, new_figure, plain
from fastbp.util.types import Array

WRITTEN = 30  # up to this number of classes, cells contain numbers
SHARES = 12  # up to this number of classes, they are counts and shares
NAMED = 100  # up to this number of classes, all are named at the axes
DOTS = 5000  # above this number of rows, dots would hide each other


def plot_confusion_matrix(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    path: str | os.PathLike[str] | None = None,
    *,
    class_names: Sequence[Any] | None = None,
) -> Any:
    """Plot a confusion matrix: the count in each cell, and its share of the row, that is of the true class.

    ::

        C_ij = number of rows of class i predicted as j        share_ij = C_ij / sum_k C_ik

    Parameters
    ----------
    y_true : array-like (n,)
        True labels, numbers or strings.
    y_pred : array-like (n,), (n, classes) or (n, 1)
        Predicted labels, or the result of predict: the largest output counts, a single one of more than 0.5 is class 1.
    path : str or path-like, optional
        File to write. Without it the figure is returned.
    class_names : sequence, optional
        Names of the classes 0, 1, … in order, all of which are shown. By default the labels that occur.

    Returns
    -------
    matplotlib Figure or None
        Zeros are left blank. From 13 classes on only counts are shown, from 31 on only colours, on a square-root scale,
        which makes rare errors visible.

    Raises
    ------
    ValueError
        For arrays of mismatched length or shape, and for labels without a name in class_names.
    ImportError
        If matplotlib is missing.

    Notes
    -----
    As scikit-learn's ConfusionMatrixDisplay.from_predictions, which shows either counts or shares.

    Examples
    --------
    >>> figure = plot_confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], class_names=["cat", "dog"])
    >>> figure.axes[0].get_title()
    'accuracy 75.0 % of 4 rows'
    """
    counts, names = _confusion(y_true, y_pred, class_names)
    side = matrix_side(len(names))
    figure = new_figure(side + 2.5, side + 1.6)
    _draw_confusion(figure, counts, names)
    return done(figure, path)


def matrix_side(classes: int) -> float:
    """Size in inches at which the numbers in the cells are legible."""
    return float(np.clip((0.62 if classes <= SHARES else 0.36) * classes, 4.2, 12.0))


def draw_confusion_matrix(figure: Any, y_true: Array, y_pred: Array, class_names: Sequence[Any]) -> None:
    """The same in an existing figure or subfigure."""
    _draw_confusion(figure, *_confusion(y_true, y_pred, class_names))


def plot_predictions(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    path: str | os.PathLike[str] | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Any:
    """Plot predicted over true values of a regression, with R² and root mean square error of each output.

    ::

        R² = 1 - sum_i (y_i - a_i)² / sum_i (y_i - mean y)²

    Parameters
    ----------
    y_true, y_pred : array-like (n,) or (n, outputs)
        True and predicted values; a panel per output.
    path : str or path-like, optional
        File to write. Without it the figure is returned.
    names : sequence of str, optional
        Titles of the panels.

    Returns
    -------
    matplotlib Figure or None
        Exact predictions lie on the diagonal. From 5001 rows on, cells are coloured by the number of rows in them.

    Raises
    ------
    ValueError
        For arrays of different shapes, empty ones, and values that are not finite.
    ImportError
        If matplotlib is missing.

    Notes
    -----
    As scikit-learn's PredictionErrorDisplay with kind="actual_vs_predicted".

    Examples
    --------
    >>> plot_predictions([1.0, 2.0, 4.0], [1.5, 2.0, 3.5]).axes[0].get_title()
    'R² 0.893, root mean square error 0.408'
    """
    truth, predicted = _regressed(y_true, y_pred)
    outputs = truth.shape[1]
    if names is not None and len(names) != outputs:
        raise ValueError(f"names must hold one for each of {outputs} outputs, got {len(names)}: pass as many")
    columns = min(outputs, 3)
    figure = new_figure(4.8 * columns if outputs > 1 else 5.6, 4.6 * -(-outputs // columns))
    _draw_predictions(figure, truth, predicted, columns, names)
    return done(figure, path)


def draw_predictions(figure: Any, y_true: Array, y_pred: Array) -> None:
    """The same in an existing figure or subfigure."""
    truth, predicted = _regressed(y_true, y_pred)
    _draw_predictions(figure, truth, predicted, 1 if truth.shape[1] == 1 else 2, None)


# ---------------------------------------------------------------- classes


def _confusion(y_true: Any, y_pred: Any, class_names: Sequence[Any] | None) -> tuple[Array, list[str]]:
    """Counts (classes, classes) and the names of the classes."""
    truth, predicted = np.asarray(y_true), labels_of(y_pred)
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise ValueError(
            f"y_true must be labels (n,) and y_pred labels (n,) or outputs (n, classes), got shapes {truth.shape} and "
            f"{np.shape(y_pred)}: pass the labels of the rows that were predicted"
        )
    if class_names is None:
        classes: Array = np.unique(np.concatenate([truth, predicted]))
        names = [str(name) for name in classes.tolist()]
    else:
        classes = np.arange(len(class_names))
        names, numbers = [str(name) for name in class_names], np.concatenate([truth, predicted])
        if numbers.dtype.kind not in "biu" or numbers.min() < 0 or numbers.max() >= len(names):
            raise ValueError(
                f"class_names has classes 0 to {len(names) - 1}, but labels are {np.unique(numbers)[:5]} and so "
                "on: number the classes from 0, or omit class_names"
            )
    return confusion_matrix(truth, predicted, labels=classes), names


def _draw_confusion(figure: Any, counts: Array, names: Sequence[str]) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    axis = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    colours = colormaps["Blues"].with_extremes(bad="#EEEEEE")  # of a class without rows
    image = axis.imshow(shares, cmap=colours, norm=PowerNorm(0.5, 0.0, 1.0))
    _write_cells(axis, counts, shares)
    bar = figure.colorbar(image, ax=axis, shrink=0.8, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "10 %", "25 %", "50 %", "75 %", "100 %"])
    bar.set_label("share of the class")
    _name_classes(axis, names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(
        f"accuracy {100 * np.trace(counts) / counts.sum():.1f} % of {counts.sum():,} rows", fontsize="medium"
    )


def _write_cells(axis: Any, counts: Array, shares: Array) -> None:
    if len(counts) > WRITTEN:
        return
    size = 8.0 if len(counts) <= SHARES else 6.5
    for (i, j), count in np.ndenumerate(counts):
        if not count:
            continue
        colour = "white" if shares[i, j] > 0.4 else "black"
        share = f"\n{100 * shares[i, j]:.1f} %" if len(counts) <= SHARES else ""
        axis.text(j, i, f"{count:,}{share}", ha="center", va="center", color=colour, fontsize=size, linespacing=1.1)


def _name_classes(axis: Any, names: Sequence[str]) -> None:
    """Names at both axes: rotated if they would overlap, small if there are many, and every nth of too many."""
    every = -(-len(names) // NAMED)
    places = list(range(0, len(names), every))
    labels = [names[i] if len(names[i]) <= 18 else names[i][:17] + "…" for i in places]
    size = float(np.clip(620 / len(places) / 2.2, 4.5, 9.0))
    letters = 72 * matrix_side(len(names)) / len(places) / (0.65 * size)  # that fit side by side
    wide = max(map(len, labels)) + 1 > letters
    slanted = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if wide else {}
    axis.set_xticks(places, labels, fontsize=size, **slanted)
    axis.set_yticks(places, labels, fontsize=size)
    axis.tick_params(length=0 if every == 1 else 2)


# ---------------------------------------------------------------- numbers


def _regressed(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Both as (n, outputs) of float64."""
    truth, predicted = np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64)
    shapes = f"{truth.shape} and {predicted.shape}"
    truth, predicted = (a[:, np.newaxis] if a.ndim == 1 else a for a in (truth, predicted))
    if truth.shape != predicted.shape or truth.ndim != 2 or not truth.size:
        raise ValueError(f"y_true and y_pred must both be (n,) or (n, outputs), got shapes {shapes}: pass equal shapes")
    if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        raise ValueError("y_true and y_pred must be finite, got NaN or infinity: drop those rows")
    return truth, predicted


def _draw_predictions(figure: Any, truth: Array, predicted: Array, columns: int, names: Sequence[str] | None) -> None:
    outputs = truth.shape[1]
    axes = figure.subplots(-(-outputs // columns), columns, squeeze=False).ravel()
    for unused in axes[outputs:]:
        unused.remove()
    for k, axis in enumerate(axes[:outputs]):
        y, a = truth[:, k], predicted[:, k]
        low, high = float(min(y.min(), a.min())), float(max(y.max(), a.max()))
        room = 0.04 * (high - low) or 0.5
        limits = (low - room, high + room)
        plain(axis)
        if len(y) > DOTS:
            cells = axis.hexbin(y, a, gridsize=60, bins="log", mincnt=1, cmap="viridis", extent=(*limits, *limits))
            figure.colorbar(cells, ax=axis, label="rows", shrink=0.8)
        else:
            size, alpha = (18, 0.75) if len(y) <= 300 else (11, 0.5)
            axis.scatter(y, a, s=size, color=BLUE, alpha=alpha, linewidths=0)
        axis.plot(limits, limits, color=ORANGE, linewidth=1.4, label="prediction = truth")
        axis.set(xlim=limits, ylim=limits, aspect="equal", xlabel="truth", ylabel="prediction")
        axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12))
        axis.set_title(
            "\n".join([*([] if names is None else [names[k]]), _scores(y, a)]), fontsize="medium", color=GREY
        )


def _scores(y: Array, a: Array) -> str:
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = f"R² {1 - float(((y - a) ** 2).sum()) / spread:.3f}, " if spread else ""
    return f"{r2}root mean square error {float(np.sqrt(np.mean((y - a) ** 2))):.3g}"
