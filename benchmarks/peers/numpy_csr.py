"""NumPy and SciPy on CSR: the first layer's products by `scipy.sparse`, its update on the columns of the batch alone.

A batch of texts uses a fraction of the words, and plain SGD leaves the kernel's other rows as they are: so the batch's
columns are numbered anew, and the gradient is an array of so many rows only.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from fastbp.cli.bench import LEARNING_RATES, Workload
from fastbp.util.types import Array


class NumpyCsr:
    """Batches cut beforehand as CSR matrices; the other layers are the reference trainer's lines, by hand."""

    def __init__(self, work: Workload) -> None:
        X, batch = work.X, work.row.batch
        self.batches = [
            (X[start : start + batch], work.y[start : start + batch]) for start in range(0, X.shape[0], batch)
        ]
        self.W = [w.copy() for w in work.weights]
        self.rate = np.float32(LEARNING_RATES[work.row.optimizer])
        self.place = np.zeros(X.shape[1], X.indices.dtype)  # of a column among those of the batch

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            for x, y in self.batches:
                self.step(x, y)

    def step(self, x: sparse.csr_matrix, y: Array) -> float:
        """Forward, backward, update; the loss of the step."""
        W = self.W
        outputs = [x @ W[0]]
        outputs[0] += W[1]
        np.maximum(outputs[0], 0, out=outputs[0])
        for i in range(2, len(W) - 2, 2):
            A = outputs[-1] @ W[i]
            A += W[i + 1]
            outputs.append(np.maximum(A, 0, out=A))
        dZ = outputs[-1] @ W[-2]
        dZ += W[-1]
        loss = _softmax_gradient(dZ, y)
        for i in range(len(W) - 2, 0, -2):
            A = outputs.pop()
            dA = dZ @ W[i].T
            dA *= A > 0
            self._update(i, A.T @ dZ, dZ)
            dZ = dA
        columns, narrow = self._narrowed(x)
        W[0][columns] -= self.rate * (narrow.T @ dZ)
        W[1] -= self.rate * dZ.sum(axis=0)
        return loss

    def _update(self, i: int, dW: Array, dZ: Array) -> None:
        dW *= self.rate
        self.W[i] -= dW
        self.W[i + 1] -= self.rate * dZ.sum(axis=0)

    def _narrowed(self, x: sparse.csr_matrix) -> tuple[Array, sparse.csr_matrix]:
        """The columns that hold an element, and x with these alone: found by marking, which needs no sorting."""
        used = np.zeros(x.shape[1], np.bool_)
        used[x.indices] = True
        columns = np.flatnonzero(used)
        self.place[columns] = np.arange(len(columns))
        parts = (x.data, self.place[x.indices], x.indptr)
        return columns, sparse.csr_matrix(parts, shape=(x.shape[0], len(columns)))

    def weights(self) -> list[Array]:
        """The weights now."""
        return [w.copy() for w in self.W]


def _softmax_gradient(Z: Array, y: Array) -> float:
    """The mean cross-entropy of these logits; its derivative is written over them."""
    rows = np.arange(len(Z))
    Z -= Z.max(axis=1, keepdims=True)
    chosen = Z[rows, y]
    np.exp(Z, out=Z)
    sums = Z.sum(axis=1, keepdims=True)
    loss = float(np.log(sums).mean() - chosen.mean())
    Z /= sums
    Z[rows, y] -= 1
    Z *= np.float32(1 / len(Z))
    return loss
