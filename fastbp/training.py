"""The fit loop: slices of steps, and what happens between them."""

from __future__ import annotations

import functools
import numbers
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp import checkpoint, resuming
from fastbp.callbacks.base import hook, overrides
from fastbp.data import Rows
from fastbp.history import DivergenceWarning, History
from fastbp.mixup import Mixup
from fastbp.normalising import renew_statistics
from fastbp.progress import Progress
from fastbp.slices import Pace, Schedule, Slice
from fastbp.tally import Tally
from fastbp.trainer import Trainer, evaluate, most_rows

if TYPE_CHECKING:
    from fastbp.reference import Report

__all__ = ["DivergenceWarning", "Fit", "History", "Job", "Trainer", "evaluate", "fit"]


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
    resume_from: str | None = None
    time_limit: float | None = None
    mixup: float = 0.0


class Fit:
    """One fit under way; callbacks with a method `set_fit` are given it.

    step, epoch: steps and epochs done, those before an interruption included; last: whether no slice will follow;
    history: what will be returned.
    """

    def __init__(self, trainer: Trainer, job: Job, model: Any) -> None:
        self.trainer, self.job, self.model, self.history = trainer, job, model, History()
        self.step, self.epoch, self.last = 0, 0, False
        self.first_step, self.first_epoch = trainer.step, trainer.epoch
        self.latest: dict[str, float] = {}
        self.pace = Pace(6.0 * trainer.engine.n_parameters * job.batch_size)
        self.steps_per_epoch = -(-len(job.rows.X) // job.batch_size)
        self.tally = Tally(trainer, job.rows, self.steps_per_epoch)
        self._mixup = Mixup(job.mixup, trainer.seed, trainer.engine.output_size) if job.mixup else None
        self._deadline = None if job.time_limit is None else time.monotonic() + job.time_limit
        # Why training stops, if a callback wants it to: that is part of the run. And what stops it from outside: the
        # clock or another thread, without which it would have gone on.
        self.stopped: str | None = None
        self._interrupted: str | None = None

    @functools.cached_property
    def given(self) -> dict[str, Any]:
        """What must be the same for the fit to go on."""
        return resuming.given(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that it takes to go on from here, whole or not at all; `fit(resume_from=path)` reads it."""
        checkpoint.write(path, resuming.contents(self))

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do: the last epoch is done, or a callback stopped the training."""
        return self.stopped is not None or self.step == self.job.epochs * self.steps_per_epoch

    def renew_statistics(self) -> None:
        """Estimate what batch normalisation needs anew from the training data, for weights no step has made."""
        renew_statistics(self.trainer, self.job.rows, self.job.batch_size)

    def run(self) -> Report | None:
        """Train until the last epoch is done, something wants to stop, or the training diverged; its report then."""
        try:
            return None if self.complete else self._all_slices()
        finally:  # Ctrl-C may strike as soon as the engine returns
            self._count_epochs()
            self.history.stopped = self.stopped or self._interrupted

    def _all_slices(self) -> Report | None:
        """The loop: slice after slice, and what must happen between them."""
        job, rows = self.job, len(self.job.rows.X)
        pause = job.validation is not None or any(
            overrides(callback, name) for callback in job.callbacks for name in ("on_epoch_begin", "on_epoch_end")
        )
        schedule = Schedule(
            rows, job.batch_size, job.epochs, self.first_epoch, self.trainer.seed, shuffle=job.shuffle, pause=pause
        )
        done = self.epoch * rows + self.step % self.steps_per_epoch * job.batch_size
        with Progress(rows * job.epochs, job.epochs, job.shown, done) as progress:
            most = most_rows(self.trainer)
            if self._mixup is not None:
                most = min(most, self._mixup.most_rows(job.rows))
            for piece in schedule.slices(self.pace, most, self.step):
                if piece.first == self.epoch * self.steps_per_epoch:
                    hook(job.callbacks, "on_epoch_begin", self.epoch, {})
                report = self._slice(piece)
                self.step = piece.first + report.steps
                self._end_epochs(self.step // self.steps_per_epoch)
                self._show(progress, piece, report)
                if report.status:
                    return self._diverged(report)
                self.last = self._ends()
                hook(job.callbacks, "on_slice_end")
                if self.last:
                    break
        return None

    def _slice(self, piece: Slice) -> Report:
        """Train one slice and add it to the tally, the loss that was not finite included."""
        trainer, job = self.trainer, self.job
        outputs = None
        if trainer.metrics:
            outputs = np.empty((len(piece.order), trainer.engine.output_size), job.rows.X.dtype)
        rows, order, began = job.rows, piece.order, time.perf_counter()
        if self._mixup is not None:
            rows = self._mixup(rows, order, piece.bounds, trainer.engine.steps_trained)
            order = np.arange(len(order))
        report, losses = trainer.train(rows, order, piece.bounds, outputs, job.n_threads)
        self.pace.measured(report.steps, time.perf_counter() - began)
        self.tally.add(piece, losses, outputs, report)
        return report

    def _end_epochs(self, past: int) -> None:
        """Note down what is known of the epochs before `past` and validate; more than one only if no-one looks on."""
        first, job = self.epoch, self.job
        if past == first:
            return
        columns = self.tally.columns(first, past)
        if job.validation is not None:
            logs = evaluate(self.trainer, job.validation, job.n_threads)
            columns |= {f"val_{name}": [value] for name, value in logs.items()}
        self._count_epochs()
        self.epoch = past
        self.latest = {name: values[-1] for name, values in columns.items()}
        logs, before = dict(self.latest), self.model.stop_training
        hook(job.callbacks, "on_epoch_end", past - 1, logs)
        added = {name: [float(logs[name])] for name in logs.keys() - columns if isinstance(logs[name], numbers.Real)}
        self.history.extend(first, columns | added)
        if self.model.stop_training and not before:
            reasons = (getattr(callback, "stop_reason", None) for callback in job.callbacks)
            self.stopped = next(filter(None, reasons), "stop_training")

    def _count_epochs(self) -> None:
        """Set the model's counter of epochs by its counter of steps."""
        self.trainer.epoch = self.first_epoch + (self.trainer.step - self.first_step) // self.steps_per_epoch

    def _ends(self) -> bool:
        """Whether training ends here."""
        if self.complete:
            return True
        if self.model.stop_training:
            self._interrupted = "stop_training"
        elif self._deadline is not None and time.monotonic() >= self._deadline:
            self._interrupted = "time_limit"
        return self._interrupted is not None

    def _diverged(self, report: Report) -> Report:
        """Note down what is known of the epoch that broke off."""
        self.stopped = "diverged"
        if self.step % self.steps_per_epoch or report.status == 1:
            self.history.extend(self.epoch, self.tally.columns(self.epoch, self.epoch + 1))
        return report

    def _show(self, progress: Progress, piece: Slice, report: Report) -> None:
        """Move the progress bar: the loss of the epoch under way, the metrics of the last one finished."""
        if not self.job.shown:
            return
        epoch = min(self.step // self.steps_per_epoch, self.job.epochs - 1)
        shown = dict(self.latest)
        if epoch == self.epoch and self.step > epoch * self.steps_per_epoch:
            shown["loss"] = self.tally.loss(epoch)
        progress.update(int(piece.bounds[report.steps]), epoch, shown)


def fit(trainer: Trainer, job: Job, model: Any) -> History:
    """Train for job.epochs epochs; see `Sequential.fit`."""
    under_way = Fit(trainer, job, model)
    saved = resuming.find(under_way)
    model.stop_training = False
    hook(job.callbacks, "set_model", model)
    hook(job.callbacks, "set_fit", under_way)
    try:
        if saved is not None:
            resuming.restore(under_way, saved)
        hook(job.callbacks, "on_train_begin", {})
        if saved is not None:
            resuming.restore_callbacks(under_way, saved)
        saved = None  # nobody needs its copies of the weights while training
        diverged = under_way.run()
        hook(job.callbacks, "on_train_end", dict(under_way.latest))
    finally:
        hook(job.callbacks, "set_fit", None)  # else a callback that is kept would keep the data
    if diverged is not None:
        trainer.warn(diverged, stacklevel=3, epoch=under_way.history.epoch[-1])
    return under_way.history
