"""How much each column counts: permutation importances as bars."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.plots.figures import BLUE, done, new_figure, plain
from fastbp.util.arguments import count
from fastbp.util.types import Array


def plot_importances(
    importances: Mapping[str, Any] | npt.ArrayLike,
    names: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    *,
    most: int = 20,
) -> Any:
    """Plot by how much a score falls when the values of one column are shuffled, the largest first.

    Parameters
    ----------
    importances : dict or array-like (columns, repeats)
        What `sklearn.inspection.permutation_importance` returns, or its ``importances``, in units of the score.
    names : sequence of str
        A name for each column.
    path : str or path-like, optional
        File to write. Without it the figure is returned.
    most : int, default 20
        Maximum number of columns.

    Returns
    -------
    matplotlib Figure or None
        A bar for the mean of each column, and a line for the standard deviation over the repeats.

    Raises
    ------
    ValueError
        If importances are not finite or not (columns, repeats), or names do not match them.
    ImportError
        If matplotlib is missing.

    References
    ----------
    Breiman, "Random forests", 2001.

    Examples
    --------
    >>> figure = plot_importances([[0.1, 0.2], [0.5, 0.4]], ["age", "work"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['work', 'age']
    """
    values = _checked(importances)
    if len(names) != len(values):
        raise ValueError(f"names must have one of each of {len(values)} columns, got {len(names)}: pass them all")
    means, spread = values.mean(axis=1), values.std(axis=1)
    shown = np.argsort(-means, kind="stable")[: count(most, "most")]
    figure = new_figure(6.4, 1.1 + 0.28 * len(shown))
    axis = plain(figure.subplots())
    axis.barh(np.arange(len(shown)), means[shown], xerr=spread[shown], height=0.7, color=BLUE, ecolor="#555555")
    axis.set_yticks(np.arange(len(shown)), [str(names[column]) for column in shown])
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    axis.set_xlabel("decrease of the score when the column is shuffled")
    return done(figure, path)


def _checked(importances: Any) -> Array:
    """(columns, repeats) of numbers."""
    given = importances["importances"] if isinstance(importances, Mapping) else importances
    values = np.asarray(given, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"importances must be (columns, repeats), got shape {values.shape}: pass a 2-D array")
    if not np.isfinite(values).all():
        raise ValueError("importances must be finite, got NaN or infinity: check the score of the estimator")
    return values
