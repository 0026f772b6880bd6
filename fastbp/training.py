"""The fit loop: slices of steps, and what happens between them."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp import metrics
from fastbp.data import Array, Rows
from fastbp.layers import Block
from fastbp.progress import Progress
from fastbp.slices import Indices, Pace, Schedule, Slice, chunks

if TYPE_CHECKING:
    from fastbp.kernels.engine import Engine
    from fastbp.losses import Loss
    from fastbp.optimizers import Optimizer
    from fastbp.reference import Report

_SCALARS_AHEAD = 256  # single steps take the optimizer's scalars from a table of this many: 5 µs saved a step
_OUTPUT_BYTES = 1 << 23  # of a slice, kept for the metrics


class DivergenceWarning(RuntimeWarning):
    """Training stopped since a loss or a weight would have become infinite or not a number."""


class History:
    """What fit reports.

    history: the loss and the metrics of every epoch by name, those on validation data with ``val_`` before the name;
    epoch: the numbers of the epochs, from 0. As Keras's.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def extend(self, first: int, columns: dict[str, list[float]]) -> None:
        """Note down the figures of epochs first, first + 1, …"""
        self.epoch.extend(range(first, first + len(columns["loss"])))
        for name, values in columns.items():
            self.history.setdefault(name, []).extend(values)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.history.items())
        return f"History({len(self.epoch)} epochs{': ' + last if last else ''})"


class Job(NamedTuple):
    """The arguments of one fit, checked and converted."""

    rows: Rows
    validation: Rows | None
    batch_size: int
    epochs: int
    shuffle: bool
    callbacks: tuple[Any, ...]
    shown: bool
    n_threads: int | None


class Trainer:
    """An engine with what training needs beside it; step counts from compile, epoch from when the model was built."""

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
    ) -> None:
        self.engine, self.blocks, self.optimizer, self.loss = engine, blocks, optimizer, loss
        self.metrics, self.seed, self.step, self.epoch = measures, seed, 0, epoch
        self._first_rows, self._bounds = np.arange(1), np.zeros(2, np.int64)
        self._row, self._loss = np.zeros((1, 8)), np.zeros(1)
        self._table_start = -_SCALARS_AHEAD
        self._table = np.empty((0, 8))

    @property
    def activation(self) -> str:
        """The name of the last activation."""
        return self.blocks[-1].activation.name

    def measure(self, known: Iterable[Any], y: Array, outputs: Array, weight: Array | None) -> list[Any]:
        """What is known, metric by metric, after one more part of the data."""
        predictions = self.loss.predictions(outputs)
        return metrics.add_all(self.metrics, known, y, predictions, weight, self.loss.name, self.activation)

    def train(
        self, rows: Rows, order: Indices, bounds: Indices, outputs: Array | None = None, n_threads: int | None = None
    ) -> tuple[Report, npt.NDArray[np.float64]]:
        """Run len(bounds) - 1 steps; the engine's report and the loss of each."""
        steps = len(bounds) - 1
        scalars = self._scalars(steps)
        losses = np.empty(steps) if steps > 1 else self._loss  # one for all single steps: new arrays take their time
        losses.fill(math.nan)
        done = -1
        try:
            report = self.engine.train(
                rows.X, rows.y, order, bounds, scalars, losses,
                sample_weight=rows.weight, outputs=outputs, n_threads=n_threads,
            )  # fmt: skip
            done = report.steps
        finally:  # Ctrl-C may strike after the engine's last step and before the line above: its losses tell
            self.step += done if done >= 0 else int(np.count_nonzero(np.isfinite(losses)))
        return report, losses

    def first_rows(self, n: int) -> Indices:
        """The order of rows 0 … n - 1."""
        order = self._first_rows  # kept, since online learning asks for the same n again and again
        if len(order) != n:
            order = self._first_rows = np.arange(n)
        return order

    def step_on(self, rows: Rows) -> tuple[Report, float]:
        """One step on all these rows; the engine's report and the loss before it."""
        self._bounds[1] = n = len(rows.X)
        report, losses = self.train(rows, self.first_rows(n), self._bounds)
        return report, float(losses[0])

    def _scalars(self, steps: int) -> npt.NDArray[np.float64]:
        if steps > 1 or callable(self.optimizer.learning_rate):  # which may not be defined for steps not asked for
            return self.optimizer.scalars(np.arange(self.step, self.step + steps))
        row = self.step - self._table_start
        if not 0 <= row < _SCALARS_AHEAD:
            self._table = self.optimizer.scalars(np.arange(self.step, self.step + _SCALARS_AHEAD))
            self._table_start, row = self.step, 0
        self._row[0] = self._table[row]
        return self._row

    def warn(self, report: Report, *, stacklevel: int, epoch: int | None = None) -> None:
        """Say why training stopped; the weights are those of the last finished step."""
        where = "" if epoch is None else f" in epoch {epoch + 1}"
        if report.status == 1:
            what = f"the loss of step {self.step + 1}{where} is not finite{self._at(report)}, so that step was left out"
        else:
            what = (
                f"step {self.step}{where} would have made weights infinite{self._at(report)}; these kept their values"
            )
        remedy = "lower the learning rate, scale X and y, or choose other initial weights"
        warnings.warn(f"training diverged: {what}; {remedy}", DivergenceWarning, stacklevel=stacklevel + 1)

    def _at(self, report: Report) -> str:
        return "" if report.layer < 0 else f" at layer {report.layer}, {self.blocks[report.layer].label}"


