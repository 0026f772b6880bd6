"""What a fit is given, and how far it is."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastbp.data.feeds import Feed
from fastbp.training.epoch_logs import EpochLogs
from fastbp.training.history import History
from fastbp.training.trainer import Trainer


class Job(NamedTuple):
    """The arguments of one fit, checked and converted."""

    feed: Feed
    validation: Feed | None
    batch_size: int
    epochs: int
    shuffle: bool
    callbacks: tuple[Any, ...]
    shown: bool
    n_threads: int | None
    resume_from: str | None = None
    time_limit: float | None = None
    mixup: float = 0.0


class FitState:
    """A fit under way, as far as files and callbacks need to know it.

    step, epoch: steps and epochs done, those before an interruption included; began: the step with which the epoch
    under way began; last: whether no slice will follow; history: what will be returned; stopped: why training stops,
    if a callback wants it to, which is part of the run.
    """

    def __init__(self, trainer: Trainer, job: Job, model: Any) -> None:
        self.trainer, self.job, self.model, self.history = trainer, job, model, History()
        self.step, self.epoch, self.began, self.last = 0, 0, 0, False
        self.first_step, self.first_epoch = trainer.step, trainer.epoch
        self.latest: dict[str, float] = {}
        self.epoch_logs = EpochLogs(trainer)
        self.stopped: str | None = None
        self.given: dict[str, Any] | None = None  # what must be the same to go on, once `resume` has found it

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do: the last epoch is done, or a callback stopped the training."""
        return self.stopped is not None or self.epoch == self.job.epochs
