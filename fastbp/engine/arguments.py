"""What the plain kernels accept: C-contiguous arrays of one floating-point type, in shapes that fit together."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


Shape = tuple[int | None, ...]


def array(name: str, value: Any, shape: Shape | None = None, like: tuple[str, Any] | None = None) -> Any:
    """`value` if it is an array the kernels read as it lies in memory; None in a shape stands for any extent from 0.

    `like` is the name and the array whose dtype it must share.
    """
    if not isinstance(value, np.ndarray):
        came = type(value).__name__
        raise TypeError(f"{name} must be a NumPy array, but {came} came: pass np.asarray({name}, 'float32')")
    if value.dtype not in DTYPES:
        raise TypeError(f"{name} must be float32 or float64, but {value.dtype} came: pass {name}.astype('float32')")
    if like is not None and value.dtype != like[1].dtype:
        raise TypeError(f"{name} must be {like[1].dtype} as {like[0]} is, but {value.dtype} came: "
                        f"pass {name}.astype({like[0]}.dtype)")
    if shape is not None and not _fits(value.shape, shape):
        wanted = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise ValueError(f"{name} must have shape ({wanted}), but {value.shape} came: {_remedy(value, shape)}")
    if not (value.flags.c_contiguous and value.flags.aligned):
        raise ValueError(f"{name} must be C-contiguous and aligned, but its strides are {value.strides}: "
                         f"pass np.ascontiguousarray({name})")
    return value


def writable(name: str, value: np.ndarray, others: dict[str, np.ndarray]) -> None:
    """Raises where a result cannot be written to, or would overwrite what is still read."""
    if not value.flags.writeable:
        raise ValueError(f"{name} must be writable, but a read-only array came: pass {name}.copy()")
    for other, there in others.items():
        if np.may_share_memory(value, there):  # exact for what is contiguous
            raise ValueError(f"{name} must not overlap {other}, but they share memory: pass an array of its own")


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def _remedy(value: np.ndarray, shape: Shape) -> str:
    if len(shape) == 2 and value.ndim == 2 and _fits(value.shape[::-1], shape):
        return "it looks transposed; X is (rows, in), W is (in, out)"
    if value.ndim != len(shape):
        dimensions = f"{len(shape)} dimension{'s' * (len(shape) > 1)}"
        return f"reshape it to {dimensions}; X is (rows, in), W is (in, out), b is (out,)"
    return "X is (rows, in), W is (in, out), b is (out,), A and dA are (rows, out)"
