"""A user's own activation or loss: scalar functions, wrapped so that they are called as the emitted microkernels are.

An activation becomes `activate` of a run of lines, a loss `loss` of a panel, compiled apart from the engine; their
addresses stand in the workspace's table of microkernels behind those of fastbp, and their codes in the plan say where.
So the engine on disk serves every function. With the JIT off the table holds the Python functions themselves.

    table    [SLOTS]  [own loss]  [own activation 0 ... D-1]  [slopes of these]  [own activation D ... 2D-1] ...

A family's code counts from its first slot, and D slots lie between the first of `activate` and of `slope`, where an own
activation finds that of the activations whose slopes forward has kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import carray, types
from numba.core.errors import NumbaError

from fastbp.isa import LINE
from fastbp.isa.microkernels import SLOTS
from fastbp.kernels import jit, microkernels
from fastbp.spec import ScalarFunctions

FIRST_ACTIVATE, FIRST_SLOPE = SLOTS["activate_identity"], SLOTS["slope_identity"]
FIRST_LOSS = min(slot for name, slot in SLOTS.items() if name.startswith("loss_"))
D = FIRST_SLOPE - FIRST_ACTIVATE
OWN_LOSS = len(SLOTS) - FIRST_LOSS  # the code of an own loss


def _slot(index: int) -> int:
    return len(SLOTS) + 1 + index // D * 2 * D + index % D


def activation_code(index: int) -> int:
    """The code of a network's own activation number `index`, from 0."""
    return _slot(index) - FIRST_ACTIVATE


def table(dtype: str, activations: Sequence[ScalarFunctions], loss: ScalarFunctions | None) -> np.ndarray:
    """The table of microkernels with these behind; compiles what was not compiled before."""
    known = microkernels.addresses(dtype)
    if not activations and loss is None:
        return known
    words = np.zeros(_slot(len(activations)) + D, np.int64 if jit.JIT else object)
    words[: len(known)] = known
    if loss is not None:
        words[len(SLOTS)] = _address(_loss, loss, dtype)
    for index, functions in enumerate(activations):
        words[_slot(index)] = _address(_activate, functions, dtype)
        words[_slot(index) + D] = known[SLOTS["slope_gelu"]]
    return words


def _address(wrap: Any, functions: ScalarFunctions, dtype: str) -> Any:
    entry = wrap(functions, dtype)
    return entry.address if jit.JIT else entry


@cache
def _activate(functions: ScalarFunctions, dtype: str) -> Any:
    """void (n, z, a, slopes, alpha): a = f(z), slopes = f'(z), over n lines; z and a may be the same."""
    f, derivative = _compiled(functions)
    real, lanes = np.dtype(dtype).type, LINE // np.dtype(dtype).itemsize

    @jit.kernel
    def each(Z, A, S):
        for i in range(Z.size):
            value = 1.0 * float(Z[i])  # a double: Numba's float() leaves a float32 what it is
            S[i], A[i] = derivative(value), f(value)

    def plain(n, Z, z, A, a, slopes, s, alpha, o):
        size = n * lanes
        each(Z[z : z + size], A[a : a + size], slopes[s : s + size])

    def run(n, z, a, slopes, alpha):
        size = n * lanes
        each(carray(z, size, real), carray(a, size, real), carray(slopes, size, real))

    return _callback(run, 4, "activation") if jit.JIT else plain


@cache
def _loss(functions: ScalarFunctions, dtype: str) -> Any:
    """void (n, z, t, d, weights, loss, extra, parameters): a mean over elements, see `isa.emitters.losses`."""
    f, derivative = _compiled(functions)
    real, lanes = np.dtype(dtype).type, LINE // np.dtype(dtype).itemsize

    @jit.kernel
    def each(n, Z, T, D, weights, losses):
        for lane in range(lanes):
            total, weight = 0.0, 1.0 * float(weights[lane])
            for i in range(lane, n * lanes, lanes):
                a, y = 1.0 * float(Z[i]), 1.0 * float(T[i])
                total += f(a, y) / n
                D[i] = derivative(a, y) / n * weight
            losses[lane] = total

    def plain(n, Z, z, T, t, D, d, weights, w, loss, o, extra, e, P, p):
        each(n, Z[z:], T[t:], D[d:], weights[w:], loss[o : o + lanes])

    def run(n, z, t, d, weights, loss, extra, parameters):
        size = n * lanes
        Z, T, D = carray(z, size, real), carray(t, size, real), carray(d, size, real)
        each(n, Z, T, D, carray(weights, lanes, real), carray(loss, lanes, real))

    return _callback(run, 7, "loss") if jit.JIT else plain


def _compiled(functions: ScalarFunctions) -> tuple[Any, Any]:
    """Both as functions that compiled code can call."""
    return jit.own(functions.function), jit.own(functions.derivative)


def _callback(run: Any, pointers: int, what: str) -> Any:
    signature = types.void(types.int64, *[types.voidptr] * pointers)
    try:
        return jit.own_callback(run, signature)
    except NumbaError as error:
        raise TypeError(
            f"function and derivative of a custom {what} must compile with Numba for float64 numbers, but it says: "
            f"{str(error).strip()[:1500]}\nUse plain arithmetic and the functions of math or numpy on scalars"
        ) from error
