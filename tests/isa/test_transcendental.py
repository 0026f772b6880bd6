"""The vector functions and the activation curves: every one x dtype, against wider arithmetic, and at the edges."""

import math

import numpy as np
import pytest
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastbp.isa.codes import ACTIVATIONS
from fastbp.isa.emitters import transcendental as vmath
from fastbp.isa.emitters.activations import FROM_OUTPUT, WITH_SLOPE
from fastbp.isa.emitters.lines import Lines, loop
from fastbp.isa.twins import activations as twins

jit = pytest.mark.jit
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


def alone(function):
    return lambda x, v, alpha: function(x, v)


NAMES = ("exp", "exp_bounded", "expm1", "expm1_bounded", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "sqrt")
FUNCTIONS = {name: alone(getattr(vmath, name)) for name in NAMES}


def wide_erf(v):
    if v.dtype == np.float64:  # float32 arguments: float64 is wide enough
        return np.array([math.erf(t) for t in v])
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workprec(120):
        return np.array([np.longdouble(mpmath.nstr(mpmath.erf(mpmath.mpf(float(t))), 25)) for t in v])


def wide_sigmoid(v):
    e = np.exp(-np.abs(v))
    return np.where(v < 0, e, 1) / (1 + e)


WIDE = {
    "exp": np.exp, "exp_bounded": np.exp, "expm1": np.expm1, "expm1_bounded": np.expm1, "log": np.log,
    "log1p": np.log1p, "tanh": np.tanh, "sqrt": np.sqrt, "erf": wide_erf, "sigmoid": wide_sigmoid,
    "softplus": lambda v: np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v))),
}  # fmt: skip

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
        top = np.isinf(nearest) | np.isinf(got)  # an overflow may be missed by its last place only
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
}


@jit
@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("name", FUNCTIONS)
def test_edges(name, dtype):
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
def test_exp_fades_and_overflows_where_it_should(dtype):
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
def test_contraction_changes_no_bit(name, dtype):
    z = arguments(name, dtype, 2000)
    plain, _ = evaluate(FUNCTIONS[name], z, fastmath=frozenset({"nsz"}))
    np.testing.assert_array_equal(evaluate(FUNCTIONS[name], z)[0], plain)


# -- curves --------------------------------------------------------------------------------------------------------
SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
normal = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))


def cubic_sigmoid(z):
    return wide_sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))


LEAK, ELU_SCALE = 0.01, 1.3  # alpha of leaky_relu and of elu in these tests
FORMS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, LEAK * z),
    "sigmoid": wide_sigmoid,
    "tanh": np.tanh,
    "elu": lambda z: np.where(z > 0, z, ELU_SCALE * np.expm1(np.minimum(z, 0))),
    "selu": lambda z: SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "softplus": WIDE["softplus"],
    "gelu": lambda z: z * normal(z),
    "gelu_tanh": lambda z: z * cubic_sigmoid(z),
    "silu": lambda z: z * wide_sigmoid(z),
    "mish": lambda z: z * np.tanh(WIDE["softplus"](z)),
}
ALPHA = {"leaky_relu": LEAK, "elu": ELU_SCALE}
# (f(-inf), f'(-inf), f'(inf)); f(inf) is 1 for the squashing ones and inf for the others.
LIMITS = {
    "identity": (-INF, 1, 1), "relu": (0, 0, 1), "leaky_relu": (-INF, LEAK, 1), "sigmoid": (0, 0, 0),
    "tanh": (-1, 0, 0), "elu": (-ELU_SCALE, 0, 1), "selu": (-SCALE * SELU_ALPHA, 0, SCALE), "softplus": (0, 0, 1),
    "gelu": (0, 0, 1), "gelu_tanh": (0, 0, 1), "silu": (0, 0, 1), "mish": (0, 0, 1),
}  # fmt: skip


def slope_of(form, z):
    """Central differences with the step that balances rounding and truncation."""
    h = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1, np.abs(z))
    return (form(z + h) - form(z - h)) / (2 * h)


def lines_curve(name, z):
    """(f, f') through the vector emitters."""
    alpha = ALPHA.get(name, 0.0)
    if name in FROM_OUTPUT:
        forward, slope = FROM_OUTPUT[name]
        a, _ = evaluate(forward, z, alpha)
        return a, evaluate(slope, a, alpha)[0]
    return evaluate(WITH_SLOPE[name], z, alpha)


