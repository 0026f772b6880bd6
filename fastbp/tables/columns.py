"""Tables in any form as columns: arrays, dicts of columns, DataFrames, and the contents of files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp.tables.values import (
    MISSING,
    Coded,
    Numbers,
    as_booleans,
    as_text,
    coded,
    numbers_in,
    places_in,
    simplified,
    texts_of,
)
from fastbp.util.types import Array

_SHARED = 100_000  # at most so many objects
_FRAMES = ("pandas", "polars", "pyarrow", "modin", "cudf", "narwhals")
FEW = 0.05  # below this share of the present values, texts among numbers are treated as missing
_EXACT = 2**53  # beyond it, float64 does not hold every integer


class Columns(NamedTuple):
    """A table: column names (empty for an array), and per column an array of numbers, booleans or objects, or codes.

    matrix: the table as one array, if it was given as an array of numbers.
    lines: the line of its file, or row of its sheet, that each row begins at, for messages.
    kinds: of each column, see `kinds.settle`.
    """

    names: tuple[str, ...]
    arrays: Sequence[Any]
    matrix: Array | None = None
    lines: Any = None
    kinds: tuple[Any, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.arrays[0])

    def take(self, rows: Any) -> Columns:
        """The table of some rows."""
        matrix = None if self.matrix is None else self.matrix[rows]
        arrays = [values[rows] for values in self.arrays] if matrix is None else list(matrix.T)
        return Columns(self.names, arrays, matrix, None if self.lines is None else self.lines[rows], self.kinds)

    def select(self, places: Sequence[int]) -> Columns:
        """The table of some columns."""
        matrix = None if self.matrix is None else self.matrix[:, places]
        arrays = [self.arrays[place] for place in places] if matrix is None else list(matrix.T)
        names, kinds = (tuple(of[place] for place in places) if of else () for of in (self.names, self.kinds))
        return Columns(names, arrays, matrix, self.lines, kinds)

    def as_floats(self) -> Columns:
        """The table with its numbers as float64, if they are not in a matrix."""
        if self.matrix is not None:
            return self
        return self._replace(
            arrays=[each.astype(np.float64, copy=False) if each.dtype.kind in "iuf" else each for each in self.arrays]
        )

    def place(self, row: int) -> str:
        """Where a row stands, in messages."""
        if self.lines is None:
            return f"row {row}"
        return f"{getattr(self.lines, 'unit', 'line')} {self.lines[row]}"  # a sheet has rows

    def label(self, column: int) -> str:
        """A column's name in messages."""
        return label_of(self.names[column] if self.names else None, column)


def shown(value: Any) -> str:
    """A value in messages."""
    if isinstance(value, np.datetime64):
        return str(value)
    return f"{value.item() if isinstance(value, np.generic) else value!r}"[:60]


def in_matrix(table: Columns) -> Columns:
    """The table with its columns in one matrix, if all of them hold numbers."""
    if table.matrix is not None or any(each.dtype.kind not in "iuf" for each in table.arrays):
        return table
    matrix = np.stack([np.asarray(column, np.float64) for column in table.arrays], axis=1)
    return table._replace(arrays=list(matrix.T), matrix=matrix)


def joined(table: Columns) -> Array:
    """The columns as one array: of numbers, or of objects."""
    if table.matrix is not None:
        return table.matrix
    result = np.empty((table.rows, len(table.arrays)), object)
    for place, column in enumerate(table.arrays):
        result[:, place] = np.asarray(column) if isinstance(column, Coded) else _boxed(column)
    return result


def _boxed(numbers: Array) -> Array:
    """Numbers as objects; small integers, as most columns have, share theirs."""
    if numbers.dtype.kind == "f" and len(numbers) > _SHARED:
        whole = np.where(np.isfinite(numbers), numbers, 0)
        low, high = whole.min(), whole.max()
        if high - low < _SHARED and (np.floor(whole) == whole).all() and not np.signbit(whole[whole == 0]).any():
            shared = np.append(np.arange(low, high + 1), np.nan).astype(object)
            found: Array = shared[np.where(np.isnan(numbers), len(shared) - 1, whole - low).astype(np.int64)]
            return found
    return numbers.astype(object)


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
    if isinstance(X, Mapping) and not hasattr(X, "toarray"):  # SciPy's older dok_array is a dict
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
        array: Array = X if isinstance(X, np.ndarray) else _array_of(X, _mixed(X))
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


def _array_of(values: Any, mixed: bool) -> Array:
    """An array of objects for mixed values and for integers that would be rounded."""
    array: Array = np.asarray(values, object if mixed else None)
    if array.dtype.kind == "f" and isinstance(values, list | tuple) and (wide := np.abs(array) >= _EXACT).any():
        objects = np.asarray(values, object)
        return objects if any(isinstance(value, int) for value in objects[wide]) else array
    return array


def _column(values: Any, what: str) -> Any:
    if isinstance(values, Coded):
        return values
    if hasattr(values, "codes") and hasattr(values, "categories"):  # pandas.Categorical
        return Coded(np.asarray(values.codes), list(values.categories), True)
    if type(values).__module__.partition(".")[0] in _FRAMES:
        values = _of_any_series(values, what)
        if isinstance(values, Coded):
            return values
    _check_masks(values, what)
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise TypeError(f"{what} must be an array or a list, got {type(values).__name__}: pass its values")
    try:
        array = values if isinstance(values, np.ndarray) else _array_of(values, _mixed([list(values)]))
    except ValueError as error:
        raise ValueError(f"{what} must hold one value per row ({error}): pass a flat list") from error
    if array.ndim != 1:
        raise ValueError(f"{what} must have one dimension, got shape {array.shape}: pass one array per column")
    return _as_known(array, what)


