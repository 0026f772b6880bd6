"""Complete training steps: every row of `fastbp bench`, optional parts of a step, and online learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fastbp
from fastbp.cli.bench import ROWS, Runner, make_workload, specs, step_flops
from fastbp.engine.engine import Engine
from fastbp.spec import LayerSpec

BY_NAME = {row.title: row for row in ROWS if row.data == "random"}


class Epoch:
    """One pass over a row's data through the engine; divide by the steps for microseconds per step."""

    params = tuple(BY_NAME)
    param_names = ("row",)
    timeout = 300.0
    warmup_time = 0.0

    def setup(self, title: str) -> None:
        """Make the engine and run it once, so that it is compiled."""
        row = BY_NAME[title]
        work = make_workload(row, max_steps=max(1, min(1000, 10**10 // step_flops(row.sizes, row.batch))))
        layers = [LayerSpec(units, activation) for units, activation in specs(row)]
        self.runner = Runner(Engine(row.sizes[0], layers), work)
        self.runner.train(1)

    def time_epoch(self, title: str) -> None:
        """A pass over the data."""
        self.runner.train(self.runner.work.steps)


def _network(above: Sequence[fastbp.layers.Layer] = ()) -> list[fastbp.layers.Layer]:
    """256-256-256-10, with these layers after each hidden one."""
    hidden = [fastbp.Dense(256), *above, fastbp.Activation("relu")]
    return [*hidden, *hidden, fastbp.Dense(10, "softmax")]


# Optional parts of a step, each alone, compared with "plain".
PARTS: dict[str, tuple[list[fastbp.layers.Layer], fastbp.optimizers.Optimizer]] = {
    "plain": (_network(), fastbp.SGD(0.01)),
    "batch norm": (_network([fastbp.BatchNorm()]), fastbp.SGD(0.01)),
    "layer norm": (_network([fastbp.LayerNorm()]), fastbp.SGD(0.01)),
    "dropout": (_network([fastbp.Dropout(0.5)]), fastbp.SGD(0.01)),
    "clipped by global norm": (_network(), fastbp.SGD(0.01, global_clipnorm=1.0)),
    "rmsprop": (_network(), fastbp.RMSprop(0.001)),
    "lion": (_network(), fastbp.Lion(0.0001)),
}


class Parts:
    """A hundred steps of batch 128 with one optional part; its cost is the difference from "plain"."""

    params = tuple(PARTS)
    param_names = ("part",)

    def setup(self, part: str) -> None:
        """Random rows, labels and weights; one epoch."""
        layers, optimizer = PARTS[part]
        rng = np.random.default_rng(0)
        self.X, self.y = rng.random((12_800, 256), np.float32), rng.integers(0, 10, 12_800)
        self.model = fastbp.Sequential(layers, input_size=256)
        self.model.compile(optimizer, loss="cross_entropy")
        self.time_steps(part)

    def time_steps(self, part: str) -> None:
        """An epoch."""
        self.model.fit(self.X, self.y, batch_size=128, shuffle=False, verbose=0)


class Fit:
    """`Sequential.fit`, whose overhead is visible on a small network, compared with `Epoch`."""

    def setup(self) -> None:
        """1,000 rows of a 10-5-1 net."""
        rng = np.random.default_rng(0)
        self.X, self.y = rng.random((1000, 10), np.float32), rng.random((1000, 1), np.float32)
        self.model = fastbp.Sequential([fastbp.Dense(5, "relu"), fastbp.Dense(1)], input_size=10)
        self.model.compile(fastbp.SGD(0.01), loss="mse")
        self.time_fit()

    def time_fit(self) -> None:
        """Ten epochs of batch 32."""
        self.model.fit(self.X, self.y, batch_size=32, epochs=10, verbose=0)

    def time_train_on_batch_of_one(self) -> None:
        """One row, one step."""
        self.model.train_on_batch(self.X[:1], self.y[:1])

    def time_predict_of_one(self) -> None:
        """One row."""
        self.model.predict(self.X[:1])

    def time_predict(self) -> None:
        """1,000 rows."""
        self.model.predict(self.X)
