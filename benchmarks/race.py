"""A race to test accuracies on MNIST: ``python -m benchmarks.race`` writes its table to docs/accuracy.md.

Rules: any multilayer perceptron, any schedule, anything done to the training images; one recipe for all seeds, with a
fixed number of steps. The clock runs from the raw images, bytes in memory, to the trained weights. Importing,
compiling and a warm-up of a few steps come before, predicting the test images after. A recipe counts if the median test
accuracy of its seeds reaches the target. PyTorch runs the same recipe (its usual loop, eager or compiled, whichever is
faster), a seed of each in turn, every one in a process of its own.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from typing import Any, NamedTuple

import numpy as np

import fastbp
from benchmarks.accuracy import PAGE
from benchmarks.tables import machine, markdown_table, replace_generated, versions
from fastbp import datasets
from fastbp.layers import Layer
from fastbp.util.types import Array

SEEDS, SIDE, CLASSES, WARM_UP = 5, 28, 10, 4
MOVES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))  # of the images, in pixels down and right


class Recipe(NamedTuple):
    """Layers of Dense, BatchNorm and ReLU; Adam with one cycle of the learning rate.

    moves: how many of MOVES the images are made; each makes a pass longer.
    """

    target: float
    hidden: tuple[int, ...]
    batch_size: int
    passes: int
    learning_rate: float
    moves: int = 1

    @property
    def title(self) -> str:
        """The network and how it is trained."""
        network = "-".join(map(str, (SIDE * SIDE, *self.hidden, CLASSES)))
        images = f", images moved by a pixel ({self.moves} copies)" if self.moves > 1 else ""
        return f"{network}, batch {self.batch_size}, passes {self.passes}{images}"

    def schedule(self, rows: int) -> fastbp.schedules.OneCycle:
        """The learning rate of every step."""
        return fastbp.schedules.OneCycle(self.learning_rate, self.passes * math.ceil(rows / self.batch_size))


RECIPES = (
    Recipe(0.98, (128, 64), 128, 3, 0.006),
    Recipe(0.984, (256, 128), 128, 4, 0.006),
    Recipe(0.9875, (256, 128), 256, 2, 0.008, moves=5),
)


class Finish(NamedTuple):
    """A seed's run: seconds of training, and the test accuracy."""

    seconds: float
    accuracy: float


def moved(images: Array, count: int) -> Array:
    """The images, rows of pixels, at the first ``count`` of MOVES, one set behind the other; what enters is black."""
    images = images.reshape(-1, SIDE, SIDE)
    copies = np.zeros((count, *images.shape), images.dtype)
    for copy, (down, right) in zip(copies, MOVES, strict=False):
        rows, columns = slice(max(down, 0), SIDE + min(down, 0)), slice(max(right, 0), SIDE + min(right, 0))
        back = slice(max(-down, 0), SIDE + min(-down, 0)), slice(max(-right, 0), SIDE + min(-right, 0))
        copy[:, rows, columns] = images[:, *back]
    return copies.reshape(-1, SIDE * SIDE)


def features(images: Array, mean: float, deviation: float) -> Array:
    """Rows of standardized pixels."""
    rows = np.multiply(images, np.float32(1 / deviation), dtype=np.float32)
    rows -= np.float32(mean / deviation)
    return rows


def moments(images: Array) -> tuple[float, float]:
    """Mean and standard deviation of the pixels of some images."""
    pixels = images[:2000].astype(np.float32)
    return float(pixels.mean()), float(pixels.std())


def prepare(recipe: Recipe, images: Array, labels: Array) -> tuple[Array, Array, tuple[float, float]]:
    """Features and labels of all training images, and what standardizes others."""
    scale = moments(images)
    return features(moved(images, recipe.moves), *scale), np.tile(labels, recipe.moves), scale


def by_fastbp(recipe: Recipe, split: datasets.Split, seed: int, threads: int, kind: str) -> Finish:
    """`Sequential.fit`."""

    def network(rows: int) -> fastbp.Sequential:
        layers: list[Layer] = []
        for units in recipe.hidden:
            layers += [fastbp.Dense(units, use_bias=False), fastbp.BatchNorm(), fastbp.Activation("relu")]
        model = fastbp.Sequential([*layers, fastbp.Dense(CLASSES, activation="softmax")], seed=seed)
        model.compile(fastbp.optimizers.Adam(recipe.schedule(rows)), "cross_entropy")
        return model

    images, labels = split.x_train, split.y_train.astype(np.int64)
    few = WARM_UP * recipe.batch_size
    X, y, _ = prepare(recipe, images[:few], labels[:few])
    network(few).fit(X, y, batch_size=recipe.batch_size, verbose=0, n_threads=threads)
    start = time.perf_counter()
    X, y, scale = prepare(recipe, images, labels)
    model = network(len(X))
    model.fit(X, y, batch_size=recipe.batch_size, epochs=recipe.passes, verbose=0, n_threads=threads)
    seconds = time.perf_counter() - start
    found = model.predict(features(split.x_test, *scale)).argmax(axis=1)
    return Finish(seconds, float((found == split.y_test).mean()))


