"""fastbp compared with NumPy, scikit-learn, PyTorch and JAX: ``python -m benchmarks.compare``.

For every row all peers train on the same data in the same order, in float32, from the same Glorot-uniform weights, on
the same cores, with ReLU hidden layers. Each runs in its own warm process and they take turns, A B C A B C; between
turns all are idle long enough for their thread pools to stop spinning. Before timing starts, all must have reached the
same loss after a few steps (without dropout, whose masks differ between libraries).

The ratio of a row is the best peer's time over fastbp's, per round, given as median (lowest to highest).
A run of all rows with all peers writes the table of its instruction set in docs/performance.md; ``--json`` writes what
was measured by any run, ``--plot`` draws it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.measure import ROOT, Measurement, Plan, WorkerError, measure
from benchmarks.peers import PEERS
from benchmarks.rows import CLIP_NORM, ROWS, row_flops
from benchmarks.tables import by_instruction_set, machine, markdown_table, replace_generated, versions
from fastbp.cli.bench import SETTLE_SECONDS, WEIGHT_DECAY
from fastbp.plots import plot_speed
from fastbp.plots.figures import check_picture
from fastbp.plots.speed import Times

PAGE = ROOT / "docs" / "performance.md"
FRONT = ROOT / "docs" / "index.md"  # shows some columns of the table
FRONT_COLUMNS = (
    *("net, batch, optimizer", "scikit-learn", "PyTorch", "PyTorch compiled", "JAX", "fastbp"),
    "best peer ÷ fastbp",
)
RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
QUICK = Plan(rounds=3, seconds=0.05)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chosen rows; exit code 1 if a row could not be measured."""
    args = make_parser().parse_args(argv)
    if args.plot is not None:
        check_picture(args.plot)
    if args.read is not None:
        draw(read_times(args.read), args.plot or args.read.with_suffix(".png"))
        return 0
    names = [name for name in PEERS if name in (args.peers or PEERS) or name == "fastbp"]
    plan = (QUICK if args.quick else Plan())._replace(threads=args.threads)
    plan = plan._replace(rounds=args.rounds) if args.rounds else plan
    measured, failures = [], 0
    for row in [ROWS[number - 1] for number in args.rows]:
        try:
            measured.append(measure(row, names, plan))
            print(describe(measured[-1]), flush=True)
        except WorkerError as error:
            failures += 1
            print(f"{row.title}\n    failed: {error}", file=sys.stderr, flush=True)
    if args.plot is not None and measured:
        draw({m.row.title: m.times for m in measured}, args.plot)
    complete = len(args.rows) == len(ROWS) and len(names) == len(PEERS) and not args.quick and not failures
    write(measured, plan, args.json or (RESULTS if complete else None), complete)
    return 1 if failures else 0


