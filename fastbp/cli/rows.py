"""Which columns and rows `fastbp train` trains on: without those of --drop and of --validation-split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastbp.data.splits import stratified_split
from fastbp.datasets import Split, Table
from fastbp.util.arguments import did_you_mean
from fastbp.util.types import Array


def without_columns(data: Table | Split, dropped: Sequence[str], path: str) -> Table | Split:
    """The data without the columns of these names."""
    if not dropped:
        return data
    names = data.columns
    if not names:
        raise ValueError(f"--drop needs columns with names, which {path} does not have: leave them out in the file")
    for name in dropped:
        if name not in names:
            raise ValueError(f"--drop {name!r} is not a feature column of {path}{did_you_mean(name, names)}")
    kept = [place for place, name in enumerate(names) if name not in dropped]
    if not kept:
        raise ValueError(f"--drop leaves no column of {path}: keep at least one")
    if isinstance(data, Split):
        columns = tuple(names[place] for place in kept)
        return data._replace(x_train=data.x_train[:, kept], x_test=data.x_test[:, kept], columns=columns)
    return Table.of(data.features.select(kept), data.y)


def hold_out_validation(
    X: Array, y: Array, classes: bool, share: float, seed: int
) -> tuple[Array, Array, tuple[Array, Array] | None]:
    """X and y to train on, and a share of their rows to validate on, drawn by the seed; classes keep their shares."""
    if not share:
        return X, y, None
    strata = y if y.ndim == 1 else y.argmax(axis=1) if classes else np.zeros(len(y), np.int64)
    train, held_out = stratified_split(strata, fraction=share, seed=seed)
    return X[train], y[train], (X[held_out], y[held_out])
