"""The losses: their codes, the formulas on scalars, and the twin over a panel.

Elements are computed in float64 whatever comes in, and nothing makes `math` raise where NumPy would give an infinity or
NaN.
"""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE
from fastbp.isa.twins.activations import SIGMOID, activation

LN2 = 0.6931471805599453
TINY = {32: 2.0**-126, 64: 2.0**-1022}  # the least q of a focal loss's q^gamma
TINY_32, TINY_64 = TINY[32], TINY[64]
(
    CROSS_ENTROPY, CATEGORICAL_FOCAL, KL_DIVERGENCE, CATEGORICAL_HINGE, QUANTILE, GAUSSIAN_NLL, MSE, MAE, HUBER,
    LOG_COSH, POISSON, POISSON_LOG, HINGE, BINARY_CROSS_ENTROPY, BINARY_FOCAL,
) = range(15)  # fmt: skip
LOSSES = {
    "cross_entropy": CROSS_ENTROPY, "categorical_focal": CATEGORICAL_FOCAL, "kl_divergence": KL_DIVERGENCE,
    "categorical_hinge": CATEGORICAL_HINGE, "quantile": QUANTILE, "gaussian_nll": GAUSSIAN_NLL, "mse": MSE, "mae": MAE,
    "huber": HUBER, "log_cosh": LOG_COSH, "poisson": POISSON, "poisson_log": POISSON_LOG, "hinge": HINGE,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY, "binary_focal": BINARY_FOCAL,
}  # fmt: skip
CATEGORICAL = 3  # the losses of codes below work from the results of `softmax`
FUSED_WITH_SIGMOID = ("binary_cross_entropy", "binary_focal")  # take logits where the last activation is sigmoid


def loss(table, code, n, Z, z, T, t, D, d, weights, w, losses, o, extra, e, P, p):
    """The rows' losses and D = weight dloss/dz over one panel; the emitter's file explains the operands."""
    L = LINE // Z.itemsize
    for lane in range(L):
        weight = 1.0 * float(weights[w + lane])
        if code < CATEGORICAL:
            total = categorical(code, n, Z, z + lane, T, t + lane, D, d + lane, L, weight, float(extra[e + lane]), P, p)
        elif code == CATEGORICAL_HINGE:
            total = categorical_hinge(n, Z, z + lane, T, t + lane, D, d + lane, L, weight)
        elif code == QUANTILE:
            total = quantile(n, Z, z + lane, T, t + lane, D, d + lane, L, weight, P, p)
        elif code == GAUSSIAN_NLL:
            total = gaussian(n, Z, z + lane, T, t + lane, D, d + lane, L, weight, P, p)
        else:
            total = elements(code, n, Z, z + lane, T, t + lane, D, d + lane, L, weight, P, p)
        losses[o + lane] = total


def elements(code, n, Z, z, T, t, D, d, L, weight, P, p):
    total, share = 0.0, 1.0 / n
    count = int(P[p])
    p1 = float(P[p + 1]) if count > 0 else 0.0
    p2 = float(P[p + 2]) if count > 1 else 0.0
    p3 = float(P[p + 3]) if count > 2 else 0.0
    p4 = float(P[p + 4]) if count > 3 else 0.0
    for i in range(0, n * L, L):
        value, slope = element(code, Z[z + i], T[t + i], p1, p2, p3, p4)
        total += value * share
        D[d + i] = slope * share * weight
    return total


def element(code, z, t, p1, p2, p3, p4):
    """Value and derivative of a loss that is a mean over elements."""
    z, t = 1.0 * float(z), 1.0 * float(t)
    e = z - t
    if code == MSE:
        return e * e, 2.0 * e
    if code == MAE:
        return abs(e), sign(e)
    if code == HUBER:
        c = p1 if e > p1 else -p1 if e < -p1 else e
        return c * (e - 0.5 * c), c
    if code == LOG_COSH:
        m = math.expm1(-abs(e))
        if abs(e) < 1.0:
            return math.log1p(m * m / (2.0 * (1.0 + m))), math.tanh(e)
        return abs(e) - LN2 + math.log1p(math.exp(-2.0 * abs(e))), math.tanh(e)
    if code == POISSON:
        return z - t * logarithm(z + p1), 1.0 - t / (z + p1) if z + p1 != 0.0 else -math.inf
    if code == POISSON_LOG:
        rate = math.exp(z) if z < 709.0 else math.inf
        return rate - t * z, rate - t
    if code == HINGE:
        margin = 1.0 - t * z
        return 0.0 if margin <= 0.0 else margin, -t if margin > 0.0 else 0.0
    if code == BINARY_CROSS_ENTROPY:
        t = (1.0 - p1) * t + 0.5 * p1
        return binary(z, t), activation(SIGMOID, z, 0.0) - t
    gamma, positive, negative = p1, p3, p4  # BINARY_FOCAL
    t = (1.0 - p2) * t + 0.5 * p2
    right, wrong = activation(SIGMOID, z, 0.0), activation(SIGMOID, -z, 0.0)
    q = max(TINY_64, t * wrong + (1.0 - t) * right)
    weight = (t * positive + (1.0 - t) * negative) * math.exp(gamma * math.log(q))
    turn = gamma * (1.0 - 2.0 * t) * (right * wrong / q)
    return weight * binary(z, t), weight * (turn * binary(z, t) + (1.0 - t) * right - t * wrong)


