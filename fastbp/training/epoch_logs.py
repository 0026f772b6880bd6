"""The losses and metrics of epochs, added up while slices come in."""

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
    """Adds up the losses and metrics of epochs while slices come in."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._first = 0  # of the epochs that the last slice was of; sums of weighted losses, and of weights, of each
        self._loss: Array = np.zeros(1)
        self._weight: Array = np.zeros(1)
        self._known: dict[int, list[Any]] = {}  # of each metric, by epoch

    def add(
        self, rows: Rows, piece: Slice, losses: npt.NDArray[np.float64], outputs: Array | None, report: Report
    ) -> None:
        """Take in a slice of steps on rows: their losses, also of one dropped since not finite, and the outputs."""
        seen = report.steps + (report.status == 1)
        epoch, bounds = piece.epochs[:seen], piece.bounds[: seen + 1]
        weight: npt.NDArray[np.float64]
        if rows.weight is None:
            weight = np.diff(bounds).astype(np.float64)
        else:
            weight = np.add.reduceat(rows.weight[piece.order[: bounds[-1]]].astype(np.float64), bounds[:-1])
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
            edges = [0, *np.flatnonzero(np.diff(epoch)) + 1, seen] if past > first + 1 else [0, seen]
            for e, (begin, end) in enumerate(pairwise(edges), first):
                part = slice(int(bounds[begin]), int(bounds[min(end, report.steps)]))
                self._measure(rows, e, piece.order[part], outputs[part])

    def _measure(self, rows: Rows, epoch: int, order: Indices, outputs: Array) -> None:
        trainer = self._trainer
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

    def get_state(self) -> dict[str, Any]:
        """What is known of the epoch in which the last slice ended; slices to come need no more."""
        epoch = self._first + len(self._loss) - 1
        return {
            "epoch": epoch,
            "loss": float(self._loss[-1]),
            "weight": float(self._weight[-1]),
            "known": self._known.get(epoch),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._first = state["epoch"]
        self._loss, self._weight = np.array([state["loss"]]), np.array([state["weight"]])
        self._known = {} if state["known"] is None else {self._first: list(state["known"])}
