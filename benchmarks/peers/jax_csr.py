"""JAX on CSR: the kernel's rows are gathered, and the gradient is added to them in place, in the fastest of three ways.

Automatic differentiation of the gather would make a gradient as large as the kernel; the derivative by the first
layer's outputs is enough. Rows are filled up with zeros to the longest, and then the sum over their elements is a loop
over the places in a row, and the update another such loop or one over the rows; or a batch is one list of elements,
filled up to the longest list, summed with `segment_sum`. `einsum` over gathered rows took longer than any of these.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Peer, fastest
from benchmarks.peers.jax_scan import cross_entropy
from fastbp.cli.bench import LEARNING_RATES, Workload
from fastbp.util.types import Array

RATE = LEARNING_RATES["sgd"]


def gather_by_place(W: Any, columns: Any, values: Any, batch: int) -> Any:
    """X W for columns, values (batch, longest row)."""

    def add(k: Any, z: Any) -> Any:
        return z + W[columns[:, k]] * values[:, k, None]

    return jax.lax.fori_loop(0, columns.shape[1], add, jnp.zeros((batch, W.shape[1]), W.dtype))


def update_by_place(W: Any, dZ: Any, columns: Any, values: Any) -> Any:
    """W - RATE X^T dZ, one element of every row at a time."""

    def add(k: Any, W: Any) -> Any:
        return W.at[columns[:, k]].add(-RATE * values[:, k, None] * dZ)

    return jax.lax.fori_loop(0, columns.shape[1], add, W)


def update_by_row(W: Any, dZ: Any, columns: Any, values: Any) -> Any:
    """The same, all elements of one row at a time."""

    def add(W: Any, row: tuple[Any, Any, Any]) -> tuple[Any, None]:
        columns, values, delta = row
        return W.at[columns].add(-RATE * values[:, None] * delta), None

    return jax.lax.scan(add, W, (columns, values, dZ))[0]


def gather_list(W: Any, columns: Any, values: Any, rows: Any, batch: int) -> Any:
    """X W for columns, values, rows (longest list,)."""
    terms = W[columns] * values[:, None]
    return jax.ops.segment_sum(terms, rows, num_segments=batch, indices_are_sorted=True)


def update_list(W: Any, dZ: Any, columns: Any, values: Any, rows: Any) -> Any:
    """W - RATE X^T dZ."""
    return W.at[columns].add(-RATE * values[:, None] * dZ[rows])


WAYS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "places": (gather_by_place, update_by_place),
    "rows": (gather_by_place, update_by_row),
    "list": (gather_list, update_list),
}


def head_loss(z: Any, others: list[Any], y: Any) -> Any:
    """The loss from the first layer's products: others are its bias and the other layers' weights."""
    z = z + others[0]
    for i in range(1, len(others), 2):
        z = jax.nn.relu(z) @ others[i] + others[i + 1]
    return cross_entropy(z, y)


@functools.partial(jax.jit, static_argnames="way", donate_argnums=0)
def train_epoch(weights: list[Any], X: tuple[Any, ...], y: Any, *, way: str) -> tuple[list[Any], Any]:
    """One pass: the new weights and the loss of every step."""
    gather, change = WAYS[way]

    def step(weights: list[Any], batch: tuple[tuple[Any, ...], Any]) -> tuple[list[Any], Any]:
        (W, *others), (x, y) = weights, batch
        value, (dZ, gradients) = jax.value_and_grad(head_loss, argnums=(0, 1))(gather(W, *x, len(y)), others, y)
        W = change(W, dZ, *x)
        return [W, *(w - RATE * g for w, g in zip(others, gradients, strict=True))], value

    return jax.lax.scan(step, weights, (X, y))


class JaxCsr:
    """The weights stay on the device from pass to pass."""

    def __init__(self, work: Workload, way: str) -> None:
        self.X = tuple(jnp.asarray(a) for a in (_lists(work) if way == "list" else _padded(work)))
        self.y = jnp.asarray(work.y.astype(np.int32).reshape(work.steps, work.row.batch))
        self.W, self.way = [jnp.array(w) for w in work.weights], way

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            self.W, losses = train_epoch(self.W, self.X, self.y, way=self.way)
        jax.block_until_ready((self.W, losses))

    def weights(self) -> list[Array]:
        """The weights now."""
        return [np.array(w) for w in self.W]


def _padded(work: Workload) -> list[Array]:
    """Columns and values (steps, batch, longest row), zeros behind the elements."""
    counts = np.diff(work.X.indptr)
    there = np.arange(counts.max()) < counts[:, None]
    return [_spread(a, there, (work.steps, work.row.batch, -1)) for a in (work.X.indices, work.X.data)]


def _lists(work: Workload) -> list[Array]:
    """Columns, values and rows (steps, longest list), zeros of the last row behind the elements."""
    X, batch = work.X, work.row.batch
    counts = np.diff(X.indptr[::batch])
    there = np.arange(counts.max()) < counts[:, None]
    rows = np.repeat(np.arange(X.shape[0]) % batch, np.diff(X.indptr)).astype(np.int32)
    columns, values, rows = (_spread(a, there, (work.steps, -1)) for a in (X.indices, X.data, rows))
    rows[~there] = batch - 1
    return [columns, values, rows]


def _spread(elements: Array, there: Array, shape: tuple[int, ...]) -> Array:
    spread = np.zeros(there.shape, elements.dtype)
    spread[there] = elements
    return spread.reshape(shape)


def make(work: Workload) -> Peer:
    """The fastest of the ways."""
    ways: list[Callable[[], Peer]] = [functools.partial(JaxCsr, work, way) for way in WAYS]
    return fastest(ways)
