"""The confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.util.types import Array

__all__ = ["confusion_matrix"]


def confusion_matrix(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    labels: Sequence[Any] | Array | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> Array:
    """Count the rows of each class by what they are predicted as.

    ::

        C_ij = number of rows of class i predicted as class j

    Parameters
    ----------
    y_true : array-like (n,) or (n, classes)
        True labels, numbers or strings, or one-hot rows.
    y_pred : array-like (n,), (n, classes) or (n, 1)
        Predicted labels, or the result of predict: the largest output counts, a single one of more than 0.5 is class 1.
    labels : sequence, optional
        The classes in the order of rows and columns. By default 0 to classes - 1 for outputs, otherwise the labels that
        occur, sorted.
    sample_weight : array-like (n,), optional
        Weights of the rows.

    Returns
    -------
    ndarray (classes, classes)
        Counts, int64, or sums of weights, float64.

    Raises
    ------
    ValueError
        For arrays of mismatched shapes, and for labels that are not among those given.

    See Also
    --------
    fastbp.plot_confusion_matrix : Draws it.

    Notes
    -----
    Same as scikit-learn's confusion_matrix.

    Examples
    --------
    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1])
    array([[1, 1],
           [0, 2]])
    >>> confusion_matrix([0, 2], [[0.5, 0.4, 0.1], [0.1, 0.7, 0.2]])
    array([[1, 0, 0],
           [0, 0, 0],
           [0, 1, 0]])
    """
    true, predicted = labels_of(y_true), labels_of(y_pred)
    if true.ndim != 1 or true.shape != predicted.shape or not len(true):
        raise ValueError(
            f"y_true must be labels (n,) and y_pred labels (n,) or outputs (n, classes), got shapes "
            f"{np.shape(y_true)} and {np.shape(y_pred)}: pass the labels of the rows that were predicted"
        )
    width = np.shape(y_pred)[1] if np.ndim(y_pred) == 2 else 0
    both = np.concatenate([true, predicted])
    if labels is None:
        known = np.arange(max(2, width)) if width else np.unique(both)
    else:
        known = np.asarray(labels)
    order = np.argsort(known, kind="stable")
    places = np.minimum(np.searchsorted(known[order], both), len(known) - 1)
    numbers = order[places]
    if (known[numbers] != both).any():
        unknown = both[(known[numbers] != both).argmax()]
        raise ValueError(f"labels must hold all classes that occur, got {known.tolist()} without {unknown}: add it")
    codes = numbers[: len(true)] * len(known) + numbers[len(true) :]
    weight = None if sample_weight is None else np.asarray(sample_weight, np.float64)
    if weight is not None and weight.shape != true.shape:
        raise ValueError(f"sample_weight must have shape {true.shape}, got {weight.shape}: pass one weight per row")
    return np.bincount(codes, weight, len(known) ** 2).reshape(len(known), len(known))


def labels_of(values: npt.ArrayLike) -> Array:
    """Labels (n,) unchanged; the class numbers of outputs or one-hot rows (n, classes) or (n, 1)."""
    array: Array = np.asarray(values)
    if array.ndim != 2 or not array.size:
        return array
    return array.argmax(axis=1) if array.shape[1] > 1 else (array[:, 0] > 0.5).astype(np.int64)
