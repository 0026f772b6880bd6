"""Loss and metrics per epoch, accumulated over slices."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastbp.data.arrays import Rows
from fastbp.data.batch_schedule import Indices, Slice
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.spec import Report
    from fastbp.training.trainer import Trainer


class EpochLogs:
    """Accumulates the loss and the metrics of epochs, slice by slice."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._first = 0  # first epoch of the last slice; then the sums of weighted losses and of weights per epoch
        self._loss: Array = np.zeros(1)
        self._weight: Array = np.zeros(1)
        self._metric_states: dict[int, list[Any]] = {}  # by epoch, one per metric

    def add(
        self, rows: Rows, piece: Slice, losses: npt.NDArray[np.float64], outputs: Array | None, report: Report
    ) -> None:
        """Add a slice of steps: their losses, including that of a step skipped as not finite, and outputs."""
        seen = report.steps + (report.status == 1)
        epoch, bounds = piece.epochs[:seen], piece.bounds[: seen + 1]
        weight: npt.NDArray[np.float64]
        if rows.weight is None:
            weight = np.diff(bounds).astype(np.float64)
        else:
            weight = np.add.reduceat(rows.weight[piece.order[: bounds[-1]]].astype(np.float64), bounds[:-1])
        first, past = int(epoch[0]), int(epoch[-1]) + 1
        with np.errstate(invalid="ignore"):  # an infinite loss of rows with weight 0
            terms = losses[:seen] * weight
        goes_on = first == self._first + len(self._loss) - 1  # continues the epoch in which the last slice ended
        # The sum so far comes first: bincount adds in order, so slice boundaries change no bit.
        place = np.concatenate([[0], epoch - first])
        self._loss = np.bincount(place, np.concatenate([[self._loss[-1] * goes_on], terms]))
        self._weight = np.bincount(place, np.concatenate([[self._weight[-1] * goes_on], weight]))
        self._first = first
        if outputs is not None:
            edges = [0, *np.flatnonzero(np.diff(epoch)) + 1, seen] if past > first + 1 else [0, seen]
            for e, (begin, end) in enumerate(pairwise(edges), first):
                part = slice(int(bounds[begin]), int(bounds[min(end, report.steps)]))
                self._measure(rows, e, piece.order[part], outputs[part])

    def _measure(self, rows: Rows, epoch: int, order: Indices, outputs: Array) -> None:
        trainer = self._trainer
        weight = None if rows.weight is None else rows.weight[order]
        states = self._metric_states.get(epoch) or [metric.start() for metric in trainer.metrics]
        self._metric_states[epoch] = trainer.measure(states, rows.y[order], outputs, weight)

    def loss(self, epoch: int) -> float:
        """Mean loss of an epoch so far."""
        return self._losses(epoch, epoch + 1)[0]

    def _losses(self, first: int, past: int) -> list[float]:
        epochs = slice(first - self._first, past - self._first)
        weight = self._weight[epochs]
        # An epoch of zero total weight has loss 0, like such a batch.
        losses: list[float] = (self._loss[epochs] / np.where(weight > 0, weight, 1)).tolist()
        return losses

    def columns(self, first: int, past: int) -> dict[str, list[float]]:
        """Mean loss and metrics of epochs first … past - 1, whose metric states are then dropped.

        ValueError if all weights are 0, which only the end of an epoch shows where rows come from a source.
        """
        if not self._weight[first - self._first : past - self._first].all():
            raise ValueError(
                f"sample_weight must have a positive entry, but all rows of epoch {first + 1} have 0: give some rows a "
                "positive weight"
            )
        result = {"loss": self._losses(first, past)}
        if self._trainer.metrics:
            states = [self._metric_states.pop(epoch, None) for epoch in range(first, past)]
            for position, metric in enumerate(self._trainer.metrics):
                result[metric.name] = [metric.result(metric.start() if s is None else s[position]) for s in states]
        return result

    def get_state(self) -> dict[str, Any]:
        """State of the epoch in which the last slice ended, which is all that later slices need."""
        epoch = self._first + len(self._loss) - 1
        return {
            "epoch": epoch,
            "loss": float(self._loss[-1]),
            "weight": float(self._weight[-1]),
            "known": self._metric_states.get(epoch),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the result of `get_state`."""
        self._first = state["epoch"]
        self._loss, self._weight = np.array([state["loss"]]), np.array([state["weight"]])
        self._metric_states = {} if state["known"] is None else {self._first: list(state["known"])}
