"""The cost of options: a training step with each compared with the same step without it, in pairs.

    python -m benchmarks.costs             prints the tables and writes them to docs/performance.md

Steps are those of `Sequential.fit`. The cases of a network take turns, so that drift of the machine affects all alike;
ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastbp
from benchmarks import tables
from benchmarks.measure import ROOT
from fastbp.layers import Layer

CLIP = 1.0  # exceeded by random gradients of these networks, so that clipping is applied


class Network(NamedTuple):
    """A network, its batch size, and the optimizer of the baseline step."""

    inputs: int
    widths: tuple[int, ...]
    batch: int
    optimizer: str

    @property
    def label(self) -> str:
        """Widths, batch and optimizer."""
        sizes = "-".join(map(str, (self.inputs, *self.widths, 10)))
        return f"{sizes}, batch {self.batch}, {type(fastbp.optimizers.get(self.optimizer)).__name__}"

    @property
    def flops(self) -> float:
        """FLOPs per step: three products per layer, two for the first."""
        sizes = (self.inputs, *self.widths, 10)
        products = [a * b for a, b in pairwise(sizes)]
        return self.batch * (6.0 * sum(products) - 2.0 * products[0])


RULES = Network(1024, (1024, 1024), 128, "sgd")
LARGE = (
    Network(784, (512, 512), 128, "adam"),
    Network(784, (2500, 2000, 1500, 1000, 500), 256, "adam"),
    Network(1024, (1024,) * 4, 1024, "sgd"),
    Network(4096, (4096,) * 3, 512, "sgd"),
)
OPTIMIZERS: dict[str, Callable[[], fastbp.optimizers.Optimizer]] = {
    "Adam": fastbp.Adam,
    "AdamW": fastbp.AdamW,
    "RMSprop": fastbp.RMSprop,
    "RMSprop with momentum": lambda: fastbp.RMSprop(momentum=0.9),
    "Lion": fastbp.Lion,
    "SGD with momentum": lambda: fastbp.SGD(momentum=0.9),
    "Adagrad": fastbp.Adagrad,
    "NAdam": fastbp.NAdam,
}


def plain(network: Network, activation: str = "relu") -> list[Layer]:
    """The hidden layers."""
    return [fastbp.Dense(width, activation) for width in network.widths]


def between(network: Network, *kinds: Callable[[], Layer]) -> list[Layer]:
    """The hidden layers with others after each: normalization before the ReLU, dropout after it."""
    result: list[Layer] = []
    for width in network.widths:
        made = [kind() for kind in kinds]
        normalized = any(isinstance(layer, fastbp.BatchNorm | fastbp.LayerNorm) for layer in made)
        result.append(fastbp.Dense(width, "identity" if normalized else "relu"))
        for layer in made:
            result.append(layer)
            if isinstance(layer, fastbp.BatchNorm | fastbp.LayerNorm):
                result.append(fastbp.Activation("relu"))
    return result


def options(network: Network) -> dict[str, list[Layer]]:
    """The hidden layers of every option."""
    return {
        "tanh": plain(network, "tanh"),
        "GELU": plain(network, "gelu"),
        "batch norm": between(network, fastbp.BatchNorm),
        "layer norm": between(network, fastbp.LayerNorm),
        "dropout": between(network, lambda: fastbp.Dropout(0.2)),
        "batch norm and dropout": between(network, fastbp.BatchNorm, lambda: fastbp.Dropout(0.2)),
    }


def stepper(
    network: Network, hidden: Iterable[Layer], optimizer: fastbp.optimizers.Optimizer, threads: int, seconds: float
) -> Callable[[], float]:
    """A function that trains for some steps and returns the seconds of one."""
    rng = np.random.default_rng(0)
    steps = max(2, int(seconds * 2e11 * threads / 2 / network.flops))
    rows = network.batch * min(steps, 8)
    X, y = rng.standard_normal((rows, network.inputs), np.float32), rng.integers(0, 10, rows)
    model = fastbp.Sequential([*hidden, fastbp.Dense(10, "softmax")], input_size=network.inputs)
    model.compile(optimizer, "cross_entropy")
    epochs = -(-steps * network.batch // rows)

    def run() -> float:
        start = time.perf_counter()
        model.fit(X, y, batch_size=network.batch, epochs=epochs, verbose=0, n_threads=threads)
        return (time.perf_counter() - start) / (epochs * rows // network.batch)

    run()
    return run


def ratios(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, tuple[float, float, float]]:
    """For each case: median seconds, the median of its ratios to the first, and their interquartile range."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(run())
    base = next(iter(times.values()))
    result = {}
    for name, measured in times.items():
        quotients = sorted(t / b for t, b in zip(measured, base, strict=True))
        quarter = len(quotients) // 4
        spread = quotients[-1 - quarter] - quotients[quarter]
        result[name] = statistics.median(measured), statistics.median(quotients), spread
    return result


def table(network: Network, runs: dict[str, Callable[[], float]], rounds: int) -> str:
    """Measure a network's cases and tabulate them."""
    lines: list[list[str]] = []
    for name, (seconds, ratio, spread) in ratios(runs, rounds).items():
        cost = "" if not lines else f"{100 * (ratio - 1):+.1f} %"
        lines.append([name, f"{1e6 * seconds:,.0f}", cost, f"{100 * spread:.1f} %" if lines else ""])
        print(f"{network.label}: " + "  ".join(lines[-1]), flush=True)
    return tables.markdown_table([network.label, "µs a step", "more", "middle half of the rounds"], lines)


def measure(threads: int, rounds: int, seconds: float) -> str:
    """All tables."""
    rules = {"SGD": stepper(RULES, plain(RULES), fastbp.SGD(1e-4), threads, seconds)}
    rules |= {name: stepper(RULES, plain(RULES), make(), threads, seconds) for name, make in OPTIMIZERS.items()}
    found = [table(RULES, rules, rounds)]
    for network in LARGE:
        base = fastbp.optimizers.get(network.optimizer)
        clipped = type(base)(1e-4, global_clipnorm=CLIP)
        runs = {"ReLU alone": stepper(network, plain(network), type(base)(1e-4), threads, seconds)}
        runs |= {name: stepper(network, h, type(base)(1e-4), threads, seconds) for name, h in options(network).items()}
        runs["clipping by global norm"] = stepper(network, plain(network), clipped, threads, seconds)
        found.append(table(network, runs, rounds))
    return "\n\n".join(found)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a turn (default: 0.2)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "performance.md")
    args = parser.parse_args()
    text = measure(args.threads, args.rounds, args.seconds)
    noun = "thread" if args.threads == 1 else "threads"
    text += f"\n\nMeasured by `python -m benchmarks.costs`, {args.threads} {noun}."
    here = tables.machine()
    text += f" On {here['processor']}, {date.today().isoformat()}."
    section = tables.by_instruction_set("benchmarks.costs")
    tables.replace_generated(args.output, section, text, title="What options cost")


if __name__ == "__main__":
    main()
