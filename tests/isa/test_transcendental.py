"""Every vector function x dtype: against higher precision, and edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastbp.isa.emitters.vocabulary import transcendental

from .vectors import DTYPES, INF, NAN, WIDE, evaluate

jit = pytest.mark.jit


def without_alpha(function):
    return lambda x, v, alpha: function(x, v)


NAMES = ("exp", "exp_bounded", "expm1", "expm1_bounded", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "sqrt")
FUNCTIONS = {name: without_alpha(getattr(transcendental, name)) for name in NAMES}
FUNCTIONS |= {f"{name} of turns": lambda x, v, alpha, i=i: transcendental.turns(x, v)[i]
              for i, name in enumerate(("cosine", "sine"))}  # fmt: skip
# Where the interesting arguments lie, per dtype.
RANGES = {
    "exp": {"float32": (-88, 89), "float64": (-709, 710)},
    "exp_bounded": {"float32": (-88, 88), "float64": (-709, 709)},
    "expm1": {"float32": (-20, 89), "float64": (-40, 710)},
    "expm1_bounded": {"float32": (-20, 88), "float64": (-40, 709)},
    "log": {"float32": (0, 4), "float64": (0, 4)},
    "log1p": {"float32": (-1, 4), "float64": (-1, 4)},
    "tanh": {"float32": (-10, 10), "float64": (-20, 20)},
    "sigmoid": {"float32": (-89, 20), "float64": (-710, 40)},
    "softplus": {"float32": (-89, 20), "float64": (-710, 40)},
    "erf": {"float32": (-4, 4), "float64": (-6, 6)},
    "sqrt": {"float32": (0, 4), "float64": (0, 4)},
    "cosine of turns": {"float32": (-3, 3), "float64": (-3, 3)},
    "sine of turns": {"float32": (-3, 3), "float64": (-3, 3)},
}


def arguments(name, dtype, count):
    """Even steps over the range, an even spread over magnitudes, and random bit patterns."""
    rng = np.random.default_rng(7)
    low, high = RANGES[name][np.dtype(dtype).name]
    near = np.linspace(low, high, count)
    spread = rng.choice([-1.0, 1.0], count) * 10.0 ** rng.uniform(-8, 2, count)
    patterns = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), count, dtype=f"uint{8 * np.dtype(dtype).itemsize}")
    z = np.concatenate([near.astype(dtype), spread.astype(dtype), patterns.view(dtype)])
    return np.minimum(z, dtype(high)) if name.endswith("_bounded") else z


def ulps(got, exact):
    """|got - exact| in units in the last place of the exact value; 0 where both are the same edge case."""
    dtype = got.dtype.type
    limits = np.finfo(dtype)
    with np.errstate(all="ignore"):
        nearest = exact.astype(dtype)
        same = (got == nearest) | (np.isnan(got) & np.isnan(nearest))
        flushed = (np.abs(exact) < limits.smallest_normal) & (np.abs(got) < limits.smallest_normal)
        top = np.isinf(nearest) | np.isinf(got)  # an overflow may be missed only by the last place
        error = np.abs(got.astype(exact.dtype) - exact) / np.spacing(np.abs(nearest)).astype(exact.dtype)
        near_top = np.abs(np.where(np.isinf(got), nearest, got)) >= limits.max * (1 - 4 * limits.eps)
    return np.where(same | flushed, 0, np.where(top, np.where(near_top, 1, INF), np.where(np.isnan(error), INF, error)))


def worst(name, dtype, count):
    z = arguments(name, dtype, count)
    wider = np.float64 if dtype is np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        exact = WIDE[name](z.astype(wider))
    error = ulps(evaluate(FUNCTIONS[name], z)[0], exact)
    at = np.argmax(error)
    return float(error[at]), z[at]


# Measured and rounded up: float32 over a fifth of all arguments in the range (tanh: all), float64 over millions.
# A result within 2.5 of the exact value is within 2 of the correctly rounded one.
BOUND = {
    "exp": (0.95, 0.9), "exp_bounded": (0.95, 0.9), "expm1": (1.6, 1.85), "expm1_bounded": (1.6, 1.85),
    "log": (0.9, 0.9), "log1p": (1.5, 1.5), "tanh": (1.95, 2.1), "sigmoid": (2.0, 2.0),
    "softplus": (1.8, 1.8), "erf": (1.9, 1.9), "sqrt": (0.5, 0.5),
    "cosine of turns": (2.1, 2.2), "sine of turns": (2.0, 2.2),
}  # fmt: skip


@jit
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_within_its_bound(name, dtype):
    if dtype == "float64" and np.finfo(np.longdouble).nmant < 60:
        pytest.skip("longdouble is no wider than float64 here")
    count = 1000 if (name, dtype) == ("erf", "float64") else 50_000
    error, at = worst(name, DTYPES[dtype], count)
    assert error <= BOUND[name][dtype == "float64"], f"{error} ULP at {at!r}"


# -inf, -1, -0, +0, +inf
EDGES = {
    "exp": (0.0, math.exp(-1), 1.0, 1.0, INF),
    "exp_bounded": (0.0, math.exp(-1), 1.0, 1.0, None),
    "expm1": (-1.0, math.expm1(-1), -0.0, 0.0, INF),
    "expm1_bounded": (-1.0, math.expm1(-1), None, 0.0, None),
    "log": (NAN, NAN, -INF, -INF, INF),
    "log1p": (NAN, -INF, -0.0, 0.0, INF),
    "tanh": (-1.0, math.tanh(-1), -0.0, 0.0, 1.0),
    "sigmoid": (0.0, 1 / (1 + math.e), 0.5, 0.5, 1.0),
    "softplus": (0.0, math.log1p(math.exp(-1)), math.log(2), math.log(2), INF),
    "erf": (-1.0, math.erf(-1), -0.0, 0.0, 1.0),
    "sqrt": (NAN, NAN, -0.0, 0.0, INF),
    "cosine of turns": (NAN, 1.0, 1.0, 1.0, NAN),
    "sine of turns": (NAN, None, None, 0.0, NAN),
}


@jit
@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("name", FUNCTIONS)
def test_edge_cases(name, dtype):
    got, _ = evaluate(FUNCTIONS[name], np.array([-INF, -1.0, -0.0, 0.0, INF], dtype))
    for value, expected in zip(got, EDGES[name], strict=True):
        if expected is not None:
            np.testing.assert_allclose(value, expected, rtol=3 * np.finfo(dtype).eps)
            assert math.isnan(expected) or np.signbit(value) == np.signbit(expected)
    quiet = np.array([NAN, -NAN], dtype)
    with_payload = quiet.view(f"uint{8 * quiet.itemsize}") + np.array([1, 2], np.uint8)
    nans, _ = evaluate(FUNCTIONS[name], np.append(quiet, with_payload.view(dtype)))
    assert np.isnan(nans).all()


@jit
@pytest.mark.parametrize("dtype", DTYPES.values())
def test_exp_underflows_and_overflows_at_the_limits(dtype):
    limits = np.finfo(dtype)
    low, high = math.log(limits.smallest_normal), math.log(limits.max)
    z = np.array([low * 1.0001, 2 * low, limits.min, high * 0.9999, high * 1.0001, 2 * high, limits.max], dtype)
    got, _ = evaluate(FUNCTIONS["exp"], z)
    np.testing.assert_array_equal(got[:3], 0)
    assert limits.max / 2 < got[3] < limits.max
    np.testing.assert_array_equal(got[4:], INF)


@jit
@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("name", FUNCTIONS)
def test_contraction_changes_no_bits(name, dtype):
    z = arguments(name, dtype, 2000)
    plain, _ = evaluate(FUNCTIONS[name], z, fastmath=frozenset({"nsz"}))
    np.testing.assert_array_equal(evaluate(FUNCTIONS[name], z)[0], plain)
