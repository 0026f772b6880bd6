"""Tensors of other libraries as NumPy arrays that share their memory, through DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ON_THE_HOST = (1, 3)  # kDLCPU, kDLCUDAHost


def is_tensor(value: Any) -> bool:
    """Whether value supports DLPack, as tensors of PyTorch and JAX do.

    >>> is_tensor([1.0])
    False
    """
    return hasattr(type(value), "__dlpack__") and hasattr(type(value), "__dlpack_device__")


def array_of(tensor: Any, name: str) -> npt.NDArray[Any]:
    """The tensor as an array, without a copy, detached from autograd.

    Raises ValueError for a tensor on another device, TypeError for one of a dtype that NumPy does not know.
    """
    kind = type(tensor).__name__
    try:
        device = tensor.__dlpack_device__()[0]
    except (AttributeError, BufferError, NotImplementedError, RuntimeError, TypeError, ValueError):
        device = None  # several devices, none, or sparse: np.asarray may still work
    elsewhere = getattr(getattr(tensor, "device", None), "type", "cpu") != "cpu"  # also PyTorch's "meta"
    if elsewhere or (device is not None and device not in _ON_THE_HOST):
        raise ValueError(
            f"{name} must be in CPU memory, got a {kind} on {getattr(tensor, 'device', 'another device')}: "
            f"pass {name}.cpu() of PyTorch, or jax.device_get({name})"
        )
    plain = tensor.detach() if hasattr(tensor, "detach") else tensor
    for convert in (np.from_dlpack, np.asarray):
        try:
            array: npt.NDArray[Any] = convert(plain)
        except (BufferError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            reason = error
        else:
            return array
    raise TypeError(
        f"{name} must be a dense tensor of a dtype that NumPy knows, got a {kind} of {getattr(tensor, 'dtype', '?')} "
        f"({reason}): pass {name}.float(), or {name}.to_dense() of a sparse one"
    )
