"""Cases of activations and slopes over runs of lines, against the scalar twins. See cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fastbp.isa.codes import ACTIVATIONS as CODES
from fastbp.isa.codes import ELEMENTWISE as NAMES
from fastbp.isa.twins import activations as twins

from .cases import (
    Case,
    Operand,
    assert_within,
    normal_lines,
    wide,
    within,
    writable,
)

ALPHA = {"leaky_relu": 0.01, "elu": 1.3, "celu": 0.8}


def pointwise(function: Callable[..., object], *arguments) -> np.ndarray:
    return np.array([function(*values) for values in zip(*(np.ravel(a).tolist() for a in arguments), strict=True)])


def activation_inputs(dtype: str, n: int) -> np.ndarray:
    z = normal_lines(np.random.default_rng([12, n]), dtype, n, 3)
    z[0, :7] = [0.0, -0.0, np.inf, -np.inf, 100.0, -100.0, 1e-6]
    return z


def activations(dtype: str) -> Iterator[Case]:
    """|error| <= 4 eps (2 |f| + |z f'|): two roundings of f and one of an argument, here and in the float64 twin."""
    eps = float(np.finfo(dtype).eps)
    for name in NAMES:
        code, alpha = CODES[name], np.full(1, ALPHA.get(name, 0.0), dtype)
        for n, in_place in ((1, False), (5, False), (7, True)):
            z, pair = activation_inputs(dtype, n), code >= twins.GELU
            parameter = float(alpha[0])
            f = pointwise(lambda x, c=code, p=parameter: twins.activation(c, x, p), z)
            if pair:
                df = pointwise(lambda x, c=code: twins.activation_and_slope(c, x)[1], z)
            else:
                df = pointwise(lambda a, c=code, p=parameter: twins.slope_from_output(c, a, p), f)
            with np.errstate(invalid="ignore"):
                bound = 4 * eps * (2 * np.abs(f) + np.nan_to_num(np.abs(np.ravel(wide(z)) * df)))
            Z = Operand(dtype, z.size, z)
            A, slopes = writable(Z if in_place else Operand(dtype, z.size)), Operand(dtype, z.size)
            slopes.written[:] = pair

            def check(A=A, slopes=slopes, f=f, bound=bound, df=df, pair=pair):
                assert_within(A.values, f, bound)
                if pair:
                    assert_within(slopes.values, df, 8 * eps * np.maximum(np.abs(df), 1))

            arguments = [n, Z, A, slopes, Operand(dtype, 1, alpha, shift=1)]
            yield Case(f"activate_{name}", dtype, arguments, check, f"n={n}")


def slopes(dtype: str) -> Iterator[Case]:
    eps = float(np.finfo(dtype).eps)
    for name in NAMES:
        code, alpha = CODES[name], np.full(1, ALPHA.get(name, 0.0), dtype)
        for n in (1, 5):
            d = activation_inputs(dtype, n)
            known = np.random.default_rng(13).uniform(0 if name == "softplus" else -1, 1, d.shape).astype(dtype)
            known[0, 4], d[0, 2:4] = 0.0, 1.0
            if code >= twins.GELU:
                df = np.ravel(wide(known)).astype(np.float64)
            else:
                p = float(alpha[0])
                df = pointwise(lambda a, c=code, p=p: twins.slope_from_output(c, a, p), known)
            A, D = Operand(dtype, known.size, known), writable(Operand(dtype, d.size, d))
            exact = np.ravel(wide(d)) * df
            bound = 4 * eps * np.maximum(np.abs(df), 1) * np.abs(np.ravel(wide(d)))
            arguments = [n, A, D, Operand(dtype, 1, alpha, shift=1)]
            yield Case(f"slope_{name}", dtype, arguments, within(D, exact, bound), f"n={n}")


ACTIVATIONS = (activations, slopes)
