"""exp, log, tanh, erf and their kin on cache-line vectors: emitters over `Lines`, float32 and float64.

Each takes (x, v), a `Lines` and a vector, and returns a vector. All are free of branches, right at +-inf, NaN and +-0,
and at most 2 ULP from the correctly rounded value where that is a normal number (the bound of each:
tests/isa/test_transcendental.py). Below the smallest normal number results may come out as 0, and with FTZ and DAZ set
they do.

The polynomials are minimax fits, weighted for relative error, found by the Remez exchange in 50-digit arithmetic, then
rounded to the type: `tools/minimax.py` prints them again. Every product that is added to something is an explicit fma;
the others are `product`s, which LLVM may not contract: so no bit depends on what a caller does with a result.
"""

from __future__ import annotations

import struct

MANTISSA = {32: 23, 64: 52}
BIAS = {32: 127, 64: 1023}
LARGEST = {32: 2.0**127 * (2.0 - 2.0**-23), 64: 2.0**1023 * (2.0 - 2.0**-52)}
SMALLEST = {32: 2.0**-126, 64: 2.0**-1022}  # the smallest normal number
INFINITY, NAN = float("inf"), float("nan")

LOG2_E = 1.4426950408889634
LN2 = {32: (0.6931471824645996, -1.9046542121259336e-09), 64: (0.6931471805599453, 2.3190468138462996e-17)}  # high, low
# exp is under the smallest normal number below the first, over the largest above the second; its 2^n is 0 at the third.
EXP_RANGE = {32: (-87.33654, 88.72283, -88.03), 64: (-708.3964185322641, 709.782712893384, -709.1)}
EXPM1_LOW = {32: -18.0, 64: -38.0}  # expm1 is -1 from here down
TANH_END = {32: 10.0, 64: 20.0}  # tanh is 1 from here up
SIGMOID_RANGE = {32: (-18.0, 87.33654), 64: (-38.0, 708.3964185322641)}  # of -v: 1 + exp is 1; sigmoid is 0
EXPM1_HIGH = {32: 89.0, 64: 710.0}  # expm1 is inf from here up
ERF_END = {32: 3.95, 64: 6.0}  # erf is 1 from here up

# H of exp(r) = 1 + r + r^2 H(r) for |r| <= ln(2) / 2; error 0.3 (0.01) units of 2^-24 (2^-53), relative to exp(r) - 1.
EXP = {
    32: (0.4999999701976776, 0.1666654348373413, 0.04166720062494278, 0.008366520516574383, 0.0013882518978789449),
    64: (
        0.5, 0.16666666666666677, 0.04166666666666651, 0.008333333333321691, 0.0013888888888962405,
        0.0001984126988596604, 2.480158717249232e-05, 2.755724437397531e-06, 2.7557402671196525e-07,
        2.5108978975861076e-08, 2.0875323717772945e-09,
    ),
}  # fmt: skip

# P of log(1 + f) = f - f^2 / 2 + f^3 P(f) for sqrt(1/2) <= 1 + f <= sqrt(2); error 0.1 units.
LOG = {
    32: (
        0.3333333134651184, -0.250008225440979, 0.20001228153705597, -0.16623353958129883, 0.1420173943042755,
        -0.13160212337970734, 0.12761707603931427, -0.07634547352790833,
    ),
    64: (
        0.3333333333333314, -0.24999999999987968, 0.20000000000066634, -0.16666666669827312, 0.14285714280092424,
        -0.12499999691326667, 0.11111111147391775, -0.10000015211021888, 0.0909092393845369, -0.08332913433067407,
        0.0769152960507629, -0.07149440850575559, 0.06684592596768041, -0.061966703043906744, 0.0566834921765867,
        -0.056777962291838215, 0.06503586769227702, -0.059817594297925526, 0.026150655757632785,
    ),
}  # fmt: skip

