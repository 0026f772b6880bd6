"""fastbp compared with NumPy, scikit-learn, PyTorch and JAX: ``python -m benchmarks.compare``.

For every row all peers train on the same data in the same order, from the same Glorot-uniform weights, on the same
cores. Each runs in its own warm process and they take turns, A B C A B C; between
turns all are idle long enough for their thread pools to stop spinning. Before timing starts, all must have reached the
same loss after a few steps (without dropout, whose masks differ between libraries).

The ratio of a row is the best peer's time over fastbp's, per round, given as median (lowest to highest).
A run of all rows with all peers writes the tables of its instruction set in docs/performance.md; ``--json`` writes what
was measured by any run, ``--plot`` draws it. ``--threads 1,2`` measures every row with one thread, then with two.
``--busy`` measures the rows between 100 µs and 100 ms while another process keeps each core busy; its table is another.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.compare_page import Run, as_json, busy_text, describe, front_text, page_text
from benchmarks.measure import ROOT, Plan, WorkerError, measure, peaks
from benchmarks.peers import PEERS
from benchmarks.rows import ROWS
from benchmarks.tables import by_instruction_set, replace_generated
from fastbp.plots import plot_speed
from fastbp.plots.figures import check_picture
from fastbp.plots.speed import Times

PAGE = ROOT / "docs" / "performance.md"
FRONT = ROOT / "docs" / "index.md"  # shows some columns of the table
RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
QUICK = Plan(rounds=3, seconds=0.05)
BUSY_ROWS = [5, 6, 7, 8, 11, 12, 13, *range(20, 30), 31, 32]  # a step of fastbp takes 100 µs to 100 ms


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chosen rows; exit code 1 if a row could not be measured."""
    args = make_parser().parse_args(argv)
    if args.plot is not None:
        check_picture(args.plot)
    if args.busy and os.sched_getscheduler(0) != os.SCHED_OTHER:
        raise SystemExit("--busy needs the usual scheduling: under chrt its busy processes would let nobody else run")
    if args.read is not None:
        draw(read_times(args.read), args.plot or args.read.with_suffix(".png"))
        return 0
    names = [name for name in PEERS if name in (args.peers or PEERS) or name == "fastbp"]
    plan = (QUICK if args.quick else Plan())._replace(threads=max(args.threads), busy=args.busy)
    plan = plan._replace(rounds=args.rounds) if args.rounds else plan
    usual = BUSY_ROWS if args.busy else list(range(1, len(ROWS) + 1))
    numbers = args.rows or usual
    run, failures = measure_rows(numbers, names, plan, args.threads)
    measured = run[plan.threads]
    if args.plot is not None and measured:
        draw({m.row.title: m.times for m in measured}, args.plot)
    complete = numbers == usual and len(names) == len(PEERS) and not args.quick and not failures
    path = RESULTS.with_name("compare-busy.json") if args.busy else RESULTS
    write(run, plan, args.json or (path if complete else None), complete)
    return 1 if failures else 0


def measure_rows(numbers: Sequence[int], names: list[str], plan: Plan, threads: Sequence[int]) -> tuple[Run, int]:
    """Measure rows of ROWS with each number of threads and print them; how many rows could not be measured."""
    run: Run = {n_threads: [] for n_threads in threads}
    failures = 0
    for row in [ROWS[number - 1] for number in numbers]:
        try:
            found = {n_threads: measure(row, names, plan._replace(threads=n_threads)) for n_threads in threads}
        except WorkerError as error:
            failures += 1
            print(f"{row.title}\n    failed: {error}", file=sys.stderr, flush=True)
            continue
        for n_threads, m in found.items():
            run[n_threads].append(m)
            print(describe(m, peaks(run[n_threads])[row.dtype], n_threads), flush=True)
    return run, failures


def make_parser() -> argparse.ArgumentParser:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n")[0])
    add_rows_option(parser)
    parser.set_defaults(rows=None)  # which depends on --busy
    parser.add_argument(
        "--peers", type=_peer_names, metavar="NAME,NAME", help=f"default: {','.join(PEERS)}; fastbp always runs"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default: {Plan().rounds}")
    parser.add_argument(
        "--threads", type=_thread_counts, default=[Plan().threads], metavar="N,N", help="for all peers (default: 2)"
    )
    parser.add_argument("--busy", action="store_true", help="with an endless loop of another process on each core")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK.rounds} rounds of short turns")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help=f"default, for a complete run: {RESULTS.relative_to(ROOT)}"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios: .png, .pdf or .svg")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="only plot such a JSON file (default: next to it, as .png)"
    )
    return parser


def add_rows_option(parser: argparse.ArgumentParser) -> None:
    """The option ``--rows``: numbers of ROWS, from 1."""
    listing = "; ".join(f"{number} {row.title}" for number, row in enumerate(ROWS, start=1))
    every = list(range(1, len(ROWS) + 1))
    parser.add_argument("--rows", type=_row_numbers, default=every, metavar="N,N-N", help=f"default: all of {listing}")


def read_times(path: Path) -> Times:
    """{row: {peer: seconds per step, by round}} from the JSON file of a run, with the most threads it measured."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    most = max((row.get("threads", 0) for row in rows), default=0)  # 0: older files, of one number
    return {row["title"]: row["seconds_per_step"] for row in rows if row.get("threads", 0) == most}


def draw(times: Times, path: Path) -> None:
    """Plot the table: step times relative to fastbp's."""
    named = {title: {_title(name): seconds for name, seconds in peers.items()} for title, peers in times.items()}
    plot_speed(named, path)
    print(f"plot {path}")


def _title(name: str) -> str:
    return PEERS[name].title if name in PEERS else name


def write(run: Run, plan: Plan, path: Path | None, complete: bool) -> None:
    """Write the JSON file, if requested, and after a complete run the tables in docs/performance.md."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(as_json(run, plan), indent=1) + "\n", encoding="utf-8")
    if not complete:
        return
    if plan.busy:
        section = by_instruction_set("benchmarks.compare busy")
        replace_generated(PAGE, section, busy_text(run, plan), title="Performance")
        return
    section = by_instruction_set("benchmarks.compare")
    replace_generated(PAGE, section, page_text(run, plan), title="Performance")
    front = front_text(PAGE.read_text(encoding="utf-8"), section)
    replace_generated(FRONT, "benchmarks.compare", front, title="fastbp")


def _thread_counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1 or len(set(counts)) < len(counts):
        raise argparse.ArgumentTypeError(f"must be different numbers from 1, as in 1,2; got {text!r}")
    return sorted(counts)


def _row_numbers(text: str) -> list[int]:
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    except ValueError:
        numbers = [0]
    if not numbers or not all(1 <= number <= len(ROWS) for number in numbers):
        raise argparse.ArgumentTypeError(f"must be numbers from 1 to {len(ROWS)}, as in 1,4-6; got {text!r}")
    return numbers


def _peer_names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown peer {unknown[0]!r}: choose from {', '.join(PEERS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
