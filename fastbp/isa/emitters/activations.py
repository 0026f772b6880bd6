"""The activations on cache-line vectors, and the microkernels that apply them and their slopes to runs of lines.

Where f' is a function of the output a alone, backward needs nothing but a: `FROM_OUTPUT` has f and f'. Elsewhere f and
f' are made together, for most share an exponential: `WITH_SLOPE`. The formulas are easiest to read in the twins.

At -inf gelu, gelu_tanh, silu, mish and hard_swish are 0, their limit: the factor z stops where the other factor has
reached 0.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fastbp.isa.emitters.vocabulary import transcendental
from fastbp.isa.emitters.vocabulary.lines import Lines, at_line, define, loop
from fastbp.isa.emitters.vocabulary.transcendental import horner, magnitude, product
from fastbp.isa.twins.activations import (
    GELU_TANH_CUBIC,
    GELU_TANH_SLOPE,
    INV_SQRT_2PI,
    SELU_ALPHA,
    SELU_SCALE,
)

EXP_END = {32: 89.0, 64: 710.0}  # exp(-z) is 0 from here up
MISH_END = {32: 20.0, 64: 40.0}  # mish(z) is z from here up
GELU_END = {32: 14.0, 64: 39.0}  # exp(-z^2 / 2) is 0 from here up
GELU_TANH_END = 40.0

# P, Q of Phi(-z) = exp(-z^2 / 2) (1/2 + z P(z)) / (1 + z Q(z)) for 0 <= z <= GELU_END, Phi the normal distribution:
# minimax (see `transcendental`), relative error 0.4 units of 2^-24 (0.3 of 2^-53). All terms are positive: nothing
# cancels.
TAIL_P = {
    32: (0.4652325212955475, 0.20245783030986786, 0.04694634675979614, 0.005013932008296251, 6.203489277822882e-09),
    64: (
        0.8909767233737738, 0.7785344727201249, 0.43403747826383954, 0.1698218348365119, 0.04857504674866062,
        0.010283776469144813, 0.0015946987129119572, 0.00017420932119444204, 1.2212185542972318e-05,
        4.23635509778092e-07,
    ),
}  # fmt: skip
TAIL_Q = {
    32: (1.7283501625061035, 1.283932089805603, 0.5201442837715149, 0.11766469478607178, 0.012568773701786995),
    64: (
        2.579838007550414, 3.115481861037114, 2.3299123494035223, 1.2020414692955175, 0.450595093849056,
        0.1256956790615811, 0.02621215910622242, 0.004027928292327636, 0.0004377399069665258, 3.061140957696043e-05,
        1.0618967469479084e-06,
    ),
}  # fmt: skip


# -- the slope is a function of the output -------------------------------------------------------------------------
def identity(x, z, alpha):
    return z


def identity_slope(x, a, alpha):
    return x.const(1.0)


def relu(x, z, alpha):
    return x.maximum(x.const(0.0), z)


def relu_slope(x, a, alpha):
    return _where_positive(x, a, x.const(1.0), x.const(0.0))


def leaky_relu(x, z, alpha):
    return _where_positive(x, z, z, product(x, alpha, z))


def leaky_relu_slope(x, a, alpha):
    return _where_positive(x, a, x.const(1.0), alpha)


def sigmoid(x, z, alpha):
    return transcendental.sigmoid(x, z)


def sigmoid_slope(x, a, alpha):
    return product(x, a, x.b.fsub(x.const(1.0), a))


def tanh(x, z, alpha):
    return transcendental.tanh(x, z)


def tanh_slope(x, a, alpha):
    return x.fma(x.neg(a), a, x.const(1.0))


def elu(x, z, alpha):
    zero = x.const(0.0)
    return x.fma(alpha, transcendental.expm1_bounded(x, x.minimum(zero, z)), x.maximum(zero, z))


def elu_slope(x, a, alpha):
    return _where_positive(x, a, x.const(1.0), x.b.fadd(a, alpha))


def selu(x, z, alpha):
    return product(x, x.const(SELU_SCALE), elu(x, z, x.const(SELU_ALPHA)))


def selu_slope(x, a, alpha):
    return _where_positive(x, a, x.const(SELU_SCALE), x.b.fadd(a, x.const(SELU_SCALE * SELU_ALPHA)))


def softplus(x, z, alpha):
    return transcendental.softplus(x, z)


def softplus_slope(x, a, alpha):
    """sigmoid(z) = 1 - exp(-softplus(z))"""
    return x.neg(transcendental.expm1_bounded(x, x.neg(a)))


def softsign(x, z, alpha):
    w = x.minimum(x.const(transcendental.LARGEST[x.bits]), magnitude(x, z))  # inf / inf would be NaN
    return transcendental.with_sign_of(x, x.b.fdiv(w, x.b.fadd(x.const(1.0), w)), z)


def softsign_slope(x, a, alpha):
    """1 / (1 + |z|)^2 = (1 - |a|)^2"""
    rest = x.b.fsub(x.const(1.0), magnitude(x, a))
    return product(x, rest, rest)


def relu6(x, z, alpha):
    return x.minimum(x.const(6.0), relu(x, z, alpha))


def relu6_slope(x, a, alpha):
    below = x.b.fcmp_ordered("<", a, x.const(6.0))
    return x.b.select(below, relu_slope(x, a, alpha), x.const(0.0))


def celu(x, z, alpha):
    zero = x.const(0.0)
    low = transcendental.expm1_bounded(x, x.b.fdiv(x.minimum(zero, z), alpha))
    return x.fma(alpha, low, x.maximum(zero, z))


def celu_slope(x, a, alpha):
    """exp(z / alpha) = a / alpha + 1"""
    one = x.const(1.0)
    return _where_positive(x, a, one, x.b.fadd(x.b.fdiv(a, alpha), one))


# -- the slope is made along with the output -----------------------------------------------------------------------
def gelu(x, z, alpha):
    """z Phi(z), and Phi(z) + z exp(-z^2/2) / sqrt(2 pi): one exponential for both, and small tails keep their bits."""
    end, one = GELU_END[x.bits], x.const(1.0)
    w = x.minimum(x.const(end), magnitude(x, z))
    bell = transcendental.exp_bounded(x, product(x, product(x, w, w), x.const(-0.5)))
    ratio = x.b.fdiv(horner(x, w, (0.5, *TAIL_P[x.bits])), horner(x, w, (1.0, *TAIL_Q[x.bits])))
    tail = product(x, bell, ratio)
    phi = _where_negative(x, z, tail, x.b.fsub(one, tail))
    slope = x.fma(product(x, transcendental.with_sign_of(x, w, z), bell), x.const(INV_SQRT_2PI), phi)
    return product(x, _from(x, z, -end), phi), slope


def gelu_tanh(x, z, alpha):
    """z s, s = 1/2 (1 + tanh(u)) = sigmoid(2 u), and s + z s (1 - s) 2 u'; u = sqrt(2/pi) (z + 0.044715 z^3)."""
    low = _from(x, z, -GELU_TANH_END)
    w = x.minimum(x.const(GELU_TANH_END), low)
    square, first, third = product(x, w, w), x.const(GELU_TANH_SLOPE), GELU_TANH_SLOPE * GELU_TANH_CUBIC
    s, rest = logistic(x, product(x, w, x.fma(square, x.const(third), first)))
    inner = product(x, w, x.fma(square, x.const(3.0 * third), first))
    return product(x, low, s), x.fma(product(x, s, rest), inner, s)


