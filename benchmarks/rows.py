"""The rows that `benchmarks.compare` measures: those of `fastbp bench`, and more.

11: batch norm and dropout after each hidden layer, Dense (without bias) - BatchNorm - ReLU - Dropout. 12: a residual
network, Dense, blocks of two Dense whose sum with their input goes through ReLU, Dense; trained by AdamW with weight
decay and clipping by the global norm. 13: a bag of words in CSR, on which only the columns that occur need an update.
14 to 28: networks nothing here was tuned on, most of whose widths and batches fill no vector register.
From 29 on: others' published workloads. 29, 30: the two of SimpleChains.jl's documentation; the second has no bias in
its last layer there, and is trained by Adam here. 31: a regressor of a table with many columns. 32: the DCASE
challenges' baseline of anomalous sound detection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.cli import bench
from fastbp.cli.bench import MAX_STEPS, Row, Workload, glorot_weights, specs, step_flops
from fastbp.spec import LayerSpec
from fastbp.util.types import Array

CLIP_NORM = 1.0
ROWS = (
    *bench.ROWS,
    Row((784, 512, 512, 10), 128, kind="batch_norm", dropout=0.2),
    Row((784, *[512] * 17, 10), 256, "adamw", kind="residual", global_clipnorm=CLIP_NORM),
    Row((20_000, 256, 10), 128, "sgd", kind="csr", nonzeros=100),
    Row((13, 50, 50, 1), 20, loss="mse"),
    Row((30, 100, 2), 50),
    *(Row((10, width, width, 10), 128) for width in (32, 45, 46, 64, 128, 256)),
    Row((54, 256, 128, 7), 200),
    Row((500, 333, 77, 12), 100),
    Row((90, 300, 200, 100, 1), 128, loss="mse"),
    Row((1000, 1000, 1000, 100), 64),
    Row((128,) * 21, 256, "sgd", "mse"),
    Row((784, 2000, 1000, 500, 10), 512),
    Row((512, 512), 8192, "sgd", "mse"),
    Row((4, 32, 16, 4), 10_000, loss="mse", activation="tanh", full_batch=True),
    Row((24, 8, 2), 200, loss="mse", dropout=0.2, activation="tanh", dtype="float64", full_batch=True),
    Row((1446, 512, 256, 64, 1), 128, "adamw", "huber", dropout=0.2),
    Row((640, *[128] * 4, 8, *[128] * 4, 640), 512, loss="mse", data="autoencoder", kind="batch_norm"),
)
MOMENTUM, EPSILON = 0.1, 1e-5  # of batch normalization, as in PyTorch: weight of new values in moving statistics


Activation = Callable[[Any], Any]
ACTIVATIONS: dict[str, Activation] = {"relu": lambda Z: np.maximum(Z, 0.0), "tanh": np.tanh}


def checked_row(row: Row) -> Row:
    """The row for the check: without dropout, whose masks differ between libraries."""
    return row._replace(dropout=0.0)


def layer_specs(row: Row) -> list[LayerSpec]:
    """The network's nodes, as the reference and the engine take them."""
    dense = [LayerSpec(units, activation) for units, activation in specs(row)]
    match row.kind:
        case "batch_norm":
            return [*(node for spec in dense[:-1] for node in _normalized(spec, row.dropout)), dense[-1]]
        case "residual":
            nodes = [LayerSpec(row.sizes[1])]
            for first, second in zip(row.sizes[2:-1:2], row.sizes[3:-1:2], strict=True):
                skip = len(nodes) - 1
                nodes += [LayerSpec(first, "relu"), LayerSpec(second), LayerSpec(second, "relu", kind="add", skip=skip)]
            return [*nodes, dense[-1]]
    return [*(node for spec in dense[:-1] for node in [spec, *_dropout(spec.units, row.dropout)]), dense[-1]]


def _normalized(spec: LayerSpec, rate: float) -> list[LayerSpec]:
    norm = spec._replace(kind="batch_norm", values=(MOMENTUM, EPSILON))
    return [LayerSpec(spec.units, use_bias=False), norm, *_dropout(spec.units, rate)]


def _dropout(units: int, rate: float) -> list[LayerSpec]:
    return [LayerSpec(units, kind="dropout", values=(rate,))] * (rate > 0)


