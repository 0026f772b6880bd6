"""Validation and conversion of user data: features, lists of arrays, validation split.

Every function returns what the engine takes (C-contiguous, native byte order, aligned) or raises an error that names
the argument, what was got and the remedy. An array that is already right is returned without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.data import csr, tensors
from fastbp.data import frames as tables
from fastbp.data.csr import SparseRows
from fastbp.data.numbers import bounded, is_number, numbers_of_objects, position_of
from fastbp.util.types import Array

_CHUNK = 1 << 18  # elements checked at a time: 1 MiB of float32, so that the search needs little memory
# Up to this size the sum of squares (one BLAS dot, 0.4 µs for ten elements) shows whether all are finite. OpenBLAS uses
# its own threads for longer ones, which then spin for milliseconds and compete with the engine's.
SHORT = 8192


class Rows(NamedTuple):
    """Converted data: X (n, features), an array or SparseRows; y as the loss takes it; weight (n,) or None."""

    X: Any  # an array, or SparseRows
    y: Array
    weight: Array | None

    def part(self, rows: slice) -> Rows:
        """A slice of the rows, sharing their memory."""
        return Rows(self.X[rows], self.y[rows], None if self.weight is None else self.weight[rows])


def features(X: Any, width: int | None, dtype: np.dtype[Any], name: str = "X") -> Any:
    """X as a C-contiguous (n, width) array of dtype, or as sparse rows; width None accepts any number of columns."""
    if (
        type(X) is np.ndarray
        and X.dtype is dtype
        and X.ndim == 2
        and X.shape[1] == width
        and X.flags.carray
        and 0 < X.size <= SHORT
        and math.isfinite(np.vdot(X, X))
    ):
        return X  # fast path for single rows, 0.8 µs
    if isinstance(X, SparseRows):
        array: Any = X
    else:
        array = csr.matrix_of(X, name) if hasattr(X, "tocsr") else numeric(X, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must have two dimensions, (rows, features), got shape {array.shape}: "
            f"{_reshape(array, name)}"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} must have at least one row and one column, got shape {array.shape}: pass data")
    if width is not None and array.shape[1] != width:
        raise ValueError(
            f"{name} must have {width} columns, the network's input size, got shape {array.shape}: "
            f"pass those {width} features, or build a network with input_size={array.shape[1]}"
        )
    if isinstance(array, SparseRows) and array.dtype == dtype:
        return array  # already checked
    return convert(array, dtype, name) if isinstance(array, np.ndarray) else sparse_rows(array, dtype, name)


def sparse_rows(matrix: Any, dtype: np.dtype[Any], name: str) -> SparseRows:
    """A CSR matrix, such as scipy.sparse.csr_array, as SparseRows; copied only where necessary."""
    if matrix.shape[1] > np.iinfo(np.int32).max:
        raise ValueError(f"{name} must have fewer than 2**31 columns, got shape {matrix.shape}: hash them to fewer")
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {matrix.dtype}: {_remedy(matrix.dtype.kind)}")
    starts, columns, data = csr.parts(matrix, name)
    if not csr.is_sorted(starts, columns):
        starts, columns, data = csr.parts(csr.without_duplicates(matrix), name)
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.require(data, dtype, ["C", "A"])
    if not finite(values):
        place = _first_bad(values)
        row = int(np.searchsorted(starts, place, side="right")) - 1
        raise ValueError(
            f"{name} must be finite, got {data[place]} at row {row}, column {columns[place]}: drop or impute those rows"
        )
    return SparseRows(starts, np.require(columns, np.int32, ["C", "A"]), values, matrix.shape[1])


def _reshape(array: Array, name: str) -> str:
    if array.ndim == 1:
        return f"{name}.reshape(1, -1) makes it one row, {name}.reshape(-1, 1) one column"
    if array.ndim == 0:
        return "pass an array of rows"
    return f"{name}.reshape(len({name}), -1) flattens each row"


def numeric(value: Any, name: str) -> Array:
    """value as an array of booleans, integers or real numbers, without a copy if it is one already."""
    if value is None:
        raise TypeError(f"{name} must be an array of numbers, got None: pass the data")
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array, got sparse {type(value).__name__}: pass {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} must have no masked values, got a masked array: fill or drop them")
    if not isinstance(value, np.ndarray | list | tuple):
        if tables.is_table(value):
            value = tables.array_of(value, name)
        elif tensors.is_tensor(value):
            value = tensors.array_of(value, name)
    try:
        array: Array = np.asarray(bounded(value))
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{name} must be an array of numbers with rows of one length, got {type(value).__name__} "
            f"(NumPy says: {error}): give every row the same number of columns"
        ) from error
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "O":
        return numbers_of_objects(array, name, value)
    raise TypeError(f"{name} must hold real numbers, got {array.dtype}: {_remedy(array.dtype.kind)}")


def _remedy(kind: str) -> str:
    if kind == "c":
        return "pass real and imaginary parts as columns of their own"
    if kind in "SUT":
        return "encode strings as numbers first"
    return "convert it to numbers first"


def convert(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """array as C-contiguous, aligned, native dtype, all finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is detected below
        result: Array = np.require(array, dtype, ["C", "A"])
    if array.dtype.kind == "f" and not finite(result):
        position = _first_bad(result)
        got = array[np.unravel_index(position, array.shape)]
        where = position_of(array, position)
        if np.isfinite(got):
            raise ValueError(
                f"{name} must be finite, got {got} at {where}, too large for {dtype}: scale the data, or build the "
                "network with dtype='float64'"
            )
        raise ValueError(f"{name} must be finite, got {got} at {where}: drop or impute those rows")
    return result


