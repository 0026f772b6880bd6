"""Activations and their slopes: the codes, the formulas on scalars, and the twins over runs of lines.

Every formula stands alone and works out of `math`, in float64 whatever comes in, and no argument makes `math` raise
(exp only ever gets v <= 0). Softmax, which runs over a row, is in `softmax`.
"""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE

# In this order: those whose f' is a function of the output a alone; from GELU on, those for which forward keeps f' for
# backward; softmax. No file holds the codes.
(
    IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH, ELU, SELU, SOFTPLUS, SOFTSIGN, RELU6, CELU,
    GELU, GELU_TANH, SILU, MISH, HARD_SWISH,
    SOFTMAX,
) = range(17)  # fmt: skip
ACTIVATIONS = {
    "identity": IDENTITY, "relu": RELU, "leaky_relu": LEAKY_RELU, "sigmoid": SIGMOID, "tanh": TANH, "elu": ELU,
    "selu": SELU, "softplus": SOFTPLUS, "softsign": SOFTSIGN, "relu6": RELU6, "celu": CELU,
    "gelu": GELU, "gelu_tanh": GELU_TANH, "silu": SILU, "mish": MISH, "hard_swish": HARD_SWISH,
    "softmax": SOFTMAX,
}  # fmt: skip
ELEMENTWISE = tuple(name for name in ACTIVATIONS if name != "softmax")
KEEPS_SLOPES = tuple(name for name in ELEMENTWISE if ACTIVATIONS[name] >= GELU)

SELU_SCALE = 1.0507009873554804934193349852946  # Klambauer et al. 2017, self-normalizing networks
SELU_ALPHA = 1.6732632423543772848170429916717
SQRT_HALF = 0.7071067811865476
INV_SQRT_2PI = 0.3989422804014327
GELU_TANH_SLOPE = 1.5957691216057308  # 2 sqrt(2 / pi): 1/2 (1 + tanh(u)) = sigmoid(2 u)
GELU_TANH_CUBIC = 0.044715


def activation(code, z, alpha):
    """a = f(z); alpha is the slope of leaky_relu for z < 0 and the scale of elu and celu."""
    z = 1.0 * float(z)  # float64, in Numba as without it
    if code == RELU:
        return 0.0 if z <= 0.0 else z  # NaN stays NaN
    if code == LEAKY_RELU:
        return z if z > 0.0 else alpha * z
    if code == SIGMOID:
        e = math.exp(-abs(z))
        return (e if z < 0.0 else 1.0) / (1.0 + e)
    if code == TANH:
        return math.tanh(z)
    if code == ELU:
        return z if z > 0.0 else alpha * math.expm1(z)
    if code == SELU:
        return SELU_SCALE * z if z > 0.0 else SELU_SCALE * SELU_ALPHA * math.expm1(z)
    if code == SOFTPLUS:
        return (0.0 if z <= 0.0 else z) + math.log1p(math.exp(-abs(z)))
    if code == SOFTSIGN:
        return math.copysign(1.0, z) if abs(z) > 1e300 else z / (1.0 + abs(z))
    if code == RELU6:
        return 0.0 if z <= 0.0 else 6.0 if z > 6.0 else z
    if code == CELU:
        return z if z > 0.0 else alpha * math.expm1(z / alpha)
    if code == GELU:
        return (-40.0 if z < -40.0 else z) * (0.5 * math.erfc(-SQRT_HALF * z))
    if code == GELU_TANH:
        u = GELU_TANH_SLOPE * z * (1.0 + GELU_TANH_CUBIC * z * z)
        e = math.exp(-abs(u))
        return (-40.0 if z < -40.0 else z) * ((e if z < 0.0 else 1.0) / (1.0 + e))
    if code == SILU:
        e = math.exp(-abs(z))
        return (-710.0 if z < -710.0 else z) * ((e if z < 0.0 else 1.0) / (1.0 + e))
    if code == MISH:  # tanh(log(1 + e^z)) = n / (n + 2), n = e^z (e^z + 2)
        e = math.exp(-abs(z))
        t = e * (e + 2.0) / (e * (e + 2.0) + 2.0) if z < 0.0 else (1.0 + 2.0 * e) / (1.0 + 2.0 * e + 2.0 * e * e)
        return (-710.0 if z < -710.0 else z) * t
    if code == HARD_SWISH:
        return (-3.0 if z < -3.0 else z) * ((0.0 if z <= -3.0 else 6.0 if z >= 3.0 else z + 3.0) / 6.0)
    return z


