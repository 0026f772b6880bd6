"""Minibatch epochs by scikit-learn's rules, as many per engine call as need no inspection in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbp import optimizers
from fastbp.data.arrays import Rows
from fastbp.data.batch_schedule import Pace
from fastbp.estimators.architecture import OutputDesign
from fastbp.training.trainer import Trainer
from fastbp.util.types import Array

if TYPE_CHECKING:
    from fastbp.spec import Report


_MOST_ROWS = 1 << 20  # of an order: 8 MiB


def takes_penalty(optimizer: optimizers.Optimizer) -> bool:
    """Whether the penalty's gradient can be expressed as the optimizer's weight decay."""
    return optimizer.decay_in_gradient and optimizer.weight_decay == 0


class Rules(NamedTuple):
    """How an optimizer's scalars become scikit-learn's.

    solver: "sgd" and "adam" use the gradient of scikit-learn's loss, other optimizers that of the engine's; alpha:
    strength of the penalty, 0 if it is not part of the optimizer.
    """

    solver: str
    alpha: float
    design: OutputDesign

    def apply(self, scalars: Array, weights: Array) -> None:
        """Change the scalars of steps in place; weights: the sum of sample weights of each step.

        With g = c g_e the gradient of scikit-learn's loss, g_e the engine's, and d = alpha / weight:

            SGD:   W - r (c g_e + d W) = W - (r c) (g_e + d/c W)
            Adam:  m / (sqrt(v) + e) is the same for c m, c^2 v and c e, and e is added to the uncorrected sqrt(v)
        """
        c = self.design.gradient_scale
        if self.solver == "sgd":
            scalars[:, 0] *= c
        elif self.solver == "adam":
            scalars[:, 4] /= c * np.sqrt(scalars[:, 6])
        if self.alpha:
            # Adam reads whether there is a decay from the first step of a slice, even if its rows have weight 0.
            scalars[:, 1] = np.where(weights > 0, self.alpha / (c * np.where(weights > 0, weights, 1)), 1e-300)


class Epochs:
    """Runs epochs on a trainer and returns the loss of each.

    constants: added to the loss of each row, (n,) or None.
    """

    def __init__(
        self,
        trainer: Trainer,
        rows: Rows,
        batch_size: int,
        random_state: np.random.RandomState | None,
        rules: Rules,
        constants: Array | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.trainer, self.rows, self.batch_size, self.rules = trainer, rows, batch_size, rules
        self.n = len(rows.X)
        ends = np.append(np.arange(batch_size, self.n, batch_size), self.n)
        self.steps, self._ends = len(ends), ends
        self._sizes = np.diff(ends, prepend=0).astype(np.float64)
        self._order, self._random_state = np.arange(self.n), random_state
        self._constants, self._n_threads = constants, n_threads
        self._pace = Pace(6.0 * trainer.engine.n_parameters * batch_size)

    @property
    def most(self) -> int:
        """Epochs that take about 0.1 s together, at least one: Ctrl-C is handled in between."""
        return max(1, min(self._pace.count // self.steps, _MOST_ROWS // self.n))

    def run(self, epochs: int) -> tuple[list[float], Report | None]:
        """The losses of some epochs; if training diverged, those of the epochs before, and the engine's report."""
        order = self._orders(epochs)
        bounds = np.append(0, (self._ends + self.n * np.arange(epochs)[:, np.newaxis]).reshape(-1))
        total, done = epochs * self.steps, 0
        losses = np.empty(total)
        while done < total:
            end = min(total, done + self._pace.count)
            part = order[bounds[done] : bounds[end]]
            report, found = self._slice(part, bounds[done : end + 1] - bounds[done])
            losses[done:end] = found
            done = end
            if report.status:
                complete = (done - len(found) + report.steps) // self.steps
                return self._means(losses[: complete * self.steps], order), report
        self.trainer.epoch += epochs
        return self._means(losses, order), None

    def _slice(self, order: Array, bounds: Array) -> tuple[Report, Array]:
        scalars = np.array(self.trainer.rates.of(self.trainer.step, len(bounds) - 1), order="C")
        self.rules.apply(scalars, self._weights(order, bounds))
        began = time.perf_counter()
        report, losses = self.trainer.train(
            self.rows, order, bounds, n_threads=self._n_threads, scalars=scalars
        )
        self._pace.measured(report.steps, time.perf_counter() - began)
        return report, losses

    def _weights(self, order: Array, bounds: Array) -> Array:
        """Sum of sample weights of each step."""
        if self.rows.weight is None:
            return np.diff(bounds)
        return np.add.reduceat(self.rows.weight[order].astype(np.float64), bounds[:-1])

    def _orders(self, epochs: int) -> Array:
        """The orders of the next epochs, drawn as scikit-learn does."""
        if self._random_state is None:
            return np.tile(self._order, epochs)
        orders = np.empty((epochs, self.n), np.int64)
        for own in orders:
            drawn = np.arange(self.n)
            self._random_state.shuffle(drawn)
            own[:] = self._order = self._order[drawn]
        return orders.reshape(-1)

    def _means(self, losses: Array, order: Array) -> list[float]:
        """Mean loss of every epoch, with batches weighted by their rows."""
        values = self.rules.design.loss_scale * losses
        if self._constants is not None:
            values += self._constant_terms(order, len(losses) // self.steps)
        # One dot for each epoch: a matrix product adds in an order that depends on how many epochs a slice held.
        return [float(epoch @ self._sizes) / self.n for epoch in values.reshape(-1, self.steps)]

    def _constant_terms(self, order: Array, epochs: int) -> Array:
        """The (weighted) mean of the constants over the rows of each step."""
        assert self._constants is not None
        order = order[: epochs * self.n]
        starts = np.append(0, self._ends[:-1]) + self.n * np.arange(epochs)[:, np.newaxis]
        if not epochs:
            return np.zeros(0)
        weight = np.ones(self.n) if self.rows.weight is None else self.rows.weight.astype(np.float64)
        sums, weights = (
            np.add.reduceat(terms[order], starts.reshape(-1)) for terms in (weight * self._constants, weight)
        )
        return sums / np.where(weights > 0, weights, 1)
