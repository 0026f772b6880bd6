"""Tables in any form as columns: arrays, dicts of columns, DataFrames, and the contents of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp.tables.values import MISSING, Coded, Numbers, as_text, numbers_in, places_in, texts_of
from fastbp.util.types import Array

_FRAMES = ("pandas", "polars", "pyarrow", "modin", "cudf", "narwhals")


class Columns(NamedTuple):
    """A table: column names (empty for an array), and per column an array of numbers, booleans or objects, or codes.

    matrix: the table as one array, if it was given as an array of numbers.
    lines: the line of its file that each row begins at, for messages.
    """

    names: tuple[str, ...]
    arrays: Sequence[Any]
    matrix: Array | None = None
    lines: Array | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.arrays[0])

    def take(self, rows: Any) -> Columns:
        """The table of some rows."""
        matrix = None if self.matrix is None else self.matrix[rows]
        arrays = [values[rows] for values in self.arrays] if matrix is None else list(matrix.T)
        return Columns(self.names, arrays, matrix, None if self.lines is None else self.lines[rows])

    def label(self, column: int) -> str:
        """A column's name in messages."""
        return label_of(self.names[column] if self.names else None, column)


def label_of(name: str | None, column: int) -> str:
    """A column's name in quotes, or its number."""
    return f"column {column}" if name is None else f"column {name!r}"


def columns_of(X: Any, what: str = "X") -> Columns:
    """X as columns; TypeError or ValueError with the reason if that is impossible.

    >>> columns_of({"age": [39, 50], "work": ["State-gov", None]}).names
    ('age', 'work')
    """
    if isinstance(X, Columns):
        return _checked(X, what)
    if isinstance(X, Mapping):
        names = tuple(str(name) for name in X)
        columns = [_column(values, f"{what}, {label_of(name, 0)},") for name, values in zip(names, X.values(),
                                                                                           strict=True)]  # fmt: skip
        return _checked(Columns(names, columns), what)
    if type(X).__module__.partition(".")[0] in _FRAMES:
        return _checked(_from_frame(X, what), what)
    if hasattr(X, "toarray"):
        raise TypeError(f"{what} must be a dense table, got sparse {type(X).__name__}: pass {what}.toarray()")
    if X is None or isinstance(X, str | bytes):
        raise TypeError(f"{what} must be a table, got {X!r}: pass an array, a dict of columns or a DataFrame")
    _check_masks(X, what)
    try:
        array: Array = np.asarray(X, None if isinstance(X, np.ndarray) or not _mixed(X) else object)
    except ValueError as error:
        raise ValueError(f"{what} must have rows of equal length ({error})") from error
    if array.ndim != 2:
        raise ValueError(
            f"{what} must have two dimensions, (rows, columns), got shape {array.shape}: "
            f"{what}.reshape(-1, 1) makes it one column"
        )
    array = _as_known(array, what)
    matrix = array if array.dtype.kind in "iuf" else None
    return _checked(Columns((), list(array.T), matrix), what)


def _mixed(X: Any) -> bool:
    """Whether a list of rows holds strings, booleans or None, with which NumPy would turn everything into strings."""
    return any(isinstance(value, str | bool) or value is None for row in X if isinstance(row, list | tuple)
               for value in row)  # fmt: skip


def _column(values: Any, what: str) -> Any:
    if isinstance(values, Coded):
        return values
    if type(values).__module__.partition(".")[0] == "polars":  # NumPy would turn its missing values into strings
        values = values.to_list()
    _check_masks(values, what)
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise TypeError(f"{what} must be an array or a list, got {type(values).__name__}: pass its values")
    array = values if isinstance(values, np.ndarray) else np.asarray(values, object if _mixed([list(values)]) else None)
    if array.ndim != 1:
        raise ValueError(f"{what} must have one dimension, got shape {array.shape}: pass one array per column")
    return _as_known(array, what)


def _check_masks(values: Any, what: str) -> None:
    if np.ma.isMaskedArray(values) and np.ma.is_masked(values):
        raise ValueError(f"{what} must have no masked values, got a masked array: fill them with NaN")


def _as_known(array: Array, what: str) -> Array:
    """Numbers and booleans unchanged, anything else as objects."""
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind in "UTO":
        return array.astype(object)
    raise TypeError(f"{what} must hold numbers, strings or booleans, got {array.dtype}: convert it")


def _checked(table: Columns, what: str) -> Columns:
    if not table.arrays or not len(table.arrays[0]):
        rows = len(table.arrays[0]) if table.arrays else 0
        raise ValueError(f"{what} must have at least one row and one column, got {rows} × {len(table.arrays)}")
    if len(set(table.names)) < len(table.names):
        twice = next(name for name in table.names if table.names.count(name) > 1)
        raise ValueError(f"{what} must have distinct column names, got {twice!r} twice: rename one")
    for column, array in enumerate(table.arrays):
        if len(array) != table.rows:
            raise ValueError(
                f"{what} must have columns of equal length, but {table.label(0)} has {table.rows} rows and "
                f"{table.label(column)} has {len(array)}: pass complete rows"
            )
    return table


