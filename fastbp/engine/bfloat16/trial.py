"""A few steps of a network, to see whether operands of bfloat16 make it faster."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fastbp.engine.bfloat16 import precision
from fastbp.isa.codes import UPDATE_RULES

STEPS, ROUNDS = 3, 3
# Share of a step's time with operands of float32 that one with bfloat16 may take to be chosen: rounding has a price.
WORTH_ROUNDING = 0.8


def chosen(engine: Any, batch: int, n_threads: int | None) -> str:
    """What is faster for batches of this size: "float32" or "bfloat16"."""
    if engine.dtype != np.float32 or precision.missing() or not precision.permitted():
        return "float32"
    plain, rounded = (seconds(engine, compute, batch, n_threads) for compute in ("float32", "bfloat16"))
    return "bfloat16" if rounded < WORTH_ROUNDING * plain else "float32"


def seconds(engine: Any, compute: str, batch: int, n_threads: int | None) -> float:
    """The time of a step of another network like this one, with weights of 0, in the best of a few rounds."""
    other = type(engine)(engine.input_size, engine.specs, dtype=engine.dtype.name, compute=compute)
    rule = engine.rule if engine.rule in UPDATE_RULES else "adam"
    other.configure("mse", rule)
    other.reset_state(UPDATE_RULES[rule].n_states)
    X, y = np.zeros((batch, engine.input_size), engine.dtype), np.zeros((batch, engine.output_size), engine.dtype)
    order, bounds = np.tile(np.arange(batch), STEPS), np.arange(STEPS + 1) * batch
    scalars, losses = np.full((1, 8), 0.5), np.zeros(STEPS)
    times = []
    for _ in range(1 + ROUNDS):  # the first one makes workspaces, and compiles
        start = time.perf_counter()
        other.train(X, y, order, bounds, scalars, losses, n_threads=n_threads)
        times.append(time.perf_counter() - start)
    return min(times[1:]) / STEPS
