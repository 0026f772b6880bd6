"""Test accuracies and the time to reach them, by seed: ``python -m benchmarks.accuracy`` writes docs/accuracy.md.

Every library runs in its own process, with the same network, batch size, learning rate and, if possible, loss; each
shuffles and splits by the seed. Only training is timed, after a small run that compiles and warms up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from typing import NamedTuple

from benchmarks.measure import ROOT
from benchmarks.tables import machine, markdown_table, replace_generated, versions
from benchmarks.trainers import TITLES, Run, Task, run
from benchmarks.xor import XorResult, solve_xor
from fastbp import datasets
from fastbp.cli.job import TrainJob
from fastbp.cli.network import TrainingData, learn

PAGE = ROOT / "docs" / "accuracy.md"


class Contest(NamedTuple):
    """A dataset with a target accuracy, a number of epochs (None: its recipe's) and a number of seeds."""

    data: str
    goal: float
    seeds: int
    epochs: int | None = None


CONTESTS = (Contest("digits", 0.975, 5), Contest("mnist", 0.98, 3, 10), Contest("fashion-mnist", 0.89, 3))
XOR_SEEDS = 50


class Line(NamedTuple):
    """The runs of one library in one contest."""

    contest: Contest
    library: str
    runs: list[Run]


def make_task(contest: Contest, seed: int) -> Task:
    """The contest's data, split and prepared as `fastbp train` does."""
    job = TrainJob(contest.data, seed=seed, epochs=contest.epochs)
    split = datasets.load_named(contest.data, seed=seed)
    p = learn(TrainingData.of(split), job)
    x_train, x_test = p.transform(split.x_train), p.transform(split.x_test)
    return Task(job, p, x_train, p.transform_target(split.y_train), x_test, p.transform_target(split.y_test))


def run_seed(contest: Contest, library: str, seed: int) -> Run:
    """One run, in the process of its library."""
    return run(library, make_task(contest, seed))


def run_contest(contest: Contest, library: str, seeds: int) -> Line:
    """All seeds of one library in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return Line(contest, library, [pool.submit(run_seed, contest, library, seed).result() for seed in range(seeds)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen contests; a run of all writes the page; exit code 1 if fastbp missed a goal."""
    args = make_parser().parse_args(argv)
    lines: list[Line] = []
    for contest in CONTESTS:
        for library in args.libraries.split(",") if contest.data in args.contests.split(",") else ():
            lines.append(run_contest(contest, library, args.seeds or contest.seeds))
            print(" | ".join(describe(lines[-1])), flush=True)
    xor = solve_xor(args.seeds or XOR_SEEDS, show=print) if "xor" in args.contests.split(",") else None
    if xor:
        print(describe_xor(xor))
    complete = args == make_parser().parse_args([])
    if complete and xor:
        replace_generated(PAGE, "benchmarks.accuracy", page_text(lines, xor), title="Accuracy")
    missed = any(line.library == "fastbp" and len(_hits(line)) < len(line.runs) for line in lines)
    return 1 if missed or (xor and xor.solved < xor.seeds) else 0


def make_parser() -> argparse.ArgumentParser:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").split("\n")[0])
    contests, libraries = ",".join([*(contest.data for contest in CONTESTS), "xor"]), ",".join(TITLES)
    parser.add_argument("--contests", default=contests, metavar="NAME,NAME", help=f"default: {contests}")
    parser.add_argument("--libraries", default=libraries, metavar="NAME,NAME", help=f"default: {libraries}")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs each (default: 5 digits, 3 others, 50 xor)")
    return parser


def describe(line: Line) -> list[str]:
    """One row of the table."""
    contest, hits, last = line.contest, _hits(line), [run.accuracy[-1] for run in line.runs]
    times = [run.seconds[epoch - 1] for run, epoch in hits]
    return [
        f"{contest.data}, {contest.goal:.1%} in {len(line.runs[0].accuracy)} epochs",
        TITLES[line.library],
        f"{len(hits)} of {len(line.runs)}",
        _spread([float(epoch) for _, epoch in hits], "{:.0f}"),
        _spread(times, "{:.2f}"),
        _spread([100 * value for value in last], "{:.2f} %"),
        f"{statistics.median(run.seconds[-1] for run in line.runs):.2f}",
    ]


def describe_xor(xor: XorResult) -> str:
    """A sentence on XOR."""
    setting = "XOR, 2-4-1 sigmoid, MSE, full batch, SGD at rate 1 with momentum 0.9"
    solved = f"solved in {xor.solved} seeds of {xor.seeds}, the slowest after {xor.slowest} epochs"
    times = f"{xor.fastbp_seconds * 1e3:.1f} ms, the NumPy reference {xor.numpy_seconds * 1e3:.0f} ms"
    ratio = f"{xor.numpy_seconds / xor.fastbp_seconds:.0f} times as long"
    return f"{setting}: {solved}. {xor.epochs:,} epochs take {times}, {ratio}."


def page_text(lines: list[Line], xor: XorResult) -> str:
    """The table with what it was measured on, and the sentence on XOR."""
    header = ["data, goal", "library", "reached it", "epochs to it", "seconds to it", "at the end", "seconds in all"]
    here = machine()
    packages = ", ".join(f"{k} {v}" for k, v in versions(["numpy", "numba", "scikit-learn", "torch"]).items())
    networks = ", ".join(_network(contest) for contest in CONTESTS)
    return f"""Median (lowest to highest) over the seeds 0, 1, …; networks: {networks}. Digits: a stratified fifth
is held out, chosen by the seed; fastbp and PyTorch train on smoothed targets, which scikit-learn does not offer.
Training time only, measured on {date.today().isoformat()} by `python -m benchmarks.accuracy` on
{here["processor"]}, {here["cores"]} cores, Python {here["python"]}; {packages}.

{markdown_table(header, [describe(line) for line in lines], left=2)}

{describe_xor(xor)}
"""


def _network(contest: Contest) -> str:
    recipe = TrainJob(contest.data).recipe
    n_features = 64 if contest.data == "digits" else 784
    return f"{contest.data} {'-'.join(map(str, (n_features, *recipe.layers, 10)))}, Adam, batch {recipe.batch_size}"


def _hits(line: Line) -> list[tuple[Run, int]]:
    return [(run, epoch) for run in line.runs if (epoch := run.reached(line.contest.goal)) is not None]


def _spread(values: list[float], form: str) -> str:
    if not values:
        return "–"
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


if __name__ == "__main__":
    sys.exit(main())