def make_workload(row: Row, *, seed: int = 0, max_steps: int = MAX_STEPS) -> Workload:
    """The row's data and Glorot-uniform weights, all drawn from one seed; batch norm starts at the identity."""
    if row.kind == "csr":
        return _bag_of_words(row, seed, max_steps)
    work = bench.make_workload(row, seed=seed, max_steps=max_steps)
    if row.kind != "batch_norm":
        return work
    weights = []
    for W, b in zip(work.weights[:-2:2], work.weights[1:-2:2], strict=True):
        weights += [W, np.ones_like(b), np.zeros_like(b), np.zeros_like(b), np.ones_like(b)]
    return work._replace(weights=[*weights, *work.weights[-2:]])


def _bag_of_words(row: Row, seed: int, max_steps: int) -> Workload:
    """Counts of words drawn by Zipf's law, the k-th most frequent with a probability proportional to 1/k.

    Columns are in random order. Lengths of texts are Poisson distributed.
    """
    from scipy import sparse

    rng = np.random.default_rng(seed)
    weights = glorot_weights(row.sizes, rng)
    features = row.sizes[0]
    steps = max(1, min(max_steps, bench.DATA_FLOATS // (2 * row.nonzeros * row.batch)))  # values and indices
    n = steps * row.batch
    frequency = 1.0 / np.arange(1, features + 1)
    frequency /= frequency.sum()
    lengths = rng.poisson(_words_for(row.nonzeros, frequency), n).clip(1)
    words = rng.permutation(features)[rng.choice(features, int(lengths.sum()), p=frequency)]
    texts = np.repeat(np.arange(n), lengths)
    X = sparse.csr_matrix((np.ones(len(words), np.float32), (texts, words)), shape=(n, features))  # sums duplicates
    X.sort_indices()
    return Workload(row, X, rng.integers(0, row.sizes[-1], n), weights)


def _words_for(nonzeros: int, frequency: Array) -> float:
    """The length of texts with so many different words in the mean, sum_k 1 - (1 - p_k)^length, by bisection."""
    low, high = float(nonzeros), 1000.0 * nonzeros
    while high - low > 0.5:
        middle = (low + high) / 2
        different = float((1 - (1 - frequency) ** middle).sum())
        low, high = (middle, high) if different < nonzeros else (low, middle)
    return low


def row_flops(row: Row) -> int:
    """FLOPs of the matrix products of one training step; of CSR's first layer, those with a stored element."""
    if row.kind == "csr":
        return step_flops((row.nonzeros, *row.sizes[1:]), row.batch)
    return step_flops(row.sizes, row.batch)


def loss_of(weights: list[Array], work: Workload) -> float:
    """The loss over all the data in float64, without dropout, by batch norm's moving statistics."""
    f = ACTIVATIONS[work.row.activation]
    match work.row.kind:
        case "batch_norm":
            A = _forward_normalized(weights, work.X.astype(np.float64), f)
        case "residual":
            A = _forward_residual(weights, work.X.astype(np.float64))
        case _:
            A = _forward_dense(weights, work.X.astype(np.float64), f)
    if work.row.loss == "mse":
        return float(np.mean((A - work.y) ** 2))
    if work.row.loss == "huber":
        error = np.abs(A - work.y)
        return float(np.mean(np.where(error <= 1, error**2 / 2, error - 0.5)))
    largest = A.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(A - largest).sum(axis=1)) + largest[:, 0]
    return float(np.mean(log_sum - A[np.arange(len(A)), work.y]))


def _forward_dense(weights: list[Array], A: Any, f: Activation) -> Array:
    for i in range(0, len(weights), 2):
        A = A @ weights[i].astype(np.float64) + weights[i + 1]
        if i < len(weights) - 2:
            A = f(A)
    return np.asarray(A)


def _forward_normalized(weights: list[Array], A: Array, f: Activation) -> Array:
    *hidden, last, bias = (array.astype(np.float64) for array in weights)
    for i in range(0, len(hidden), 5):
        W, gamma, beta, mean, variance = hidden[i : i + 5]
        A = f((A @ W - mean) / np.sqrt(variance + EPSILON) * gamma + beta)
    return A @ last + bias


def _forward_residual(weights: list[Array], X: Array) -> Array:
    W, b, *blocks, last, bias = (array.astype(np.float64) for array in weights)
    A = X @ W + b
    for i in range(0, len(blocks), 4):
        V, c, U, d = blocks[i : i + 4]
        A = np.maximum(A + np.maximum(A @ V + c, 0.0) @ U + d, 0.0)
    return A @ last + bias
