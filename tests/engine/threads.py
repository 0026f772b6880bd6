"""Functions that need a process with 16 threads: `python -m tests.engine.threads NAME` prints one line of JSON.

Numba starts at most NUMBA_NUM_THREADS threads, a limit fixed when it is imported, so the tests set it for a child.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastbp.engine.engine import Engine
from fastbp.engine.planning import tuning
from fastbp.kernels import parallel
from fastbp.spec import UpdateSpec
from tests.engine.cases import (
    ADD,
    BATCH_NORM,
    DROPOUT,
    FALLING,
    LAYER_NORM,
    MISH,
    NOISE,
    PRELU,
    SCALE,
    SELU,
    embedding,
    everything,
    make_data,
    make_engine,
    predict,
    spec,
    train,
    with_codes,
)

WORKERS = (1, 2, 3, 7, 16)
BLOCK = [spec(70, "relu"), spec(70, **BATCH_NORM), spec(70, **DROPOUT), spec(70), spec(70, "relu", skip=0, **ADD)]
PROJECTED = [spec(33, "tanh"), spec(33, **LAYER_NORM), spec(50), spec(50, use_bias=False, below=5),
             spec(50, skip=8, **ADD)]  # fmt: skip
RESIDUAL = [spec(70, "silu"), *BLOCK, *PROJECTED, spec(50, **NOISE), spec(7, "softmax")]
REGULARIZED = [spec(90, "relu", l1=1e-4, l2=1e-3, max_norm=1.5), spec(90, "gelu", **BATCH_NORM),
               spec(9, multiplier=0.5)]  # fmt: skip
# name -> inputs, layers, loss, optimizer, dtype, batch size[, update_spec]. There are more units of work than workers,
# fewer, and just one.
CASES = {
    "small": (10, [spec(5, "tanh"), spec(1)], "mse", "sgd", "float32", 3),
    "softmax": (64, [spec(100, "relu"), spec(10, "softmax")], "cross_entropy", "adam", "float32", 64),
    "deep": (70, [spec(129, "gelu"), spec(65, "elu"), spec(65, "mish", kind="activation"), spec(33, "sigmoid")],
             "binary_cross_entropy", "nesterov decay", "float32", 50),
    "activation": (40, [spec(40, "tanh", kind="activation"), spec(90, "silu", use_bias=False), spec(7, "softmax")],
              "mse", "adamw", "float32", 33),
    "wide": (784, [spec(600, "relu"), spec(300, "leaky_relu"), spec(10)],
             "cross_entropy", "adam decay", "float32", 257),
    "many rows": (90, [spec(130, "relu"), spec(200, "tanh", use_bias=False), spec(7, "softmax")],
                  "cross_entropy", "adam", "float32", 700),  # the weight gradient takes them in 256 at a time
    "many rows, clipped": (90, [spec(130, "relu"), spec(7)], "mse", "momentum", "float64", 530,
                           UpdateSpec(global_clipnorm=0.1, accumulation=2)),
    "residual": (40, RESIDUAL, "cross_entropy", "adam", "float32", 50),
    "clipped": (40, RESIDUAL, "cross_entropy", "adamw", "float64", 37, UpdateSpec(global_clipnorm=0.1)),
    "clipped, wide": (300, [spec(200, "relu"), spec(200, "tanh"), spec(10)],  # work units end within runs of lines
                      "cross_entropy", "adam", "float32", 70, UpdateSpec(clipnorm=0.1, global_clipnorm=0.1)),
    "regularized": (60, REGULARIZED, "mse", "momentum", "float32", 48,
                    UpdateSpec(clipvalue=0.5, clipnorm=0.2, accumulation=2, ema_momentum=0.9, decay_kernels_only=True)),
    "scale": (90, [spec(90, **SCALE), spec(70, "relu"), spec(70, "gelu", **SCALE), spec(9), spec(9, **SCALE)], "mse",
              "adamw", "float32", 40),
    "learned activations": (90, [spec(90, **MISH), spec(70), spec(70, **PRELU), spec(9), spec(9, **SELU)], "mse",
                            "adamw", "float32", 40),
    "rates by schedule": (90, [spec(90, "relu"), spec(90, **FALLING), spec(70), spec(70, **FALLING), spec(9)], "mse",
                          "adamw", "float32", 40),
    "embedding": (9, [embedding(9, (0, 5, 2), (4, 3000, 3), (7, 40, 17)), spec(33, "tanh"), spec(3)], "mse", "adamw",
                  "float32", 40),
    "embedding, clipped": (3, [embedding(3, (1, 2000, 20), l2=1e-4), spec(9, "relu"), spec(3)], "mse", "adam decay",
                           "float64", 40, UpdateSpec(clipnorm=0.1, accumulation=2)),
    "reported decay": (64, [spec(100, "relu"), spec(40, "tanh"), spec(10, "softmax")], "cross_entropy", "adam decay",
                       "float32", 64, UpdateSpec(decay_kernels_only=True, reported_decay=1.0)),
    "float64": (50, [spec(77, "selu"), spec(9, "softplus")], "mse", "momentum", "float64", 40),
}  # fmt: skip


def digest(arrays: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


class Arrivals:
    """How many workers an engine's last slice asked for, how many arrived, and whether they worked together."""

    def __init__(self, engine: Engine):
        space = engine._training
        self.seen = [space.workers, int(space.sync[parallel.ARRIVED]), int(space.sync[parallel.DECISION])]


