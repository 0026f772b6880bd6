"""A user's own activation or loss, compiled so that it is called as the emitted microkernels are."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, types
from numba.core.errors import NumbaError

from fastbp.isa import LINE
from fastbp.kernels import jit
from fastbp.spec import ScalarFunctions


@cache
def activation(functions: ScalarFunctions, dtype: str) -> Any:
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
def loss(functions: ScalarFunctions, dtype: str) -> Any:
    """void (n, z, t, d, weights, loss, extra, parameters): a mean over elements, see `isa.losses`."""
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
