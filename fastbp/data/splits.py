"""Splitting rows into a training and a test set."""

from __future__ import annotations

import numpy as np

from fastbp.util.types import Array

MAX_INTEGER_CLASSES = 100  # integers with more distinct values mean regression


def guess_task(y: Array) -> str:
    """Infer the task: "classification" for strings, booleans and at most 100 distinct integers, else "regression"."""
    if y.ndim != 1 or y.dtype.kind == "f":
        return "regression"
    if y.dtype.kind in "iu" and len(np.unique(y)) > MAX_INTEGER_CLASSES:
        return "regression"
    return "classification"


def stratified_split(
    y: Array, *, fraction: float = 0.2, seed: int = 0, task: str | None = None
) -> tuple[Array, Array]:
    """Split row indices into a training and a test set; each class has its share of the test set, to within one row.

    Only classes are stratified; targets of a regression are drawn at random.

    Parameters
    ----------
    y : array, shape (n,) or (n, outputs)
        Targets.
    fraction : float, optional
        Fraction of the rows in the test set, which has ``round(n * fraction)`` rows.
    seed : int, optional
        Seed of the shuffle.
    task : {"classification", "regression"}, optional
        By default strings, booleans and integers with at most 100 distinct values are classes.

    Returns
    -------
    train, test : array of int64
        Row indices, each part shuffled.

    Raises
    ------
    ValueError
        If there are fewer than 2 rows, or either part would be empty.

    Notes
    -----
    Shares are rounded by the largest remainder method; the seed decides between equal remainders.

    Examples
    --------
    >>> train, test = stratified_split(np.array([0] * 8 + [1] * 2), fraction=0.5)
    >>> len(train), len(test), int((test >= 8).sum())
    (5, 5, 1)
    """
    n = len(y)
    n_test = round(n * fraction)
    if not 0 < n_test < n:
        raise ValueError(
            f"a test set of {fraction:g} of {n} rows leaves one part empty: pass more rows or another fraction"
        )
    rng = np.random.default_rng(seed)
    strata = _strata(y, task)
    rows = rng.permutation(n)
    rows = rows[np.argsort(strata[rows], kind="stable")]  # sorted by class, each in random order
    counts = np.bincount(strata)
    quota = _largest_remainders(counts * (n_test / n), n_test, rng.spawn(1)[0])
    starts = np.cumsum(counts) - counts
    position = np.arange(n) - np.repeat(starts, counts)  # of each row within its class
    is_test = position < np.repeat(quota, counts)
    return rng.permutation(rows[~is_test]), rng.permutation(rows[is_test])


def distinct_in(values: Array) -> tuple[Array, Array]:
    """The distinct values in order, and the place of each value among them, as of `np.unique`.

    >>> distinct_in(np.array(["b", "a", "b"]))
    (array(['a', 'b'], dtype='<U1'), array([1, 0, 1]))
    """
    if values.dtype.kind not in "UT" or values.ndim != 1:
        found, places = np.unique(values, return_inverse=True)
        return found, places
    seen: dict[str, int] = {}  # sorting strings takes six times as long
    codes = np.array([seen.setdefault(text, len(seen)) for text in values.tolist()], np.int64)
    labels = np.array(list(seen), values.dtype)
    order = np.argsort(labels)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return labels[order], place[codes]


def _strata(y: Array, task: str | None) -> Array:
    """The number of each row's class; 0 for all rows of a regression."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or (task or guess_task(y)) != "classification":
        return np.zeros(len(y), np.int64)
    return distinct_in(y.astype(str) if y.dtype.kind == "O" else y)[1]


def _largest_remainders(shares: Array, total: int, rng: np.random.Generator) -> Array:
    quota = np.floor(shares).astype(np.int64)
    remainders = np.round(shares - quota, 9)  # so that equal ones are equal despite rounding
    order = np.lexsort((rng.random(len(shares)), -remainders))
    quota[order[: total - int(quota.sum())]] += 1
    return quota
