"""NumPy functions that `to_numpy` copies verbatim into the modules it writes.

A is the output of the previous layer, (n, inputs); every function keeps its dtype.
"""

import math

import numpy as np


def embed(A, tables):
    """The columns without codes, then the embedding of each code; tables: {column: table}, ascending."""
    vectors = []
    for column, table in tables.items():
        codes = A[:, column].astype(np.int64)
        if not np.array_equal(codes, A[:, column]) or (codes < 0).any() or (codes >= len(table)).any():
            raise ValueError(
                f"column {column} of X must hold integer codes from 0 to {len(table) - 1}: correct it"
            )
        vectors.append(table[codes])
    return np.concatenate([np.delete(A, list(tables), axis=1), *vectors], axis=1)


def batch_norm(A, gamma, beta, mean, variance, epsilon):
    """gamma (A - mean) / sqrt(variance + epsilon) + beta, with the moving statistics."""
    return (A - mean) * (gamma / np.sqrt(variance + A.dtype.type(epsilon))) + beta


def layer_norm(A, gamma, beta, epsilon):
    """gamma (A - mean) / sqrt(variance + epsilon) + beta, with the statistics of each row."""
    D = A - A.mean(axis=1, keepdims=True)
    variance = np.square(D).mean(axis=1, keepdims=True)
    return D / np.sqrt(variance + A.dtype.type(epsilon)) * gamma + beta


def sigmoid(Z):
    """1 / (1 + exp(-z)), without overflow."""
    E = np.exp(-np.abs(Z))
    return np.where(Z >= 0, 1, E) / (1 + E)


def tanh(Z):
    """tanh(z)."""
    return np.tanh(Z)


def relu(Z):
    """max(z, 0)."""
    return np.maximum(Z, 0)


def leaky_relu(Z, alpha):
    """z where z > 0, else alpha z."""
    return np.where(Z > 0, Z, alpha * Z)


def elu(Z, alpha):
    """z where z > 0, else alpha (exp(z) - 1)."""
    return np.where(Z > 0, Z, alpha * np.expm1(np.minimum(Z, 0)))


def selu(Z):
    """ELU with the scale and the alpha of Klambauer et al. 2017."""
    return 1.0507009873554805 * elu(Z, 1.6732632423543772)


def gelu(Z):
    """z Phi(z), with Phi the normal CDF."""
    return Z * (0.5 * _erfc(Z * -math.sqrt(0.5))).astype(Z.dtype)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def gelu_tanh(Z):
    """z (1 + tanh(u)) / 2 = z sigmoid(2 u), u = sqrt(2 / pi) (z + 0.044715 z^3)."""
    return Z * sigmoid((math.sqrt(8 / math.pi) * Z) * (1 + 0.044715 * Z * Z))


def silu(Z):
    """z sigmoid(z)."""
    return Z * sigmoid(Z)


def mish(Z):
    """z tanh(softplus(z))."""
    return Z * np.tanh(softplus(Z))


def softplus(Z):
    """log(1 + exp(z))."""
    return np.maximum(Z, 0) + np.log1p(np.exp(-np.abs(Z)))


def softmax(Z):
    """exp(z_j) / sum_k exp(z_k) of each row."""
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)