# Q of erf(v) = 1 - exp(-2/sqrt(pi) v - v^2 Q(v)) for 0 <= v <= ERF_END; error 0.1 units.
# Its first coefficient as high and low part:
ERF_FIRST = {32: (1.128379225730896, -5.8635382771399236e-08), 64: (1.1283791670955126, 1.533545961316588e-17)}
ERF = {
    32: (
        0.636619508266449, 0.10277680307626724, -0.019149597734212875, -0.00016635243082419038, 0.0016726456815376878,
        -0.0006357640377245843, 0.00011842764070024714, -9.340927135781385e-06,
    ),
    64: (
        0.6366197723675828, 0.1027726033018205, -0.019128447005656277, -0.00020919468869857137, 0.0016962063446903152,
        -0.0005901253649760534, 2.58779854956851e-05, 6.449337866816056e-05, -2.9726891261207977e-05,
        3.4114188139786233e-06, 2.8303519196002527e-06, -1.7371436743472734e-06, 3.33111702211571e-07,
        1.3911943046491157e-07, -1.426931550151655e-07, 6.609404483080195e-08, -2.1074514229242614e-08,
        5.0252509488360776e-09, -9.135267161610305e-10, 1.2562121789872812e-10, -1.2695555984479407e-11,
        8.909122969835593e-13, -3.880074623750337e-14, 7.898150226074331e-16,
    ),
}  # fmt: skip


# S of sin(2 pi u) = u (2 pi + u^2 S(u^2)) for |u| <= 1/4; error 0.1 (0.2) units.
SINE = {
    32: (-41.34170150756836, 81.605224609375, -76.70430755615234, 42.009952545166016, -14.393778800964355),
    64: (
        -41.34170224039976, 81.60524927607506, -76.70585975306072, 42.05869394482793, -15.094642572634314,
        3.819952432431582, -0.7181188764876177, 0.10418265911093441, -0.011681424740657934,
    ),
}  # fmt: skip
TWO_PI = {32: (6.2831854820251465, -1.7484556000744883e-07), 64: (6.283185307179586, 2.4492935982947064e-16)}


# -- building blocks -----------------------------------------------------------------------------------------------
def product(x, a, b):
    """a b, never fused with what follows: Numba adds 'contract' only to instructions that have no flag yet."""
    return x.b.fmul(a, b, flags=("nsz",))


def horner(x, v, coefficients):
    """coefficients[0] + coefficients[1] v + coefficients[2] v^2 + ..."""
    total = x.const(coefficients[-1])
    for c in coefficients[-2::-1]:
        total = x.fma(total, v, x.const(c))
    return total


def magnitude(x, v):
    return x.call("fabs", v)


def with_sign_of(x, value, v):
    return x.call("copysign", value, v)


def _bits(x, value: float) -> int:
    return struct.unpack(*(("<i", struct.pack("<f", value)) if x.bits == 32 else ("<q", struct.pack("<d", value))))[0]


def _as_integer(x, v):
    return x.b.bitcast(v, x.ivector)


def _as_float(x, v):
    return x.b.bitcast(v, x.vector)


def _reduce(x, v):
    """(r, s) of v = n ln 2 + r with |r| <= ln(2) / 2 and s = 2^n; 0 for n = -127 (-1023) and inf for n = 128 (1024).

    Adding 1.5 * 2^23 (2^52) rounds to an integer and leaves it in the lowest bits; with the bias added too, those bits
    are the exponent field of 2^n, and one shift puts them there. n times the high part of ln 2 is exact inside the fma.
    """
    mantissa, (high, low) = MANTISSA[x.bits], LN2[x.bits]
    magic = x.const(1.5 * 2.0**mantissa + BIAS[x.bits])
    shifted = x.fma(v, x.const(LOG2_E), magic)
    n = x.b.fsub(shifted, magic)
    r = x.fma(n, x.const(-low), x.fma(n, x.const(-high), v))
    return r, _as_float(x, x.b.shl(_as_integer(x, shifted), x.iconst(mantissa)))


def _exp_reduced(x, r):
    """exp(r) for |r| <= ln(2) / 2."""
    return horner(x, r, (1.0, 1.0, *EXP[x.bits]))


def _expm1_reduced(x, r):
    """exp(r) - 1 for |r| <= ln(2) / 2: r is added last, so that small results keep all their bits."""
    return x.fma(product(x, r, r), horner(x, r, EXP[x.bits]), r)


