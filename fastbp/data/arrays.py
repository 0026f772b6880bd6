"""What users pass in, checked and converted: features, targets, weights, counts.

Every function returns what the engine takes (C-contiguous, native, aligned) or raises an error that names the argument,
what came, and the remedy. An array that is already right is returned as it is, never copied.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp import losses
from fastbp.data import frames as tables
from fastbp.data import tensors
from fastbp.data.csr import SparseRows

Array = npt.NDArray[Any]

_CHUNK = 1 << 18  # elements looked at in one go: 1 MiB of float32, so a search needs no memory to speak of
# Up to here the sum of squares (one BLAS dot, 0.4 µs for a row of ten) tells whether all is finite. OpenBLAS spreads
# longer dots over threads of its own, which then spin for milliseconds beside the engine's.
_SHORT = 8192


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
        and 0 < X.size <= _SHORT
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
        return _numbers(array, name, value)
    raise TypeError(f"{name} must hold real numbers, but its type is {array.dtype}: {_remedy(array.dtype.kind)}")


def _remedy(kind: str) -> str:
    if kind == "c":
        return "pass real and imaginary parts as columns of their own"
    if kind in "SUT":
        return "encode the text as numbers first"
    return "convert it to numbers first"


def _numbers(array: Array, name: str, value: Any) -> Array:
    """An array of Python objects (a table of mixed columns) as float64, if every one is a real number."""
    if array.ndim == 0:
        raise TypeError(f"{name} must be an array of numbers, but {type(value).__name__} came: pass a NumPy array")
    for position, item in enumerate(array.flat):
        if not isinstance(item, numbers.Real | np.bool_):
            raise TypeError(
                f"{name} must hold real numbers only, but holds {item!r} ({type(item).__name__}) "
                f"at {_where(array, position)}: convert or drop it"
            )
    try:
        return array.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers that fit in float64, but NumPy says {error}: scale them") from error


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
        where = _where(array, position)
        raise ValueError(f"{name} must hold finite numbers, but holds {came} at {where}, which is {why}")
    return result


def finite(array: Array) -> bool:
    """Whether every element of a C-contiguous array is finite, in one pass and without a temporary of its size."""
    flat = array.reshape(-1)
    if flat.size <= _SHORT:
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


def _where(array: Array, position: int) -> str:
    index = [int(i) for i in np.unravel_index(position, array.shape)]
    return ", ".join(f"{axis} {i}" for axis, i in zip(("row", "column", "then", "then"), index, strict=False))


def targets(
    y: Any, rows: int, outputs: int, loss: str | losses.Loss, dtype: np.dtype[Any], name: str = "y"
) -> Array:
    """y as the loss takes it: (rows, columns) of dtype, or int64 class labels (rows,)."""
    loss = losses.get(loss)
    columns = loss.columns(outputs)
    if (
        type(y) is np.ndarray
        and y.dtype is dtype
        and y.shape == (rows, columns)
        and loss.targets == "numbers"
        and y.flags.carray
        and y.size <= _SHORT
        and math.isfinite(np.vdot(y, y))
    ):
        return y
    array = numeric(y, name)
    if array.ndim == 0 or len(array) != rows:
        raise ValueError(
            f"{name} must have one entry for each of the {rows} rows of X, but its shape is {array.shape}: "
            "pass X and y of one length"
        )
    classes = loss.targets == "classes"
    if classes and (array.ndim == 1 or (array.shape == (rows, 1) and outputs > 1)):
        return _labels(array.reshape(rows), outputs, name)
    if array.shape == (rows,) and columns == 1:
        array = array.reshape(rows, 1)
    if array.shape != (rows, columns):
        shapes = f"({rows}, {columns})"
        if columns == 1 or classes:
            shapes += f" or ({rows},)"
        units = "as many units as y has columns" if columns == outputs else f"{outputs // columns} units a column of y"
        raise ValueError(
            f"{name} must have the shape {shapes} for {loss.name} and {outputs} outputs, but its shape is "
            f"{array.shape}: give the last Dense {units}, or change y"
        )
    return _in_range(convert(array, dtype, name), loss, name)


def _in_range(array: Array, loss: losses.Loss, name: str) -> Array:
    """Rows of targets as the loss takes them, if they hold what it can have."""
    if loss.targets == "counts":
        _counts(array, loss.name, name)
    elif loss.targets == "signs":
        return _signs(array, loss.name, name)
    elif loss.targets in ("probabilities", "classes"):
        _probabilities(array, loss.name, name, rows_sum=loss.targets == "classes")
    return _as_labels(array) if loss.targets == "classes" else array


def _counts(array: Array, loss: str, name: str) -> None:
    if array.min() < 0:
        position = int(array.argmin())
        raise ValueError(
            f"{name} must not be negative for {loss}, but is {array.flat[position]} at {_where(array, position)}: "
            "pass counts, or use the loss 'mse'"
        )


def _signs(array: Array, loss: str, name: str) -> Array:
    """-1 and 1, of these or of 0 and 1."""
    sizes = np.abs(array)
    bad = (sizes != 1) & (array != 0)
    if not bad.any() and (array.min() >= 0 or sizes.min() == 1):
        return array if array.min() < 0 else 2 * array - 1
    position = int((bad if bad.any() else array == 0).argmax())
    raise ValueError(
        f"{name} must be -1 or 1, or else 0 or 1, for {loss}, but holds {array.flat[position]} at "
        f"{_where(array, position)}{'' if bad.any() else ' beside -1'}: encode the two classes so"
    )


def _labels(array: Array, outputs: int, name: str) -> Array:
    """Class labels 0 … outputs - 1 as int64."""
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (np.floor(array) == array)
        if not whole.all():
            position = int(whole.argmin())
            raise ValueError(
                f"{name} must hold whole class labels, but holds {array[position]} at row {position}: "
                f"pass integers, or one row of {outputs} probabilities for each row of X"
            )
    if array.min() < 0 or array.max() >= outputs:
        position = int(((array < 0) | (array >= outputs)).argmax())
        raise ValueError(
            f"{name} must hold class labels from 0 to {outputs - 1}, for {outputs} outputs, but holds "
            f"{array[position]} at row {position}: number the classes from 0, or give the last Dense more units"
        )
    return np.require(array, np.int64, ["C", "A"])


def _as_labels(rows: Array) -> Array:
    """Rows of probabilities as labels where every row is exactly one-hot, so that both forms train to the same bits."""
    one_hot = np.count_nonzero(rows) == len(rows) and bool((rows.max(axis=1) == 1).all())
    return rows.argmax(axis=1) if one_hot else rows


def _probabilities(array: Array, loss: str, name: str, *, rows_sum: bool) -> None:
    """Raise unless all are in [0, 1] and, where wanted, each row sums to one."""
    if array.min() < 0 or array.max() > 1:
        position = int(((array < 0) | (array > 1)).argmax())
        raise ValueError(
            f"{name} must lie in [0, 1] for {loss}, but is {array.flat[position]} at {_where(array, position)}: "
            "scale it to [0, 1], or use the loss 'mse'"
        )
    if not rows_sum:
        return
    error = np.abs(array.sum(axis=1, dtype=np.float64) - 1)
    if error.max() > 1e-3:  # float16 probabilities of 1,000 classes still pass
        row = int(error.argmax())
        raise ValueError(
            f"{name} must have rows that sum to 1 for {loss}, but row {row} sums to {array[row].sum()}: "
            "normalise the rows, pass class labels, or use binary_cross_entropy where several classes may hold at once"
        )


def weights(
    weight: Any, rows: int, dtype: np.dtype[Any], name: str = "sample_weight", *, positive: bool = True
) -> Array:
    """weight as (rows,) of dtype: finite, none negative, not all zero (but a chunk of more may be)."""
    array = numeric(weight, name)
    if array.shape != (rows,):
        raise ValueError(
            f"{name} must have the shape ({rows},), one weight for each row of X, but its shape is {array.shape}: "
            "pass one number a row"
        )
    result = convert(array, dtype, name)
    if result.min() < 0:
        row = int(result.argmin())
        raise ValueError(f"{name} must not be negative, but is {result[row]} at row {row}: use 0 to leave a row out")
    if positive and result.max() == 0:
        raise ValueError(f"{name} must have a positive entry, but all {rows} are 0: give the rows that count a weight")
    return result


def class_weights(class_weight: Any, y: Array, outputs: int, loss: str | losses.Loss) -> Array:
    """The weight of each row by its class: {class: weight}, 1 for a class that is not named."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            f"class_weight must be a dict {{class: weight}}, but {type(class_weight).__name__} came: "
            "pass for example {0: 1.0, 1: 5.0}"
        )
    loss = losses.get(loss)
    n_classes = 2 if outputs == 1 else outputs
    binary = loss.targets in ("probabilities", "signs") and outputs == 1
    if loss.targets != "classes" and not binary:
        raise ValueError(
            f"class_weight needs one class for each row, which {loss.name} with {outputs} outputs does not have: "
            "pass sample_weight instead"
        )
    table = np.ones(n_classes)
    label: Any
    weight: Any
    for label, weight in class_weight.items():
        if not _is_number(label) or label not in range(n_classes):
            raise ValueError(f"class_weight must name classes 0 to {n_classes - 1}, but names {label!r}: leave it out")
        if not _is_number(weight) or not math.isfinite(weight) or weight < 0:
            came = f"{weight!r} for class {label}"
            raise ValueError(f"class_weight must be finite and not negative, but is {came}: change it")
        table[int(label)] = weight
    labels = y if y.ndim == 1 else (y[:, 0] > 0.5).astype(np.int64) if outputs == 1 else y.argmax(axis=1)
    result: Array = table[labels]
    return result


def combine(weight: Array | None, by_class: Array, dtype: np.dtype[Any], *, positive: bool = True) -> Array:
    """Weights of rows times weights of their classes, not all zero."""
    product = by_class if weight is None else weight * by_class
    return weights(product, len(by_class), dtype, "sample_weight times class_weight", positive=positive)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def split(rows: Rows, fraction: Any) -> tuple[Rows, Rows | None]:
    """The first rows to train on and the last fraction of them to validate on, as they stand before any shuffling."""
    if not _is_number(fraction) or not 0 <= fraction < 1:
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
