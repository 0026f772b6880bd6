"""Re-estimation of batch normalization statistics, for weights that were set rather than trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.data.arrays import Rows
from fastbp.optimizers import N_SCALARS
from fastbp.spec import KINDS, LayerSpec
from fastbp.training.trainer import Trainer
from fastbp.util.types import Array


def renew_statistics(trainer: Trainer, rows: Rows | Iterable[Rows], batch_size: int) -> None:
    """Set moving means and variances to the plain averages over all batches, in one pass over the rows.

    rows: all of them, or parts of whole batches.

    Every batch makes a step with learning rate 0 from moving statistics of 0, which leaves momentum times its own
    statistics. That is done in an engine of its own, so the model changes when all is done. Batches of one row, which
    have no variance, are skipped. As PyTorch's update_bn. Does nothing if no layer has statistics.
    """
    momenta = dict(_statistics(trainer.engine.specs))
    if momenta:
        with trainer.turns.state:  # nobody else shall see the weights meanwhile
            _renew(trainer, momenta, [rows] if isinstance(rows, Rows) else rows, batch_size)


def _renew(trainer: Trainer, momenta: dict[int, float], parts: Iterable[Rows], batch_size: int) -> None:
    engine = trainer.engine
    weights, scratch = engine.get_weights(), engine.scratch()
    sums = {place: np.zeros(weights[place].shape) for place in momenta}
    scalars, losses, batches = np.zeros((1, N_SCALARS)), np.zeros(1), 0
    empty = [np.zeros_like(W) if place in momenta else W for place, W in enumerate(weights)]
    for X, y, weight, order in _batches(parts, batch_size):
        scratch.write_weights(empty)
        bounds = np.array([0, len(order)])
        if len(order) == 1 or scratch.train(X, y, order, bounds, scalars, losses, sample_weight=weight).status:
            continue
        after, batches = scratch.get_weights(), batches + 1
        for place, momentum in momenta.items():
            sums[place] += after[place] / momentum
    if batches:
        for place, total in sums.items():
            weights[place] = (total / batches).astype(weights[place].dtype)
    engine.set_weights(weights)


def _batches(
    parts: Iterable[Rows], batch_size: int
) -> Iterator[tuple[Any, Array, Array | None, npt.NDArray[np.int64]]]:
    for rows in parts:
        for start in range(0, len(rows.X), batch_size):
            yield *rows, np.arange(start, min(start + batch_size, len(rows.X)))


def _statistics(specs: Sequence[LayerSpec]) -> Iterator[tuple[int, float]]:
    """Positions in get_weights() of moving means and variances, each with its momentum."""
    place = 0
    for spec in specs:
        learned = len(spec.parameters)
        for number in range(len(KINDS[spec.kind].statistics)):
            yield place + learned + number, spec.values[0]
        place += spec.n_arrays