# -- exponentials --------------------------------------------------------------------------------------------------
def exp(x, v):
    """exp(v): 2^n enters through the exponent bits, because as a number it would overflow a binade too early."""
    low, high, _ = EXP_RANGE[x.bits]
    r, s = _reduce(x, v)
    n = x.b.sub(_as_integer(x, s), x.iconst(_bits(x, 1.0)))
    result = _as_float(x, x.b.add(_as_integer(x, _exp_reduced(x, r)), n))
    over = x.b.fcmp_unordered(">", v, x.const(high))  # inf, and NaN as it came
    result = x.b.select(over, product(x, v, x.const(LARGEST[x.bits])), result)
    return x.b.select(x.b.fcmp_ordered("<", v, x.const(low)), x.const(0.0), result)


def exp_bounded(x, v):
    """exp(v) for v up to 88 (709): softmax and whatever else keeps v <= 0; three instructions fewer than `exp`."""
    r, s = _reduce(x, x.maximum(x.const(EXP_RANGE[x.bits][2]), v))
    return product(x, s, _exp_reduced(x, r))


def expm1(x, v):
    """exp(v) - 1 = 2 ((s/2) q + (s/2 - 1/2)), q = exp(r) - 1: half of s, which would overflow a binade too early."""
    v_kept = x.minimum(x.const(EXPM1_HIGH[x.bits]), x.maximum(x.const(EXPM1_LOW[x.bits]), v))
    r, s = _reduce(x, v_kept)
    half = _as_float(x, x.b.sub(_as_integer(x, s), x.iconst(1 << MANTISSA[x.bits])))
    result = x.fma(half, _expm1_reduced(x, r), x.b.fsub(half, x.const(0.5)))
    return with_sign_of(x, x.b.fadd(result, result), v)


def expm1_bounded(x, v):
    """exp(v) - 1 for v up to 88 (709); -0 may become +0."""
    r, s = _reduce(x, x.maximum(x.const(EXPM1_LOW[x.bits]), v))
    return x.fma(s, _expm1_reduced(x, r), x.b.fsub(s, x.const(1.0)))


def sigmoid(x, v):
    """1 / (1 + exp(-v)), with 1 + exp(-v) = (s q + 1) + s, q = exp(r) - 1: exp(-v) itself is never rounded."""
    low, high = SIGMOID_RANGE[x.bits]
    r, s = _reduce(x, x.maximum(x.const(low), x.neg(v)))
    one = x.const(1.0)
    result = x.b.fdiv(one, x.b.fadd(x.fma(s, _expm1_reduced(x, r), one), s))
    return x.b.select(x.b.fcmp_ordered("<", v, x.const(-high)), x.const(0.0), result)


def tanh(x, v):
    """(1 - e) / (1 + e), e = exp(-2|v|) = s q + s: numerator and denominator share one product."""
    w = x.maximum(x.const(-TANH_END[x.bits]), x.neg(magnitude(x, v)))
    r, s = _reduce(x, x.b.fadd(w, w))
    q, one = _expm1_reduced(x, r), x.const(1.0)
    ratio = x.b.fdiv(x.fma(s, q, x.b.fsub(s, one)), x.fma(s, q, x.b.fadd(s, one)))
    return with_sign_of(x, ratio, v)


def erf(x, v):
    """1 - exp(-t), t = -log(erfc |v|): smooth, so one polynomial serves from 0 to where erf is 1."""
    high, low = ERF_FIRST[x.bits]
    w = x.minimum(x.const(ERF_END[x.bits]), magnitude(x, v))
    rest = horner(x, w, (-low, *(-c for c in ERF[x.bits])))
    r, s = _reduce(x, x.fma(w, x.const(-high), product(x, w, rest)))
    return with_sign_of(x, x.fma(s, _expm1_reduced(x, r), x.b.fsub(s, x.const(1.0))), v)


# -- logarithms ----------------------------------------------------------------------------------------------------
def _log_reduced(x, f, n):
    """n ln 2 + log(1 + f) for sqrt(1/2) <= 1 + f <= sqrt(2), the small terms first."""
    high, low = LN2[x.bits]
    square = product(x, f, f)
    rest = x.fma(product(x, square, f), horner(x, f, LOG[x.bits]), product(x, n, x.const(low)))
    rest = x.fma(square, x.const(-0.5), rest)
    return x.fma(n, x.const(high), x.b.fadd(f, rest))


