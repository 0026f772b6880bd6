"""Steps on a few rows, one after another: what such a step shares with the one before is not looked up again."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.spec import Report
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.data.arrays import Rows
    from fastbp.engine.workspace import Workspace

MADE = Report(1, 0, -1)


class Again:
    """Makes a step that differs from the last one in its numbers alone; otherwise, and where a step is refused, it
    returns None and changes nothing, so that the usual way makes the step, or says what is wrong with it."""

    def __init__(self, trainer: Any, rows: Rows, bounds: Array, losses: Array, space: Workspace) -> None:
        self.trainer, self.bounds, self.losses, self.space = trainer, bounds, losses, space
        self.kinds = rows.X.dtype, rows.X.shape, rows.y.dtype, rows.y.shape
        self.n, self.labels, self.like = len(rows.X), rows.y.dtype.kind == "i", space.step

    @staticmethod
    def after(trainer: Any, rows: Rows, bounds: Array, losses: Array) -> Again | None:
        """For steps like the one just made, if they can be made so."""
        optimizer, space = trainer.optimizer, getattr(trainer.engine, "_training", None)  # the reference has none
        unchecked = trainer.loss.targets == "numbers" or rows.y.dtype.kind == "i"  # labels are compared by the engine
        if space is None or space.step is None or not unchecked:
            return None
        if callable(optimizer.weight_decay) or optimizer.update_spec.accumulation > 1:
            return None
        return Again(trainer, rows, bounds, losses, space)

    def __call__(self, X: Any, y: Any) -> tuple[Report, float] | None:
        """The report and the loss before the update."""
        X_dtype, X_shape, y_dtype, y_shape = self.kinds
        trainer, space, engine = self.trainer, self.space, self.trainer.engine
        if not (
            type(X) is np.ndarray
            and X.dtype is X_dtype
            and X.shape == X_shape
            and type(y) is np.ndarray
            and y.dtype is y_dtype
            and y.shape == y_shape
            and space.step is self.like
            and engine._training is space
            and isfinite(np.vdot(X, X))
            and (self.labels or isfinite(np.vdot(y, y)))
        ):
            return None
        step = trainer.step
        trainer.rates.of(step, 1)  # writes the row that the compiled code reads
        self.bounds[1], engine._random[2] = self.n, engine.steps_trained
        space.begin()
        try:
            space.repeat(X, y, step)
        finally:  # whatever is raised, a step that was made counts
            done = space.made()
            if done:
                engine.steps_trained += 1
                engine.steps_since_compile = trainer.step = step + 1
        if not done:
            return None
        status = space.status()
        return Report(1, 2, status - 1) if status else MADE, self.losses.item(0)