def silu(x, z, alpha):
    """z s, s = sigmoid(z), and s + z s (1 - s)."""
    s, rest = logistic(x, z)
    low = _from(x, z, -EXP_END[x.bits])
    w = x.minimum(x.const(EXP_END[x.bits]), low)
    return product(x, low, s), x.fma(product(x, s, rest), w, s)


def mish(x, z, alpha):
    """z t, t = tanh(log(1 + e)) = n / (n + 2), e = exp(z), n = e (e + 2), and t + z 4 e (1 + e) / (n + 2)^2."""
    low = _from(x, z, -EXP_END[x.bits])
    w = x.minimum(x.const(MISH_END[x.bits]), low)
    e = transcendental.exp_bounded(x, w)
    n = x.fma(e, e, x.b.fadd(e, e))
    inverse = x.b.fdiv(x.const(1.0), x.b.fadd(n, x.const(2.0)))
    t = product(x, n, inverse)
    rise = product(x, product(x, x.fma(e, e, e), inverse), inverse)
    return product(x, low, t), x.fma(product(x, w, x.const(4.0)), rise, t)


def hard_swish(x, z, alpha):
    """z relu6(z + 3) / 6, and z / 3 + 1/2 between -3 and 3, 0 below and 1 above."""
    b, three, zero, one = x.b, x.const(3.0), x.const(0.0), x.const(1.0)
    sixth = product(x, relu6(x, b.fadd(z, three), alpha), x.const(1.0 / 6.0))
    slope = b.select(b.fcmp_ordered(">=", z, three), one, x.fma(z, x.const(1.0 / 3.0), x.const(0.5)))
    slope = b.select(b.fcmp_ordered("<=", z, x.const(-3.0)), zero, slope)
    return product(x, _from(x, z, -3.0), sixth), slope


