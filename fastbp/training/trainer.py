"""The trainer: an engine with an optimizer's scalars and counters; single steps, slices of steps, and evaluation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp import metrics
from fastbp.data.arrays import Rows
from fastbp.data.batch_schedule import Indices, chunk_rows
from fastbp.data.feeds import Arrays, Feed
from fastbp.layers.graph import Block
from fastbp.training.again import Again
from fastbp.training.history import DivergenceWarning
from fastbp.training.learning_rates import Rates
from fastbp.util.turns import Turns, give_way
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.engine.engine import Engine
    from fastbp.losses import Loss
    from fastbp.optimizers import Optimizer
    from fastbp.spec import Report

_OUTPUT_BYTES = 1 << 23  # per slice, kept for the metrics


class Trainer:
    """Runs steps on an engine; `step` counts from compile, `epoch` from when the model was built."""

    def __init__(
        self,
        engine: Engine,
        blocks: tuple[Block, ...],
        optimizer: Optimizer,
        loss: Loss,
        measures: tuple[metrics.Metric, ...],
        *,
        seed: int,
        epoch: int,
        turns: Turns | None = None,
    ) -> None:
        self.turns, self.retired = turns or Turns(), False  # retired: the model was compiled again
        self.warm = False
        self.engine, self.blocks, self.optimizer, self.loss = engine, blocks, optimizer, loss
        self.metrics, self.seed, self.step, self.epoch = measures, seed, 0, epoch
        self._first_rows, self._bounds = np.arange(1), np.zeros(2, np.int64)
        self._loss = np.zeros(1)
        self.rates = Rates(optimizer)
        self.again: Again | None = None  # makes steps of few rows like the last one

    @property
    def activation(self) -> str:
        """Name of the last activation."""
        return self.blocks[-1].activation.name

    def measure(self, states: Iterable[Any], y: Array, outputs: Array, weight: Array | None) -> list[Any]:
        """Metric states after one more part of the data."""
        predictions = self.loss.predictions(outputs)
        return metrics.add_all(self.metrics, states, y, predictions, weight, self.loss.name, self.activation)

    def train(
        self,
        rows: Rows,
        order: Indices,
        bounds: Indices,
        outputs: Array | None = None,
        n_threads: int | None = None,
        scalars: npt.NDArray[np.float64] | None = None,
    ) -> tuple[Report, npt.NDArray[np.float64]]:
        """Run len(bounds) - 1 steps; returns the report and the loss of each. scalars override the optimizer's."""
        self.warm_up()
        give_way()
        with self.turns.state:
            return self._train(rows, order, bounds, outputs, n_threads, scalars)

    def warm_up(self) -> None:
        """Compile, or load from the cache, what steps run, while other threads and forks need not wait for it."""
        if not self.warm:
            self.engine.warm_up()
            self.warm = True

    def _train(
        self,
        rows: Rows,
        order: Indices,
        bounds: Indices,
        outputs: Array | None = None,
        n_threads: int | None = None,
        scalars: npt.NDArray[np.float64] | None = None,
    ) -> tuple[Report, npt.NDArray[np.float64]]:
        steps = len(bounds) - 1
        if scalars is None:
            scalars = self.rates.of(self.step, steps)
        losses = np.empty(steps) if steps > 1 else self._loss  # reused by single steps: allocation takes time
        losses.fill(math.nan)
        done, before = -1, self.engine.steps_trained
        self.engine.steps_since_compile = self.step
        try:
            report = self.engine.train(
                rows.X, rows.y, order, bounds, scalars, losses,
                sample_weight=rows.weight, outputs=outputs, n_threads=n_threads,
            )  # fmt: skip
            done = report.steps
        finally:  # after Ctrl-C right behind the last step, count the steps by their losses
            if done < 0:
                done = int(np.count_nonzero(np.isfinite(losses)))
            self.step += done
            self.engine.steps_trained = before + done
        return report, losses

    def check(self) -> None:
        """RuntimeError if the model was compiled again since, or is half of one (see `Turns.check`)."""
        self.turns.check()
        if self.retired:
            raise RuntimeError(
                "the model was compiled again meanwhile, so its targets may have another form: compile before threads "
                "start to evaluate"
            )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.rates.get(self.step)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.rates.set(value, self.step)

    def first_rows(self, n: int) -> Indices:
        """The order 0 … n - 1."""
        order = self._first_rows  # cached: online learning uses the same n over and over
        if len(order) != n:
            order = self._first_rows = np.arange(n)
        return order

    def step_on(self, rows: Rows) -> tuple[Report, float]:
        """One step on all these rows, in the caller's turn; the engine's report and the loss before the update."""
        self._bounds[1] = n = len(rows.X)
        report, losses = self._train(rows, self.first_rows(n), self._bounds)
        self.again = Again.after(self, rows, self._bounds, losses)
        return report, float(losses[0])

    def warn(self, report: Report, *, stacklevel: int, epoch: int | None = None) -> None:
        """Warn why training stopped; the weights are those of the last finished step."""
        where = "" if epoch is None else f" in epoch {epoch + 1}"
        if report.status == 1:
            what = f"the loss of step {self.step + 1}{where} is not finite{self._at(report)}, so the step was skipped"
        elif self.step % self.optimizer.update_spec.accumulation:
            what = (
                f"in step {self.step}{where} the accumulated gradient became infinite{self._at(report)}; it is dropped"
            )
        else:
            what = (
                f"step {self.step}{where} would have made weights infinite{self._at(report)}; they keep their values"
            )
        remedy = "lower the learning rate, scale X and y, or choose other initial weights"
        warnings.warn(f"training diverged: {what}; {remedy}", DivergenceWarning, stacklevel=stacklevel + 1)

    def _at(self, report: Report) -> str:
        return "" if report.layer < 0 else f" at layer {report.layer}, {self.blocks[report.layer].label}"


def evaluate(trainer: Trainer, feed: Feed, n_threads: int | None) -> dict[str, float]:
    """Mean loss and metrics over all rows."""
    trainer.warm_up()
    engine, width = trainer.engine, trainer.engine.output_size
    total, weight = 0.0, 0.0
    states = [metric.start() for metric in trainer.metrics]
    # Weights of one step for all rows; but reading a source runs the user's code, which must not hold others up.
    still = trainer.turns.state if isinstance(feed, Arrays) else nullcontext()
    with still, closing(feed.parts(chunk_rows(2.0 * engine.n_parameters, most_rows(trainer)))) as parts:
        for X, y, w in parts:
            outputs = np.empty((len(X), width), X.dtype) if trainer.metrics else None
            with trainer.turns.state:
                trainer.check()
                loss = engine.evaluate(X, y, sample_weight=w, outputs=outputs, n_threads=n_threads)
            share = float(len(X)) if w is None else float(w.sum(dtype=np.float64))
            total, weight = total + share * loss, weight + share
            if outputs is not None:
                states = trainer.measure(states, y, outputs, w)
    if not weight:
        raise ValueError("sample_weight must have a positive entry, but all are 0: give some rows a positive weight")
    logs = {"loss": float(total / weight)}
    return logs | {metric.name: metric.result(state) for metric, state in zip(trainer.metrics, states, strict=True)}


def most_rows(trainer: Trainer) -> int:
    """Rows whose outputs may be held at a time."""
    if not trainer.metrics:
        return 1 << 20
    return max(1, _OUTPUT_BYTES // (trainer.engine.output_size * trainer.engine.dtype.itemsize))
