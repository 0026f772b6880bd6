"""Every activation x dtype, emitted code and twins: against its formula, and edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit

from fastbp.isa.codes import ACTIVATIONS
from fastbp.isa.emitters.activations import FROM_OUTPUT, WITH_SLOPE
from fastbp.isa.twins import activations as twins

from .vectors import DTYPES, INF, NAN, WIDE, evaluate, wide_sigmoid

jit = pytest.mark.jit
SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
normal = np.vectorize(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)))


def cubic_sigmoid(z):
    return wide_sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))


LEAK, ELU_SCALE, CELU_SCALE = 0.01, 1.3, 0.8  # alpha of leaky_relu, elu and celu in these tests
FORMULAS = {
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
    "softsign": lambda z: z / (1 + np.abs(z)),
    "relu6": lambda z: np.clip(z, 0, 6),
    "celu": lambda z: np.where(z > 0, z, CELU_SCALE * np.expm1(np.minimum(z, 0) / CELU_SCALE)),
    "hard_swish": lambda z: z * np.clip(z + 3, 0, 6) / 6,
}
ALPHA = {"leaky_relu": LEAK, "elu": ELU_SCALE, "celu": CELU_SCALE}
# (f(-inf), f'(-inf), f'(inf)); f(inf) is that of HIGH, or inf.
LIMITS = {
    "identity": (-INF, 1, 1), "relu": (0, 0, 1), "leaky_relu": (-INF, LEAK, 1), "sigmoid": (0, 0, 0),
    "tanh": (-1, 0, 0), "elu": (-ELU_SCALE, 0, 1), "selu": (-SCALE * SELU_ALPHA, 0, SCALE), "softplus": (0, 0, 1),
    "gelu": (0, 0, 1), "gelu_tanh": (0, 0, 1), "silu": (0, 0, 1), "mish": (0, 0, 1),
    "softsign": (-1, 0, 0), "relu6": (0, 0, 0), "celu": (-CELU_SCALE, 0, 1), "hard_swish": (0, 0, 1),
}  # fmt: skip
HIGH = {"sigmoid": 1, "tanh": 1, "softsign": 1, "relu6": 6}


def slope_of(formula, z):
    """Central differences with the step that balances rounding and truncation."""
    h = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1, np.abs(z))
    return (formula(z + h) - formula(z - h)) / (2 * h)


def emitted(name, z):
    """(f, f') through the vector emitters."""
    alpha = ALPHA.get(name, 0.0)
    if name in FROM_OUTPUT:
        forward, slope = FROM_OUTPUT[name]
        a, _ = evaluate(forward, z, alpha)
        return a, evaluate(slope, a, alpha)[0]
    return evaluate(WITH_SLOPE[name], z, alpha)


def plain(name, z):
    """(f, f') through the plain twins, as Python."""
    code, alpha = ACTIVATIONS[name], ALPHA.get(name, 0.0)
    a = np.array([twins.activation(code, v, alpha) for v in z], z.dtype)
    if name in FROM_OUTPUT:
        return a, np.array([twins.slope_from_output(code, v, alpha) for v in a], z.dtype)
    pairs = np.array([twins.activation_and_slope(code, v) for v in z], z.dtype)
    np.testing.assert_allclose(pairs[:, 0], a, rtol=4 * np.finfo(z.dtype).eps, atol=np.finfo(z.dtype).tiny)
    return a, pairs[:, 1]


MACHINES = [pytest.param(emitted, marks=jit, id="emitted"), pytest.param(plain, id="plain")]


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", FORMULAS)
def test_activation_matches_its_formula(name, machine, dtype):
    """|error| <= 2 eps (2 |f| + |z f'|): two roundings of the result and one of an argument."""
    rng = np.random.default_rng(3)
    z = np.concatenate([rng.uniform(-12, 12, 500), rng.choice([-1, 1], 300) * 10.0 ** rng.uniform(-6, 1, 300)])
    z = z.astype(dtype)
    wide = z.astype(np.float64)
    formula, eps = FORMULAS[name], np.finfo(dtype).eps
    a, slope = machine(name, z)
    f, df = formula(wide), slope_of(formula, wide)
    assert np.all(np.abs(a - f) <= 2 * eps * (2 * np.abs(f) + np.abs(wide * df) + 1e-10))
    away = np.abs(wide) > 1e-4  # away from kinks
    np.testing.assert_allclose(slope[away], df[away], rtol=8 * eps, atol=8 * eps + 1e-8)


@pytest.mark.parametrize("dtype", DTYPES.values())
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", FORMULAS)
def test_activation_at_edge_cases(name, machine, dtype):
    low, slope_low, slope_high = LIMITS[name]
    high = HIGH.get(name, INF)
    big = np.finfo(dtype).max
    z = np.array([-INF, INF, NAN, 0.0, -0.0, -big, big], dtype)
    with np.errstate(over="ignore"):  # selu and leaky_relu of the largest number
        a, slope = machine(name, z)
    rtol = 2 * np.finfo(dtype).eps
    np.testing.assert_allclose(a[:3], [low, high, NAN], rtol=rtol)
    np.testing.assert_allclose(slope[[0, 5]], slope_low, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(slope[[1, 6]], slope_high, rtol=rtol)
    np.testing.assert_allclose(a[3:5], FORMULAS[name](np.zeros(2)), rtol=rtol)
    kinks = np.array([-3, 3, 0, 6], dtype)  # of hard_swish and relu6, as in PyTorch
    if name == "hard_swish":
        np.testing.assert_array_equal(machine(name, kinks[:2])[1], [0, 1])
    if name == "relu6":
        np.testing.assert_array_equal(machine(name, kinks[2:])[1], [0, 0])
    at_kink = {"relu": 0.0, "leaky_relu": LEAK, "elu": ELU_SCALE, "selu": SCALE * SELU_ALPHA}  # as in PyTorch
    if name in at_kink:
        np.testing.assert_allclose(slope[3:5], at_kink[name], rtol=rtol)


def test_codes_are_stable():
    """Activations that store their slopes follow those whose slope is a function of the output."""
    order = ["identity", "relu", "leaky_relu", "sigmoid", "tanh", "elu", "selu", "softplus"]
    order += ["softsign", "relu6", "celu", "gelu", "gelu_tanh", "silu", "mish", "hard_swish", "softmax"]
    assert [*FROM_OUTPUT, *WITH_SLOPE] == order[:-1]
    assert {name: i for i, name in enumerate(order)} == ACTIVATIONS


@jit
@pytest.mark.parametrize("dtype", DTYPES.values())
def test_compiled_twin_matches_python(dtype):
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
