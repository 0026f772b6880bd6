"""JAX: a whole pass over the data under `lax.scan` in one jitted call, weights and optimizer state donated.

Where a pass is one step, on a full batch, one call makes all the passes.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Peer, fastest
from fastbp.cli.bench import LEARNING_RATES, WEIGHT_DECAY, Row, Workload
from fastbp.util.types import Array

State = tuple[list[Any], list[Any], list[Any], Any]  # weights, Adam's m and v, steps done
SMALL_STEP = 1_000_000  # weights times batch under which unrolling the scan is tried


def forward(weights: list[Any], x: Any, activation: str) -> Any:
    """The outputs before the loss: the activation in all layers but the last."""
    for i in range(0, len(weights) - 2, 2):
        x = ACTIVATIONS[activation](x @ weights[i] + weights[i + 1])
    return x @ weights[-2] + weights[-1]


def cross_entropy(out: Any, y: Any) -> Any:
    """The mean over the rows, from logits."""
    chosen = jnp.take_along_axis(out, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(out, axis=1) - chosen)


def mse(out: Any, y: Any) -> Any:
    """The mean square over all elements."""
    return jnp.mean((out - y) ** 2)


def huber(out: Any, y: Any) -> Any:
    """The mean over all elements of Huber's loss with a delta of 1."""
    error = jnp.abs(out - y)
    return jnp.mean(jnp.where(error <= 1, error**2 / 2, error - 0.5))


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": jax.nn.relu, "tanh": jnp.tanh}
LOSSES: dict[str, Callable[[Any, Any], Any]] = {"cross_entropy": cross_entropy, "mse": mse, "huber": huber}


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


def run_steps(step: Callable[..., Any], state: Any, X: Any, y: Any, epochs: int, row: Row, unroll: int = 1) -> Any:
    """The state and the losses after one pass over X (steps, batch, features), or after so many of a full batch.

    The number of passes is no constant of the compiled code, so that another number does not compile again.
    """
    if not row.full_batch:
        return jax.lax.scan(step, state, (X, y), unroll=unroll)
    batch = (X[0], y[0])
    return jax.lax.fori_loop(0, epochs, lambda _, done: step(done[0], batch), (state, jnp.zeros((), row.dtype)))


def calls(epochs: int, row: Row) -> list[int]:
    """The passes of each call: one, or all of them where they are single steps."""
    return [epochs] if row.full_batch else [1] * epochs


def batches(work: Workload) -> tuple[Any, Any]:
    """X and y, batch by batch (steps, batch, …)."""
    y = work.y.astype(np.int32) if work.row.loss == "cross_entropy" else work.y
    return tuple(jnp.asarray(a.reshape(work.steps, work.row.batch, *a.shape[1:])) for a in (work.X, y))


@functools.partial(jax.jit, static_argnames=("row", "unroll"), donate_argnums=0)
def train_epochs(state: State, X: Any, y: Any, epochs: int, *, row: Row, unroll: int) -> tuple[State, Any]:
    """Passes over X (steps, batch, features), one except of a full batch: the new state and the last pass's losses."""

    def loss_of(weights: list[Any], x: Any, y: Any) -> Any:
        return LOSSES[row.loss](forward(weights, x, row.activation), y)

    def step(state: State, batch: tuple[Any, Any]) -> tuple[State, Any]:
        value, gradients = jax.value_and_grad(loss_of)(state[0], *batch)
        return update(row.optimizer, state, gradients), value

    return run_steps(step, state, X, y, epochs, row, unroll)


class JaxScan:
    """The state stays on the device from pass to pass."""

    def __init__(self, work: Workload, unroll: int) -> None:
        row = self.row = work.row
        self.X, self.y = batches(work)
        weights = [jnp.array(w) for w in work.weights]
        m, v = ([jnp.zeros_like(w) for w in weights] if row.optimizer != "sgd" else [] for _ in range(2))
        self.state: State = (weights, m, v, jnp.zeros((), row.dtype))
        self.unroll = min(unroll, work.steps)

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        for n in calls(epochs, self.row):
            self.state, losses = train_epochs(self.state, self.X, self.y, n, row=self.row, unroll=self.unroll)
        jax.block_until_ready((self.state, losses))

    def weights(self) -> list[Array]:
        """The weights now."""
        return [np.array(w) for w in self.state[0]]


def make(work: Workload, n_threads: int) -> Peer:
    """The peer, with the fastest unrolling of the scan; networks that are not plain have modules of their own."""
    jax.config.update("jax_enable_x64", work.row.dtype == "float64")
    if work.row.kind != "dense" or work.row.dropout or work.row.global_clipnorm:
        module = "jax_csr" if work.row.kind == "csr" else "jax_networks"
        other: Peer = importlib.import_module(f"benchmarks.peers.{module}").make(work)
        return other
    small = not work.row.full_batch and sum(w.size for w in work.weights) * work.row.batch < SMALL_STEP
    return fastest([functools.partial(JaxScan, work, unroll) for unroll in ((1, 2, 4) if small else (1,))])
