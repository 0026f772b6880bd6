"""Preprocessing code that `to_numpy` copies verbatim into the module of a network trained on a table.

The module defines RULES, one for each column, in order: ("number", name, fill, shift, scale, indicator) and
("category", name, categories, has_absent, has_others, coded); CLIP, whether numbers are smoothly clipped to ±3; NAMED,
whether the columns have names.
"""

# ruff: noqa: F821
import numpy as np

ABSENT = frozenset({"", "?", "nan", "na", "n/a", "null", "none"})


def prepare(X):
    """The features (n, INPUTS) of a table: a dict or DataFrame, with columns looked up by name, or rows of values."""
    if NAMED and (hasattr(X, "keys") or hasattr(X, "columns")):
        columns = [np.asarray(X[rule[1]]) for rule in RULES]
    else:
        X = X if isinstance(X, np.ndarray) else np.array(X, object)
        if X.ndim != 2 or X.shape[1] != len(RULES):
            raise ValueError(
                f"X must have {len(RULES)} columns, got shape {X.shape}: pass the columns of training"
            )
        columns = list(X.T)
    features = []
    for rule, values in zip(RULES, columns, strict=True):
        make = number_features if rule[0] == "number" else category_features
        features += make(values, *rule[2:])
    return np.column_stack(features).astype(np.float32)


def number_features(values, fill, shift, scale, indicator):
    """(x - shift) / scale, fill if x is missing, and, with an indicator, whether it is missing."""
    if values.dtype.kind in "biuf":
        x = values.astype(np.float64)
    else:
        x = np.array([np.nan if is_absent(value) else float(value) for value in values])
    absent = np.isnan(x)
    x = (np.where(absent, fill, x) - shift) / scale
    if CLIP:
        x = x / np.hypot(1.0, x / 3.0)
    return [x, absent] if indicator else [x]


def category_features(values, categories, has_absent, has_others, coded):
    """One feature per category, or one code: 0 others, 1 missing, then the categories."""
    number = {category: 2 + i for i, category in enumerate(categories)}
    codes = np.array([1 if is_absent(value) else number.get(as_text(value), 0) for value in values])
    if coded:
        return [codes]
    extra = [1] * has_absent + [0] * has_others
    return [codes == code for code in [*number.values(), *extra]]


def is_absent(value):
    """None, NaN, and strings such as "" and "?"."""
    if isinstance(value, str):
        return value.strip().lower() in ABSENT
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def as_text(value):
    """The name of a category; 3 and 3.0 are the same one."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()