def slope_from_output(code, a, alpha):
    """f'(z) from a = f(z), for the codes before GELU; relu'(0) = 0 and leaky_relu'(0) = alpha, as in PyTorch."""
    a = 1.0 * float(a)
    if code == RELU:
        return 1.0 if a > 0.0 else 0.0
    if code == LEAKY_RELU:
        return 1.0 if a > 0.0 else alpha
    if code == SIGMOID:
        return a * (1.0 - a)
    if code == TANH:
        return 1.0 - a * a
    if code == ELU:
        return 1.0 if a > 0.0 else a + alpha
    if code == SELU:
        return SELU_SCALE if a > 0.0 else a + SELU_SCALE * SELU_ALPHA
    if code == SOFTPLUS:  # sigmoid(z) = 1 - exp(-softplus(z))
        return -math.expm1(-a)
    if code == SOFTSIGN:  # 1 / (1 + |z|)^2
        return (1.0 - abs(a)) * (1.0 - abs(a))
    if code == RELU6:
        return 1.0 if 0.0 < a < 6.0 else 0.0
    if code == CELU:  # exp(z / alpha)
        return 1.0 if a > 0.0 else a / alpha + 1.0
    return 1.0


def activation_and_slope(code, z):
    """(f(z), f'(z)) for the codes from GELU on, whose slope is no function of the output alone."""
    z = 1.0 * float(z)
    if code == HARD_SWISH:
        f = (-3.0 if z < -3.0 else z) * ((0.0 if z <= -3.0 else 6.0 if z >= 3.0 else z + 3.0) / 6.0)
        return f, 0.0 if z <= -3.0 else 1.0 if z >= 3.0 else z / 3.0 + 0.5
    low = -40.0 if z < -40.0 else z  # beyond, f is 0 (or f' 1) to the last bit; and inf times 0 must not meet
    w = 40.0 if low > 40.0 else low
    if code == GELU:
        phi = 0.5 * math.erfc(-SQRT_HALF * z)
        return low * phi, phi + w * math.exp(-0.5 * w * w) * INV_SQRT_2PI
    if code == GELU_TANH:
        e = math.exp(-abs(GELU_TANH_SLOPE * w * (1.0 + GELU_TANH_CUBIC * w * w)))
        up, down = 1.0 / (1.0 + e), e / (1.0 + e)
        s = down if z < 0.0 else up
        return low * s, s + w * up * down * GELU_TANH_SLOPE * (1.0 + 3.0 * GELU_TANH_CUBIC * w * w)
    low = -710.0 if z < -710.0 else z
    w = 710.0 if low > 710.0 else low
    e = math.exp(-abs(z))
    if code == SILU:
        up, down = 1.0 / (1.0 + e), e / (1.0 + e)
        s = down if z < 0.0 else up
        return low * s, s + w * up * down
    if z < 0.0:  # mish, see activation; f' = t + z 4 e^z (1 + e^z) / (n + 2)^2
        n = e * (e + 2.0)
        return low * (n / (n + 2.0)), n / (n + 2.0) + w * 4.0 * e * (1.0 + e) / ((n + 2.0) * (n + 2.0))
    n = 1.0 + 2.0 * e + 2.0 * e * e
    t = (1.0 + 2.0 * e) / n
    return low * t, t + w * 4.0 * e * e * (1.0 + e) / (n * n)


def activate(table, code, n, Z, z, A, a, slopes, s, alpha, o):
    """a = f(z), over n lines; z and a may be the same. `slopes` gets f' where f' is no function of a."""
    parameter = 1.0 * float(alpha[o])
    for i in range(n * (LINE // A.itemsize)):
        if code >= GELU:
            A[a + i], slopes[s + i] = activation_and_slope(code, Z[z + i])
        else:
            A[a + i] = activation(code, Z[z + i], parameter)


def slope(table, code, n, A, a, D, d, alpha, o):
    """d <- d f'(z), over n lines; a holds the activation, or the slopes where `activate` wrote them."""
    parameter = 1.0 * float(alpha[o])
    for i in range(n * (LINE // A.itemsize)):
        if code >= GELU:
            D[d + i] *= A[a + i]
        else:
            D[d + i] *= D.dtype.type(slope_from_output(code, A[a + i], parameter))


HELPERS = (activation, slope_from_output, activation_and_slope)