def by_torch(recipe: Recipe, split: datasets.Split, seed: int, threads: int, kind: str) -> Finish:
    """PyTorch's usual loop with a fused Adam; ``kind``: "eager" or "compiled", the network and the loss."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)

    def network() -> torch.nn.Sequential:
        layers: list[torch.nn.Module] = []
        sizes = (SIDE * SIDE, *recipe.hidden)
        for inputs, units in zip(sizes, recipe.hidden, strict=False):
            layers += [torch.nn.Linear(inputs, units, bias=False), torch.nn.BatchNorm1d(units), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], CLASSES))

    def loss(model: torch.nn.Module, X: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(X), y)

    compute: Any = torch.compile(loss) if kind == "compiled" else loss

    def train(model: torch.nn.Module, X: Any, y: Any) -> None:
        schedule = recipe.schedule(len(X))
        rates = iter(schedule(np.arange(schedule.total_steps)).tolist())
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        for _ in range(recipe.passes):
            for rows in torch.randperm(len(X)).split(recipe.batch_size):
                optimizer.param_groups[0]["lr"] = next(rates)
                optimizer.zero_grad(set_to_none=True)
                compute(model, X[rows], y[rows]).backward()
                optimizer.step()

    images, labels = split.x_train, split.y_train.astype(np.int64)
    few = WARM_UP * recipe.batch_size + len(images) * recipe.moves % recipe.batch_size  # with a last, smaller batch
    X, y, _ = prepare(recipe._replace(moves=1), images[:few], labels[:few])
    model = network()
    train(model, torch.from_numpy(X), torch.from_numpy(y))
    for layer in model:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    start = time.perf_counter()
    X, y, scale = prepare(recipe, images, labels)
    train(model, torch.from_numpy(X), torch.from_numpy(y))
    seconds = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        found = model(torch.from_numpy(features(split.x_test, *scale))).argmax(dim=1).numpy()
    return Finish(seconds, float((found == split.y_test).mean()))


RUNNERS = {"fastbp": (by_fastbp, ""), "PyTorch": (by_torch, "eager"), "PyTorch compiled": (by_torch, "compiled")}


def run(recipe: Recipe, library: str, seed: int, threads: int) -> Finish:
    """One seed of a library, in the process that calls this."""
    by, kind = RUNNERS[library]
    return by(recipe, datasets.load_mnist(), seed, threads, kind)


def apart(*arguments: Any) -> Finish:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def race(recipe: Recipe, libraries: Sequence[str], seeds: int, threads: int) -> dict[str, list[Finish]]:
    """All seeds of all libraries, in turns."""
    found: dict[str, list[Finish]] = {library: [] for library in libraries}
    for seed in range(seeds):
        for library in libraries:
            found[library].append(apart(recipe, library, seed, threads))
    return found


def describe(recipe: Recipe, found: dict[str, list[Finish]]) -> list[str]:
    """A row of the table."""

    def median(values: Sequence[float], form: str) -> str:
        return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    ours = found["fastbp"]
    cells = [f"{recipe.target:.2%}", recipe.title, median([100 * finish.accuracy for finish in ours], ".2f"),
             median([finish.seconds for finish in ours], ".2f")]  # fmt: skip
    peers = {name: runs for name, runs in found.items() if name != "fastbp"}
    if not peers:
        return [*cells, "–", "–", "–"]
    best = min(peers, key=lambda name: statistics.median(finish.seconds for finish in peers[name]))
    ratios = [theirs.seconds / own.seconds for theirs, own in zip(peers[best], ours, strict=True)]
    return [*cells, median([100 * finish.accuracy for finish in peers[best]], ".2f"),
            f"{median([finish.seconds for finish in peers[best]], '.2f')}, {best}", median(ratios, ".1f")]  # fmt: skip


HEADER = ["target", "recipe", "fastbp %", "fastbp s", "PyTorch %", "PyTorch s", "PyTorch ÷ fastbp"]


def page_text(rows: list[list[str]], seeds: int, threads: int) -> str:
    """The table with its rules and what it was measured on."""
    here = machine()
    packages = ", ".join(f"{k} {v}" for k, v in versions(["fastbp", "numba", "numpy", "torch"]).items())
    return f"""A race on MNIST from raw images to a test accuracy: any multilayer perceptron and schedule, one recipe
for all seeds; here layers of Dense, BatchNorm and ReLU, Adam with one cycle of the learning rate. The clock runs from
bytes in memory to trained weights; importing and compiling come before. Median (lowest to highest) of {seeds} seeds,
{threads} threads; PyTorch with the same recipe in turns.

{markdown_table(HEADER, rows, left=2)}

Measured on {date.today().isoformat()} by `python -m benchmarks.race` on {here["processor"]}, {here["cores"]} cores,
Python {here["python"]}; {packages}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen targets; a run of all writes the table; exit code 1 if fastbp missed a target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.race", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--targets", metavar="N,N", help="in percent; default: all")
    parser.add_argument("--libraries", metavar="NAME,NAME", help=f"default: {','.join(RUNNERS)}; fastbp always runs")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: %(default)s")
    args = parser.parse_args(argv)
    libraries = [name for name in RUNNERS if not args.libraries or name in ("fastbp", *args.libraries.split(","))]
    wanted = [float(target) for target in args.targets.split(",")] if args.targets else None
    rows, missed = [], False
    for recipe in RECIPES:
        if wanted is None or any(math.isclose(100 * recipe.target, target) for target in wanted):
            found = race(recipe, libraries, args.seeds, args.threads)
            rows.append(describe(recipe, found))
            print(" | ".join(rows[-1]), flush=True)
            missed |= statistics.median(finish.accuracy for finish in found["fastbp"]) < recipe.target
    if args == parser.parse_args([]):
        replace_generated(PAGE, "benchmarks.race", page_text(rows, args.seeds, args.threads), title="Accuracy")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
