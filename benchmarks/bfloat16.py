"""Training steps on operands of bfloat16 beside PyTorch's and float32's: ``python -m benchmarks.bfloat16``.

All peers train on the same data from the same weights in warm processes of their own and take turns, as in
`benchmarks.compare`; ratios are medians over the rounds. The products of one layer, 1024 x 1024 x 1024, stand beside
what tiles do in registers, measured in the same run. Writes the tables of docs/bfloat16.md unless --rows chooses some.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date

import numpy as np

from benchmarks.measure import ROOT, Plan, WorkerProcess, check_losses
from benchmarks.peers import PEERS, ROUNDED
from benchmarks.rows import row_flops
from benchmarks.tables import machine, markdown_table, replace_generated
from fastbp.cli.bench import ROWS, SETTLE_SECONDS, Row
from fastbp.engine.engine import Engine
from fastbp.engine.memory import aligned
from fastbp.engine.peak import measured_tile_peak
from fastbp.kernels import parallel
from fastbp.kernels.schema import operations
from fastbp.spec import LayerSpec

PAGE = ROOT / "docs" / "bfloat16.md"
NAMES = ("torch-bfloat16", "fastbp-bfloat16x3", "fastbp-bfloat16", "fastbp")
BENCHED = (*ROWS[6:10], Row((512, 512, 512, 512, 10), 8192))
PASSES = {"forward": operations.FORWARD, "backward": operations.BACKWARD, "weights, SGD": operations.WEIGHTS}
WIDTH = 1024
# Of the change that the first steps make to the loss, how far peers may lie apart: Adam moves a weight as far for any
# gradient, so where rounding turns the sign of a small one, the weight goes the other way.
TOLERANCE = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bfloat16", description=(__doc__ or "").split(":")[0])
    listing = "; ".join(f"{n} {row.title}" for n, row in enumerate(BENCHED, start=1))
    parser.add_argument("--rows", type=int, nargs="*", metavar="N", help=f"default: all of {listing}")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="default: 9")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="for all (default: 2)")
    args = parser.parse_args(argv)
    products = measured_products(args.threads, args.rounds)
    print("\n".join("  ".join(line) for line in products), flush=True)
    steps = []
    for row in [BENCHED[n - 1] for n in args.rows or range(1, len(BENCHED) + 1)]:
        steps.append(line_of(row, timed(row, Plan(args.rounds, 0.3, args.threads))))
        print("  ".join(steps[-1]), flush=True)
    if not args.rows:
        text = page(products, steps, args.threads, args.rounds)
        replace_generated(PAGE, "benchmarks.bfloat16", text, title="bfloat16")
    return 0


def timed(row: Row, plan: Plan) -> dict[str, list[float]]:
    """Seconds a step of every peer, by round."""
    workers = [WorkerProcess(name, plan.threads) for name in NAMES]
    try:
        check_losses(workers, row, TOLERANCE)
        fields = {"row": row._asdict(), "seconds": plan.seconds}
        epochs = [worker.ask("prepare", **fields)["epochs"] for worker in workers]
        times: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(plan.rounds):
            for worker, n in zip(workers, epochs, strict=True):
                time.sleep(SETTLE_SECONDS)
                times[worker.name].append(worker.ask("train", epochs=n)["seconds"])
        return times
    finally:
        for worker in workers:
            worker.__exit__(None, None, None)


def line_of(row: Row, times: dict[str, list[float]]) -> list[str]:
    """The row's line: milliseconds, the speed of bfloat16, and ratios to it and to x3."""

    def ratio(other: str, to: str) -> str:
        return f"{statistics.median(a / b for a, b in zip(times[other], times[to], strict=True)):.2f}"

    medians = [statistics.median(times[name]) for name in NAMES]
    speed = row_flops(row) / statistics.median(times["fastbp-bfloat16"]) / 1e9
    return [row.title, *(f"{seconds * 1e3:.2f}" for seconds in medians), f"{speed:.0f}",
            ratio("torch-bfloat16", "fastbp-bfloat16"), ratio("fastbp", "fastbp-bfloat16"),
            ratio("fastbp", "fastbp-bfloat16x3")]  # fmt: skip


def measured_products(n_threads: int, rounds: int) -> list[list[str]]:
    """GFLOP/s of each pass of one layer, of all threads, and its share of the tiles' peak of the same round."""
    passes, flops, lines = passes_of(n_threads), 2 * WIDTH**3, []
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, run in passes.items():
            pairs[name].append((flops / run(), measured_tile_peak(n_threads)))
    for name, found in pairs.items():
        speed, peak = (statistics.median(values) / 1e9 for values in zip(*found, strict=True))
        share = f"{statistics.median(a / b for a, b in found):.0%}" if peak else "–"
        lines.append([name, f"{speed:.0f}", f"{peak:.0f}", share])
    return lines


def passes_of(n_threads: int) -> dict[str, Callable[[], float]]:
    """Functions that run a pass of a layer in the middle of a network and return its seconds."""
    layers = [LayerSpec(WIDTH, "relu"), LayerSpec(WIDTH, "relu"), LayerSpec(WIDTH, "relu"), LayerSpec(10)]
    engine, rng = Engine(WIDTH, layers, compute="bfloat16"), np.random.default_rng(0)
    engine.set_weights([(rng.normal(size=w.shape) / 32).astype(np.float32) for w in engine.get_weights()])
    X, y = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32), rng.normal(size=(WIDTH, 10)).astype(np.float32)
    order, bounds, scalars, losses = np.arange(WIDTH), np.array([0, WIDTH]), np.zeros((1, 8)), np.zeros(1)
    scalars[0, 0] = 1e-6

    def step() -> None:
        engine.train(X, y, order, bounds, scalars, losses, n_threads=n_threads)

    def timed_pass(operation: int) -> Callable[[], float]:
        repeats = 20
        program = np.array([[operation, 1, 1, operations.HELPING]] * repeats, np.int64)

        def run() -> float:
            space = engine._training
            assert space is not None
            sync, whole = space.sync, space.programs["train"]
            space.programs["train"] = program
            space.sync = aligned(parallel.words(repeats, n_threads), np.int64)
            space.point("sync", space.sync)
            start = time.perf_counter()
            step()
            elapsed = time.perf_counter() - start
            space.programs["train"], space.sync = whole, sync
            space.point("sync", sync)
            return elapsed / repeats

        return run

    step()
    return {name: timed_pass(operation) for name, operation in PASSES.items()}


def page(products: list[list[str]], steps: list[list[str]], threads: int, rounds: int) -> str:
    """Both tables, and where they were measured."""
    here, known = machine(), PEERS | ROUNDED
    titles = [known[name].title for name in NAMES]
    return f"""Milliseconds a step, median of {rounds} rounds in turns, {threads} threads for all; PyTorch eager or
compiled, whichever is faster. GFLOP/s are those of bfloat16.

{markdown_table(["net, batch, optimizer", *titles, "GFLOP/s", "PyTorch ÷ bfloat16", "float32 ÷ bfloat16",
                 "float32 ÷ bfloat16x3"], steps)}

One layer of {WIDTH} x {WIDTH} on {WIDTH} rows, with all that a step does there (biases, ReLU and its slope, the update,
rounding), in GFLOP/s of {threads} threads, beside products of tiles in registers:

{markdown_table(["pass", "GFLOP/s", "peak of the tiles", "share"], products)}

Measured on {date.today().isoformat()} by `python -m benchmarks.bfloat16` on {here["processor"]}, {here["cores"]} cores,
{here["system"]}, Python {here["python"]}.
"""


if __name__ == "__main__":
    raise SystemExit(main())
