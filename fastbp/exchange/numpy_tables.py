"""Preprocessing code that `to_numpy` copies into the module of a network trained on a table.

It follows the source of `fastbp.tables.values` and `dates`. The module defines RULES, one for each column, in order:
("number", name, fill, shift, scale, indicator, texts), ("category", name, categories, has_absent, has_others, coded,
scales), ("date", name, fill, numbers, cycles, indicator, texts) and ("ignored", name); CLIP, whether numbers are
smoothly clipped to ±3; NAMED, whether the columns have names; MORE_MISSING, further texts for missing values.
"""

# ruff: noqa: F821
import numpy as np

from fastbp.tables.dates import date_features, days_in
from fastbp.tables.values import MISSING, as_booleans, numbers_in, places_in


def prepare(X):
    """The features (n, INPUTS) of a table: a dict or DataFrame, with columns looked up by name, or rows of values."""
    if NAMED and (hasattr(X, "keys") or hasattr(X, "columns")):
        columns = [None if rule[0] == "ignored" else _column(X[rule[1]]) for rule in RULES]
    else:
        X = X if isinstance(X, np.ndarray) else np.array(X, object)
        if X.ndim != 2 or X.shape[1] != len(RULES):
            raise ValueError(
                f"X must have {len(RULES)} columns, got shape {X.shape}: pass the columns of training"
            )
        columns = list(X.T)
    features = []
    for (kind, name, *rule), values in zip(RULES, columns, strict=True):
        if kind != "ignored":
            make = number_features if kind == "number" else dated_features if kind == "date" else category_features
            features += make(name, values, *rule)
    return np.column_stack(features).astype(np.float32)


def _column(values):
    values = values if hasattr(values, "dtype") else np.array(values, object)
    values = np.asarray(values)
    return values if values.dtype.kind in "biufM" else values.astype(object)


def number_features(name, values, fill, shift, scale, indicator, texts):
    """(x - shift) / scale, fill if x is missing, and, with an indicator, whether it is missing."""
    x = _checked(name, as_booleans(numbers_in(values, MISSING | MORE_MISSING | set(texts)))).astype(np.float64)
    absent = np.isnan(x)
    x = _clipped((np.where(absent, fill, x) - shift) / scale)
    return [x, absent] if indicator else [x]


def category_features(name, values, categories, has_absent, has_others, coded, scales):
    """One feature per category, or one code: 0 others, 1 missing, then the categories; with scales, two are one."""
    codes = places_in(values, categories, MISSING | MORE_MISSING) + 2
    if coded:
        return [codes]
    if scales:
        places = [codes - 2 == j for j in range(len(categories))]
        levels = places if len(categories) != 2 else [1.0 * places[1] - places[0]]
        return [_clipped((level - shift) / scale) for level, (shift, scale) in zip(levels, scales, strict=True)]
    extra = [1] * has_absent + [0] * has_others
    return [codes == code for code in [*range(2, 2 + len(categories)), *extra]]


def dated_features(name, values, fill, numbers, cycles, indicator, texts):
    """Days and years as numbers, times of year, week and day as sine and cosine."""
    days = _checked(name, days_in(values, MISSING | MORE_MISSING | set(texts)))
    absent = np.isnan(days)
    features = date_features(np.where(absent, fill, days), numbers, cycles)
    features[: len(numbers)] = [_clipped(feature) for feature in features[: len(numbers)]]
    return [*features, absent] if indicator else features


def _checked(name, found):
    """The numbers, unless 5 % of the values or more are something else."""
    if len(found.rows) and len(found.rows) >= 0.05 * (len(found.rows) + np.count_nonzero(~np.isnan(found.numbers))):
        raise ValueError(f"column {name!r} must hold numbers or dates, got {found.others[0]!r} at row {found.rows[0]}")
    return found.numbers


def _clipped(x):
    return x / np.hypot(1.0, x / 3.0) if CLIP else x
