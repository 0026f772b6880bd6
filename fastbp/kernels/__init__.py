"""What Numba compiles; and, from `engine`, the plain fused kernels for those who bring their own loop.

    dense_forward(X, W, b, activation, out=None) -> A
    dense_backward(dA, X, W, A, activation, b=None) -> (dX, dW, db)
    init_state(optimizer, W) -> State
    update(optimizer, W, grad, state) -> bool

Importing this package compiles nothing and imports no Numba; the first use of a kernel does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.engine.plain_dense import dense_backward, dense_forward
    from fastbp.engine.plain_update import State, init_state, update

__all__ = ["State", "dense_backward", "dense_forward", "init_state", "update"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastbp.engine import plain_dense, plain_update

    return getattr(plain_dense if name.startswith("dense") else plain_update, name)
