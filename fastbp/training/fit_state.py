"""Arguments and progress of a fit."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastbp.data.feeds import Feed
from fastbp.training.epoch_logs import EpochLogs
from fastbp.training.history import History
from fastbp.training.progress import Display
from fastbp.training.trainer import Trainer


class Job(NamedTuple):
    """The validated and converted arguments of one fit."""

    feed: Feed
    validation: Feed | None
    batch_size: int
    epochs: int
    shuffle: bool
    callbacks: tuple[Any, ...]
    display: Display
    n_threads: int | None
    resume_from: str | None = None
    time_limit: float | None = None
    mixup: float = 0.0
    drop_last: bool = False


class FitState:
    """The part of a running fit that checkpoints and callbacks need.

    step, epoch: steps and epochs done, including those before an interruption; began: first step of the current epoch;
    last: whether this was the last slice; history: what fit will return; stopped: the reason if a callback requested
    the stop, which is part of the run.
    """

    def __init__(self, trainer: Trainer, job: Job, model: Any) -> None:
        self.trainer, self.job, self.model, self.history = trainer, job, model, History()
        self.step, self.epoch, self.began, self.last = 0, 0, 0, False
        self.first_step, self.first_epoch = trainer.step, trainer.epoch
        self.latest: dict[str, float] = {}
        self.epoch_logs = EpochLogs(trainer)
        self.stopped: str | None = None
        self.given: dict[str, Any] | None = None  # what must match on resuming; computed by `resume`

    @property
    def rows_per_epoch(self) -> int | None:
        """Rows that an epoch trains on, None if unknown."""
        return self.job.feed.rows_per_epoch(self.job.batch_size, self.job.drop_last)

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of an epoch, None if unknown."""
        return self.job.feed.steps_per_epoch(self.job.batch_size, self.job.drop_last)

    @property
    def complete(self) -> bool:
        """Whether the last epoch is done or a callback stopped training."""
        return self.stopped is not None or self.epoch == self.job.epochs
