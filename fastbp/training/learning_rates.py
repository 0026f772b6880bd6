"""Per-step optimizer scalars, with the learning rate as set by callbacks."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.optimizers import Optimizer

_AHEAD = 256  # rows precomputed for single steps, which saves 5 µs per step

Scalars = npt.NDArray[np.float64]


class Rates:
    """Rows of an optimizer's scalars; the first column is the learning rate, as set.

    changed: None if no learning rate was set; otherwise the learning rate of all steps or, if the optimizer's learning
    rate is a schedule, the factor applied to it.

    >>> from fastbp.optimizers import SGD
    >>> rates = Rates(SGD(0.5))
    >>> rates.set(0.1, step=7)
    >>> rates.of(7, 2)[:, 0]
    array([0.1, 0.1])
    """

    def __init__(self, optimizer: Optimizer, changed: float | None = None) -> None:
        self.optimizer = optimizer
        self._changed = changed
        self._scheduled = optimizer.scheduled
        self._steps_per_update = optimizer.update_spec.accumulation
        self._row = np.zeros((1, 8))
        self._start, self._table = -_AHEAD, self._row

    @property
    def changed(self) -> float | None:
        """See the class."""
        return self._changed

    @changed.setter
    def changed(self, value: float | None) -> None:
        self._changed, self._start = value, -_AHEAD  # the table holds the old learning rate

    def get(self, step: int) -> float:
        """The learning rate of a step."""
        return float(self._computed(step, 1)[0, 0])

    def set(self, rate: Any, step: int) -> None:
        """Set the learning rate of a step and all later ones; a schedule is scaled to match."""
        if isinstance(rate, bool) or not isinstance(rate, numbers.Real):
            raise TypeError(f"learning_rate must be a number, got {rate!r}: pass a float")
        if not 0 <= float(rate) < math.inf:
            raise ValueError(f"learning_rate must be at least 0 and finite, got {rate!r}: pass such a float")
        if rate == self.get(step):
            return
        if not callable(self.optimizer.learning_rate):
            self.changed = float(rate)
            return
        planned = float(self.optimizer.scalars(np.array([step // self._steps_per_update]))[0, 0])
        if planned == 0:
            raise ValueError(
                f"learning_rate cannot be {rate!r} at step {step}, where the schedule that it scales is 0: "
                "set it at a later step, or compile with a number as the learning rate"
            )
        self.changed = float(rate) / planned

    def of(self, step: int, steps: int) -> Scalars:
        """The scalars (steps, 8) from this step on; a single row is overwritten by the next call."""
        if steps > 1:
            return self._computed(step, steps)
        if self._scheduled:  # it may not be defined for other steps
            self._row[0] = self._computed(step, 1)[0]
            return self._row
        row = step - self._start
        if not 0 <= row < _AHEAD:
            table = self._computed(step, _AHEAD)
            self._table, self._start, row = table, step, 0
        self._row[0] = self._table[row]
        return self._row

    def _computed(self, step: int, steps: int) -> Scalars:
        table = self.optimizer.scalars(np.arange(step, step + steps) // self._steps_per_update)
        if self._changed is None:
            return table
        rows = np.array(table[:1] if table.strides[0] == 0 else table, order="C")
        if callable(self.optimizer.learning_rate):
            rows[:, 0] *= self._changed
        else:
            rows[:, 0] = self._changed
        # A broadcast row stays broadcast: the engine then prepares it only once.
        result: Any = np.broadcast_to(rows, table.shape) if table.strides[0] == 0 else rows
        return result  # type: ignore[no-any-return]
