"""Training steps of two commits in pairs: ``python -m benchmarks.guard OLD [NEW]``; exit code 1 if NEW is slower.

Each commit is checked out into a temporary folder with a cache of its own, and its own `benchmarks.worker` trains the
rows of `benchmarks.compare`; without NEW, the working tree is measured. The two take turns, old new new old, so that a
slow spell of the machine meets both. A row is slower if the median of its ratios, new over old, is above the limit, and
is so again in a second measurement.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks.compare import add_rows_option
from benchmarks.measure import ROOT, Plan, WorkerError, WorkerProcess, row_fields
from benchmarks.rows import ROWS
from fastbp.cli.bench import SETTLE_SECONDS, Row


class Tree(NamedTuple):
    """A version of fastbp: the folder it lies in, and the one of its compiled code."""

    name: str
    folder: Path
    cache: Path

    def worker(self, n_threads: int) -> WorkerProcess:
        """A process that trains with this version."""
        environment = {"PYTHONPATH": str(self.folder), "FASTBP_CACHE_DIR": str(self.cache)}
        return WorkerProcess("fastbp", n_threads, folder=self.folder, environment=environment)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the pairs; exit code 1 if a row is slower than the limit allows."""
    args = make_parser().parse_args(argv)
    plan = Plan(args.rounds, args.seconds, args.threads)
    with tempfile.TemporaryDirectory(prefix="fastbp-guard-") as scratch:
        old = check_out(args.old, Path(scratch) / "old")
        new = check_out(args.new, Path(scratch) / "new") if args.new else working_tree(Path(scratch) / "new")
        slower = []
        for row in [ROWS[number - 1] for number in args.rows]:
            try:
                if not within(row, old, new, plan, 1 + args.limit / 100):
                    slower.append(row.title)
            except WorkerError as error:
                print(f"{row.title}: {error}", file=sys.stderr, flush=True)
                slower.append(row.title)
    print("\n".join([f"slower by more than {args.limit:g} %, or failed:", *slower]) if slower else
          f"no row is slower by more than {args.limit:g} %")  # fmt: skip
    return 1 if slower else 0


def make_parser() -> argparse.ArgumentParser:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("old", metavar="OLD", help="the commit to compare with, as git knows it")
    parser.add_argument("new", metavar="NEW", nargs="?", help="the commit to judge (default: the working tree)")
    add_rows_option(parser)
    parser.add_argument("--limit", type=float, default=5.0, metavar="PERCENT", help="allowed (default: 5)")
    parser.add_argument("--rounds", type=int, default=Plan().rounds, metavar="N", help="pairs (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=Plan().seconds, help="of a turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=Plan().threads, metavar="N", help="(default: %(default)s)")
    return parser


def check_out(commit: str, folder: Path) -> Tree:
    """The files of a commit in a folder; CalledProcessError if git has no such commit."""
    folder.mkdir(parents=True)
    files = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=files, check=True)
    return Tree(commit, folder, _private(folder.with_suffix(".cache")))


def working_tree(folder: Path) -> Tree:
    """The files as they are now."""
    return Tree("working tree", ROOT, _private(folder.with_suffix(".cache")))


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    return folder


def within(row: Row, old: Tree, new: Tree, plan: Plan, limit: float) -> bool:
    """Whether the new version is within the limit; one that is not is measured once more, with twice the rounds."""
    for rounds in (plan.rounds, 2 * plan.rounds):
        times = pairs(row, old, new, plan._replace(rounds=rounds))
        ratios = sorted(after / before for before, after in times)
        before, after = (statistics.median(side) * 1e6 for side in zip(*times, strict=True))
        print(
            f"{row.title}: {before:,.1f} -> {after:,.1f} µs a step, ratio {statistics.median(ratios):.3f} "
            f"({ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f} in the middle half)",
            flush=True,
        )
        if statistics.median(ratios) <= limit:
            return True
    return False


def pairs(row: Row, old: Tree, new: Tree, plan: Plan) -> list[tuple[float, float]]:
    """Seconds a step, old and new, by round."""
    with ExitStack() as stack:
        workers = [stack.enter_context(tree.worker(plan.threads)) for tree in (old, new)]
        epochs = [worker.ask("prepare", row=row_fields(row), seconds=plan.seconds)["epochs"] for worker in workers]
        found = []
        for turn in range(plan.rounds):
            seconds = [0.0, 0.0]
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                time.sleep(SETTLE_SECONDS)
                seconds[side] = workers[side].ask("train", epochs=epochs[side])["seconds"]
            found.append((seconds[0], seconds[1]))
        return found


if __name__ == "__main__":
    sys.exit(main())
