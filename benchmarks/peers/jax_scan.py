"""JAX: a whole pass over the data under `lax.scan` in one jitted call, weights and optimizer state donated."""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Peer, fastest
from fastbp.cli.bench import LEARNING_RATES, WEIGHT_DECAY, Workload
from fastbp.util.types import Array

State = tuple[list[Any], list[Any], list[Any], Any]  # weights, Adam's m and v, steps done
SMALL_STEP = 1_000_000  # weights times batch under which unrolling the scan is tried


def forward(weights: list[Any], x: Any) -> Any:
    """The outputs before the loss: ReLU in all layers but the last."""
    for i in range(0, len(weights) - 2, 2):
        x = jax.nn.relu(x @ weights[i] + weights[i + 1])
    return x @ weights[-2] + weights[-1]


def loss_of(weights: list[Any], x: Any, y: Any, loss: str) -> Any:
    """Mean square over all elements, or mean cross-entropy over the rows."""
    out = forward(weights, x)
    return jnp.mean((out - y) ** 2) if loss == "mse" else cross_entropy(out, y)


def cross_entropy(out: Any, y: Any) -> Any:
    """The mean over the rows, from logits."""
    chosen = jnp.take_along_axis(out, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(out, axis=1) - chosen)


def update(optimizer: str, state: State, gradients: list[Any]) -> State:
    """One step of SGD, Adam or AdamW."""
    weights, m, v, t = state
    rate = LEARNING_RATES[optimizer]
    if optimizer == "sgd":
        return [w - rate * g for w, g in zip(weights, gradients, strict=True)], m, v, t + 1
    t = t + 1
    m = [0.9 * a + 0.1 * g for a, g in zip(m, gradients, strict=True)]
    v = [0.999 * a + 0.001 * g * g for a, g in zip(v, gradients, strict=True)]
    rate = rate / -jnp.expm1(t * math.log(0.9))  # 1 - 0.9**t, without float32's cancellation
    if optimizer == "adamw":
        weights = [w * (1 - LEARNING_RATES[optimizer] * WEIGHT_DECAY) for w in weights]
    correction = 1 / -jnp.expm1(t * math.log(0.999))
    weights = [w - rate * a / (jnp.sqrt(b * correction) + 1e-8) for w, a, b in zip(weights, m, v, strict=True)]
    return weights, m, v, t


@functools.partial(jax.jit, static_argnames=("optimizer", "loss", "unroll"), donate_argnums=0)
def train_epoch(state: State, X: Any, y: Any, *, optimizer: str, loss: str, unroll: int) -> tuple[State, Any]:
    """One pass over X (steps, batch, features): the new state and the loss of every step."""

    def step(state: State, batch: tuple[Any, Any]) -> tuple[State, Any]:
        value, gradients = jax.value_and_grad(loss_of)(state[0], *batch, loss)
        return update(optimizer, state, gradients), value

    return jax.lax.scan(step, state, (X, y), unroll=unroll)


class JaxScan:
    """The state stays on the device from pass to pass."""

    def __init__(self, work: Workload, unroll: int) -> None:
        row = work.row
        self.X = jnp.asarray(work.X.reshape(work.steps, row.batch, -1))
        y = work.y.astype(np.int32) if row.loss == "cross_entropy" else work.y
        self.y = jnp.asarray(y.reshape(work.steps, row.batch, *y.shape[1:]))
        weights = [jnp.array(w) for w in work.weights]
        m, v = ([jnp.zeros_like(w) for w in weights] if row.optimizer == "adam" else [] for _ in range(2))
        self.state: State = (weights, m, v, jnp.zeros((), jnp.float32))
        self.options = {"optimizer": row.optimizer, "loss": row.loss, "unroll": min(unroll, work.steps)}

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for _ in range(epochs):
            self.state, losses = train_epoch(self.state, self.X, self.y, **self.options)
        jax.block_until_ready((self.state, losses))

    def weights(self) -> list[Array]:
        """The weights now."""
        return [np.array(w) for w in self.state[0]]


def make(work: Workload, n_threads: int) -> Peer:
    """The peer, with the fastest unrolling of the scan; other networks than dense ones have modules of their own."""
    if work.row.kind != "dense":
        module = "jax_csr" if work.row.kind == "csr" else "jax_networks"
        other: Peer = importlib.import_module(f"benchmarks.peers.{module}").make(work)
        return other
    small = sum(w.size for w in work.weights) * work.row.batch < SMALL_STEP
    return fastest([functools.partial(JaxScan, work, unroll) for unroll in ((1, 2, 4) if small else (1,))])
