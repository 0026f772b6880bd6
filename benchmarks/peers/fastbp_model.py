"""fastbp through its public model: one call of `fit` for all the passes."""

from __future__ import annotations

import fastbp
from benchmarks.rows import EPSILON, MOMENTUM
from fastbp.cli.bench import Row, Workload, make_optimizer, specs
from fastbp.layers import Layer
from fastbp.util.types import Array


def make_layers(row: Row) -> list[Layer]:
    """The row's network."""
    *hidden, last = (fastbp.Dense(units, activation) for units, activation in specs(row))
    if row.kind == "residual":
        layers: list[Layer] = [fastbp.Dense(row.sizes[1])]
        for units in row.sizes[2:-1:2]:
            block = fastbp.Residual([fastbp.Dense(units, "relu"), fastbp.Dense(units)])
            layers += [block, fastbp.Activation("relu")]
        return [*layers, last]
    dropout = [fastbp.Dropout(row.dropout)] if row.dropout else []
    if row.kind == "batch_norm":
        return [*(part for units in row.sizes[1:-1] for part in [*_normalized(units, row.activation), *dropout]), last]
    return [*(part for layer in hidden for part in [layer, *dropout]), last]


def _normalized(units: int, activation: str) -> list[Layer]:
    norm = fastbp.BatchNorm(MOMENTUM, EPSILON)
    return [fastbp.Dense(units, use_bias=False), norm, fastbp.Activation(activation)]


class FastbpModel:
    """`Sequential.fit` without shuffling and without progress, as the other peers run."""

    def __init__(self, work: Workload, n_threads: int, compute: str = "float32") -> None:
        row = work.row
        self.model = fastbp.Sequential(make_layers(row), input_size=row.sizes[0], dtype=row.dtype, compute=compute)
        self.model.compile(make_optimizer(row), loss=row.loss)
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
