"""JAX on batch norm, dropout and residual blocks: as `jax_scan`, with what these networks need by hand.

Keys of the masks are made from one key and the number of the step, by the generator that is faster here.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Peer, fastest
from benchmarks.peers.jax_scan import ACTIVATIONS, LOSSES, batches, calls, run_steps, update
from benchmarks.rows import EPSILON, MOMENTUM
from fastbp.cli.bench import Row, Workload
from fastbp.util.types import Array

GENERATORS = ("threefry2x32", "rbg")


class State(NamedTuple):
    """All that a pass changes: weights, moving statistics (mean, variance, …), Adam's m and v, steps done."""

    weights: list[Any]
    statistics: list[Any]
    m: list[Any]
    v: list[Any]
    t: Any


def dropout(x: Any, key: Any, rate: float) -> Any:
    """Elements kept with probability 1 - rate, by random numbers of 32 bits whatever the dtype."""
    if not rate:
        return x
    return jnp.where(jax.random.bernoulli(key, jnp.float32(1 - rate), x.shape), x / (1 - rate), 0)


def forward_dense(weights: list[Any], x: Any, key: Any, row: Row) -> Any:
    """The outputs before the loss, with dropout after every hidden layer."""
    for i in range(0, len(weights) - 2, 2):
        x = ACTIVATIONS[row.activation](x @ weights[i] + weights[i + 1])
        x = dropout(x, jax.random.fold_in(key, i), row.dropout)
    return x @ weights[-2] + weights[-1]


def forward_normalized(weights: list[Any], statistics: list[Any], x: Any, key: Any, row: Row) -> tuple[Any, list[Any]]:
    """The outputs before the loss, and the moving statistics that follow this batch's."""
    moved: list[Any] = []
    for i, W in enumerate(weights[:-2:3]):
        gamma, beta = weights[3 * i + 1 : 3 * i + 3]
        z = x @ W
        mean = z.mean(axis=0)
        variance = jnp.square(z - mean).mean(axis=0)
        x = ACTIVATIONS[row.activation]((z - mean) * (gamma * jax.lax.rsqrt(variance + EPSILON)) + beta)
        x = dropout(x, jax.random.fold_in(key, i), row.dropout)
        unbiased = variance * (len(z) / (len(z) - 1))
        for old, new in zip(statistics[2 * i : 2 * i + 2], (mean, unbiased), strict=True):
            moved.append(old + MOMENTUM * (jax.lax.stop_gradient(new) - old))
    return x @ weights[-2] + weights[-1], moved


def forward_residual(weights: list[Any], x: Any) -> Any:
    """The logits: relu(x + W2 relu(W1 x + b1) + b2) block by block between the first layer and the last."""
    x = x @ weights[0] + weights[1]
    for i in range(2, len(weights) - 2, 4):
        W, b, V, c = weights[i : i + 4]
        x = jax.nn.relu(x + jax.nn.relu(x @ W + b) @ V + c)
    return x @ weights[-2] + weights[-1]


def loss_of(weights: list[Any], statistics: list[Any], x: Any, y: Any, key: Any, row: Row) -> tuple[Any, list[Any]]:
    """The loss of a batch in training, and the moving statistics after it."""
    loss = LOSSES[row.loss]
    match row.kind:
        case "residual":
            return loss(forward_residual(weights, x), y), statistics
        case "batch_norm":
            out, moved = forward_normalized(weights, statistics, x, key, row)
            return loss(out, y), moved
    return loss(forward_dense(weights, x, key, row), y), statistics


def clipped(gradients: list[Any], clipnorm: float) -> list[Any]:
    """All times min(1, clipnorm / norm), as PyTorch's clip_grad_norm_."""
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in gradients))
    factor = jnp.minimum(1.0, clipnorm / (norm + 1e-6))
    return [factor * g for g in gradients]


@functools.partial(jax.jit, static_argnames="row", donate_argnums=0)
def train_epochs(state: State, X: Any, y: Any, key: Any, epochs: int, *, row: Row) -> tuple[State, Any]:
    """Passes over X (steps, batch, features), one except of a full batch: the new state and the last pass's losses."""

    def step(state: State, batch: tuple[Any, Any]) -> tuple[State, Any]:
        now = jax.random.fold_in(key, state.t.astype(jnp.int32))
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (value, statistics), gradients = differentiate(state.weights, state.statistics, *batch, now, row)
        if row.global_clipnorm:
            gradients = clipped(gradients, row.global_clipnorm)
        weights, m, v, t = update(row.optimizer, (state.weights, state.m, state.v, state.t), gradients)
        return State(weights, statistics, m, v, t), value

    return run_steps(step, state, X, y, epochs, row)


class JaxNetwork:
    """The state stays on the device from pass to pass."""

    def __init__(self, work: Workload, generator: str) -> None:
        row = self.row = work.row
        self.X, self.y = batches(work)
        arrays = [jnp.array(w) for w in work.weights]
        # kernel, gamma, beta, moving mean, moving variance; all but the last layer, which has no more than two
        moving = [row.kind == "batch_norm" and i % 5 >= 3 and i < len(arrays) - 2 for i in range(len(arrays))]
        weights = [array for array, moves in zip(arrays, moving, strict=True) if not moves]
        statistics = [array for array, moves in zip(arrays, moving, strict=True) if moves]
        m, v = ([jnp.zeros_like(w) for w in weights] for _ in range(2))
        self.state, self.moving = State(weights, statistics, m, v, jnp.zeros((), row.dtype)), moving
        self.key = jax.random.key(0, impl=generator)

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for n in calls(epochs, self.row):
            self.state, losses = train_epochs(self.state, self.X, self.y, self.key, n, row=self.row)
        jax.block_until_ready((self.state, losses))

    def weights(self) -> list[Array]:
        """The weights now."""
        weights, statistics = iter(self.state.weights), iter(self.state.statistics)
        return [np.array(next(statistics if moves else weights)) for moves in self.moving]


def make(work: Workload) -> Peer:
    """The peer, with the faster generator of random masks where there are any."""
    generators = GENERATORS if work.row.dropout else GENERATORS[:1]
    return fastest([functools.partial(JaxNetwork, work, generator) for generator in generators])
