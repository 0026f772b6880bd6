"""What a run of `benchmarks.compare` writes: lines on the console, its JSON file, tables in docs/performance.md."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from datetime import date

from benchmarks.measure import Measurement, Plan, peaks
from benchmarks.peers import PEERS
from benchmarks.rows import CLIP_NORM, row_flops
from benchmarks.tables import machine, markdown_table, versions
from fastbp.cli.bench import SETTLE_SECONDS, WEIGHT_DECAY

Run = dict[int, list[Measurement]]  # by number of threads, the same rows for each
ROW_COLUMN, RATIO_COLUMN = "net, batch, optimizer", "best peer ÷ fastbp"
# What the start page shows of the first table.
FRONT_COLUMNS = (ROW_COLUMN, "scikit-learn", "PyTorch", "PyTorch compiled", "JAX", "fastbp", RATIO_COLUMN)


def describe(m: Measurement, peak: float, n_threads: int) -> str:
    """The measurements of one row, a line per peer."""
    lines = [f"{m.row.title}, {_threads(n_threads)}"]
    for name in m.times:
        low, high = min(m.times[name]) * 1e6, max(m.times[name]) * 1e6
        times = f"{m.microseconds(name):>12,.1f} µs a step ({low:,.1f} to {high:,.1f})"
        speed = f"{m.speed(name) / 1e9:>9.2f} GFLOP/s {m.speed(name) / peak:6.1%} of peak"
        lines.append(f"    {PEERS[name].title:<18}{times}{speed}")
    if m.ratios():
        lines.append(f"    {PEERS[m.best_peer or ''].title} / fastbp: {_ratio(m)}")
    return "\n".join(lines)


def as_json(run: Run, plan: Plan) -> dict[str, object]:
    """All measurements, seconds per step by round, with machine and versions."""
    rows = [
        {
            **m.row._asdict(),
            "title": m.row.title,
            "threads": n_threads,
            "flops": row_flops(m.row),
            "peak_flops_per_second": m.peak,
            "seconds_per_step": m.times,
            "memory_bytes": m.memory,
            "checked": m.checked._asdict(),
            "disagreement": m.checked.disagreement,
            "best_peer": m.best_peer,
            "ratios": m.ratios(),
        }
        for n_threads, measured in run.items()
        for m in measured
    ]
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": _versions(),
        "plan": plan._asdict(),
        "peaks": {n_threads: peaks(measured) for n_threads, measured in run.items()},
        "rows": rows,
    }


def page_text(run: Run, plan: Plan) -> str:
    """The tables: times, with fewer threads if they were measured, and memory; and where they were measured."""
    measured = run[plan.threads]
    fewer_threads = f"""
fastbp with fewer threads, and the best peer's time over fastbp's with as few.

{_threads_table(run)}
""" if len(run) > 1 else ""  # fmt: skip
    agreement = [m.checked.disagreement for m in measured]
    checks = f"{statistics.median(agreement):.0e} in the median row and {max(agreement):.0e} in the worst"
    return f"""Microseconds a step, median of {plan.rounds} rounds, {_threads(plan.threads)} for all, float32 and hidden
layers ReLU where a row names nothing else; GFLOP/s and the share of the measured peak are fastbp's. The peak is
{_peaks(measured)}. The ratio is the median over
the rounds, with the lowest and the highest. Before the clock started, a few steps had changed the loss by the same
amount in all, to {checks}; dropout was left out of these steps, since every
library draws masks of its own. Between two turns all rest for {SETTLE_SECONDS * 1e3:.0f} ms.

With batch norm the Dense below has no bias, and dropout follows the activation. A residual block is
relu(x + W₂ relu(W₁x + b₁) + b₂); AdamW's weight decay is {WEIGHT_DECAY}, and clipping is to a global
norm of {CLIP_NORM:g}. The CSR data are counts of words drawn by Zipf's law; GFLOP/s count products with stored elements
alone. scikit-learn has neither normalization nor dropout nor residual blocks, nor Huber's loss or AdamW. Huber's delta
is 1. JAX without fusions is XLA with `{PEERS["jax-plain"].environment[0][1]}`.

{_where("python -m benchmarks.compare")}

{_times_table(measured)}
{fewer_threads}
Resident memory: MiB more than before the peer was made, at the highest in training. By then its libraries and the data
are in memory.

