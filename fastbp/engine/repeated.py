"""Steps on a few rows like the one before: no more is done than what starts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.engine.threads import THREADS
from fastbp.engine.workspace import WORD, Workspace
from fastbp.kernels import jit
from fastbp.kernels.parallel import STATUS, STEPS
from fastbp.kernels.schema import bounds

if TYPE_CHECKING:
    from fastbp.engine.engine import Engine

Array = np.ndarray
FIRST_STEP = WORD["first_step"]


class Repeated:
    """Steps of one worker on n rows, which are copied to where the context points."""

    def __init__(self, engine: Engine, space: Workspace, rows: Array, targets: Array, n: int) -> None:
        self.engine, self.space, self.copied = engine, space, rows
        self.rows, self.targets = rows[:n], targets[:n]
        self.sync, self.context, self.own = space.sync, space.context, space.first_worker
        self.scalars = space.pointed("scalars")
        self.random, self.start = engine._random, THREADS.alone(space.dtype.name)

    def valid(self) -> bool:
        """Whether the context still points there."""
        step = self.space.step
        return self.engine._training is self.space and step is not None and step[0] is self.copied

    def run(self, X: Array, y: Array, number: int) -> None:
        """Make it; number: of the step since the model was compiled."""
        self.rows[...], self.targets[...] = X, y
        self.random[2], self.context[FIRST_STEP] = self.engine.steps_trained, number
        self.space.forget_numbers()
        self.sync.fill(0)
        self.start(self.own)

    def steps(self) -> int:
        """How many were made: one or none."""
        return int(self.sync.item(STEPS))

    def status(self) -> int:
        """0, or 1 + the number of a node whose update was refused."""
        return int(self.sync.item(STATUS) or self.sync.item(STATUS + 1))


def repeated(engine: Engine, n: int) -> Repeated | None:
    """Further steps like the last one, if that was one of n rows, few enough to be copied."""
    space: Workspace | None = getattr(engine, "_training", None)  # the reference engine has none
    if space is None or space.step is None or space.workers > 1 or not jit.JIT or bounds.CHECK:
        return None
    return Repeated(engine, space, *space.step[:2], n)