def portable_curve(name, z):
    """(f, f') through the plain twins, as Python."""
    code, alpha = ACTIVATIONS[name], ALPHA.get(name, 0.0)
    a = np.array([twins.activation(code, v, alpha) for v in z], z.dtype)
    if name in FROM_OUTPUT:
        return a, np.array([twins.slope_from_output(code, v, alpha) for v in a], z.dtype)
    pairs = np.array([twins.activation_and_slope(code, v) for v in z], z.dtype)
    np.testing.assert_allclose(pairs[:, 0], a, rtol=4 * np.finfo(z.dtype).eps, atol=np.finfo(z.dtype).tiny)
    return a, pairs[:, 1]


TWINS = [pytest.param(lines_curve, marks=jit, id="lines"), pytest.param(portable_curve, id="portable")]


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("curve", TWINS)
@pytest.mark.parametrize("name", FORMS)
def test_curve_is_its_formula(name, curve, dtype):
    """|error| <= 2 eps (2 |f| + |z f'|): two roundings of the result and one of an argument."""
    rng = np.random.default_rng(3)
    z = np.concatenate([rng.uniform(-12, 12, 500), rng.choice([-1, 1], 300) * 10.0 ** rng.uniform(-6, 1, 300)])
    z = z.astype(dtype)
    wide = z.astype(np.float64)
    form, eps = FORMS[name], np.finfo(dtype).eps
    a, slope = curve(name, z)
    f, df = form(wide), slope_of(form, wide)
    assert np.all(np.abs(a - f) <= 2 * eps * (2 * np.abs(f) + np.abs(wide * df) + 1e-10))
    away = np.abs(wide) > 1e-4  # from the kinks
    np.testing.assert_allclose(slope[away], df[away], rtol=8 * eps, atol=8 * eps + 1e-8)


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("curve", TWINS)
@pytest.mark.parametrize("name", FORMS)
def test_curve_at_the_edges(name, curve, dtype):
    low, slope_low, slope_high = LIMITS[name]
    high = 1 if name in ("sigmoid", "tanh") else INF
    big = np.finfo(dtype).max
    z = np.array([-INF, INF, NAN, 0.0, -0.0, -big, big], dtype)
    with np.errstate(over="ignore"):  # selu and leaky_relu of the largest number
        a, slope = curve(name, z)
    rtol = 2 * np.finfo(dtype).eps
    np.testing.assert_allclose(a[:3], [low, high, NAN], rtol=rtol)
    np.testing.assert_allclose(slope[[0, 5]], slope_low, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(slope[[1, 6]], slope_high, rtol=rtol)
    np.testing.assert_allclose(a[3:5], FORMS[name](np.zeros(2)), rtol=rtol)
    at_kink = {"relu": 0.0, "leaky_relu": LEAK, "elu": ELU_SCALE, "selu": SCALE * SELU_ALPHA}  # as in PyTorch
    if name in at_kink:
        np.testing.assert_allclose(slope[3:5], at_kink[name], rtol=rtol)


def test_codes_are_stable():
    """Plans and checkpoints hold them."""
    order = ["identity", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "selu", "softplus"]
    order += ["gelu", "gelu_tanh", "silu", "mish", "softmax"]
    assert [*FROM_OUTPUT, *WITH_SLOPE] == order[:-1]
    assert {name: i for i, name in enumerate(order)} == ACTIVATIONS


@jit
@pytest.mark.parametrize("dtype", DTYPES.values())
def test_portable_twin_compiles_to_the_same(dtype):
    activate, slope, pair = map(
        njit(error_model="numpy"),
        (twins.activation, twins.slope_from_output, twins.activation_and_slope),
    )
    for v in np.array([-INF, -50.0, -1.5, -0.0, 0.25, 3.0, 50.0, INF, NAN], dtype):
        for name, code in ACTIVATIONS.items():
            alpha = ALPHA.get(name, 0.0)
            np.testing.assert_allclose(activate(code, v, alpha), twins.activation(code, v, alpha), rtol=1e-15)
            if code >= twins.GELU:
                np.testing.assert_allclose(pair(code, v), twins.activation_and_slope(code, v), rtol=1e-14)
            elif v >= 0:
                expected = twins.slope_from_output(code, v, alpha)
                np.testing.assert_allclose(slope(code, v, alpha), expected, rtol=1e-15)
