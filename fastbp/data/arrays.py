"""What users pass in, checked and converted: features, targets, weights, counts.

Every function returns what the engine takes (C-contiguous, native, aligned) or raises an error that names the argument,
what came, and the remedy. An array that is already right is returned as it is, never copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.data import frames as tables
from fastbp.data import tensors
from fastbp.data.csr import SparseRows
from fastbp.data.numbers import is_number, numbers_of_objects, position_of
from fastbp.util.types import Array

_CHUNK = 1 << 18  # elements looked at in one go: 1 MiB of float32, so a search needs no memory to speak of
# Up to here the sum of squares (one BLAS dot, 0.4 µs for a row of ten) tells whether all is finite. OpenBLAS spreads
# longer dots over threads of its own, which then spin for milliseconds beside the engine's.
SHORT = 8192


class Rows(NamedTuple):
    """Converted data: X (n, features), an array or SparseRows, y as the loss takes it, weight (n,) or None."""

    X: Any  # an array, or SparseRows
    y: Array
    weight: Array | None

    def part(self, rows: slice) -> Rows:
        """Some of them, which share their memory with these."""
        return Rows(self.X[rows], self.y[rows], None if self.weight is None else self.weight[rows])


def features(X: Any, width: int | None, dtype: np.dtype[Any], name: str = "X") -> Any:
    """X as a C-contiguous (n, width) array of dtype, or as sparse rows; width None takes any number of columns."""
    if (
        type(X) is np.ndarray
        and X.dtype is dtype
        and X.ndim == 2
        and X.shape[1] == width
        and X.flags.carray
        and 0 < X.size <= SHORT
        and math.isfinite(np.vdot(X, X))
    ):
        return X  # the path of a row at a time, 0.8 µs
    if isinstance(X, SparseRows):
        array: Any = X
    else:
        array = X.tocsr() if hasattr(X, "tocsr") else numeric(X, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must have two dimensions, (rows, features), but its shape is {array.shape}: "
            f"{_reshape(array, name)}"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} must have a row and a column at least, but its shape is {array.shape}: pass data")
    if width is not None and array.shape[1] != width:
        raise ValueError(
            f"{name} must have {width} columns, the network's input size, but its shape is {array.shape}: "
            f"pass those {width} features, or build a network with input_size={array.shape[1]}"
        )
    if isinstance(array, SparseRows) and array.dtype == dtype:
        return array  # checked before
    return convert(array, dtype, name) if isinstance(array, np.ndarray) else sparse_rows(array, dtype, name)


def sparse_rows(matrix: Any, dtype: np.dtype[Any], name: str) -> SparseRows:
    """A matrix in compressed sparse rows, such as a scipy.sparse.csr_array; what is already right is not copied."""
    if matrix.shape[1] > np.iinfo(np.int32).max:
        came = f"{name} must have fewer than 2**31 columns, but its shape is {matrix.shape}"
        raise ValueError(f"{came}: hash them to fewer")
    if not matrix.has_canonical_format:  # columns named twice in a row, or out of order
        matrix = matrix.copy()
        matrix.sum_duplicates()
    if matrix.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, but its type is {matrix.dtype}: {_remedy(matrix.dtype.kind)}")
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.require(matrix.data, dtype, ["C", "A"])
    if not finite(values):
        place = _first_bad(values)
        row = int(np.searchsorted(matrix.indptr, place, side="right")) - 1
        raise ValueError(
            f"{name} must hold finite numbers, but holds {matrix.data[place]} at row {row}, column "
            f"{matrix.indices[place]}: drop those rows, or fill them in"
        )
    starts, columns = (np.require(part, kind, ["C", "A"])
                       for part, kind in ((matrix.indptr, np.int64), (matrix.indices, np.int32)))  # fmt: skip
    return SparseRows(starts, columns, values, matrix.shape[1])


def _reshape(array: Array, name: str) -> str:
    if array.ndim == 1:
        return f"{name}.reshape(1, -1) makes it one row, {name}.reshape(-1, 1) one column"
    if array.ndim == 0:
        return "pass an array of rows"
    return f"{name}.reshape(len({name}), -1) flattens each row"


def numeric(value: Any, name: str) -> Array:
    """value as a plain array of booleans, integers or real numbers, without a copy where it is one already."""
    if value is None:
        raise TypeError(f"{name} must be an array of numbers, but None came: pass the data")
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array, but sparse {type(value).__name__} came: pass {name}.toarray()")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} must have no masked values, but a masked array came: fill or drop them")
    if not isinstance(value, np.ndarray | list | tuple):
        if tables.is_table(value):
            value = tables.array_of(value, name)
        elif tensors.is_tensor(value):
            value = tensors.array_of(value, name)
    try:
        array: Array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"{name} must be an array of numbers with rows of one length, but {type(value).__name__} came, "
            f"of which NumPy says: {error}. Give every row the same number of columns"
        ) from error
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "O":
        return numbers_of_objects(array, name, value)
    raise TypeError(f"{name} must hold real numbers, but its type is {array.dtype}: {_remedy(array.dtype.kind)}")


def _remedy(kind: str) -> str:
    if kind == "c":
        return "pass real and imaginary parts as columns of their own"
    if kind in "SUT":
        return "encode the text as numbers first"
    return "convert it to numbers first"


def convert(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """array as C-contiguous, aligned, native dtype, all finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found, and named, below
        result: Array = np.require(array, dtype, ["C", "A"])
    if array.dtype.kind == "f" and not finite(result):
        position = _first_bad(result)
        came = array[np.unravel_index(position, array.shape)]
        if np.isfinite(came):
            why = f"too large for {dtype}: scale the data, or build the network with dtype='float64'"
        else:
            why = "not finite: drop those rows, or fill them in"
        where = position_of(array, position)
        raise ValueError(f"{name} must hold finite numbers, but holds {came} at {where}, which is {why}")
    return result


