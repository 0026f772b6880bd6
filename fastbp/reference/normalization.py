"""Batch and layer normalization, and their derivatives::

    X_hat = (X - mean) / sqrt(variance + epsilon)        Z = gamma X_hat + beta

Mean and (biased) variance are taken for each unit over the batch in batch normalization (Ioffe and Szegedy 2015;
Goodfellow et al. 2016, section 8.7.1), for each row over its units in layer normalization (Ba, Kiros and Hinton 2016).
Both depend on X, which gives the derivative its last two terms::

    dX = (D - mean(D) - X_hat mean(D X_hat)) / sqrt(variance + epsilon)        D = gamma dZ
    dgamma = column sums of dZ X_hat        dbeta = column sums of dZ
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
COLUMNS, ROWS = 0, 1  # the axis along which means are taken: batch normalization, layer normalization


class Normalized(NamedTuple):
    """What the backward pass and the moving statistics need; mean and variance keep the reduced axis."""

    X_hat: Array
    mean: Array
    variance: Array
    scale: Array  # 1 / sqrt(variance + epsilon)


def normalize(X: Array, epsilon: float, axis: int) -> Normalized:
    """X_hat, and the statistics it was computed with."""
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
    """X_hat from the moving statistics, which batch normalization uses outside of training."""
    X_hat: Array = (X - mean) * (1 / np.sqrt(variance + np.asarray(epsilon, X.dtype)))
    return X_hat


def move(moving_mean: Array, moving_variance: Array, batch: Normalized, momentum: float) -> None:
    """moving <- (1 - momentum) moving + momentum new, in place; as in PyTorch, momentum is the weight of the new value.

    The variance is made unbiased, times n / (n - 1); a single row has none. Non-finite values are skipped.
    """
    n = len(batch.X_hat)
    pairs = [(moving_mean, batch.mean[0])]
    if n > 1:
        pairs.append((moving_variance, batch.variance[0] * (n / (n - 1))))
    for moving, new in pairs:
        updated = (1 - momentum) * moving + momentum * new
        np.copyto(moving, updated, where=np.isfinite(updated))
