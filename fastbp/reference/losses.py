"""Loss functions, row by row, and their derivatives. Goodfellow et al. 2016, section 6.2.

Each takes outputs A, or logits Z, of shape (rows, outputs), targets, and its parameters. It returns the losses of the
rows, (rows,), and their derivatives with respect to A or Z. A loss that is a mean over the outputs of a row is
l_i = mean_j l(a_ij, y_ij).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.reference.activations import sigmoid
from fastbp.spec import ScalarFunctions

Array = npt.NDArray[Any]


def mean_over_outputs(L: Array, D: Array) -> tuple[Array, Array]:
    """The row means of elementwise losses, and the derivatives of these means."""
    return L.sum(axis=1) / L.shape[1], D / L.shape[1]


# ---------------------------------------------------------------- regression


def mean_squared_error(A: Array, Y: Array) -> tuple[Array, Array]:
    """l = (a - y)^2, dl/da = 2 (a - y)."""
    E = A - Y
    return np.square(E).sum(axis=1) / E.shape[1], E * (2 / E.shape[1])


def mean_absolute_error(A: Array, Y: Array) -> tuple[Array, Array]:
    """l = |a - y|, dl/da = sign(a - y)."""
    E = A - Y
    return mean_over_outputs(np.abs(E), np.sign(E))


def huber(A: Array, Y: Array, delta: float) -> tuple[Array, Array]:
    """l = e^2 / 2 if |e| <= delta, else delta (|e| - delta / 2), e = a - y; dl/da = e clipped to [-delta, delta]."""
    E = A - Y
    C = np.clip(E, -delta, delta)
    return mean_over_outputs(C * (E - 0.5 * C), C)


def log_cosh(A: Array, Y: Array) -> tuple[Array, Array]:
    """l = log cosh e, with e = a - y; dl/da = tanh e.

    Small errors: log(1 + m^2 / (2 (1 + m))) with m = exp(-|e|) - 1. Large errors: |e| - log 2 + log(1 + exp(-2|e|)).
    """
    E = A - Y
    size = np.abs(E)
    M = np.expm1(-np.minimum(size, 1))
    small, large = np.log1p(M * M / (2 * (1 + M))), size - math.log(2) + np.log1p(np.exp(-2 * size))
    return mean_over_outputs(np.where(size < 1, small, large), np.tanh(E))


def quantile(A: Array, Y: Array, *quantiles: float) -> tuple[Array, Array]:
    """l = tau e if e >= 0, else (tau - 1) e, e = y - a; A has one column per quantile tau for each column of Y."""
    E = np.repeat(Y, len(quantiles), axis=1) - A
    tau = np.tile(np.asarray(quantiles, A.dtype), Y.shape[1])
    D = np.where(E > 0, -tau, np.where(E < 0, 1 - tau, 0 * tau))
    return mean_over_outputs(np.where(E < 0, tau - 1, tau) * E, D)


def poisson(A: Array, Y: Array, epsilon: float) -> tuple[Array, Array]:
    """l = a - y log(a + epsilon), dl/da = 1 - y / (a + epsilon)."""
    rate = A + np.asarray(epsilon, A.dtype)
    return mean_over_outputs(A - Y * np.log(rate), 1 - Y / rate)


def poisson_log(Z: Array, Y: Array) -> tuple[Array, Array]:
    """l = exp(z) - y z, dl/dz = exp(z) - y."""
    rate = np.exp(Z)
    return mean_over_outputs(rate - Y * Z, rate - Y)


def gaussian_nll(Z: Array, Y: Array, low: float, constant: float) -> tuple[Array, Array]:
    """l = (s + (a - y)^2 exp(-s)) / 2 + constant; Z holds the means a, then the log-variances s, bounded below by low.

    The derivative by s is (1 - (a - y)^2 exp(-s)) / 2 also below the bound: otherwise a tiny variance could never grow.
    """
    k = Y.shape[1]
    S = np.maximum(Z[:, k:], np.asarray(low, Z.dtype))
    narrow = np.exp(-0.5 * S)
    R = (Z[:, :k] - Y) * narrow
    losses, _ = mean_over_outputs(0.5 * (S + R * R) + np.asarray(constant, Z.dtype), R)
    return losses, np.concatenate([R * narrow, 0.5 - 0.5 * R * R], axis=1) / k


# ---------------------------------------------------------------- two classes


def hinge(A: Array, Y: Array) -> tuple[Array, Array]:
    """l = max(0, 1 - y a), with y = 1 or -1; dl/da = -y where l > 0."""
    margin = 1 - Y * A
    return mean_over_outputs(np.maximum(margin, 0), np.where(margin > 0, -Y, 0 * Y))


def binary_terms(Z: Array, Y: Array) -> Array:
    """softplus(z) - y z, as max(z, 0) - y z + log(1 + exp(-|z|)): exact for y = 1, where softplus(z) - z cancels."""
    L: Array = np.maximum(Z, 0) - Y * Z + np.log1p(np.exp(-np.abs(Z)))
    return L


def binary_cross_entropy(Z: Array, Y: Array, smoothing: float = 0.0) -> tuple[Array, Array]:
    """l = softplus(z) - y z, dl/dz = sigmoid(z) - y, for targets y <- (1 - smoothing) y + smoothing / 2.

    Goodfellow et al. 2016, section 6.2.2.2.
    """
    Y = smoothed(Y, smoothing, 2)
    return mean_over_outputs(binary_terms(Z, Y), sigmoid(Z) - Y)


def binary_focal(
    Z: Array, Y: Array, gamma: float, smoothing: float, positive: float, negative: float
) -> tuple[Array, Array]:
    """l = w q^gamma (softplus(z) - y z); q = y (1 - p) + (1 - y) p, p = sigmoid(z), w = y positive + (1 - y) negative.

    dl/dz = w q^gamma (gamma (1 - 2 y) p (1 - p) / q (softplus(z) - y z) + p - y).
    """
    Y = smoothed(Y, smoothing, 2)
    P, rest = sigmoid(Z), sigmoid(-Z)
    Q = np.maximum(Y * rest + (1 - Y) * P, np.finfo(Z.dtype).tiny)
    weight, B = (Y * positive + (1 - Y) * negative) * Q**gamma, binary_terms(Z, Y)
    return mean_over_outputs(
        weight * B, weight * (gamma * (1 - 2 * Y) * (P * rest / Q) * B + ((1 - Y) * P - Y * rest))
    )


def smoothed(Y: Array, smoothing: float, classes: int) -> Array:
    """(1 - smoothing) y + smoothing / classes."""
    return Y * (1 - smoothing) + smoothing / classes if smoothing else Y


# ---------------------------------------------------------------- several classes


def class_rows(y: Array, Z: Array) -> Array:
    """Targets as rows: class labels (rows,) become one-hot rows."""
    if y.ndim == 2:
        return y
    Y = np.zeros_like(Z)
    Y[np.arange(len(Z)), y] = 1
    return Y


def log_probabilities(Z: Array) -> Array:
    """-log softmax(z) = log sum_j exp(z_j) - z, for each row."""
    D = Z.max(axis=1, keepdims=True) - Z
    L: Array = D + np.log(np.exp(-D).sum(axis=1, keepdims=True))
    return L


def of_target(Y: Array, L: Array) -> Array:
    """The sum of Y L over each row; a target of 0 contributes 0 even if L is infinite."""
    total: Array = np.where(Y == 0, 0, Y * L).sum(axis=1)
    return total


def cross_entropy(Z: Array, y: Array, smoothing: float = 0.0) -> tuple[Array, Array]:
    """l_i = sum_j y_ij (log sum_k exp(z_ik) - z_ij), dl/dz = softmax(z) sum_j y_ij - y; y: rows, or class labels.

    Goodfellow et al. 2016, section 6.2.2.3.
    """
    if y.ndim == 1 and not smoothing:
        return label_cross_entropy(Z, y)
    Y = smoothed(class_rows(y, Z), smoothing, Z.shape[1])
    L = log_probabilities(Z)
    return of_target(Y, L), np.exp(-L) * Y.sum(axis=1, keepdims=True) - Y


def label_cross_entropy(Z: Array, y: Array) -> tuple[Array, Array]:
    """l_i = log sum_j exp(z_ij) - z_i,y_i, dl/dz = softmax(z) - one_hot(y); Z (rows, classes), labels y (rows,)."""
    rows = np.arange(len(Z))
    D = Z - Z.max(axis=1, keepdims=True)
    correct = D[rows, y]
    np.exp(D, out=D)
    total = D.sum(axis=1)
    D /= total[:, np.newaxis]
    D[rows, y] -= 1
    return np.log(total) - correct, D


def kl_divergence(Z: Array, y: Array) -> tuple[Array, Array]:
    """l_i = sum_j y_ij log(y_ij / p_ij), with p = softmax(z); dl/dz = p sum_j y_ij - y."""
    Y = class_rows(y, Z)
    L = log_probabilities(Z)
    losses = of_target(Y, L + np.log(np.where(Y == 0, 1, Y)))
    return losses, np.exp(-L) * Y.sum(axis=1, keepdims=True) - Y


def categorical_focal(Z: Array, y: Array, gamma: float, smoothing: float, *alpha: float) -> tuple[Array, Array]:
    """l_i = sum_j alpha_j y_ij (1 - p_ij)^gamma L_ij, with L = -log p, p = softmax(z); one alpha, or one per class.

    dl/dz = G - p sum_j G_j, with G_j = p_j dl/dp_j = -alpha_j y_j (1 - p_j)^gamma (gamma p_j L_j / (1 - p_j) + 1).
    """
    Y = smoothed(class_rows(y, Z), smoothing, Z.shape[1])
    L = np.maximum(log_probabilities(Z), 0)
    P, Q = np.exp(-L), np.maximum(-np.expm1(-L), np.finfo(Z.dtype).tiny)
    weight = np.asarray(alpha, Z.dtype) * Y * Q**gamma
    G = np.where(Y == 0, 0, -weight * (gamma * P * (L / Q) + 1))
    return of_target(weight, L), G - P * G.sum(axis=1, keepdims=True)


def categorical_hinge(A: Array, y: Array) -> tuple[Array, Array]:
    """l_i = max(0, 1 + max_j (1 - y_ij) a_ij - sum_j y_ij a_ij)."""
    Y = class_rows(y, A)
    wrong = (1 - Y) * A
    largest = wrong.argmax(axis=1)[:, np.newaxis]
    losses = np.maximum(1 + wrong.max(axis=1) - (Y * A).sum(axis=1), 0)
    D = -Y
    np.put_along_axis(D, largest, 1 - 2 * np.take_along_axis(Y, largest, axis=1), axis=1)
    return losses, np.where(losses[:, np.newaxis] > 0, D, 0 * D)


class LossFunctions(NamedTuple):
    """A loss function, with its derivative.

    Parameters
    ----------
    f : callable
        ``f(A, y, *parameters)`` returns the losses of the rows and their derivatives with respect to A.
    fused : tuple of str
        Last activations that are fused with the loss: f takes the logits Z instead of the outputs A.
    """

    f: Callable[..., tuple[Array, Array]]
    fused: tuple[str, ...] = ()


_SIGMOID, _SOFTMAX = ("sigmoid", "identity"), ("softmax", "identity")
LOSSES: dict[str, LossFunctions] = {
    "mse": LossFunctions(mean_squared_error),
    "mae": LossFunctions(mean_absolute_error),
    "huber": LossFunctions(huber),
    "log_cosh": LossFunctions(log_cosh),
    "quantile": LossFunctions(quantile),
    "poisson": LossFunctions(poisson),
    "poisson_log": LossFunctions(poisson_log),
    "gaussian_nll": LossFunctions(gaussian_nll),
    "hinge": LossFunctions(hinge),
    "categorical_hinge": LossFunctions(categorical_hinge),
    "cross_entropy": LossFunctions(cross_entropy, _SOFTMAX),
    "categorical_focal": LossFunctions(categorical_focal, _SOFTMAX),
    "kl_divergence": LossFunctions(kl_divergence, _SOFTMAX),
    "binary_cross_entropy": LossFunctions(binary_cross_entropy, _SIGMOID),
    "binary_focal": LossFunctions(binary_focal, _SIGMOID),
}


def custom_loss(functions: ScalarFunctions) -> LossFunctions:
    """A user-defined loss of one element, l(a, y) and its derivative by a, as a mean over outputs."""
    value = np.vectorize(functions.function, otypes=[np.float64])
    derivative = np.vectorize(functions.derivative, otypes=[np.float64])

    def f(A: Array, Y: Array) -> tuple[Array, Array]:
        return mean_over_outputs(value(A, Y).astype(A.dtype), derivative(A, Y).astype(A.dtype))

    return LossFunctions(f)