def trained(name: str, workers: int, bounds: list[int] | None = None) -> tuple[Engine, list, np.ndarray, list]:
    """A network after six steps on batches of three sizes with sample weights: engine, report, digest, arrivals."""
    inputs, layers, loss, optimizer, dtype, rows, *update_spec = CASES[name]
    engine = make_engine(inputs, layers, loss=loss, optimizer=optimizer, dtype=dtype,
                         update_spec=next(iter(update_spec), None))  # fmt: skip
    X, y = make_data(2 * rows, inputs, layers[-1].units, loss=loss, dtype=dtype)
    X = with_codes(X, layers)
    rng = np.random.default_rng(3)
    order, weight = rng.integers(0, 2 * rows, 6 * rows), rng.random(2 * rows).astype(dtype)
    bounds = np.cumsum([0, rows, rows, 1 + rows // 2, rows, 1, rows]).tolist()
    outputs = np.zeros((bounds[-1], layers[-1].units), dtype)
    report, losses = train(engine, X, y, optimizer, bounds, order=order, sample_weight=weight, outputs=outputs,
                           n_threads=workers)  # fmt: skip
    arrivals = Arrivals(engine).seen if workers > 1 else [1, 1, parallel.TOGETHER]
    evaluated = engine.evaluate(X, y, sample_weight=weight, n_threads=workers)
    results = [losses, outputs, predict(engine, X, n_threads=workers), np.array([evaluated])]
    total, gradients = engine.gradients(X, y, sample_weight=weight)
    present = [gradient for gradient in gradients if gradient is not None]
    return engine, list(report), digest([*everything(engine), *results, np.array([total]), *present]), arrivals


def bits() -> dict:
    """Digests of weights, states, losses, outputs, predictions and gradients by case and number of workers."""
    tuning.chosen = tuning.derived()._replace(worth_sharing=1)  # several workers even for the smallest network
    found = {}
    for name in CASES:
        for workers in WORKERS:
            _, report, digested, arrivals = trained(name, workers)
            found[f"{name} {workers}"] = {"report": report, "digest": digested, "arrivals": arrivals}
    return found


def n_workers() -> dict:
    """The number of workers chosen for a step of a small and of a large network, by n_threads."""
    found = {}
    for name in ("small", "wide"):
        inputs, layers, loss, optimizer, dtype, rows, *_ = CASES[name]
        engine = make_engine(inputs, layers, loss=loss, optimizer=optimizer, dtype=dtype)
        X, y = make_data(rows, inputs, layers[-1].units, loss=loss, dtype=dtype)
        for wanted in (None, 2, 16):
            train(engine, X, y, optimizer, [0, rows], n_threads=wanted)
            found[f"{name} {wanted}"] = engine._training.workers
    return found


def divergence() -> dict:
    """A loss that is not finite, by number of workers: the report, and a digest of weights, states and losses."""
    tuning.chosen = tuning.derived()._replace(worth_sharing=1)
    found = {}
    for workers in WORKERS:
        engine = make_engine(40, [spec(70, "relu"), spec(50)], optimizer="adam")
        X, y = make_data(100, 40, 50)
        X[70] = 1e30
        report, losses = train(engine, X, y, "adam", [0, 30, 60, 100], n_threads=workers)
        found[str(workers)] = {"report": list(report), "digest": digest([*everything(engine), losses])}
    return found


def oversubscribed() -> dict:
    """Seconds for a slice on 2 workers and on 16, alternating, regardless of the number of cores."""
    engine = make_engine(256, [spec(256, "relu"), spec(256, "relu"), spec(10)])
    X, y = make_data(1280, 256, 10)
    bounds, seconds = list(range(0, 1281, 128)), {2: [], 16: []}
    for _ in range(9):
        for workers, times in seconds.items():
            engine._training = None
            train(engine, X, y, "sgd", bounds[:2], n_threads=workers)
            start = time.perf_counter()
            train(engine, X, y, "sgd", bounds, n_threads=workers)
            times.append(time.perf_counter() - start)
            arrived = Arrivals(engine).seen
            assert arrived == [workers, workers, parallel.TOGETHER], arrived
    return {str(workers): times for workers, times in seconds.items()}


def trainers() -> dict:
    """Digests from 2 and 8 Python threads, each with its own engine and several workers."""
    tuning.chosen = tuning.derived()._replace(worth_sharing=1)
    found = {"expected": trained("softmax", 1)[2]}
    for count in (2, 8):
        with ThreadPoolExecutor(count) as pool:
            found[str(count)] = list(pool.map(lambda _: trained("softmax", 3)[2], range(2 * count)))
    return found


if __name__ == "__main__":
    print(json.dumps({f.__name__: f for f in (bits, n_workers, divergence, oversubscribed, trainers)}[sys.argv[1]]()))
