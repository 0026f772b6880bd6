"""XOR with a 2-4-1 sigmoid network: how many seeds solve it, and how long fastbp and the NumPy reference take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import fastbp
from fastbp.reference import ReferenceEngine
from fastbp.spec import LayerSpec
from fastbp.util.types import Array

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[0], [1], [1], [0]], np.float32)
EPOCHS = 10_000
SOLVED = 0.01  # mean square error under which all four outputs are within 0.2 of their targets
NUMPY_SEEDS = 5  # number of seeds for which the reference is timed


class XorResult(NamedTuple):
    """Seeds solved of seeds tried, epochs the slowest needed, and median seconds for all epochs."""

    solved: int
    seeds: int
    slowest: int
    epochs: int
    fastbp_seconds: float
    numpy_seconds: float


def solve_xor(seeds: int, *, show: Callable[[str], object]) -> XorResult:
    """Train every seed for all epochs; ``show`` gets the loss of every thousandth."""
    optimizer = fastbp.SGD(1.0, momentum=0.9)
    needed: list[int | None] = []
    times: list[float] = []
    numpy_times: list[float] = []
    _train(_make(optimizer, 0), 10)  # compiles
    for seed in range(seeds):
        model = _make(optimizer, seed)
        weights = model.get_weights()
        start = time.perf_counter()
        losses = _train(model, EPOCHS)
        times.append(time.perf_counter() - start)
        show(f"XOR, seed {seed}: " + " ".join(f"{loss:.6f}" for loss in losses[999::1000]))
        needed.append(_epochs_needed(losses, model))
        if seed < NUMPY_SEEDS:
            numpy_times.append(_time_reference(optimizer, weights))
    solved = [epochs for epochs in needed if epochs is not None]
    fastest, slowest = statistics.median(times), max(solved, default=0)
    return XorResult(len(solved), seeds, slowest, EPOCHS, fastest, statistics.median(numpy_times))


def _make(optimizer: fastbp.SGD, seed: int) -> fastbp.Sequential:
    layers = [fastbp.Dense(4, "sigmoid"), fastbp.Dense(1, "sigmoid")]
    model = fastbp.Sequential(layers, input_size=2, seed=seed)
    model.compile(optimizer, loss="mse")
    return model


def _train(model: fastbp.Sequential, epochs: int) -> list[float]:
    history: fastbp.History = model.fit(X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return history.history["loss"]


def _epochs_needed(losses: list[float], model: fastbp.Sequential) -> int | None:
    """The first epoch with a loss under SOLVED, if the trained network classifies all four rows correctly."""
    right = bool((model.predict(X).round() == Y).all())
    return next((i for i, loss in enumerate(losses, start=1) if loss < SOLVED), None) if right else None


def _time_reference(optimizer: fastbp.SGD, weights: list[Array]) -> float:
    engine = ReferenceEngine(2, [LayerSpec(4, "sigmoid"), LayerSpec(1, "sigmoid")])
    engine.set_weights(weights)
    engine.reset_state(optimizer.n_states)
    engine.configure("mse", optimizer.rule)
    order, bounds = np.tile(np.arange(4), EPOCHS), np.arange(0, 4 * EPOCHS + 1, 4)
    start = time.perf_counter()
    engine.train(X, Y, order, bounds, optimizer.scalars(np.arange(EPOCHS)), np.empty(EPOCHS))
    return time.perf_counter() - start
