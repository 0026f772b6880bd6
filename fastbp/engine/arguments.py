"""What the plain kernels accept: C-contiguous arrays of one floating-point type, in shapes that fit together.

And the error for what was accepted but has changed since, and rates of dropout by their schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp.data.csr import SparseRows
from fastbp.engine.memory import EMPTY
from fastbp.spec import LayerSpec

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
REMEDY = "arrays that are trained on must stay as they are until the call returns, so pass copies"


Shape = tuple[int | None, ...]


def array(name: str, value: Any, shape: Shape | None = None, like: tuple[str, Any] | None = None) -> np.ndarray:
    """A view of `value` if the kernels can read it as it lies in memory; None in a shape stands for any extent from 0.

    `like` is the name and the array whose dtype it must share. The view is a plain array, whatever a subclass makes
    of its methods.
    """
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(value).__name__}: pass np.asarray({name}, 'float32')")
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must have no masked values, got a masked array: fill them, {name}.filled(0)")
    plain = np.ndarray.view(value, np.ndarray)
    if plain.dtype not in DTYPES:
        raise TypeError(f"{name} must be float32 or float64, got {plain.dtype}: pass {name}.astype('float32')")
    if like is not None and plain.dtype != like[1].dtype:
        raise TypeError(f"{name} must be {like[1].dtype} as {like[0]} is, got {plain.dtype}: "
                        f"pass {name}.astype({like[0]}.dtype)")
    if shape is not None and not _fits(plain.shape, shape):
        wanted = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {plain.shape}: {_remedy(plain, shape)}")
    if not (plain.flags.c_contiguous and plain.flags.aligned):
        raise ValueError(f"{name} must be C-contiguous and aligned, got strides {plain.strides}: "
                         f"pass np.ascontiguousarray({name})")
    return plain


def writable(name: str, value: np.ndarray, others: dict[str, np.ndarray]) -> None:
    """Raises where a result cannot be written to, or would overwrite what is still read."""
    if not value.flags.writeable:
        raise ValueError(f"{name} must be writable, got a read-only array: pass {name}.copy()")
    for other, there in others.items():
        if np.may_share_memory(value, there):  # exact for what is contiguous
            raise ValueError(f"{name} must not overlap {other}, got arrays that share memory: pass one of its own")


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def _remedy(value: np.ndarray, shape: Shape) -> str:
    if len(shape) == 2 and value.ndim == 2 and _fits(value.shape[::-1], shape):
        return "it looks transposed; X is (rows, in), W is (in, out)"
    if value.ndim != len(shape):
        dimensions = f"{len(shape)} dimension{'s' * (len(shape) > 1)}"
        return f"reshape it to {dimensions}; X is (rows, in), W is (in, out), b is (out,)"
    return "X is (rows, in), W is (in, out), b is (out,), A and dA are (rows, out)"


def changed(X: Any, y: np.ndarray | None, specs: Sequence[LayerSpec], outputs: int) -> ValueError:
    """The error for labels, codes or columns that were in range when they were checked and no longer are.

    They lie in the caller's arrays, which a callback or another thread may change. Compiled code compares each when it
    uses it, and does not make a step that met one out of range. This names the first, unless it was changed back.
    """
    if y is not None and y.ndim == 1 and y.dtype == np.int64:
        bad = np.flatnonzero((y < 0) | (y >= outputs))
        if len(bad):
            return ValueError(f"y must hold class labels from 0 to {outputs - 1}, got {y[bad[0]]} at row {bad[0]}, "
                              f"which was changed after it was checked: {REMEDY}")
    if isinstance(X, SparseRows):
        bad = np.flatnonzero((X.columns < 0) | (X.columns >= X.width))
        if len(bad):
            return ValueError(f"X must have column indices from 0 to {X.width - 1}, got {X.columns[bad[0]]}, which was "
                              f"changed after it was checked: {REMEDY}")
    else:
        for column, codes, _ in specs[0].tables if specs[0].kind == "embedding" else ():
            values = X[:, column]
            bad = np.flatnonzero(~((values >= 0) & (values < codes)))
            if len(bad):
                return ValueError(f"X must hold codes from 0 to {codes - 1} in column {column}, got {values[bad[0]]:g} "
                                  f"at row {bad[0]}, which was changed after it was checked: {REMEDY}")
    return ValueError(f"X and y must not change while they are used, but had values out of range for a while: {REMEDY}")


def dropout_rates(schedules: Sequence[Callable[..., Any]], first: int, steps: int, accumulation: int) -> np.ndarray:
    """The rates of dropouts whose rate changes, each of all steps, in a row; ValueError where one is out of range."""
    updates = (first + np.arange(steps)) // accumulation
    rates = np.array([np.broadcast_to(schedule(updates), steps) for schedule in schedules], np.float64)
    if not ((rates >= 0) & (rates < 1)).all():
        raise ValueError(f"the schedule of a dropout's rate must stay at least 0 and below 1, got {rates.max():g} "
                         f"at most and {rates.min():g} at least: correct it")
    return rates.ravel()


def inputs_of(X: np.ndarray | SparseRows) -> dict[str, np.ndarray]:
    """Rows as the compiled code takes them."""
    if isinstance(X, SparseRows):
        return {"X": X.values, "starts": X.starts, "columns": X.columns}
    return {"X": X, "starts": EMPTY, "columns": EMPTY}


def targets_of(y: np.ndarray) -> dict[str, np.ndarray]:
    """Targets or labels as the compiled code takes them."""
    return {"labels": y, "y": EMPTY} if y.ndim == 1 and y.dtype == np.int64 else {"labels": EMPTY, "y": y}
