"""Splitting rows into a training and a test set."""

from __future__ import annotations

import numpy as np

from fastbp.util.types import Array


def stratified_split(y: Array, *, fraction: float = 0.2, seed: int = 0) -> tuple[Array, Array]:
    """Split row indices into a training and a test set; each class has its share of the test set, to within one row.

    Classes are the distinct values of a one-dimensional y of integers, booleans or strings; otherwise rows are drawn at
    random.

    Parameters
    ----------
    y : array, shape (n,) or (n, outputs)
        Targets.
    fraction : float, optional
        Fraction of the rows in the test set, which has ``round(n * fraction)`` rows.
    seed : int, optional
        Seed of the shuffle.

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
    Shares are rounded by the largest remainder method.

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
    strata = np.unique(y, return_inverse=True)[1] if y.ndim == 1 and y.dtype.kind in "biuUS" else np.zeros(n, np.int64)
    rows = rng.permutation(n)
    rows = rows[np.argsort(strata[rows], kind="stable")]  # sorted by class, each in random order
    counts = np.bincount(strata)
    quota = _largest_remainders(counts * (n_test / n), n_test)
    starts = np.cumsum(counts) - counts
    position = np.arange(n) - np.repeat(starts, counts)  # of each row within its class
    is_test = position < np.repeat(quota, counts)
    return rng.permutation(rows[~is_test]), rng.permutation(rows[is_test])


def _largest_remainders(shares: Array, total: int) -> Array:
    quota = np.floor(shares).astype(np.int64)
    remaining = total - int(quota.sum())
    quota[np.argsort(quota - shares, kind="stable")[:remaining]] += 1
    return quota