def _from_frame(X: Any, what: str) -> Columns:
    """The columns of a DataFrame of pandas, polars or another library that narwhals supports."""
    try:
        import narwhals
    except ImportError as error:
        raise ImportError(
            f'a {type(X).__name__} of {type(X).__module__.partition(".")[0]} is read through narwhals, which is not '
            'installed: pip install "fastbp[dataframe]", or pass a dict of columns'
        ) from error
    try:
        frame = narwhals.from_native(X, eager_only=True)
    except TypeError as error:
        got = type(X).__name__
        raise TypeError(f"{what} must be a DataFrame that is in memory, got {got}: {error}") from error
    columns = []
    for name in frame.columns:
        values, kind = frame[name], frame[name].dtype
        if kind.is_numeric():
            columns.append(values.cast(narwhals.Float64).to_numpy().astype(np.float64))
        elif kind in (narwhals.String, narwhals.Categorical, narwhals.Enum, narwhals.Object, narwhals.Boolean,
                      narwhals.Unknown):  # fmt: skip
            column = np.empty(len(values), object)
            column[:] = values.to_list()
            columns.append(column)
        else:
            raise TypeError(
                f"{what}, column {name!r}, must hold numbers, strings or booleans, got {kind}: convert it to "
                "numbers, or drop it"
            )
    return Columns(tuple(map(str, frame.columns)), columns)


# ---------------------------------------------------------------- values


def numbers_of(values: Array | Coded, label: str, missing: Collection[str] = MISSING) -> Array:
    """A column as numbers, NaN if missing: integers and floats unchanged, objects as float64.

    ValueError, with the row, for anything that is not a number, and for infinities.
    """
    if values.dtype.kind == "b":
        return np.asarray(values, np.float64)
    numbers: Array
    numbers, rows, others = parsed(values, label, missing)
    truths = [as_text(other) for other in others]
    if truths and set(truths) <= {"True", "False"}:
        numbers[rows] = [text == "True" for text in truths]
    elif len(rows):
        raise ValueError(
            f"{label} must hold numbers, got {others[0]!r} at row {rows[0]}: correct it, leave it empty if the "
            "value is unknown, or make the column categorical"
        )
    if numbers.dtype.kind == "f" and np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax())
        value = values[row]
        got = "an integer beyond 1e308" if isinstance(value, int) else f"{value!s:.60}"
        raise ValueError(
            f"{label} must be finite, got {got} at row {row}: leave it empty if the value "
            "is unknown, or bound it"
        )
    return numbers


def parsed(values: Array | Coded, label: str, missing: Collection[str] = MISSING) -> Numbers:
    """`numbers_in`, with the label in errors."""
    try:
        return numbers_in(values, missing)
    except (TypeError, ValueError):
        raise _not_a_value(values, label) from None


def texts(values: Array | Coded, label: str = "the column", missing: Collection[str] = MISSING) -> Coded:
    """`texts_of`, with the label in errors."""
    try:
        return texts_of(values, missing)
    except (TypeError, ValueError):
        raise _not_a_value(values, label) from None


def places(values: Array | Coded, categories: Sequence[str], label: str, missing: Collection[str] = MISSING) -> Array:
    """`places_in`, with the label in errors."""
    try:
        found: Array = places_in(values, categories, missing)
    except (TypeError, ValueError):
        raise _not_a_value(values, label) from None
    return found


def _not_a_value(values: Array | Coded, label: str) -> TypeError:
    """What to raise for the first value that is no string, number or boolean."""
    for row, value in enumerate(np.asarray(values)):
        try:
            as_text(value)
        except (TypeError, ValueError):
            return TypeError(
                f"{label} must hold strings, numbers or booleans, got {value!r:.60} ({type(value).__name__}) at row "
                f"{row}: convert it to one of these"
            )
    return TypeError(f"{label} must hold strings, numbers or booleans: convert it")


def looks_numeric(values: Array | Coded) -> bool:
    """Whether all present values of a column are numbers, and no booleans or other strings."""
    if isinstance(values, Coded) and values.categorical:
        return False
    return values.dtype.kind != "b" and not len(parsed(values, "the column").rows)


def categories_of(values: Array | Coded, label: str = "the column") -> list[str | None]:
    """A column as strings, None if missing; equal numbers are the same category in any notation.

    >>> categories_of(np.array([3.0, np.nan, 2.5]))
    ['3', None, '2.5']
    >>> categories_of(np.array([" Private", "?", True, 3], object))
    ['Private', None, 'True', '3']
    """
    result: list[str | None] = np.asarray(texts(values, label)).tolist()
    return result