def make_parser() -> argparse.ArgumentParser:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n")[0])
    add_rows_option(parser)
    parser.add_argument(
        "--peers", type=_peer_names, metavar="NAME,NAME", help=f"default: {','.join(PEERS)}; fastbp always runs"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default: {Plan().rounds}")
    parser.add_argument("--threads", type=int, default=Plan().threads, metavar="N", help="for all peers (default: 2)")
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
    """{row: {peer: seconds per step, by round}} from the JSON file of a run."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {row["title"]: row["seconds_per_step"] for row in rows}


def draw(times: Times, path: Path) -> None:
    """Plot the table: step times relative to fastbp's."""
    named = {title: {_title(name): seconds for name, seconds in peers.items()} for title, peers in times.items()}
    plot_speed(named, path)
    print(f"plot {path}")


def _title(name: str) -> str:
    return PEERS[name].title if name in PEERS else name


def describe(m: Measurement) -> str:
    """The measurements of one row, a line per peer."""
    lines = [m.row.title]
    for name in m.times:
        share = f"{m.speed(name) / m.peak:6.1%} of peak"
        low, high = min(m.times[name]) * 1e6, max(m.times[name]) * 1e6
        figures = f"{m.microseconds(name):>12,.1f} µs a step ({low:,.1f} to {high:,.1f})"
        lines.append(f"    {PEERS[name].title:<18}{figures}{m.speed(name) / 1e9:>9.2f} GFLOP/s {share}")
    if m.ratios():
        lines.append(f"    {PEERS[m.best_peer or ''].title} / fastbp: {_ratio(m)}")
    return "\n".join(lines)


def write(measured: list[Measurement], plan: Plan, path: Path | None, complete: bool) -> None:
    """Write the JSON file, if requested, and after a complete run the table in docs/performance.md."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(as_json(measured, plan), indent=1) + "\n", encoding="utf-8")
    if complete:
        section = by_instruction_set("benchmarks.compare")
        replace_generated(PAGE, section, page_text(measured, plan), title="Performance")
        replace_generated(FRONT, "benchmarks.compare", front_text(section), title="fastbp")


def as_json(measured: list[Measurement], plan: Plan) -> dict[str, object]:
    """All measurements, seconds per step by round, with machine and versions."""
    rows = [
        {
            **m.row._asdict(),
            "title": m.row.title,
            "flops": row_flops(m.row),
            "peak_flops_per_second": m.peak,
            "seconds_per_step": m.times,
            "checked": m.checked._asdict(),
            "disagreement": m.checked.disagreement,
            "best_peer": m.best_peer,
            "ratios": m.ratios(),
        }
        for m in measured
    ]
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": _versions(),
        "plan": plan._asdict(),
        "rows": rows,
    }


def page_text(measured: list[Measurement], plan: Plan) -> str:
    """The table, and the machine it was measured on."""
    names = list(PEERS)
    header = [
        "net, batch, optimizer",
        *(PEERS[name].title for name in names),
        "GFLOP/s",
        "of peak",
        "best peer ÷ fastbp",
    ]
    rows = []
    for m in measured:
        times = [f"{m.microseconds(name):,.1f}" if name in m.times else "–" for name in names]
        times = [f"**{t}**" if name in (m.best_peer, "fastbp") else t for name, t in zip(names, times, strict=True)]
        rows.append(
            [m.row.title, *times, f"{m.speed('fastbp') / 1e9:.1f}", f"{m.speed('fastbp') / m.peak:.0%}", _ratio(m)]
        )
    here = machine()
    peak = statistics.median(m.peak for m in measured) / 1e9
    packages = ", ".join(f"{name} {version}" for name, version in _versions().items())
    agreement = [m.checked.disagreement for m in measured]
    checks = f"{statistics.median(agreement):.0e} in the median row and {max(agreement):.0e} in the worst"
    return f"""Microseconds a step, median of {plan.rounds} rounds, float32, {plan.threads} threads for all, hidden
layers ReLU; GFLOP/s and the share of the measured peak ({peak:.0f} GFLOP/s) are fastbp's. The ratio is the median over
the rounds, with the lowest and the highest. Before the clock started, a few steps had changed the loss by the same
amount in all, to {checks}; dropout was left out of these steps, since every
library draws masks of its own. Between two turns all rest for {SETTLE_SECONDS * 1e3:.0f} ms.

With batch norm the Dense below has no bias, and dropout follows the ReLU. A residual block is
relu(x + W₂ relu(W₁x + b₁) + b₂); AdamW's weight decay is {WEIGHT_DECAY}, and gradients are clipped to a global
norm of {CLIP_NORM:g}. The CSR data are counts of words drawn by Zipf's law; GFLOP/s count products with stored elements
alone. scikit-learn has neither normalization nor residual blocks.

Measured on {date.today().isoformat()} by `python -m benchmarks.compare` on {here["processor"]}, {here["cores"]} cores,
{here["system"]}, Python {here["python"]}; {packages}.

{markdown_table(header, rows)}
"""


def front_text(section: str) -> str:
    """The columns of a table in docs/performance.md that the start page shows, and where it was measured."""
    text = PAGE.read_text(encoding="utf-8").split(f"<!-- generated: {section} -->", 1)[1].split("<!-- end:", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    places = [header.index(name) for name in FRONT_COLUMNS]
    here = text.split("Measured on ")[1].split(" cores")[0].replace(" by `python -m benchmarks.compare`", "")
    return f"Measured on {here} cores.\n\n" + markdown_table(
        FRONT_COLUMNS, [[row[place] for place in places] for row in rows]
    )


def _ratio(m: Measurement) -> str:
    ratios = m.ratios()
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _versions() -> dict[str, str]:
    return versions(name for entry in PEERS.values() for name in entry.distributions)


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
