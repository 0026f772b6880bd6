"""fastbp through its public model: one call of `fit` for all the passes."""

from __future__ import annotations

import fastbp
from benchmarks.rows import EPSILON, MOMENTUM
from fastbp.cli.bench import Row, Workload, make_optimizer, specs
from fastbp.layers import Layer
from fastbp.util.types import Array


def make_layers(row: Row) -> list[Layer]:
    """The row's network."""
    layers: list[Layer]
    if row.kind == "batch_norm":
        layers = [layer for units in row.sizes[1:-1] for layer in _normalized(units, row.dropout)]
        return [*layers, fastbp.Dense(row.sizes[-1], "softmax")]
    if row.kind == "residual":
        layers = [fastbp.Dense(row.sizes[1])]
        for units in row.sizes[2:-1:2]:
            block = fastbp.Residual([fastbp.Dense(units, "relu"), fastbp.Dense(units)])
            layers += [block, fastbp.Activation("relu")]
        return [*layers, fastbp.Dense(row.sizes[-1], "softmax")]
    return [fastbp.Dense(units, activation) for units, activation in specs(row)]


def _normalized(units: int, rate: float) -> list[Layer]:
    norm = fastbp.BatchNorm(MOMENTUM, EPSILON)
    layers: list[Layer] = [fastbp.Dense(units, use_bias=False), norm, fastbp.Activation("relu")]
    if rate:
        layers.append(fastbp.Dropout(rate))
    return layers


class FastbpModel:
    """`Sequential.fit` without shuffling and without progress, as the other peers run."""

    def __init__(self, work: Workload, n_threads: int, compute: str = "float32") -> None:
        row = work.row
        self.model = fastbp.Sequential(make_layers(row), input_size=row.sizes[0], compute=compute)
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
