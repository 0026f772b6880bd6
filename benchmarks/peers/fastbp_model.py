"""fastbp through its public model: one call of `fit` for all the passes."""

from __future__ import annotations

import fastbp
from fastbp.bench import LEARNING_RATES, Workload, specs
from fastbp.datasets import Array


class FastbpModel:
    """`Sequential.fit` without shuffling and without progress, as the other peers run."""

    def __init__(self, work: Workload, n_threads: int) -> None:
        row = work.row
        rate = LEARNING_RATES[row.optimizer]
        layers = [fastbp.Dense(units, activation) for units, activation in specs(row)]
        self.model = fastbp.Sequential(layers, input_size=row.sizes[0])
        self.model.compile(fastbp.SGD(rate) if row.optimizer == "sgd" else fastbp.Adam(rate), loss=row.loss)
        self.model.set_weights(work.weights)
        self.work, self.n_threads = work, n_threads

    def train(self, epochs: int) -> None:
        """Train whole passes."""
        work = self.work
        self.model.fit(
            work.X, work.y, batch_size=work.row.batch, epochs=epochs, shuffle=False, verbose=0, n_threads=self.n_threads
        )

    def weights(self) -> list[Array]:
        """The weights now."""
        weights: list[Array] = self.model.get_weights()
        return weights


def make(work: Workload, n_threads: int) -> FastbpModel:
    """The peer."""
    return FastbpModel(work, n_threads)