def binary(z, t):
    """softplus(z) - t z."""
    return (0.0 if z <= 0.0 else z) - t * z + math.log1p(math.exp(-abs(z)))


def sign(e):
    return 1.0 if e > 0.0 else -1.0 if e < 0.0 else e


def logarithm(v):
    return math.log(v) if v > 0.0 else -math.inf if v == 0.0 else math.nan


def quantile(n, Z, z, T, t, D, d, L, weight, P, p):
    total, share, quantiles = 0.0, 1.0 / n, int(P[p])
    for i in range(n):
        tau = float(P[p + 1 + i % quantiles])
        e = float(T[t + i // quantiles * L]) - float(Z[z + i * L])
        total += (tau - 1.0 if e < 0.0 else tau) * e * share
        D[d + i * L] = (1.0 - tau if e < 0.0 else -tau if e > 0.0 else 0.0) * share * weight
    return total


def gaussian(n, Z, z, T, t, D, d, L, weight, P, p):
    low, constant = float(P[p + 1]), float(P[p + 2])
    total, half, share = 0.0, n // 2, 2.0 / n
    for i in range(half):
        s = float(Z[z + (i + half) * L])
        s = low if s < low else s
        narrow = math.exp(-0.5 * s)
        r = (float(Z[z + i * L]) - float(T[t + i * L])) * narrow
        total += (0.5 * (r * r + s) + constant) * share
        D[d + i * L] = r * narrow * share * weight
        D[d + (i + half) * L] = (0.5 - 0.5 * r * r) * share * weight
    return total


def categorical_hinge(n, Z, z, T, t, D, d, L, weight):
    top, place, right = -math.inf, 0, 0.0
    for i in range(n):
        a, target = float(Z[z + i * L]), float(T[t + i * L])
        right += target * a
        if (1.0 - target) * a > top:
            top, place = (1.0 - target) * a, i
    total = 1.0 + top - right
    total = 0.0 if total < 0.0 else total
    for i in range(n):
        target = float(T[t + i * L])
        slope = (1.0 - target if i == place else 0.0) - target
        D[d + i * L] = slope * weight if total > 0.0 else 0.0
    return total


def categorical(code, n, Z, z, T, t, D, d, L, weight, logsum, P, p):
    """Of softmax outputs; D holds the probabilities on entry."""
    smoothing = 0.0 if code == KL_DIVERGENCE else float(P[p + 1 + (code == CATEGORICAL_FOCAL)])
    gamma, count = float(P[p + 1]), int(P[p])
    total, mass = 0.0, 0.0
    for i in range(n):
        target = (1.0 - smoothing) * float(T[t + i * L]) + smoothing / n
        if code == CATEGORICAL_FOCAL and target != 0.0:
            alpha = float(P[p + 3 + (i if count > 3 else 0)])
            value, slope = focal(target, logsum - float(Z[z + i * L]), gamma, alpha)
            total += value
            mass -= slope
        elif code != CATEGORICAL_FOCAL:
            mass += target
            if target != 0.0:
                value = logsum - float(Z[z + i * L])
                total += target * (value + math.log(target) if code == KL_DIVERGENCE else value)
    for i in range(n):
        target = (1.0 - smoothing) * float(T[t + i * L]) + smoothing / n
        slope = -target
        if code == CATEGORICAL_FOCAL and target != 0.0:
            alpha = float(P[p + 3 + (i if count > 3 else 0)])
            _, slope = focal(target, logsum - float(Z[z + i * L]), gamma, alpha)
        D[d + i * L] = (float(D[d + i * L]) * mass + slope) * weight
    return total


def focal(t, l, gamma, alpha):  # noqa: E741
    """alpha t (1 - p)^gamma l with l = -log p, and p times its derivative by p."""
    l = max(0.0, l)  # noqa: E741
    q = max(TINY_64, -math.expm1(-l))
    weight = alpha * t * math.exp(gamma * math.log(q))
    return weight * l, -weight * (gamma * math.exp(-l) * (l / q) + 1.0)


HELPERS = (
    elements, element, binary, sign, logarithm, quantile, gaussian, categorical_hinge, categorical, focal,
)  # fmt: skip
