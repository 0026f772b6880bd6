"""Training runs, epoch by epoch, with fastbp, scikit-learn and PyTorch, for `benchmarks.accuracy`."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import fastbp
from fastbp.cli.bench import Row, glorot_weights
from fastbp.cli.job import TrainJob
from fastbp.cli.network import build, soft_targets
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.util.types import Array

TITLES = {"fastbp": "fastbp", "sklearn": "scikit-learn", "torch": "PyTorch"}


class Task(NamedTuple):
    """What all train on: preprocessed data, and the job with its recipe and seed."""

    job: TrainJob
    preprocessor: Preprocessor
    X: NDArray[np.float32]
    y: Array
    x_test: NDArray[np.float32]
    y_test: Array

    @property
    def sizes(self) -> tuple[int, ...]:
        """The network, inputs first."""
        return (self.X.shape[1], *self.job.recipe.layers, self.preprocessor.n_outputs)


class Trainer(Protocol):
    """One network under training."""

    def epoch(self) -> None:
        """Train one pass over the shuffled data."""

    def classify(self, X: Array) -> Array:
        """The class number of each row."""


class FastbpTrainer:
    """`Sequential.fit`, one epoch per call."""

    def __init__(self, task: Task) -> None:
        self.X, self.y = task.X, soft_targets(task.y, task.preprocessor, task.job.recipe)
        self.model: fastbp.Sequential = build(task.job, task.X.shape[1], self.y, task.preprocessor)
        self.batch_size = task.job.recipe.batch_size

    def epoch(self) -> None:
        """Train one pass."""
        self.model.fit(self.X, self.y, batch_size=min(self.batch_size, len(self.X)), epochs=1, verbose=0)

    def classify(self, X: Array) -> Array:
        """The class number of each row."""
        classes: Array = self.model.predict(X).argmax(axis=1)
        return classes


class SklearnTrainer:
    """MLPClassifier through ``partial_fit``; it only has cross-entropy, so there is no label smoothing."""

    def __init__(self, task: Task) -> None:
        from sklearn.neural_network import MLPClassifier

        recipe = task.job.recipe
        self.X, self.y, self.classes = task.X, task.y, np.arange(task.preprocessor.n_outputs)
        self.model: Any = MLPClassifier(
            recipe.layers,
            batch_size=min(recipe.batch_size, len(task.X)),
            learning_rate_init=recipe.learning_rate,
            alpha=0.0,
            random_state=task.job.seed,
        )

    def epoch(self) -> None:
        """Train one pass."""
        self.model.partial_fit(self.X, self.y, classes=self.classes)

    def classify(self, X: Array) -> Array:
        """The class number of each row."""
        classes: Array = self.model.predict(X)
        return classes


class TorchTrainer:
    """PyTorch's usual loop, with a fused Adam and rows gathered by a permutation; same loss and targets as fastbp."""

    def __init__(self, task: Task) -> None:
        import torch

        from benchmarks.peers.torch_networks import make_network

        recipe = task.job.recipe
        torch.manual_seed(task.job.seed)
        torch.set_flush_denormal(True)
        y = soft_targets(task.y, task.preprocessor, recipe)
        self.X, self.y = torch.from_numpy(task.X), torch.from_numpy(y)
        self.batch_size = recipe.batch_size
        weights = glorot_weights(task.sizes, np.random.default_rng(task.job.seed))
        self.network = make_network(Row(task.sizes, recipe.batch_size), weights)
        functional = torch.nn.functional
        bce = recipe.loss == "binary_cross_entropy"
        self.loss = functional.binary_cross_entropy_with_logits if bce else functional.cross_entropy
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=recipe.learning_rate, fused=True)

    def epoch(self) -> None:
        """Train one pass."""
        import torch

        for rows in torch.randperm(len(self.X)).split(self.batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(self.network(self.X[rows]), self.y[rows]).backward()
            self.optimizer.step()

    def classify(self, X: Array) -> Array:
        """The class number of each row."""
        import torch

        with torch.no_grad():
            classes: Array = self.network(torch.from_numpy(X)).argmax(dim=1).numpy()
        return classes


TRAINERS: dict[str, type[FastbpTrainer] | type[SklearnTrainer] | type[TorchTrainer]] = {
    "fastbp": FastbpTrainer,
    "sklearn": SklearnTrainer,
    "torch": TorchTrainer,
}


class Run(NamedTuple):
    """One seed's run: cumulative seconds of training and test accuracy, after each epoch."""

    seconds: list[float]
    accuracy: list[float]

    def reached(self, goal: float) -> int | None:
        """The epoch, from 1, after which the accuracy first was at least the goal."""
        return next((i for i, value in enumerate(self.accuracy, start=1) if value >= goal), None)


def run(name: str, task: Task) -> Run:
    """Train the task's epochs; testing is not timed, and a small run first warms up."""
    small = task._replace(X=task.X[:64], y=task.y[:64])
    TRAINERS[name](small).epoch()
    trainer = TRAINERS[name](task)
    seconds, accuracy, total = [], [], 0.0
    for _ in range(task.job.recipe.epochs):
        start = time.perf_counter()
        trainer.epoch()
        total += time.perf_counter() - start
        seconds.append(total)
        accuracy.append(float(np.mean(trainer.classify(task.x_test) == task.y_test)))
    return Run(seconds, accuracy)