def _check_masks(values: Any, what: str) -> None:
    if np.ma.isMaskedArray(values) and np.ma.is_masked(values):
        raise ValueError(f"{what} must have no masked values, got a masked array: fill them with NaN")


def _as_known(array: Array, what: str) -> Array:
    """Numbers and booleans unchanged, anything else as objects."""
    if array.dtype.kind in "biufM":
        return array
    if array.dtype.kind in "UTO":
        return array.astype(object)
    raise TypeError(f"{what} must hold numbers, strings, booleans or dates, got {array.dtype}: {_remedy(array)}")


def _remedy(array: Array) -> str:
    return "divide it by np.timedelta64(1, 'D')" if array.dtype.kind == "m" else "convert it"


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
        frame = narwhals.from_native(X, eager_only=True, allow_series=True)
    except TypeError as error:
        got = type(X).__name__
        raise TypeError(f"{what} must be a DataFrame that is in memory, got {got}: {error}") from error
    if isinstance(frame, narwhals.Series):  # one column
        names = () if frame.name in (None, "") else (str(frame.name),)
        return Columns(names, [_of_series(frame, frame.name, narwhals, what)])
    columns = [_of_series(values, values.name, narwhals, what) for values in frame.iter_columns()]
    return Columns(tuple(map(str, frame.columns)), columns)


def _of_series(values: Any, name: Any, narwhals: Any, what: str) -> Any:
    """A column of a frame: numbers as float64, dates as datetime64, categories as such, anything else as objects."""
    kind = values.dtype
    if kind.is_numeric():
        if kind.is_integer() and len(values) and _is_wide(values):
            return _objects(values)
        return values.cast(narwhals.Float64).to_numpy().astype(np.float64)
    if kind in (narwhals.Categorical, narwhals.Enum):
        column = coded(_objects(values))
        return Coded(column.codes, column.values, True)
    if kind in (narwhals.Datetime, narwhals.Date):
        return _of_dates(values, narwhals)
    if kind in (narwhals.String, narwhals.Object, narwhals.Boolean, narwhals.Time, narwhals.Unknown):
        return _objects(values)
    raise TypeError(
        f"{what}, column {name!r}, must hold numbers, strings, booleans or dates, got {kind}: convert it to "
        "numbers, or drop it"
    )


def _of_any_series(values: Any, what: str) -> Any:
    """A series as a column of a frame, if narwhals knows it; else as a list, for NumPy loses the gaps of polars."""
    try:
        import narwhals

        return _of_series(narwhals.from_native(values, series_only=True), getattr(values, "name", ""), narwhals, what)
    except (ImportError, TypeError) as error:
        if "must hold" in str(error):
            raise
        return values.to_list() if hasattr(values, "to_list") else values


def _objects(values: Any) -> Array:
    column = np.empty(len(values), object)
    column[:] = values.to_list()
    return column


def _is_wide(values: Any) -> bool:
    """Whether there are integers that float64 cannot tell apart."""
    low, high = values.min(), values.max()
    return low is not None and max(-int(low), int(high)) > _EXACT


def _of_dates(values: Any, narwhals: Any) -> Array:
    if getattr(values.dtype, "time_zone", None):
        values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    array = np.asarray(values.to_numpy())
    return array if array.dtype.kind == "M" else _objects(values)


# ---------------------------------------------------------------- values


def numbers_of(
    values: Array | Coded, label: str, missing: Collection[str] = MISSING, place: Callable[[int], str] = "row {}".format
) -> Array:
    """A column as numbers, NaN if missing: integers and floats unchanged, objects as float64.

    Few texts among many numbers are missing values, with a warning. ValueError, with the row, for more of them and for
    infinities.
    """
    if values.dtype.kind == "b":
        return np.asarray(values, np.float64)
    numbers: Array
    found = parsed(values, label, missing)
    numbers, rows, others = as_booleans(found) if len(found.rows) else found
    if len(rows):
        enough = len(rows) < FEW * (len(rows) + np.count_nonzero(~np.isnan(numbers)))
        what = f"got {shown(others[0])} at {place(int(rows[0]))}"
        remedy = "correct it, leave it empty if the value is unknown, name it in missing= (--missing)"
        if not enough:
            raise ValueError(f"{label} must hold numbers, {what}: {remedy}, or make the column categorical")
        more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        warnings.warn(f"{label} must hold numbers, {what}{more}, treated as missing: {remedy}", stacklevel=3)
    check_finite(numbers, values, label, place)
    return numbers


def check_finite(numbers: Array, values: Any, label: str, place: Callable[[int], str] = "row {}".format) -> None:
    """ValueError for an infinity; values: the column as it was given."""
    if numbers.dtype.kind == "f" and np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax())
        got = "an integer beyond 1e308" if isinstance(values[row], int) else f"{values[row]!s:.60}"
        raise ValueError(
            f"{label} must be finite, got {got} at {place(row)}: leave it empty if the value is unknown, or bound it"
        )


def parsed(values: Array | Coded, label: str, missing: Collection[str] = MISSING) -> Numbers:
    """`numbers_in`, with the label in errors."""
    try:
        return numbers_in(values, missing)
    except (TypeError, ValueError):
        raise _not_a_value(values, label) from None


def distinct(values: Array | Coded, label: str) -> Array | Coded:
    """`simplified`, with the label in errors."""
    try:
        found: Array | Coded = simplified(values)
    except (TypeError, ValueError):
        raise _not_a_value(values, label) from None
    return found


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