def finite(array: Array) -> bool:
    """Whether every element of a C-contiguous array is finite, in one pass and without a temporary of its size."""
    flat = array.reshape(-1)
    if flat.size <= SHORT:
        total = np.vdot(flat, flat)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            total = np.add.reduce(flat)
    return math.isfinite(total) or _first_bad(flat) < 0  # a sum of finite numbers may overflow


def _first_bad(array: Array) -> int:
    """Position in C order of the first element that is not finite, -1 if there is none."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        good = np.isfinite(flat[start : start + _CHUNK])
        if not good.all():
            return start + int(good.argmin())
    return -1


def split(rows: Rows, fraction: Any) -> tuple[Rows, Rows | None]:
    """The first rows to train on and the last fraction of them to validate on, as they stand before any shuffling."""
    if not is_number(fraction) or not 0 <= fraction < 1:
        raise ValueError(f"validation_split must be at least 0 and less than 1, but {fraction!r} came: pass e.g. 0.2")
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
    """values as arrays of these (name, shape), all finite."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        came = type(values).__name__
        raise TypeError(f"{name} must be a list of arrays, but {came} came: pass what get_weights returns")
    given = list(values)
    if len(given) != len(wanted):
        shapes = ", ".join(f"{label} {shape}" for label, shape in wanted[:6]) + (", …" if len(wanted) > 6 else "")
        raise ValueError(f"{name} must be {len(wanted)} arrays, but {len(given)} came: pass {shapes}")
    result = []
    for position, (value, (label, shape)) in enumerate(zip(given, wanted, strict=True)):
        array = numeric(value, f"{name}[{position}]")
        if array.shape != shape:
            raise ValueError(
                f"{name}[{position}], {label}, must have the shape {shape}, but its shape is {array.shape}: reshape it"
            )
        result.append(convert(array, dtype, f"{name}[{position}]"))
    return result