def finite(array: Array) -> bool:
    """Whether all elements of a C-contiguous array are finite, in one pass and without a large temporary."""
    flat = array.reshape(-1)
    if flat.size <= SHORT:
        total = np.vdot(flat, flat)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduce(flat)
    return math.isfinite(total) or _first_bad(flat) < 0  # a sum of finite numbers may overflow


def _first_bad(array: Array) -> int:
    """Position in C order of the first element that is not finite, or -1."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        good = np.isfinite(flat[start : start + _CHUNK])
        if not good.all():
            return start + int(good.argmin())
    return -1


def split(rows: Rows, fraction: Any) -> tuple[Rows, Rows | None]:
    """Split off the last fraction of the rows for validation, before any shuffling."""
    if not is_number(fraction) or not 0 <= fraction < 1:
        raise ValueError(f"validation_split must be at least 0 and less than 1, got {fraction!r}: pass e.g. 0.2")
    if fraction == 0:
        return rows, None
    n = len(rows.X)
    cut = math.floor(n * (1 - float(fraction)))
    if not 0 < cut < n:
        raise ValueError(
            f"validation_split={fraction} of {n} rows leaves {cut} to train on and {n - cut} to validate on: "
            "both need at least one, so change the fraction or pass validation_data"
        )
    return rows.part(slice(None, cut)), rows.part(slice(cut, None))


def arrays(values: Any, wanted: list[tuple[str, tuple[int, ...]]], dtype: np.dtype[Any], name: str) -> list[Array]:
    """values as arrays of these names and shapes, all finite."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        got = type(values).__name__
        raise TypeError(f"{name} must be a list of arrays, got {got}: pass what get_weights returns")
    given = list(values)
    if len(given) != len(wanted):
        shapes = ", ".join(f"{label} {shape}" for label, shape in wanted[:6]) + (", …" if len(wanted) > 6 else "")
        raise ValueError(f"{name} must be {len(wanted)} arrays, got {len(given)}: pass {shapes}")
    result = []
    for position, (value, (label, shape)) in enumerate(zip(given, wanted, strict=True)):
        array = numeric(value, f"{name}[{position}]")
        if array.shape != shape:
            raise ValueError(
                f"{name}[{position}], {label}, must have shape {shape}, got {array.shape}: reshape it"
            )
        result.append(convert(array, dtype, f"{name}[{position}]"))
    return result
