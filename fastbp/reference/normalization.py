"""Normalisation of a batch by its columns and by its rows, and the derivatives.

    X_hat = (X - mean) / sqrt(variance + epsilon)        Z = gamma X_hat + beta

mean and variance, divided by their number of elements, are those of each unit over the batch in batch normalisation
(Ioffe and Szegedy 2015; Goodfellow et al. 2016, section 8.7.1), those of each row over its units in layer normalisation
(Ba, Kiros and Hinton 2016). Both depend on X, which gives the derivative its two last terms:

    dX = (D - mean(D) - X_hat mean(D X_hat)) / sqrt(variance + epsilon)        D = gamma dZ
    dgamma = column sums of dZ X_hat        dbeta = column sums of dZ
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
COLUMNS, ROWS = 0, 1  # the axis along which means are taken: batch normalisation, layer normalisation


class Normalized(NamedTuple):
    """What backward needs of forward, and moving statistics: mean and variance keep the axis they were taken along."""

    X_hat: Array
    mean: Array
    variance: Array
    scale: Array  # 1 / sqrt(variance + epsilon)


def normalize(X: Array, epsilon: float, axis: int) -> Normalized:
    """X_hat and what it was made with."""
    mean = X.mean(axis=axis, keepdims=True)
    D = X - mean
    variance = np.square(D).mean(axis=axis, keepdims=True)
    scale = 1 / np.sqrt(variance + np.asarray(epsilon, X.dtype))
    return Normalized(D * scale, mean, variance, scale)


def normalize_backward(dZ: Array, gamma: Array, forward: Normalized, axis: int) -> tuple[Array, Array, Array]:
    """dX, dgamma and dbeta."""
    X_hat, _, _, scale = forward
    D = gamma * dZ
    dX = (D - D.mean(axis=axis, keepdims=True) - X_hat * (D * X_hat).mean(axis=axis, keepdims=True)) * scale
    return dX, (dZ * X_hat).sum(axis=0), dZ.sum(axis=0)


def normalize_with(X: Array, mean: Array, variance: Array, epsilon: float) -> Array:
    """X_hat with the moving statistics: what batch normalisation does outside of training."""
    X_hat: Array = (X - mean) * (1 / np.sqrt(variance + np.asarray(epsilon, X.dtype)))
    return X_hat


def move(moving_mean: Array, moving_variance: Array, batch: Normalized, momentum: float) -> None:
    """moving <- (1 - momentum) moving + momentum new, in place: momentum weighs the new value, as in PyTorch.

    The variance that goes in is the unbiased one, times n / (n - 1); one row has none. What is not finite stays out.
    """
    n = len(batch.X_hat)
    news = [(moving_mean, batch.mean[0])]
    if n > 1:
        news.append((moving_variance, batch.variance[0] * (n / (n - 1))))
    for moving, new in news:
        moved = (1 - momentum) * moving + momentum * new
        np.copyto(moving, moved, where=np.isfinite(moved))
