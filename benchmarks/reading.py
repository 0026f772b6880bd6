"""Time and memory of reading text files: ``python -m benchmarks.reading`` writes a table into docs/columns.md.

Files of numbers, and of numbers, strings, dates and gaps, are made in a temporary folder. Each reading has a process of
its own, which has imported its library and read a small file before; its memory is the largest that it occupies while
it reads, less what it occupied before, beside the size of the text.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import importlib.util
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import ROOT
from benchmarks.tables import machine, markdown_table, replace_generated, versions

PAGE = ROOT / "docs" / "columns.md"
MEGABYTES, ROUNDS = 50, 3
SECONDS_GOAL, MEMORY_GOAL = 1.0, 3.0  # of the files that are not compressed
FILES = ("numbers.csv", "mixed.csv", "numbers.csv.gz", "mixed.csv.gz")
_BLOCK = 20_000  # rows made at a time
_TOWNS, _NAMES = 40, 5_000  # distinct strings in the columns of strings
TARGET = "y"
_FIRST_DAY = date(1970, 1, 1)


class Reading(NamedTuple):
    """Seconds, and bytes at most beyond what the process occupied before."""

    seconds: float
    memory: int


# ---------------------------------------------------------------- readers


def _fastbp(path: Path) -> Any:
    from fastbp import datasets

    return datasets.read_csv(path, target=TARGET)


def _plain(path: Path) -> Any:
    from fastbp import datasets
    from fastbp.tables.text import reader

    reader.ARROW = False
    return datasets.read_csv(path, target=TARGET)


def _pandas(path: Path) -> Any:
    import pandas as pd

    return pd.read_csv(path)


def _polars(path: Path) -> Any:
    import polars as pl

    return pl.read_csv(path)


def _pyarrow(path: Path) -> Any:
    from pyarrow import csv

    return csv.read_csv(path)


READERS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {  # and the packages that each needs
    "fastbp, with pyarrow": (_fastbp, ("pyarrow",)),
    "fastbp, without": (_plain, ()),
    "pandas": (_pandas, ("pandas",)),
    "polars": (_polars, ("polars",)),
    "pyarrow": (_pyarrow, ("pyarrow",)),
}


def available() -> list[str]:
    """The readers whose packages are installed."""
    return [name for name, (_, needed) in READERS.items() if all(map(importlib.util.find_spec, needed))]


# ---------------------------------------------------------------- files


def make_files(folder: Path, size: int) -> None:
    """The files, and small ones of the same kinds, from one seed; size: bytes of text."""
    for place, most in ((folder, size), (folder / "small", 20_000)):
        place.mkdir(exist_ok=True)
        for name, (header, rows_of) in KINDS.items():
            text = "".join(_lines(header, rows_of, most)).encode()
            (place / name).write_bytes(text)
            (place / f"{name}.gz").write_bytes(gzip.compress(text, 6))


def _lines(header: str, rows_of: Callable[[np.random.Generator], Iterator[str]], size: int) -> Iterator[str]:
    """The header row, and rows until there are so many bytes."""
    rng, written = np.random.default_rng(0), len(header)
    yield header
    while True:
        for row in rows_of(rng):
            if written >= size:
                return
            written += len(row)
            yield row


def _numbers(rng: np.random.Generator) -> Iterator[str]:
    """Ten columns of numbers with seven digits, and classes."""
    X, y = rng.normal(size=(_BLOCK, 10)), rng.integers(0, 3, _BLOCK)
    for row, label in zip(X.tolist(), y.tolist(), strict=True):
        yield ",".join([f"{value:.6f}" for value in row]) + f",{label}\n"


def _mixed(rng: np.random.Generator) -> Iterator[str]:
    """Numbers, one in twenty of them missing; integers, strings, a date, and classes with names."""
    X = rng.normal(100, 30, size=(_BLOCK, 3))
    gaps = rng.random((_BLOCK, 3)) < 0.05
    whole = rng.integers(0, (100, 100_000, _TOWNS, _NAMES, 20_000, 2), size=(_BLOCK, 6))
    for row, missing, (age, income, town, name, day, label) in zip(X, gaps, whole.tolist(), strict=True):
        values = ["" if gap else f"{value:.4f}" for value, gap in zip(row.tolist(), missing.tolist(), strict=True)]
        when = _FIRST_DAY + timedelta(days=day)
        yield f"{age},{','.join(values)},{income},town {town},name {name:05},{when},{('no', 'yes')[label]}\n"


KINDS = {
    "numbers.csv": (",".join([*(f"x{i}" for i in range(10)), TARGET]) + "\n", _numbers),
    "mixed.csv": (f"age,a,b,c,income,town,name,day,{TARGET}\n", _mixed),
}


# ---------------------------------------------------------------- measuring


def read_once(path: Path, name: str) -> Reading:
    """One reading in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, path, name), daemon=True)
    process.start()
    theirs.close()
    try:
        reading: Reading = ours.recv()
    except EOFError:
        raise SystemExit(f"the process that read {path.name} by {name} ended: see its traceback above") from None
    finally:
        process.join()
        ours.close()
    return reading


