"""Checks of a `Preprocessor`'s options."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from fastbp.tables.values import MISSING

SCALINGS, ENCODINGS = ("standard", "robust", "none"), ("one_hot", "codes", "auto")


def column_key(value: Any) -> str | int:
    """A column's name or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
        raise TypeError(f"categorical must hold names or numbers of columns, got {value!r}: pass a str or an int")
    return value if isinstance(value, str) else int(value)


def texts(value: Any) -> tuple[str, ...]:
    """Texts that stand for missing values."""
    given = [value] if isinstance(value, str) else list(value or ())
    if not all(isinstance(each, str) for each in given):
        raise TypeError(f"missing must hold strings, got {value!r}: pass texts such as 'nil'")
    return tuple(given)


def missing_texts(given: Collection[str]) -> frozenset[str]:
    """All texts that stand for missing values, in lower case."""
    return MISSING.union(text.strip().lower() for text in given)


def scaling(value: Any) -> str | float:
    """The name of a scaling, or a divisor."""
    if isinstance(value, str) and value in SCALINGS:
        return value
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if is_number and 0 < value < math.inf:
        return float(value)
    allowed = ", ".join(map(repr, SCALINGS))
    raise ValueError(f"scaling must be one of {allowed} or a positive number, got {value!r}: choose one")
