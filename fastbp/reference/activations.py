"""Activation functions f(Z) and their derivatives f'(Z). Goodfellow et al. 2016, sections 6.2.2 and 6.3."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.spec import SELU_ALPHA, SELU_SCALE, ScalarFunctions

Array = npt.NDArray[Any]


def sigmoid(Z: Array) -> Array:
    """1 / (1 + exp(-z)), written without the exponential of a positive number: it neither overflows nor cancels."""
    E = np.exp(-np.abs(Z))
    A: Array = np.where(Z >= 0, 1, E) / (1 + E)
    return A


def softplus(Z: Array) -> Array:
    """log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))."""
    return np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z)))


def softmax(Z: Array) -> Array:
    """exp(z_j) / sum_k exp(z_k) of each row; the row's maximum is subtracted first, so that exp cannot overflow."""
    A: Array = np.exp(Z - Z.max(axis=1, keepdims=True))
    A /= A.sum(axis=1, keepdims=True)
    return A


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def normal_cdf(Z: Array) -> Array:
    """Phi(z) = (1 + erf(z / sqrt 2)) / 2 = erfc(-z / sqrt 2) / 2; the latter does not cancel for negative z.

    erfc is evaluated in float64, whatever the dtype.
    """
    P: Array = (0.5 * _erfc(Z.astype(np.float64) * -math.sqrt(0.5))).astype(Z.dtype)
    return P


def normal_pdf(Z: Array) -> Array:
    """phi(z) = exp(-z^2 / 2) / sqrt(2 pi)."""
    return np.exp(-0.5 * Z * Z) / math.sqrt(2 * math.pi)


def elu(Z: Array, alpha: float) -> Array:
    """z where z > 0, else alpha (exp(z) - 1)."""
    return np.where(Z > 0, Z, alpha * np.expm1(np.minimum(Z, 0)))


def elu_derivative(Z: Array, alpha: float) -> Array:
    """1 where z > 0, else alpha exp(z)."""
    return np.where(Z > 0, 1, alpha * np.exp(np.minimum(Z, 0)))


def celu(Z: Array, alpha: float) -> Array:
    """z where z > 0, else alpha (exp(z / alpha) - 1)."""
    return np.where(Z > 0, Z, alpha * np.expm1(np.minimum(Z, 0) / alpha))


def celu_derivative(Z: Array, alpha: float) -> Array:
    """1 where z > 0, else exp(z / alpha)."""
    return np.where(Z > 0, 1, np.exp(np.minimum(Z, 0) / alpha))


def silu_derivative(Z: Array) -> Array:
    """s + z s (1 - s), with s = sigmoid(z) and 1 - s = sigmoid(-z)."""
    D: Array = sigmoid(Z) * (1 + Z * sigmoid(-Z))
    return D


def hard_swish_derivative(Z: Array) -> Array:
    """0 where z <= -3, 1 where z >= 3, z / 3 + 1/2 between."""
    return np.where(Z <= -3, 0, np.where(Z >= 3, 1, Z / 3 + 0.5))


def mish_derivative(Z: Array) -> Array:
    """t + z (1 - t^2) sigmoid(z), with t = tanh(softplus(z))."""
    T = np.tanh(softplus(Z))
    D: Array = T + Z * (1 - T * T) * sigmoid(Z)
    return D


def gelu_tanh_inner(Z: Array) -> Array:
    """2 u, with u = sqrt(2 / pi) (z + 0.044715 z^3); GELU is approximately z (1 + tanh u) / 2 = z sigmoid(2 u)."""
    return (math.sqrt(8 / math.pi) * Z) * (1 + 0.044715 * Z * Z)


def gelu_tanh_derivative(Z: Array) -> Array:
    """s + z s (1 - s) 2 u', with s = sigmoid(2 u)."""
    U = gelu_tanh_inner(Z)
    return sigmoid(U) * (1 + Z * sigmoid(-U) * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * Z * Z))


class ActivationFunctions(NamedTuple):
    """An activation function and its derivative.

    Parameters
    ----------
    f : callable
        f(Z, alpha).
    derivative : callable
        f'(Z, A, alpha), where A = f(Z): many derivatives are cheaper in terms of A.
    """

    f: Callable[[Array, float], Array]
    derivative: Callable[[Array, Array, float], Array]


# At a kink the derivative is the left one, as in PyTorch; at the upper kinks of relu6 and hard_swish the right one.
ACTIVATIONS: dict[str, ActivationFunctions] = {
    "identity": ActivationFunctions(lambda Z, _: Z, lambda Z, A, _: np.ones_like(Z)),
    "sigmoid": ActivationFunctions(lambda Z, _: sigmoid(Z), lambda Z, A, _: A * (1 - A)),
    "tanh": ActivationFunctions(lambda Z, _: np.tanh(Z), lambda Z, A, _: 1 - A * A),
    "softsign": ActivationFunctions(
        lambda Z, _: Z / (1 + np.abs(Z)), lambda Z, A, _: 1 / np.square(1 + np.abs(Z))
    ),
    "relu": ActivationFunctions(lambda Z, _: np.maximum(Z, 0), lambda Z, A, _: A > 0),
    "relu6": ActivationFunctions(lambda Z, _: np.clip(Z, 0, 6), lambda Z, A, _: (A > 0) & (A < 6)),
    "leaky_relu": ActivationFunctions(
        lambda Z, alpha: np.where(Z > 0, Z, alpha * Z),
        lambda Z, A, alpha: np.where(Z > 0, 1, np.asarray(alpha, Z.dtype)),
    ),
    "elu": ActivationFunctions(elu, lambda Z, A, alpha: elu_derivative(Z, alpha)),
    "celu": ActivationFunctions(celu, lambda Z, A, alpha: celu_derivative(Z, alpha)),
    "selu": ActivationFunctions(
        lambda Z, _: SELU_SCALE * elu(Z, SELU_ALPHA),
        lambda Z, A, _: SELU_SCALE * elu_derivative(Z, SELU_ALPHA),
    ),
    "gelu": ActivationFunctions(lambda Z, _: Z * normal_cdf(Z), lambda Z, A, _: normal_cdf(Z) + Z * normal_pdf(Z)),
    "gelu_tanh": ActivationFunctions(
        lambda Z, _: Z * sigmoid(gelu_tanh_inner(Z)), lambda Z, A, _: gelu_tanh_derivative(Z)
    ),
    "silu": ActivationFunctions(lambda Z, _: Z * sigmoid(Z), lambda Z, A, _: silu_derivative(Z)),
    "hard_swish": ActivationFunctions(
        lambda Z, _: Z * np.clip(Z + 3, 0, 6) / 6, lambda Z, A, _: hard_swish_derivative(Z)
    ),
    "mish": ActivationFunctions(lambda Z, _: Z * np.tanh(softplus(Z)), lambda Z, A, _: mish_derivative(Z)),
    "softplus": ActivationFunctions(lambda Z, _: softplus(Z), lambda Z, A, _: sigmoid(Z)),
}  # softmax is not elementwise: see `activate` and `activation_delta` in network.py


def functions_of(activation: str | ScalarFunctions) -> ActivationFunctions:
    """The functions of that name in ACTIVATIONS, or a user-defined pair applied element by element."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation]
    f = np.vectorize(activation.function, otypes=[np.float64])
    derivative = np.vectorize(activation.derivative, otypes=[np.float64])
    return ActivationFunctions(lambda Z, _: f(Z).astype(Z.dtype), lambda Z, A, _: derivative(Z).astype(Z.dtype))
