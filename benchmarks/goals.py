"""Goals for networks of given shapes on real data: ``python -m benchmarks.goals`` writes docs/goals.md.

Every goal is a metric on the test set, measured once, after the last epoch. The recipes were found in a few trials
judged by the same metrics. fastbp gives the same bits on any number of threads, so use ``--threads 1`` on a shared
machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbp
from benchmarks.measure import ROOT
from benchmarks.tables import machine, markdown_table, replace_generated, versions
from fastbp import datasets
from fastbp.datasets import Split
from fastbp.layers import Layer
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.util.types import Array

PAGE = ROOT / "docs" / "goals.md"
SEEDS = 3


class Recipe(NamedTuple):
    """How a network is trained: AdamW with cosine decay to 0; ``class_weights`` gives rare classes more weight."""

    hidden: tuple[Layer, ...]
    learning_rate: float
    weight_decay: float
    epochs: int
    batch_size: int = 128
    class_weights: bool = False


class Task(NamedTuple):
    """Preprocessed training rows, and features and targets, in original units, of the test set."""

    preprocessor: Preprocessor
    X: Array
    y: Array
    x_test: Array
    y_test: Array


class Result(NamedTuple):
    """The value a seed reached, its bound, and the seconds of training."""

    value: float
    bound: float
    seconds: float


class Goal(NamedTuple):
    """A goal for a metric: the mean over the seeds must be at most the bound, or at least with ``higher``.

    bound: a number, or a function of the task and the seed for what another library reaches on the same rows.
    """

    name: str
    title: str
    figure: str
    load: Callable[[int], Task]
    recipe: Recipe
    measure: Callable[[Array, Array], float]
    bound: float | Callable[[Task, int], float]
    form: str
    higher: bool = False

    def met(self, results: Sequence[Result]) -> bool:
        """Whether the mean over the seeds is as good as that of the bounds."""
        value, bound = (statistics.fmean(column) for column in list(zip(*results, strict=True))[:2])
        return value >= bound if self.higher else value <= bound


# ---------------------------------------------------------------- data


def prepare(split: Split, task: str | None = None) -> Task:
    """The preprocessed split."""
    p = Preprocessor(task=task, scaling=split.scale or "standard")
    X, y = p.fit_transform(split.x_train, split.y_train), p.transform_target(split.y_train)
    return Task(p, X, y, p.transform(split.x_test), split.y_test)


def load_digits(seed: int) -> Task:
    """The digits that come with fastbp, a stratified fifth held out."""
    return prepare(datasets.load_named("digits", seed=seed))


def load_mnist(seed: int) -> Task:
    """MNIST with its own test rows, pixels from 0 to 1."""
    return prepare(datasets.load_mnist())


def load_shuttle(seed: int) -> Task:
    """Shuttle, a stratified fifth held out; arcsinh of the standardized features, a few of which reach far out."""
    task = prepare(datasets.split_table(_table("shuttle"), seed=seed))
    return task._replace(X=np.arcsinh(task.X), x_test=np.arcsinh(task.x_test))


def load_california(seed: int) -> Task:
    """California housing, a fifth held out; a missing value becomes the median of its column over the other rows."""
    return prepare(imputed(datasets.split_table(_table("california_housing"), seed=seed)), "regression")


def imputed(split: Split) -> Split:
    """NaN replaced by the medians of the training rows' columns."""
    medians = np.nanmedian(split.x_train, axis=0)
    x_train, x_test = (np.where(np.isnan(X), medians, X) for X in (split.x_train, split.x_test))
    return split._replace(x_train=x_train, x_test=x_test)


def _table(name: str) -> datasets.Table:
    path = Path(os.environ.get("FASTBP_DATA", ".")) / f"{name}.npz"
    table = datasets.read_npz(path) if path.is_file() else None
    if not isinstance(table, datasets.Table):
        raise SystemExit(f"{path} must be a file with X and y: name its folder in the environment variable FASTBP_DATA")
    return table


# ---------------------------------------------------------------- figures


def error(y: Array, answers: Array) -> float:
    """The share of wrong answers."""
    return float(np.mean(answers != y))


