"""Data frames and series of pandas, polars, pyarrow and others as NumPy arrays, through narwhals."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.data.numbers import numbers_of_objects
from fastbp.util.types import Array

_LIBRARIES = frozenset({"pandas", "polars", "pyarrow", "modin", "narwhals"})


def is_table(value: Any) -> bool:
    """Whether value belongs to a data frame library.

    >>> is_table({"a": [1.0]})
    False
    """
    return any(cls.__module__.partition(".")[0] in _LIBRARIES for cls in type(value).__mro__)


def column_names(table: Any) -> tuple[str, ...] | None:
    """The names of a frame's columns; None for anything else, and for frames whose columns are only numbered."""
    if not is_table(table):
        return None
    names = getattr(table, "column_names", None)  # of pyarrow
    names = list(getattr(table, "columns", ()) if names is None else names)
    return tuple(map(str, names)) if names and names != list(range(len(names))) else None


def check_names(X: Any, wanted: tuple[str, ...] | None, name: str) -> None:
    """ValueError if X is a frame whose columns are not those the network was trained on, in their order."""
    got = None if wanted is None else column_names(X)
    if wanted is None or got is None or got == wanted:
        return
    lacking = [each for each in wanted if each not in got]
    added = [each for each in got if each not in wanted]
    what = f"lacks {_listed(lacking)}" * bool(lacking) + " and " * bool(lacking and added)
    what += f"has {_listed(added)} in addition" * bool(added)
    raise ValueError(
        f"{name} must have the columns of the training data in the same order, but {what or 'has another order'}: "
        "select model.feature_names, or pass an array, whose columns go by position"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def array_of(table: Any, name: str) -> Any:
    """A frame as an array (rows, columns) of the common dtype of its columns, a series as a one-dimensional array.

    Anything else, or everything if narwhals is not installed, is returned as it is, for NumPy to convert. Raises
    TypeError for a column that is neither numeric nor boolean, ValueError for a missing value, naming its position.
    """
    try:
        import narwhals
    except ImportError:
        return table
    try:
        frame = narwhals.from_native(_narwhals_compatible(table), allow_series=True, pass_through=True)
    except narwhals.exceptions.DuplicateError:  # duplicate column names do not matter here
        return table
    if isinstance(frame, narwhals.LazyFrame):
        raise TypeError(f"{name} must be in memory, got a {type(table).__name__}: pass {name}.collect()")
    if isinstance(frame, narwhals.Series):
        return _column(frame, name, narwhals)
    if not isinstance(frame, narwhals.DataFrame):
        return table
    columns = [_column(column, name, narwhals) for column in frame.iter_columns()]
    if not columns:
        return np.empty((len(frame), 0))
    result = np.empty((len(frame), len(columns)), np.result_type(*columns))
    for place, column in enumerate(columns):
        result[:, place] = column
    return result


def _narwhals_compatible(table: Any) -> Any:
    """pyarrow's RecordBatch and Array as Table and ChunkedArray, which narwhals supports."""
    if type(table).__module__.partition(".")[0] == "pyarrow":
        import pyarrow

        if isinstance(table, pyarrow.RecordBatch):
            return pyarrow.Table.from_batches([table])
        if isinstance(table, pyarrow.Array):
            return pyarrow.chunked_array([table])
    return table


def _column(series: Any, name: str, narwhals: Any) -> Array:
    kind = series.dtype
    which = f"column {series.name!r}" if series.name not in (None, "") else "the column"
    if not (kind.is_numeric() or kind in (narwhals.Boolean, narwhals.Object, narwhals.Unknown)):
        raise TypeError(
            f"{name} must hold numbers or booleans, but {which} has type {kind}: use fastbp.Preprocessor, which "
            "encodes strings and categories, or leave the column out"
        )
    if series.null_count():
        row = int(series.is_null().to_numpy().argmax())
        raise ValueError(
            f"{name} must have no missing values, but {which} has one at row {row}: use fastbp.Preprocessor, which "
            "imputes them, or drop those rows"
        )
    array: Array = np.asarray(series.to_numpy())
    if kind in (narwhals.Object, narwhals.Unknown):  # float16 is unknown to older versions
        return array if array.dtype.kind == "f" else _of_objects(array, name, which)
    if array.dtype.kind not in "biuf":  # decimals, integers of 128 bits
        array = np.asarray(series.cast(narwhals.Float64).to_numpy())
    return array


def _of_objects(values: Array, name: str, which: str) -> Array:
    return numbers_of_objects(np.asarray(values, object), f"{which} of {name}", values)