def serve(connection: Connection, path: Path, name: str) -> None:
    """Read a small file, then this one, and send what that took."""
    read = READERS[name][0]
    read(path.parent / "small" / path.name)
    gc.collect()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here
    start = time.perf_counter()
    table = read(path)
    seconds = time.perf_counter() - start
    connection.send(Reading(seconds, _memory("VmHWM") - before))
    del table


def _memory(what: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(what))


def measure(folder: Path, names: Sequence[str], rounds: int) -> dict[str, dict[str, list[Reading]]]:
    """The readings of each file by each reader, which take turns."""
    found: dict[str, dict[str, list[Reading]]] = {name: {file: [] for file in FILES} for name in names}
    for number in range(rounds):
        for file in FILES:
            for name in names:
                reading = read_once(folder / file, name)
                found[name][file].append(reading)
                shown = f"{reading.seconds:.2f} s, {reading.memory / 1e6:.0f} MB"
                print(f"round {number}, {file}, {name}: {shown}", flush=True)
    return found


# ---------------------------------------------------------------- the page


def figures(readings: Sequence[Reading], size: int) -> tuple[float, float]:
    """Median of the seconds, and of the memory as a multiple of the size."""
    return (
        statistics.median(each.seconds for each in readings),
        statistics.median(each.memory for each in readings) / size,
    )


def table(found: dict[str, dict[str, list[Reading]]], size: int) -> str:
    """A row for each reader."""
    header = ["", *(f"`{file}`, seconds | memory" for file in FILES)]
    rows = []
    for name, readings in found.items():
        pairs = [figures(readings[file], size) for file in FILES]
        rows.append([name, *(cell for seconds, memory in pairs for cell in (f"{seconds:.2f}", f"{memory:.1f}"))])
    return markdown_table(" | ".join(header).split(" | "), rows)


def met(found: dict[str, dict[str, list[Reading]]], size: int) -> bool:
    """Whether fastbp reads both files that are not compressed within the goal."""
    pairs = [figures(found["fastbp, with pyarrow"][file], size) for file in KINDS]
    return all(seconds <= SECONDS_GOAL and memory <= MEMORY_GOAL for seconds, memory in pairs)


def page_text(found: dict[str, dict[str, list[Reading]]], size: int) -> str:
    """The table, and what was measured."""
    here = machine()
    packages = ", ".join(f"{k} {v}" for k, v in versions(["fastbp", "numpy", "pandas", "polars", "pyarrow"]).items())
    result = "met" if met(found, size) else "missed"
    return f"""{table(found, size)}

{size / 1e6:.0f} MB of text: `numbers.csv` has ten columns of numbers, `mixed.csv` numbers with gaps, integers, strings
and dates. Memory is the largest during the reading beyond that before, as a multiple of the text. Medians of {ROUNDS}
readings, each in a new process. The goal of fastbp with pyarrow, for files that are not compressed: at most
{SECONDS_GOAL:g} s and {MEMORY_GOAL:g} times the text; it is {result}.

Measured on {date.today().isoformat()} by `python -m benchmarks.reading` on {here["processor"]},
{here["cores"]} cores, Python {here["python"]}; {packages}.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Make the files, read them, write the page; exit code 1 if the goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--megabytes", type=float, default=MEGABYTES, metavar="MB", help=f"of text in each file (default: {MEGABYTES})"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument("--dry-run", action="store_true", help="print the table, leave the page alone")
    args = parser.parse_args(argv)
    size = int(1e6 * args.megabytes)
    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name), size)
        found = measure(Path(name), available(), args.rounds)
    print(table(found, size))
    if not args.dry_run and (args.megabytes, args.rounds) == (MEGABYTES, ROUNDS):
        replace_generated(PAGE, "benchmarks.reading", page_text(found, size), title="Tables")
    return 0 if "fastbp, with pyarrow" in found and met(found, size) else 1


if __name__ == "__main__":
    sys.exit(main())