{_memory_table(measured)}
"""


def busy_text(run: Run, plan: Plan) -> str:
    """The table of a run beside busy processes."""
    rows = []
    for m in run[plan.threads]:
        best = m.best_peer
        peer = [PEERS[best].title, f"{m.microseconds(best):,.1f}"] if best else ["–", "–"]
        rows.append([m.row.title, f"{m.microseconds('fastbp'):,.1f}", *peer, _ratio(m)])
    return f"""Microseconds a step, median of {plan.rounds} rounds, {_threads(plan.threads)} for all, while on each of
their cores another process runs an endless loop in Python; otherwise as above.

{_where("python -m benchmarks.compare --busy")}

{markdown_table([ROW_COLUMN, "fastbp", "best peer", "its time", RATIO_COLUMN], rows)}
"""


def front_text(page: str, section: str) -> str:
    """The columns of a section's first table that the start page shows, and where it was measured."""
    text = page.split(f"<!-- generated: {section} -->", 1)[1].split("<!-- end:", 1)[0]
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    table = itertools.takewhile(lambda line: line.startswith("|"), lines)
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    places = [header.index(name) for name in FRONT_COLUMNS]
    here = text.split("Measured on ")[1].split(" cores")[0].replace(" by `python -m benchmarks.compare`", "")
    return f"Measured on {here} cores.\n\n" + markdown_table(
        FRONT_COLUMNS, [[row[place] for place in places] for row in rows]
    )


def _times_table(measured: Sequence[Measurement]) -> str:
    names, peak = list(PEERS), peaks(measured)
    rows = []
    for m in measured:
        times = _cells(m.times, m.microseconds, "{:,.1f}")
        times = [f"**{t}**" if name in (m.best_peer, "fastbp") else t for name, t in zip(names, times, strict=True)]
        speed = m.speed("fastbp")
        rows.append([m.row.title, *times, f"{speed / 1e9:.1f}", f"{speed / peak[m.row.dtype]:.0%}", _ratio(m)])
    return markdown_table([ROW_COLUMN, *_titles(), "GFLOP/s", "of peak", RATIO_COLUMN], rows)


def _threads_table(run: Run) -> str:
    counts = sorted(run)
    times_of, ratio_of = [f"fastbp, {_threads(n)}" for n in counts], f"{RATIO_COLUMN}, {_threads(counts[0])}"
    rows = []
    for same_row in zip(*(run[n] for n in counts), strict=True):
        times = [m.microseconds("fastbp") for m in same_row]
        rows.append(
            [same_row[0].row.title, *(f"{t:,.1f}" for t in times), f"{times[0] / times[-1]:.2f}", _ratio(same_row[0])]
        )
    return markdown_table([ROW_COLUMN, *times_of, "speed-up", ratio_of], rows)


def _memory_table(measured: Sequence[Measurement]) -> str:
    rows = []
    for m in measured:
        mebibytes = {name: size / 2**20 for name, size in m.memory.items() if size is not None}
        rows.append([m.row.title, *_cells(mebibytes, mebibytes.__getitem__, "{:,.0f}")])
    return markdown_table([ROW_COLUMN, *_titles()], rows)


def _cells(there: Iterable[str], value: Callable[[str], float], form: str) -> list[str]:
    """A cell per peer: its number, or a dash where there is none."""
    names = set(there)
    return [form.format(value(name)) if name in names else "–" for name in PEERS]


def _titles() -> list[str]:
    return [entry.title for entry in PEERS.values()]


def _peaks(measured: Sequence[Measurement]) -> str:
    """The peak by dtype, the largest of the run, beside what a typical row measured."""
    parts = []
    for dtype, peak in peaks(measured).items():
        typical = statistics.median(m.peak for m in measured if m.row.dtype == dtype) / 1e9
        parts.append(f"{peak / 1e9:.0f} GFLOP/s in {dtype} (median over the rows {typical:.0f})")
    return "the largest of the run, " + " and ".join(parts)


def _ratio(m: Measurement) -> str:
    ratios = m.ratios()
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "–"


def _threads(n: int) -> str:
    return f"{n} thread" + "s" * (n != 1)


def _where(command: str) -> str:
    here = machine()
    packages = ", ".join(f"{name} {version}" for name, version in _versions().items())
    return (
        f"Measured on {date.today().isoformat()} by `{command}` on {here['processor']}, {here['cores']} cores,\n"
        f"{here['system']}, Python {here['python']}; {packages}."
    )


def _versions() -> dict[str, str]:
    return versions(name for entry in PEERS.values() for name in entry.distributions)