def _scale(x, u):
    """(n, m, exponent) of u = 2^n m with sqrt(1/2) <= m < sqrt(2); exponent holds n where a float's bits hold it.

    The exponent field steps at powers of two; adding bits(1) - bits(sqrt(1/2)) makes it step at sqrt(1/2) 2^n instead.
    n becomes a float by way of the lowest bits of 2^23 (2^52).
    """
    mantissa, one = MANTISSA[x.bits], _bits(x, 1.0)
    bits = _as_integer(x, u)
    moved = x.b.add(bits, x.iconst(one - _bits(x, 0.7071067811865476)))
    exponent = x.b.and_(moved, x.iconst((2 * BIAS[x.bits] + 1) << mantissa))
    m = _as_float(x, x.b.sub(x.b.add(bits, x.iconst(one)), exponent))
    number = x.b.or_(x.b.lshr(exponent, x.iconst(mantissa)), x.iconst(_bits(x, 2.0**mantissa)))
    return x.b.fsub(_as_float(x, number), x.const(2.0**mantissa + BIAS[x.bits])), m, exponent


def _log_edges(x, value, u):
    """value where u is above 0 and finite; log(u) where it is not."""
    zero = x.const(0.0)
    outside = x.b.select(x.b.fcmp_ordered("==", u, zero), x.const(-INFINITY), x.const(NAN))
    value = x.b.select(x.b.fcmp_ordered(">", u, zero), value, outside)
    return x.b.select(x.b.fcmp_ordered("==", u, x.const(INFINITY)), u, value)


def log(x, v):
    """log(v); arguments below the smallest normal number are scaled up by 2^23 (2^52) first."""
    mantissa = MANTISSA[x.bits]
    small = x.b.fcmp_ordered("<", v, x.const(SMALLEST[x.bits]))
    n, m, _ = _scale(x, x.b.select(small, product(x, v, x.const(2.0**mantissa)), v))
    n = x.b.fsub(n, x.b.select(small, x.const(mantissa), x.const(0.0)))
    return _log_edges(x, _log_reduced(x, x.b.fsub(m, x.const(1.0)), n), v)


def log1p(x, v):
    """log(1 + v): with u = 1 + v = 2^n m rounded, f = 2^-n v + (2^-n - 1) holds what the rounding of u lost."""
    one = x.const(1.0)
    u = x.b.fadd(v, one)
    n, m, exponent = _scale(x, u)
    shrink = _as_float(x, x.b.sub(x.iconst(2 * _bits(x, 1.0)), exponent))  # 2^-n
    f = x.fma(shrink, v, x.b.fsub(shrink, one))
    far = x.b.fcmp_ordered(">", v, x.const(2.0 ** (2 * MANTISSA[x.bits])))  # there 1 is lost, and 2^-n may not exist
    f = x.b.select(far, x.b.fsub(m, one), f)
    return with_sign_of(x, _log_edges(x, _log_reduced(x, f, n), u), v)


def softplus(x, v):
    """log(1 + exp(v)) = max(v, 0) + log1p(e), e = exp(-|v|): 1 + e is in (1, 2], so n is 0 or 1."""
    e = exp_bounded(x, x.neg(magnitude(x, v)))
    halve = x.b.fcmp_ordered(">", e, x.const(0.41421356))
    f = x.b.select(halve, x.fma(e, x.const(0.5), x.const(-0.5)), e)
    n = x.b.select(halve, x.const(1.0), x.const(0.0))
    return x.b.fadd(x.maximum(x.const(0.0), v), _log_reduced(x, f, n))


# -- waves ---------------------------------------------------------------------------------------------------------
def _sine(x, u):
    """sin(2 pi u) for |u| <= 1/4: u times the high part of 2 pi is added last, by an fma, which rounds only once."""
    high, low = TWO_PI[x.bits]
    square = product(x, u, u)
    rest = x.fma(product(x, square, u), horner(x, square, SINE[x.bits]), product(x, u, x.const(low)))
    return x.fma(u, x.const(high), rest)


def turns(x, v):
    """cos(2 pi v) and sin(2 pi v): v less its nearest integer is exact, and so is what is left to a quarter or half."""
    r = x.b.fsub(v, x.call("rint", v))
    size = magnitude(x, r)
    folded = x.minimum(size, x.b.fsub(x.const(0.5), size))
    return _sine(x, x.b.fsub(x.const(0.25), size)), with_sign_of(x, _sine(x, folded), r)


def sqrt(x, v):
    """The correctly rounded square root: one instruction."""
    return x.call("sqrt", v)
