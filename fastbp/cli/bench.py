"""The benchmark rows, their FLOPs, and `fastbp bench`: the NumPy reference against the compiled engine.

Both get the same data and initial weights, take turns, and are timed over slices of many steps.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastbp import losses, optimizers
from fastbp.spec import UpdateSpec
from fastbp.util.console import say
from fastbp.util.types import Array

LEARNING_RATES = {"sgd": 0.01, "adam": 0.001, "adamw": 0.001}
WEIGHT_DECAY = 0.01  # of adamw, decoupled
MANY = 6  # layers of one width, from which on a name counts them
DATA_FLOATS = 4_000_000  # keeps a row's data under 16 MB
MAX_STEPS = 4096
SETTLE_SECONDS = 0.06  # OpenMP and BLAS threads spin for up to 30 ms after their last work


class Row(NamedTuple):
    """One row of the benchmark table: a network, a batch size, an optimizer and a loss.

    What follows `warm_epochs` has its default in all of ROWS; the comparison with peers has other values.
    data: "random"; "mnist", real images, whose constant pixels cause denormals; "autoencoder", inputs as targets.
    kind: "dense", "batch_norm", "residual" or "csr". activation, dropout: of each hidden layer of the first two kinds.
    nonzeros: mean number per row of the data, of "csr". global_clipnorm: bound on the norm of all gradients together, 0
    for none. full_batch: whether all the data are one batch, so that a pass is one step.
    """

    sizes: tuple[int, ...]
    batch: int
    optimizer: str = "adam"
    loss: str = "cross_entropy"  # or "mse" or "huber", whose delta is 1
    data: str = "random"
    warm_epochs: int = 0  # trained before timing starts
    kind: str = "dense"
    dropout: float = 0.0
    nonzeros: int = 0
    activation: str = "relu"
    dtype: str = "float32"
    global_clipnorm: float = 0.0
    full_batch: bool = False

    @property
    def name(self) -> str:
        """The network in the usual notation, as in 784-128-10, with what distinguishes it from other rows."""
        runs = [(width, len(list(run))) for width, run in itertools.groupby(self.sizes)]
        widths = "-".join(f"{width} x {n}" if n > MANY else "-".join([str(width)] * n) for width, n in runs)
        match self.kind:
            case "residual":
                n_blocks = len(self.sizes) // 2 - 1
                return f"{self.sizes[0]}-{self.sizes[1]}, {n_blocks} residual blocks, {self.sizes[-1]}"
            case "csr":
                return f"{widths} on CSR, {self.nonzeros} nonzeros a row"
        layers = ["batch norm"] * (self.kind == "batch_norm") + [f"dropout {self.dropout:g}"] * (self.dropout > 0)
        parts = [
            "autoencoder" if self.data == "autoencoder" else "",
            widths,
            self.activation if self.activation != "relu" else "",
            "with " + " and ".join(layers) if layers else "",
            "in float64" if self.dtype == "float64" else "",
            "on MNIST" if self.data == "mnist" else "",
        ]
        return " ".join(part for part in parts if part)

    @property
    def title(self) -> str:
        """Network, batch size, optimizer and loss: the first column of the tables."""
        optimizer = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[self.optimizer]
        clipping = " with clipping" if self.global_clipnorm else ""
        loss = {"mse": ", MSE", "huber": ", Huber"}.get(self.loss, "")
        batch = f"full batch of {self.batch}" if self.full_batch else str(self.batch)
        late = f", epoch {self.warm_epochs + 1} on" if self.warm_epochs else ""
        return f"{self.name}, {batch}, {optimizer}{clipping}{loss}{late}"


ROWS = (
    Row((10, 5, 1), 1, "sgd", "mse"),
    Row((10, 32, 1), 32, "sgd", "mse"),
    Row((64, 100, 10), 64),
    Row((784, 128, 10), 32, "sgd"),
    Row((784, 128, 10), 128),
    Row((784, 128, 10), 128, data="mnist", warm_epochs=3),
    Row((784, 512, 512, 10), 128),
    Row((784, 2500, 2000, 1500, 1000, 500, 10), 256),
    Row((1024, 1024, 1024, 1024, 1024, 10), 1024, "sgd"),
    Row((4096, 4096, 4096, 4096, 10), 512, "sgd"),
)


class Workload(NamedTuple):
    """A row's data and initial weights: X (steps * batch, features), y labels or targets, kernel and bias by layer.

    X is an array, or a scipy.sparse.csr_matrix for kind "csr"; weights are in the order of an engine's get_weights().
    """

    row: Row
    X: Any
    y: Array
    weights: list[Array]

    @property
    def steps(self) -> int:
        """Steps per pass over the data; every batch is full."""
        return int(self.X.shape[0]) // self.row.batch


class TrainingEngine(Protocol):
    """The interface shared by the reference and the compiled engine, as far as it is used here."""

    def set_weights(self, weights: list[Array]) -> None: ...
    def reset_state(self, n_states: int) -> None: ...
    def configure(
        self, loss: str, rule: str, *, loss_parameters: tuple[float, ...] = (), update_spec: UpdateSpec
    ) -> None: ...
    def train(
        self,
        X: Array,
        y: Array,
        order: Array,
        bounds: Array,
        scalars: Array,
        losses: Array,
        *,
        n_threads: int | None = None,
    ) -> object: ...


class Runner:
    """Trains a workload on an engine, each call continuing where the last one stopped."""

    def __init__(self, engine: TrainingEngine, work: Workload, n_threads: int | None = None) -> None:
        self.optimizer = make_optimizer(work.row)
        self.engine, self.work, self.n_threads, self.done = engine, work, n_threads, 0
        engine.set_weights([w.copy() for w in work.weights])
        engine.reset_state(self.optimizer.n_states)
        loss = losses.get(work.row.loss)
        spec = self.optimizer.update_spec
        engine.configure(work.row.loss, self.optimizer.rule, loss_parameters=loss.parameters, update_spec=spec)

    def train(self, steps: int) -> float:
        """Train some steps, cycling through the data; returns the loss of the last one."""
        batch = self.work.row.batch
        numbers = np.arange(self.done, self.done + steps)
        order = ((numbers % self.work.steps)[:, None] * batch + np.arange(batch)).ravel()
        losses = np.empty(steps)
        bounds, scalars = np.arange(0, len(order) + 1, batch), self.optimizer.scalars(numbers)
        self.engine.train(self.work.X, self.work.y, order, bounds, scalars, losses, n_threads=self.n_threads)
        self.done += steps
        return float(losses[-1])


def make_optimizer(row: Row) -> optimizers.Optimizer:
    """The row's optimizer with its learning rate."""
    rate, clipnorm = LEARNING_RATES[row.optimizer], row.global_clipnorm or None
    match row.optimizer:
        case "sgd":
            return optimizers.SGD(rate, global_clipnorm=clipnorm)
        case "adam":
            return optimizers.Adam(rate, global_clipnorm=clipnorm)
    return optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY, global_clipnorm=clipnorm)