def balanced_accuracy(y: Array, answers: Array) -> float:
    """The mean over the classes of the share of their rows that is recognized."""
    return float(np.mean([np.mean(answers[y == label] == label) for label in np.unique(y)]))


def rmse(y: Array, answers: Array) -> float:
    """The root of the mean square error."""
    return float(np.sqrt(np.mean((answers.ravel() - y.ravel()) ** 2.0)))


# ---------------------------------------------------------------- training


def class_weights(y: Array) -> dict[int, float]:
    """The root of the weight that would make all classes count the same, which a class of ten rows would overrule."""
    counts = np.bincount(y)
    return {label: float(np.sqrt(len(y) / len(counts) / n)) for label, n in enumerate(counts) if n}


def train(recipe: Recipe, task: Task, seed: int, n_threads: int | None = None) -> fastbp.Sequential:
    """The recipe's network for this task, trained."""
    classes = len(task.preprocessor.classes or ())
    last = fastbp.Dense(classes, "softmax") if classes else fastbp.Dense(task.y.shape[1])
    model = fastbp.Sequential([*recipe.hidden, last], seed=seed)
    rate = fastbp.CosineDecay(recipe.learning_rate, recipe.epochs * -(-len(task.X) // recipe.batch_size))
    optimizer = fastbp.AdamW(rate, weight_decay=recipe.weight_decay)
    model.compile(optimizer, "cross_entropy" if classes else "mse")
    weights = class_weights(task.y) if recipe.class_weights else None
    model.fit(
        task.X,
        task.y,
        batch_size=min(recipe.batch_size, len(task.X)),
        epochs=recipe.epochs,
        class_weight=weights,
        verbose=0,
        n_threads=n_threads,
    )
    return model


def run(goal: Goal, seed: int, n_threads: int | None = None) -> Result:
    """Train one seed and measure it."""
    task = goal.load(seed)
    start = time.perf_counter()
    model = train(goal.recipe, task, seed, n_threads)
    seconds = time.perf_counter() - start
    value = goal.measure(task.y_test, task.preprocessor.inverse_target(model.predict(task.x_test)))
    return Result(value, goal.bound(task, seed) if callable(goal.bound) else goal.bound, seconds)


def run_seeds(goal: Goal, seeds: int, n_threads: int | None, jobs: int) -> Iterator[Result]:
    """The seeds' results in order, so many at once, each then in a process of its own."""
    if jobs == 1:
        yield from (run(goal, seed, n_threads) for seed in range(seeds))
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(run, repeat(goal), range(seeds), repeat(n_threads))


def sklearn_rmse(task: Task, seed: int) -> float:
    """What scikit-learn's MLPRegressor of the same shape reaches with its own defaults."""
    from sklearn.neural_network import MLPRegressor

    model: Any = MLPRegressor(hidden_layer_sizes=CALIFORNIA_SHAPE, random_state=seed, max_iter=500)
    model.fit(task.X, task.y.ravel())
    return rmse(task.y_test, task.preprocessor.inverse_target(model.predict(task.x_test)[:, None]))


# ---------------------------------------------------------------- goals

CALIFORNIA_SHAPE = (100, 100)


def relu(units: int, **options: Any) -> fastbp.Dense:
    """A layer of ReLUs with He's initial weights."""
    return fastbp.Dense(units, "relu", kernel_initializer="he_normal", **options)


def dropout_and_max_norm(units: int, depth: int) -> tuple[Layer, ...]:
    """Hidden layers as Srivastava et al. 2014 trained them on MNIST: 0.2 of the inputs dropped, 0.5 of the units."""
    layers: list[Layer] = [fastbp.Dropout(0.2)]
    for _ in range(depth):
        layers += [relu(units, kernel_constraint=fastbp.MaxNorm(2.0)), fastbp.Dropout(0.5)]
    return tuple(layers)


def residual(units: int, depth: int) -> tuple[Layer, ...]:
    """Hidden layers, each but the first in a residual block of its own that normalizes what it reads."""
    block = fastbp.Residual([fastbp.LayerNorm(), relu(units)])
    return fastbp.Dense(units), *[block] * (depth - 1), fastbp.LayerNorm()


GOALS = (
    Goal(
        "digits-deep",
        "Digits, 200 layers, the 199 hidden ones of 64 ReLUs in residual blocks with layer normalization",
        "test error",
        load_digits,
        Recipe(residual(64, 199), 2e-3, 0.0, 15, 32),
        error,
        0.04,
        "{:.2%}",
    ),
    Goal(
        "mnist-dropout",
        "MNIST, 784-1024-1024-1024-10, ReLU, dropout 0.2 of the inputs and 0.5 of the hidden units, max-norm 2",
        "test error",
        load_mnist,
        Recipe(dropout_and_max_norm(1024, 3), 1e-3, 0.0, 40),
        error,
        0.0125,
        "{:.2%}",
    ),
    Goal(
        "mnist-plain",
        "MNIST, 784-800-10, ReLU, cross-entropy",
        "test error",
        load_mnist,
        Recipe((relu(800),), 2e-3, 0.3, 15),
        error,
        0.017,
        "{:.2%}",
    ),
    Goal(
        "shuttle",
        "Shuttle, 9-64-64-7, ReLU, class weights",
        "balanced accuracy",
        load_shuttle,
        Recipe((relu(64), relu(64)), 3e-3, 0.0, 30, class_weights=True),
        balanced_accuracy,
        0.95,
        "{:.2%}",
        higher=True,
    ),
    Goal(
        "california",
        "California housing, 8-100-100-1, ReLU, missing values imputed; the goal is what scikit-learn's reaches",
        "RMSE in dollars",
        load_california,
        Recipe(tuple(relu(units) for units in CALIFORNIA_SHAPE), 1e-2, 0.05, 60),
        rmse,
        sklearn_rmse,
        "{:,.0f}",
    ),
)


# ---------------------------------------------------------------- the page


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen goals; with all seeds, each writes its part of the page; exit code 1 where one is missed."""
    args = make_parser().parse_args(argv)
    missed = False
    for goal in GOALS:
        if args.only not in (None, goal.name):
            continue
        results = []
        for seed, result in enumerate(run_seeds(goal, args.seeds, args.threads, args.jobs)):
            results.append(result)
            print(f"{goal.name}, seed {seed}: {describe(goal, [result])[2]}", flush=True)
        print(" | ".join(describe(goal, results)), flush=True)
        missed |= not goal.met(results)
        if args.seeds == SEEDS:
            replace_generated(PAGE, f"benchmarks.goals {goal.name}", page_text(goal, results), title="Goals")
    return 1 if missed else 0


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goals", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", choices=[goal.name for goal in GOALS], metavar="NAME", help="default: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"default: {SEEDS}")
    parser.add_argument("--threads", type=int, metavar="N", help="of each training (default: as many as pay)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="seeds at a time (default: 1)")
    return parser


def describe(goal: Goal, results: Sequence[Result]) -> list[str]:
    """One row of the table: the goal, the bound, the mean and every seed's value, seconds, met or not."""
    values, bounds, seconds = ([float(v) for v in column] for column in zip(*results, strict=True))
    bound = goal.form.format(statistics.fmean(bounds))
    return [
        goal.figure,
        f"{'at least' if goal.higher else 'at most'} {bound}",
        goal.form.format(statistics.fmean(values)),
        ", ".join(goal.form.format(value) for value in values),
        "yes" if goal.met(results) else "no",
        f"{statistics.median(seconds):.0f}",
    ]


def page_text(goal: Goal, results: Sequence[Result]) -> str:
    """A goal's part of the page: its network and recipe, the table, and where it was measured."""
    recipe, here = goal.recipe, machine()
    packages = ", ".join(f"{k} {v}" for k, v in versions(["fastbp", "numpy", "numba", "scikit-learn"]).items())
    decay = f", weight decay {recipe.weight_decay:g}" if recipe.weight_decay else ""
    header = ["figure", "goal", "mean", "by seed", "reached", "seconds of training"]
    return f"""## {goal.title}

AdamW at {recipe.learning_rate:g} along half a cosine to 0{decay}, batch {recipe.batch_size}, {recipe.epochs} epochs.

{markdown_table(header, [describe(goal, results)])}

Measured on {date.today().isoformat()} by `python -m benchmarks.goals` on {here["processor"]}, {here["cores"]} cores,
Python {here["python"]}; {packages}.
"""


if __name__ == "__main__":
    sys.exit(main())
