"""The fit loop: windows of rows, slices of steps on them, and the work between slices."""

from __future__ import annotations

import math
import numbers
import os
import time
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.data.arrays import Rows
from fastbp.data.batch_schedule import Pace, Slice
from fastbp.data.feeds import Deal, Place
from fastbp.storage import checkpoint
from fastbp.training import resume as resuming
from fastbp.training.batch_norm_statistics import renew_statistics
from fastbp.training.fit_state import FitState, Job
from fastbp.training.history import History
from fastbp.training.hooks import epoch_hook, epoch_period, hook, overrides
from fastbp.training.mixup import Mixup
from fastbp.training.progress import Progress
from fastbp.training.trainer import Trainer, evaluate, most_rows

if TYPE_CHECKING:
    from fastbp.spec import Report

_STATISTICS_ROWS = 1 << 16  # of training data at a time, when re-estimating statistics


class Fit(FitState):
    """A running fit; passed to callbacks that have a method `set_fit`."""

    def __init__(self, trainer: Trainer, job: Job, model: Any) -> None:
        super().__init__(trainer, job, model)
        self.pace = Pace(6.0 * trainer.engine.n_parameters * job.batch_size)
        self._piece: Slice | None = None  # the last one started, and the trainer's step then
        self._started = trainer.step
        self._mixup = Mixup(job.mixup, trainer.seed, trainer.engine.output_size) if job.mixup else None
        self._deadline: float | None = None
        if job.time_limit is not None:
            trainer.engine.warm_up()  # compilation does not count as training time
            self._deadline = time.monotonic() + job.time_limit
        # Why it was stopped from outside, by the clock or another thread; not part of the run itself.
        self._interrupted: str | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue from here, atomically; `fit(resume_from=path)` reads it."""
        checkpoint.write(path, resuming.contents(self))

    def renew_statistics(self) -> None:
        """Re-estimate batch normalization statistics on the training data, after weights were set."""
        batch_size = self.job.batch_size
        size = -(-_STATISTICS_ROWS // batch_size) * batch_size
        with closing(self.job.feed.parts(size, batch_size)) as parts:
            renew_statistics(self.trainer, parts, batch_size)

    def run(self) -> Report | None:
        """Train until the last epoch, a stop request or divergence; returns the report if training diverged."""
        try:
            return None if self.complete else self._all_slices()
        finally:  # Ctrl-C may strike as soon as the engine returns
            self._count_epochs()
            self.history.stopped = self.stopped or self._interrupted

    def _all_slices(self) -> Report | None:
        """The loop over slices, and the work between them."""
        job = self.job
        self._begin_epoch()
        with closing(self._pieces()) as pieces, self._progress() as progress:
            for rows, piece in pieces:
                report = self._slice(rows, piece)
                self.step = piece.first + report.steps
                if self._end_epochs(piece, report.steps):
                    progress.epoch_end(self.epoch, self.latest, self.complete)
                self._show(progress, piece, report)
                if report.status:
                    return self._diverged(report)
                self.last = self._ends()
                hook(job.callbacks, "on_slice_end")
                if self.last:
                    break
                self._begin_epoch()
        return None

    def _pieces(self) -> Generator[tuple[Rows, Slice], None, None]:
        """The remaining slices, window by window, each with its rows."""
        job, most = self.job, most_rows(self.trainer)
        deal = Deal(job.batch_size, job.epochs, self.first_epoch, self.trainer.seed, job.shuffle, self._pause(),
                    job.drop_last)  # fmt: skip
        with closing(job.feed.windows(deal, Place(self.step, self.epoch, self.began))) as windows:
            for window in windows:
                rows = window.rows
                fitting = most if self._mixup is None else min(most, self._mixup.most_rows(rows))
                for piece in window.slices(self.pace, fitting):
                    yield rows, piece

    def _pause(self) -> int:
        """After how many epochs something observes their end, at most; 0 if nothing does."""
        job = self.job
        periods = [1] * (job.validation is not None) + [job.display.every] * (job.display.style == "epochs")
        for callback in job.callbacks:
            if overrides(callback, "on_epoch_begin") or overrides(callback, "on_epoch_end"):
                periods.append(epoch_period(callback))
        return math.gcd(*periods)

    def _begin_epoch(self) -> None:
        """Call on_epoch_begin if an epoch begins here."""
        if self.step == self.began:
            epoch_hook(self.job.callbacks, "on_epoch_begin", self.epoch, self.epoch, {})

    def _progress(self) -> Progress:
        job, rows = self.job, self.rows_per_epoch
        done = (self.step - self.began) * job.batch_size + self.epoch * (rows or 0)
        return Progress(rows and rows * job.epochs, job.epochs, job.display, done)

    def _slice(self, rows: Rows, piece: Slice) -> Report:
        """Train one slice and add it to the epoch logs, including a loss that is not finite."""
        trainer, self._piece, self._started = self.trainer, piece, self.trainer.step
        outputs = None
        if trainer.metrics:
            outputs = np.empty((len(piece.order), trainer.engine.output_size), rows.X.dtype)
        blended, order, began = rows, piece.order, time.perf_counter()
        if self._mixup is not None:
            blended = self._mixup(rows, order, piece.bounds, trainer.engine.steps_trained)
            order = np.arange(len(order))
        report, losses = trainer.train(blended, order, piece.bounds, outputs, self.job.n_threads)
        self.pace.measured(report.steps, time.perf_counter() - began)
        self.epoch_logs.add(rows, piece, losses, outputs, report)
        return report

    def _end_epochs(self, piece: Slice, done: int) -> bool:
        """Record and validate finished epochs, if any did; more than one at a time only where nothing observes them."""
        first, past, job = self.epoch, int(piece.epochs[done]), self.job
        if past == first:
            return False
        columns = self.epoch_logs.columns(first, past)
        if job.validation is not None:
            logs = evaluate(self.trainer, job.validation, job.n_threads)
            columns |= {f"val_{name}": [value] for name, value in logs.items()}
        self._count_epochs()
        self.epoch, self.began = past, piece.first + int(np.searchsorted(piece.epochs, past))
        self.latest = {name: values[-1] for name, values in columns.items()}
        logs, before = dict(self.latest), self.model.stop_training
        epoch_hook(job.callbacks, "on_epoch_end", past, past - 1, logs)
        added = {name: [float(logs[name])] for name in logs.keys() - columns if isinstance(logs[name], numbers.Real)}
        self.history.extend(first, columns | added)
        if self.model.stop_training and not before:
            reasons = (getattr(callback, "stop_reason", None) for callback in job.callbacks)
            self.stopped = next(filter(None, reasons), "stop_training")
        return True

    def _count_epochs(self) -> None:
        """Update the model's epoch counter from its step counter."""
        if self._piece is not None:
            done = self.trainer.step - self._started  # or more: callbacks may make steps of their own
            self.trainer.epoch = self.first_epoch + int(self._piece.epochs[: done + 1][-1])

    def _ends(self) -> bool:
        """Whether training ends after this slice."""
        if self.complete:
            return True
        if self.model.stop_training:
            self._interrupted = "stop_training"
        elif self._deadline is not None and time.monotonic() >= self._deadline:
            self._interrupted = "time_limit"
        return self._interrupted is not None

    def _diverged(self, report: Report) -> Report:
        """Record the incomplete epoch in which training diverged."""
        self.stopped = "diverged"
        if self.step > self.began or report.status == 1:
            self.history.extend(self.epoch, self.epoch_logs.columns(self.epoch, self.epoch + 1))
        return report

    def _show(self, progress: Progress, piece: Slice, report: Report) -> None:
        """Update the progress bar with the loss of the current epoch and the metrics of the last finished one."""
        if not progress.shown:
            return
        job, shown = self.job, dict(self.latest)
        if self.step > self.began:
            shown["loss"] = self.epoch_logs.loss(self.epoch)
        total = self.rows_per_epoch and self.rows_per_epoch * job.epochs
        progress.update(int(piece.bounds[report.steps]), min(self.epoch, job.epochs - 1), shown, total)


def fit(trainer: Trainer, job: Job, model: Any) -> History:
    """Train for job.epochs epochs; see `Sequential.fit`."""
    current = Fit(trainer, job, model)
    saved = resuming.find(current)
    model.stop_training = False
    hook(job.callbacks, "set_model", model)
    hook(job.callbacks, "set_fit", current)
    try:
        if saved is not None:
            resuming.restore(current, saved)
        hook(job.callbacks, "on_train_begin", {})
        if saved is not None:
            resuming.restore_callbacks(current, saved)
        saved = None  # free its copies of the weights while training
        diverged = current.run()
        hook(job.callbacks, "on_train_end", dict(current.latest))
    finally:
        hook(job.callbacks, "set_fit", None)  # or a callback that is kept would keep the data alive
    if diverged is not None:
        trainer.warn(diverged, stacklevel=3, epoch=current.history.epoch[-1])
    return current.history
