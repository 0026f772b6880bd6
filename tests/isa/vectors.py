"""Emitters of vector functions called on arrays, and the exact functions in higher precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastbp.isa.emitters.vocabulary.lines import Lines, loop

DTYPES = {"float32": np.float32, "float64": np.float64}
INF, NAN = math.inf, math.nan
_compiled = {}


def compiled(emitter, dtype, fastmath=frozenset({"contract", "nsz"})):
    """The emitter as a loop over whole lines: (n, addresses of z, alpha, a, f') -> None."""
    key = emitter, np.dtype(dtype), fastmath
    if key in _compiled:
        return _compiled[key]

    @intrinsic
    def apply(typingctx, n, z, alpha, a, slope):
        def codegen(context, builder, signature, args):
            x = Lines(builder, 8 * np.dtype(dtype).itemsize)
            n, *addresses = args
            z, alpha, a, slope = (builder.inttoptr(p, ir.PointerType()) for p in addresses)

            def body(index, carried):
                bytes_ = x.bits // 8
                results = emitter(x, x.load(z, index, bytes_), x.load(alpha, 0, bytes_))
                results = results if isinstance(results, tuple) else (results,)
                for value, target in zip(results, (a, slope), strict=False):
                    x.store(value, target, index, bytes_)
                return []

            loop(builder, n, [], body, step=x.lanes)
            return context.get_dummy_value()

        return types.void(n, z, alpha, a, slope), codegen

    @njit(fastmath=set(fastmath), error_model="numpy")
    def run(n, z, alpha, a, slope):
        apply(n, z, alpha, a, slope)

    return _compiled.setdefault(key, run)


def evaluate(emitter, z, alpha=0.0, **options):
    """(a, f') of the emitter at every z; f' is zeros where the emitter gives one result."""
    lanes = 64 // z.dtype.itemsize
    padded = np.zeros(-(-z.size // lanes) * lanes, z.dtype)
    padded[: z.size] = z
    a, slope, alphas = np.zeros_like(padded), np.zeros_like(padded), np.full(lanes, alpha, z.dtype)
    run = compiled(emitter, z.dtype, **options)
    run(padded.size, *(v.ctypes.data for v in (padded, alphas, a, slope)))
    return a[: z.size], slope[: z.size]


def wide_erf(v):
    if v.dtype == np.float64:  # float32 arguments: float64 is wide enough
        return np.array([math.erf(t) for t in v])
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workprec(120):
        return np.array([np.longdouble(mpmath.nstr(mpmath.erf(mpmath.mpf(float(t))), 25)) for t in v])


def wide_sigmoid(v):
    e = np.exp(-np.abs(v))
    return np.where(v < 0, e, 1) / (1 + e)


def wide_turns(function, v):
    """Of a whole number of turns and its half and quarters exactly, as what is left is."""
    pi = v.dtype.type("3.14159265358979323846264338327950288")
    r = v - np.rint(v)
    quarters = np.rint(4 * r)
    rest = 2 * pi * (r - quarters / 4)
    sine, cosine = np.sin(rest), np.cos(rest)
    found = {0: (cosine, sine), 1: (-sine, cosine), 2: (-cosine, -sine), 3: (sine, -cosine)}
    result = np.full_like(v, np.nan)
    for quarter, pair in found.items():
        at = np.mod(quarters, 4) == quarter
        result[at] = pair[function][at]
    return result


WIDE = {
    "exp": np.exp, "exp_bounded": np.exp, "expm1": np.expm1, "expm1_bounded": np.expm1, "log": np.log,
    "log1p": np.log1p, "tanh": np.tanh, "sqrt": np.sqrt, "erf": wide_erf,
    "cosine of turns": lambda v: wide_turns(0, v), "sine of turns": lambda v: wide_turns(1, v), "sigmoid": wide_sigmoid,
    "softplus": lambda v: np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))),
}  # fmt: skip