def evaluate(trainer: Trainer, rows: Rows, n_threads: int | None) -> dict[str, float]:
    """The mean loss and the metrics over all rows."""
    engine, width = trainer.engine, trainer.engine.output_size
    total, weight = 0.0, 0.0
    known = [metric.start() for metric in trainer.metrics]
    for chunk in chunks(len(rows.X), 2.0 * engine.n_parameters, _most_rows(trainer)):
        X, y, w = rows.X[chunk], rows.y[chunk], None if rows.weight is None else rows.weight[chunk]
        outputs = np.empty((len(X), width), X.dtype) if trainer.metrics else None
        loss = engine.evaluate(X, y, sample_weight=w, outputs=outputs, n_threads=n_threads)
        share = float(len(X)) if w is None else float(w.sum(dtype=np.float64))
        total, weight = total + share * loss, weight + share
        if outputs is not None:
            known = trainer.measure(known, y, outputs, w)
    logs = {"loss": float(total / weight)}
    return logs | {metric.name: metric.result(state) for metric, state in zip(trainer.metrics, known, strict=True)}


def _most_rows(trainer: Trainer) -> int:
    """Rows whose outputs may be held at a time."""
    if not trainer.metrics:
        return 1 << 20
    return max(1, _OUTPUT_BYTES // (trainer.engine.output_size * trainer.engine.dtype.itemsize))


class Tally:
    """Adds up the losses and metrics of epochs while slices come in."""

    def __init__(self, trainer: Trainer, rows: Rows, steps_per_epoch: int) -> None:
        self._trainer, self._rows, self._steps = trainer, rows, steps_per_epoch
        self._first = 0  # of the epochs that the last slice was of; sums of weighted losses, and of weights, of each
        self._loss: Array = np.zeros(1)
        self._weight: Array = np.zeros(1)
        self._known: dict[int, list[Any]] = {}  # of each metric, by epoch

    def add(self, piece: Slice, losses: npt.NDArray[np.float64], outputs: Array | None, report: Report) -> None:
        """Take in a slice: the losses of its steps, also of one dropped since not finite, and their rows' outputs."""
        seen = report.steps + (report.status == 1)
        epoch = np.arange(piece.first, piece.first + seen) // self._steps
        bounds = piece.bounds[: seen + 1]
        weight: npt.NDArray[np.float64]
        if self._rows.weight is None:
            weight = np.diff(bounds).astype(np.float64)
        else:
            weight = np.add.reduceat(self._rows.weight[piece.order[: bounds[-1]]].astype(np.float64), bounds[:-1])
        first, past = int(epoch[0]), int(epoch[-1]) + 1
        with np.errstate(invalid="ignore"):  # an infinite loss of rows that weigh nothing
            terms = losses[:seen] * weight
        goes_on = first == self._first + len(self._loss) - 1  # the epoch in which the last slice ended
        # What is known comes first: bincount adds in order, so where slices were cut changes no bit.
        place = np.concatenate([[0], epoch - first])
        self._loss = np.bincount(place, np.concatenate([[self._loss[-1] * goes_on], terms]))
        self._weight = np.bincount(place, np.concatenate([[self._weight[-1] * goes_on], weight]))
        self._first = first
        if outputs is not None:
            for e in range(first, past):
                begin, end = (max(0, number * self._steps - piece.first) for number in (e, e + 1))
                part = slice(int(bounds[begin]), int(bounds[min(end, report.steps)]))
                self._measure(e, piece.order[part], outputs[part])

    def _measure(self, epoch: int, order: Indices, outputs: Array) -> None:
        trainer, rows = self._trainer, self._rows
        weight = None if rows.weight is None else rows.weight[order]
        known = self._known.get(epoch) or [metric.start() for metric in trainer.metrics]
        self._known[epoch] = trainer.measure(known, rows.y[order], outputs, weight)

    def loss(self, epoch: int) -> float:
        """The mean loss of an epoch so far."""
        return self._losses(epoch, epoch + 1)[0]

    def _losses(self, first: int, past: int) -> list[float]:
        epochs = slice(first - self._first, past - self._first)
        weight = self._weight[epochs]
        # An epoch whose rows all weigh nothing has the loss 0, as such a batch has.
        losses: list[float] = (self._loss[epochs] / np.where(weight > 0, weight, 1)).tolist()
        return losses

    def columns(self, first: int, past: int) -> dict[str, list[float]]:
        """The mean loss and the metrics of epochs first … past - 1, which are then forgotten."""
        result = {"loss": self._losses(first, past)}
        if self._trainer.metrics:
            known = [self._known.pop(epoch, None) for epoch in range(first, past)]
            for position, metric in enumerate(self._trainer.metrics):
                result[metric.name] = [metric.result(metric.start() if k is None else k[position]) for k in known]
        return result


class _Fit:
    """One fit under way."""

    def __init__(self, trainer: Trainer, job: Job, model: Any) -> None:
        n, pause = len(job.rows.X), bool(job.callbacks) or job.validation is not None
        self.trainer, self.job, self.model, self.history = trainer, job, model, History()
        self.schedule = Schedule(
            n, job.batch_size, job.epochs, trainer.epoch, trainer.seed, shuffle=job.shuffle, pause=pause
        )
        self.tally = Tally(trainer, job.rows, self.schedule.steps_per_epoch)
        self.pace = Pace(6.0 * trainer.engine.n_parameters * job.batch_size)
        self.progress = Progress(n * job.epochs, job.epochs, job.shown)
        self.finished = 0  # epochs
        self.first_step, self.first_epoch = trainer.step, trainer.epoch
        self.latest: dict[str, float] = {}

    def run(self) -> Report | None:
        """Train until the last epoch is done, a callback wants to stop, or the training diverged; its report then."""
        try:
            return self.all_slices()
        finally:  # Ctrl-C may strike as soon as the engine returns
            self.count_epochs()

    def all_slices(self) -> Report | None:
        """The loop: slice after slice, and what must happen between them."""
        with self.progress:
            for piece in self.schedule.slices(self.pace, _most_rows(self.trainer)):
                if piece.first == self.finished * self.schedule.steps_per_epoch:
                    hook(self.job.callbacks, "on_epoch_begin", self.finished, {})
                report = self.slice(piece)
                done = piece.first + report.steps
                self.end_epochs(done // self.schedule.steps_per_epoch)
                self.show(piece, report)
                if report.status:
                    if done % self.schedule.steps_per_epoch or report.status == 1:
                        self.history.extend(self.finished, self.tally.columns(self.finished, self.finished + 1))
                    return report
                if self.model.stop_training:
                    break
        return None

    def count_epochs(self) -> None:
        """Set the model's counter of epochs by its counter of steps."""
        done = (self.trainer.step - self.first_step) // self.schedule.steps_per_epoch
        self.trainer.epoch = self.first_epoch + done

    def slice(self, piece: Slice) -> Report:
        """Train one slice and add it to the tally, the loss that was not finite included."""
        trainer, job = self.trainer, self.job
        outputs = None
        if trainer.metrics:
            outputs = np.empty((len(piece.order), trainer.engine.output_size), job.rows.X.dtype)
        began = time.perf_counter()
        report, losses = trainer.train(job.rows, piece.order, piece.bounds, outputs, job.n_threads)
        self.pace.measured(report.steps, time.perf_counter() - began)
        self.tally.add(piece, losses, outputs, report)
        return report

    def end_epochs(self, past: int) -> None:
        """Note down what is known of the epochs before `past` and validate; more than one only if no-one looks on."""
        first = self.finished
        if past == first:
            return
        columns = self.tally.columns(first, past)
        if self.job.validation is not None:
            logs = evaluate(self.trainer, self.job.validation, self.job.n_threads)
            columns |= {f"val_{name}": [value] for name, value in logs.items()}
        self.history.extend(first, columns)
        self.count_epochs()
        self.finished = past
        self.latest = {name: values[-1] for name, values in columns.items()}
        hook(self.job.callbacks, "on_epoch_end", past - 1, dict(self.latest))

    def show(self, piece: Slice, report: Report) -> None:
        """Move the progress bar: the loss of the epoch under way, the metrics of the last one finished."""
        if not self.job.shown:
            return
        epoch = min((piece.first + report.steps) // self.schedule.steps_per_epoch, self.job.epochs - 1)
        if epoch == self.finished and piece.first + report.steps > epoch * self.schedule.steps_per_epoch:
            self.latest["loss"] = self.tally.loss(epoch)
        self.progress.update(int(piece.bounds[report.steps]), epoch, self.latest)


def hook(callbacks: Iterable[Any], name: str, *arguments: Any) -> None:
    """Call a method of every callback that has it."""
    for callback in callbacks:
        method = getattr(callback, name, None)
        if method is not None:
            method(*arguments)


def fit(trainer: Trainer, job: Job, model: Any) -> History:
    """Train for job.epochs epochs; see `Sequential.fit`."""
    model.stop_training = False
    hook(job.callbacks, "set_model", model)
    hook(job.callbacks, "on_train_begin", {})
    under_way = _Fit(trainer, job, model)
    diverged = under_way.run()
    hook(job.callbacks, "on_train_end", dict(under_way.latest))
    if diverged is not None:
        trainer.warn(diverged, stacklevel=3, epoch=under_way.history.epoch[-1])
    return under_way.history