def make_workload(row: Row, *, seed: int = 0, max_steps: int = MAX_STEPS) -> Workload:
    """The row's data, uniform in [-1, 1) or MNIST, and Glorot-uniform weights, drawn from one seed.

    At most ``max_steps`` batches; a full batch is one.
    """
    rng = np.random.default_rng(seed)
    weights: list[Array] = [w.astype(row.dtype) for w in glorot_weights(row.sizes, rng)]
    if row.data == "mnist":
        from fastbp.datasets import load_mnist

        split = load_mnist()
        n = min(len(split.x_train) // row.batch, max_steps) * row.batch
        return Workload(
            row, split.x_train[:n].astype(np.float32) / np.float32(255), split.y_train[:n].astype(np.int64), weights
        )
    steps = 1 if row.full_batch else max(1, min(max_steps, DATA_FLOATS // (row.sizes[0] * row.batch)))
    dtype = np.float64 if row.dtype == "float64" else np.float32
    X = 2 * rng.random((steps * row.batch, row.sizes[0]), dtype) - 1
    y: Array
    if row.data == "autoencoder":
        y = X
    elif row.loss == "huber":
        y = 4 * rng.random((len(X), row.sizes[-1]), dtype) - 2  # errors on both sides of delta
    elif row.loss == "mse":
        y = rng.random((len(X), row.sizes[-1]), dtype)
    else:
        y = rng.integers(0, row.sizes[-1], len(X))
    return Workload(row, X, y, weights)


def glorot_weights(sizes: Sequence[int], rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Kernels (in, out), uniform in ±sqrt(6 / (in + out)), and zero biases (out,), by layer, float32."""
    weights: list[NDArray[np.float32]] = []
    for n_in, n_out in itertools.pairwise(sizes):
        limit = np.sqrt(6.0 / (n_in + n_out))
        weights += [rng.uniform(-limit, limit, (n_in, n_out)).astype(np.float32), np.zeros(n_out, np.float32)]
    return weights


def step_flops(sizes: Sequence[int], batch: int) -> int:
    """FLOPs of the matrix products of one training step: 2·batch·in·out for each of the three passes of a layer.

    The first layer needs no gradient with respect to its input.

    >>> step_flops((784, 128, 10), 32)
    13090816
    """
    products = [2 * batch * n_in * n_out for n_in, n_out in itertools.pairwise(sizes)]
    return 3 * sum(products) - products[0]


def specs(row: Row) -> list[tuple[int, str]]:
    """(units, activation) of each layer; the last has softmax for cross-entropy, else the identity."""
    last = "softmax" if row.loss == "cross_entropy" else "identity"
    return [(units, row.activation) for units in row.sizes[1:-1]] + [(row.sizes[-1], last)]


class Result(NamedTuple):
    """One row of `fastbp bench`: microseconds per step of each side; median, minimum and maximum of the ratio.

    numpy_s, fastbp_s: seconds per step, by round.
    """

    row: Row
    numpy_us: float
    fastbp_us: float
    ratio: float
    lowest: float
    highest: float
    numpy_s: tuple[float, ...] = ()
    fastbp_s: tuple[float, ...] = ()


def compare_with_numpy(row: Row, *, rounds: int = 5, seconds: float = 0.2, n_threads: int | None = None) -> Result:
    """Time the NumPy reference and fastbp alternately on one row; ratios are of adjacent runs."""
    from fastbp.engine.engine import Engine
    from fastbp.reference import ReferenceEngine
    from fastbp.spec import LayerSpec

    work = make_workload(row)
    layers = [LayerSpec(units, activation) for units, activation in specs(row)]
    runners = [Runner(kind(row.sizes[0], layers), work, n_threads) for kind in (ReferenceEngine, Engine)]
    steps = [_calibrate(runner, seconds) for runner in runners]
    times = [[_turn(runner, n) for runner, n in zip(runners, steps, strict=True)] for _ in range(rounds)]
    ratios = [slow / fast for slow, fast in times]
    medians = [statistics.median(column) * 1e6 for column in zip(*times, strict=True)]
    columns = [tuple(column) for column in zip(*times, strict=True)]
    return Result(row, medians[0], medians[1], statistics.median(ratios), min(ratios), max(ratios), *columns)


def _turn(runner: Runner, steps: int) -> float:
    time.sleep(SETTLE_SECONDS)
    return _time(runner, steps)


def _time(runner: Runner, steps: int) -> float:
    start = time.perf_counter()
    runner.train(steps)
    return (time.perf_counter() - start) / steps


def _calibrate(runner: Runner, seconds: float) -> int:
    """Number of steps that take about this long; the first step, which may compile, is not counted."""
    runner.train(1)
    return max(1, min(MAX_STEPS, round(seconds / _time(runner, min(8, runner.work.steps)))))


def report(*, rounds: int = 5, n_threads: int | None = None, quick: bool = False) -> list[Result]:
    """Run `fastbp bench`: print a line per row as it is measured, with the share of the measured peak."""
    from fastbp.engine.peak import peak_of_several
    from fastbp.isa.targets.detect import usable_cores

    threads = min(n_threads or usable_cores(), usable_cores())
    peak, busy = peak_of_several("float32", threads)
    if busy:
        say(f"warning: {busy}")
    print(f"float32, threads {threads}, measured peak {peak / 1e9:.0f} GFLOP/s; microseconds per step")
    print(f"{'network, batch, optimizer':<55}{'NumPy':>10}{'fastbp':>10}{'GFLOP/s':>9}{'peak':>7}   NumPy / fastbp")
    results = []
    for row in _bench_rows(quick):
        result = compare_with_numpy(row, rounds=rounds, seconds=0.05 if quick else 0.2, n_threads=n_threads)
        speed = step_flops(row.sizes, row.batch) / result.fastbp_us * 1e6
        ratio = f"{result.ratio:.2f} ({result.lowest:.2f} to {result.highest:.2f})"
        columns_text = f"{result.numpy_us:>10,.1f}{result.fastbp_us:>10,.1f}{speed / 1e9:>9.1f}{speed / peak:>7.0%}"
        print(f"{row.title:<55}{columns_text}   {ratio}", flush=True)
        results.append(result)
    return results


def _bench_rows(quick: bool) -> list[Row]:
    """All rows that need no file; quick: those under 100 MFLOP per step."""
    rows = [row for row in ROWS if row.data == "random"]
    return [row for row in rows if step_flops(row.sizes, row.batch) < 1e8] if quick else rows
