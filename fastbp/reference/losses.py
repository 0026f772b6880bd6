"""Loss functions, row by row, and their derivatives. Goodfellow et al. 2016, section 6.2."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.reference.activations import sigmoid

Array = npt.NDArray[Any]


def mean_squared_error(A: Array, Y: Array) -> tuple[Array, Array]:
    """l_i = mean_j (a_ij - y_ij)^2, dl/da_ij = 2 (a_ij - y_ij) / outputs; A, Y (rows, outputs)."""
    E = A - Y
    return np.square(E).sum(axis=1) / E.shape[1], E * (2 / E.shape[1])


def cross_entropy(Z: Array, y: Array) -> tuple[Array, Array]:
    """l_i = log sum_j exp(z_ij) - z_i,y_i, dl/dz = softmax(z) - one_hot(y); Z (rows, classes), labels y (rows,)."""
    rows = np.arange(len(Z))
    D = Z - Z.max(axis=1, keepdims=True)
    correct = D[rows, y]
    np.exp(D, out=D)
    total = D.sum(axis=1)
    D /= total[:, np.newaxis]
    D[rows, y] -= 1
    return np.log(total) - correct, D


def binary_cross_entropy(Z: Array, Y: Array) -> tuple[Array, Array]:
    """l_i = mean_j (softplus(z_ij) - y_ij z_ij), dl/dz_ij = (sigmoid(z_ij) - y_ij) / outputs; Z, Y (rows, outputs).

    max(z, 0) - y z comes first: it is exact for y of 0 and 1, where softplus(z) - z would cancel.
    """
    L = np.maximum(Z, 0) - Y * Z + np.log1p(np.exp(-np.abs(Z)))
    return L.sum(axis=1) / Z.shape[1], (sigmoid(Z) - Y) / Z.shape[1]


class LossFunctions(NamedTuple):
    """The row losses and their derivatives by the outputs A, or by the logits Z of the activations named `fused`."""

    f: Callable[[Array, Array], tuple[Array, Array]]
    fused: tuple[str, ...]


LOSSES: dict[str, LossFunctions] = {
    "mse": LossFunctions(mean_squared_error, ()),
    "cross_entropy": LossFunctions(cross_entropy, ("softmax", "identity")),
    "binary_cross_entropy": LossFunctions(binary_cross_entropy, ("sigmoid", "identity")),
}
