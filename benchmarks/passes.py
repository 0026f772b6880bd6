"""The three products of one layer beside the library's bare matrix product of the same shape, in pairs on one core.

    python -m benchmarks.passes            prints a table and writes it to docs/performance.md

Ours include what a training step needs of them: forward its biases and ReLU, backward the ReLU mask and the transpose
for the weight gradient, the weight gradient Adam's update of weights and both averages. `torch.mm` (MKL on x86) only
multiplies, into an output it is given. Rounds alternate, so the machine's drift hits both; ratios are medians of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks import tables
from fastbp.engine.engine import Engine
from fastbp.kernels.schema import operations
from fastbp.spec import LayerSpec

SHAPES = ((128, 512, 512), (128, 1024, 1024), (256, 2048, 2048), (256, 2500, 2000))
PASSES = {
    "forward": operations.FORWARD,
    "backward data": operations.BACKWARD,
    "weight gradient + Adam": operations.WEIGHTS,
}
ADAM = (1e-6, 0.0, 0.9, 0.999, 1e-8, 0.9, 0.9, 0.0)


def ours(batch: int, inputs: int, outputs: int, repeats: int) -> dict[str, Callable[[], float]]:
    """A function per pass that runs it `repeats` times inside the engine and returns seconds for one."""
    rng = np.random.default_rng(0)
    engine = Engine(16, [LayerSpec(inputs, "relu"), LayerSpec(outputs, "relu"), LayerSpec(10, "identity")])
    engine.configure("mse", "adam")
    engine.reset_state(2)
    sizes = (16, inputs, outputs, 10)
    engine.set_weights(
        [
            a
            for i, o in pairwise(sizes)
            for a in ((rng.standard_normal((i, o)) / np.sqrt(i)).astype(np.float32), np.zeros(o, np.float32))
        ]
    )
    X, y = rng.standard_normal((batch, 16)).astype(np.float32), rng.standard_normal((batch, 10)).astype(np.float32)
    order, bounds, losses = np.arange(batch), np.array([0, batch]), np.zeros(1)

    def step() -> None:
        engine.train(X, y, order, bounds, np.array([ADAM]), losses, n_threads=1)

    def timed(operation: int) -> Callable[[], float]:
        passes = np.array([[operation, 1, 1, operations.HELPING]] * repeats, np.int64)

        def run() -> float:
            space = engine._training
            assert space is not None
            whole, space.programs["train"] = space.programs["train"], passes
            start = time.perf_counter()
            step()
            elapsed = time.perf_counter() - start
            space.programs["train"] = whole
            return elapsed / repeats

        return run

    step()
    return {name: timed(operation) for name, operation in PASSES.items()}


def theirs(batch: int, inputs: int, outputs: int, repeats: int) -> dict[str, Callable[[], float]]:
    X, D, W = torch.randn(batch, inputs), torch.randn(batch, outputs), torch.randn(inputs, outputs)
    Z, dX, dW = torch.empty(batch, outputs), torch.empty(batch, inputs), torch.empty(inputs, outputs)

    def timed(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> Callable[[], float]:
        def run() -> float:
            start = time.perf_counter()
            for _ in range(repeats):
                torch.mm(a, b, out=out)
            return (time.perf_counter() - start) / repeats

        return run

    return dict(zip(PASSES, (timed(X, W, Z), timed(D, W.t(), dX), timed(X.t(), D, dW)), strict=True))


def compare(shape: tuple[int, int, int], rounds: int) -> list[list[str]]:
    flops = 2 * shape[0] * shape[1] * shape[2]
    repeats = max(1, int(3e9 / flops))
    mine, other = ours(*shape, repeats), theirs(*shape, repeats)
    rows = []
    for name in PASSES:
        pairs = [(other[name](), mine[name]()) for _ in range(rounds + 1)][1:]
        ratios = sorted(b / a for b, a in pairs)
        speed = [flops / statistics.median(times) / 1e9 for times in zip(*pairs, strict=True)]
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        rows.append(
            [
                " x ".join(map(str, shape)),
                name,
                f"{speed[1]:.0f}",
                f"{speed[0]:.0f}",
                f"{statistics.median(ratios):.2f}",
                f"{low:.2f} - {high:.2f}",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("docs/performance.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for shape in SHAPES:
        rows += compare(shape, options.rounds)
        print("\n".join("  ".join(row) for row in rows[-3:]), flush=True)
    header = ["batch x inputs x outputs", "pass", "fastbp GFLOP/s", "torch.mm GFLOP/s", "ratio", "middle half"]
    title = "One layer's products beside torch.mm, one core"
    here = f"Measured on {tables.machine()['processor']}, {date.today().isoformat()}."
    text = f"{tables.markdown_table(header, rows, left=2)}\n\n{here}"
    tables.replace_generated(options.output, tables.by_instruction_set("passes"), text, title=title)


if __name__ == "__main__":
    main()
