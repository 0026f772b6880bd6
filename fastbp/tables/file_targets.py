"""The target column of a file: integers, other numbers or labels, with no row left without one."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection
from typing import NamedTuple, cast

import numpy as np

from fastbp.tables.values import MISSING, Coded, are_names, is_missing, numbers_in
from fastbp.util.types import Array

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_NAMED = 5  # rows, or spellings, in messages


class Labelled(NamedTuple):
    """Targets, and the rows that have one: None for all of them."""

    y: Array
    rows: Array | None


class Named(NamedTuple):
    """A target column in messages: its name, its file, and the place of a row in the file."""

    name: str
    path: object
    place: Callable[[int], str]


def labelled(column: Array | Coded, named: Named, drop: bool, missing: Collection[str] = MISSING) -> Labelled:
    """Targets of a column; rows without one are left out with a warning, or refused."""
    gaps = gaps_in(column, missing)
    rows = None
    if gaps.any():
        if gaps.all():
            raise ValueError(f"the target column {named.name!r} of {named.path} has no value in any row: name another")
        message = _about_gaps(column, gaps, named, missing)
        if not drop:
            raise ValueError(
                f"{message}: fill them, or leave these rows out with drop_missing_target=True (--drop-missing-target)"
            )
        warnings.warn(f"left out rows without a target: {message}", stacklevel=2)
        rows = np.flatnonzero(~gaps)
        column = column[rows]
    return Labelled(targets_of(column), rows)


def targets_of(column: Array | Coded) -> Array:
    """A column without missing values as integers, other numbers or stripped strings."""
    if not isinstance(column, Coded):
        return column
    column = cast(Coded, column.used())  # without the values of rows that are left out
    numbers, others, _ = numbers_in(column)
    if len(others) or are_names([str(value) for value in column.values]):
        labels: Array = np.array([str(value).strip() for value in column.values])[column.codes]
        return labels
    if all(_INTEGER.fullmatch(str(value)) for value in column.values):
        try:
            integers: Array = np.array([int(value) for value in column.values], np.int64)[column.codes]
            return integers
        except OverflowError:
            pass
    return np.asarray(numbers)


def gaps_in(column: Array | Coded, missing: Collection[str] = MISSING) -> Array:
    """Which rows of a column have no value."""
    if isinstance(column, Coded):
        gaps: Array = np.array([*(is_missing(value, missing) for value in column.values), True])[column.codes]
        return gaps
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)


def _about_gaps(column: Array | Coded, gaps: Array, named: Named, missing: Collection[str]) -> str:
    rows = np.flatnonzero(gaps)
    places = ", ".join(named.place(int(row)) for row in rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")
    spelled = ""
    if isinstance(column, Coded):
        counts = Counter(np.asarray(column.codes)[rows].tolist())
        texts = [repr(column.values[code].strip()) for code, _ in counts.most_common(_NAMED) if code >= 0]
        spelled = f", written {' or '.join(texts)}," if any(text != "''" for text in texts) else ""
    return (
        f"the target column {named.name!r} of {named.path} has missing values{spelled} in {len(rows):,} of "
        f"{len(gaps):,} rows ({places})"
    )