# -- shared --------------------------------------------------------------------------------------------------------
def _where_positive(x, v, yes, no):
    return x.b.select(x.b.fcmp_ordered(">", v, x.const(0.0)), yes, no)


def _where_negative(x, v, yes, no):
    return x.b.select(x.b.fcmp_ordered("<", v, x.const(0.0)), yes, no)


def _from(x, v, low: float):
    """max(low, v), NaN staying NaN."""
    return x.maximum(x.const(low), v)


def logistic(x, v):
    """(sigmoid(v), sigmoid(-v)) from exp(-|v|), so that neither loses bits to 1 - s."""
    e = transcendental.exp_bounded(x, x.neg(magnitude(x, v)))
    one = x.const(1.0)
    large = x.b.fdiv(one, x.b.fadd(one, e))
    small = product(x, e, large)
    negative = x.b.fcmp_ordered("<", v, x.const(0.0))
    return x.b.select(negative, small, large), x.b.select(negative, large, small)


# name -> (x, z, alpha) -> f, (x, a, alpha) -> f'
FROM_OUTPUT: dict[str, tuple[Callable, Callable]] = {
    "identity": (identity, identity_slope),
    "relu": (relu, relu_slope),
    "leaky_relu": (leaky_relu, leaky_relu_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "tanh": (tanh, tanh_slope),
    "elu": (elu, elu_slope),
    "selu": (selu, selu_slope),
    "softplus": (softplus, softplus_slope),
    "softsign": (softsign, softsign_slope),
    "relu6": (relu6, relu6_slope),
    "celu": (celu, celu_slope),
}
# name -> (x, z, alpha) -> (f, f')
WITH_SLOPE: dict[str, Callable] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "mish": mish,
    "hard_swish": hard_swish,
}


# -- over runs of lines --------------------------------------------------------------------------------------------
def activate(module: ir.Module, bits: int, table, name: str) -> ir.Function:
    """a = f(z), n lines; z and a may be the same.

    Where f' is no function of a, it goes to `slopes`; elsewhere nothing is written there.
    """

    def body(builder, n, z, a, slopes, alpha):
        x, b = Lines(builder, bits), builder
        parameter = x.splat(x.load_scalar(alpha))

        def line(i, _):
            at = at_line(x, i)
            value = x.load(z, at)
            if name in FROM_OUTPUT:
                x.store(FROM_OUTPUT[name][0](x, value, parameter), a, at)
            else:
                value, slope = WITH_SLOPE[name](x, value, parameter)
                x.store(value, a, at)
                x.store(slope, slopes, at)
            return []

        loop(b, n, [], line)

    return define(module, bits, "activate", body, name)


def slope(module: ir.Module, bits: int, table, name: str) -> ir.Function:
    """d <- d f'(z), n lines; a holds the activations, or the slopes where `activate` wrote them."""

    def body(builder, n, a, d, alpha):
        x, b = Lines(builder, bits), builder
        parameter = x.splat(x.load_scalar(alpha))

        def line(i, _):
            at = at_line(x, i)
            known = x.load(a, at)
            slope = FROM_OUTPUT[name][1](x, known, parameter) if name in FROM_OUTPUT else known
            x.store(b.fmul(slope, x.load(d, at)), d, at)
            return []

        loop(b, n, [], line)

    return define(module, bits, "slope", body, name)
