"""Training from data on disk compared with data in memory: ``python -m benchmarks.streaming`` writes docs/data.md.

A file of ``--rows`` rows of 784 float32, 4 GB unless told otherwise, is made in a temporary folder and removed again.
Each form of the data has its own process; they train an epoch in turn, so that slow periods of the machine affect all
of them, and are compared by round. The processes sample their anonymous memory, RssAnon of /proc/self/status: what
they have allocated, without the pages of mapped files, which the system can reclaim.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastbp
from benchmarks.measure import ROOT
from benchmarks.tables import machine, markdown_table, replace_generated, versions
from fastbp import sources
from fastbp.cli.train import counted

PAGE = ROOT / "docs" / "data.md"
FEATURES, CLASSES, BATCH = 784, 10, 128
ROWS = 1_280_000  # 4.01 GB
TABLE_ROWS = 65_536  # for the forms that are slow to write: 206 MB in memory
MEMORY_GOAL, SPEED_GOAL = 500e6, 0.85


class Form(NamedTuple):
    """A form of the data: how it is passed to fit, and files to drop from the page cache before each turn."""

    title: str
    load: Callable[[Path], tuple[Any, Any]]
    cold: tuple[str, ...] = ()


def _memory(folder: Path) -> tuple[Any, Any]:
    return np.load(folder / "X.npy"), np.load(folder / "y.npy")


def _mapped(folder: Path) -> tuple[Any, Any]:
    return np.load(folder / "X.npy", mmap_mode="r"), np.load(folder / "y.npy", mmap_mode="r")


def _npy(folder: Path) -> tuple[Any, Any]:
    return sources.open(folder / "X.npy", folder / "y.npy"), None


def _bytes(folder: Path) -> tuple[Any, Any]:
    return sources.open(folder / "bytes.npy", folder / "y.npy", scale=1 / 255), None


def _npz(folder: Path) -> tuple[Any, Any]:
    return sources.open(folder / "data.npz", "y"), None


def _csv(folder: Path) -> tuple[Any, Any]:
    return sources.open(folder / "data.csv", "y"), None


def _parquet(folder: Path) -> tuple[Any, Any]:
    return sources.open(folder / "data.parquet", "y"), None


def _hdf5(folder: Path) -> tuple[Any, Any]:
    return sources.open(folder / "data.h5", "y"), None


LARGE = (
    Form("arrays in memory, `fit(X, y)`", _memory),
    Form("memory maps, `fit(X, y)`", _mapped),
    Form('`sources.open("X.npy", "y.npy")`', _npy),
    Form("the same, read from the disk itself", _npy, ("X.npy",)),
)
SMALL = (
    LARGE[0],
    Form("`.npy` of float32", _npy),
    Form("`.npy` of uint8 with a scale", _bytes),
    Form("`.npz`, compressed", _npz),
    Form("`.parquet`, 784 columns", _parquet),
    Form("`.h5`, chunks of 256 rows", _hdf5),
    Form("`.csv`, 784 columns", _csv),
)


class Turn(NamedTuple):
    """An epoch: wall and CPU seconds, and peak anonymous memory in bytes."""

    wall: float
    cpu: float
    anonymous: int


# ---------------------------------------------------------------- files


def make_arrays(folder: Path, rows: int) -> None:
    """X.npy and y.npy of random numbers, written a chunk at a time."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (rows, FEATURES))
    for start in range(0, rows, 4096):
        X[start : start + 4096] = rng.random((min(4096, rows - start), FEATURES), np.float32)
    X.flush()
    del X
    np.save(folder / "y.npy", rng.integers(0, CLASSES, rows))


def make_tables(folder: Path) -> None:
    """The same rows in the other forms."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    X, y = _memory(folder)
    np.save(folder / "bytes.npy", (X * 255).astype(np.uint8))
    np.savez_compressed(folder / "data.npz", X=X, y=y)
    names = [*(f"pixel{i}" for i in range(FEATURES)), "y"]
    columns = [*(pa.array(column) for column in X.T), pa.array(y)]
    pq.write_table(pa.table(columns, names=names), folder / "data.parquet", row_group_size=8192)
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("X", data=X, chunks=(256, FEATURES))
        file["y"] = y
    with (folder / "data.csv").open("w") as text:
        text.write(",".join(names) + "\n")
        for row, label in zip(X, y.tolist(), strict=True):
            text.write(",".join(map(str, row.tolist())) + f",{label}\n")


# ---------------------------------------------------------------- measuring


def anonymous_memory() -> int:
    """RssAnon of this process in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))


@contextmanager
def sampled_memory() -> Any:
    """A list to which the largest anonymous memory is appended when the block ends; looked at every 20 ms."""
    result: list[int] = []
    done, most = threading.Event(), anonymous_memory()

    def sample() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, anonymous_memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield result
    finally:
        done.set()
        thread.join()
        result.append(max(most, anonymous_memory()))


def build() -> fastbp.Sequential:
    """784-512-512-10, ReLU, Adam."""
    layers = [fastbp.Dense(512, "relu"), fastbp.Dense(512, "relu"), fastbp.Dense(CLASSES, "softmax")]
    model = fastbp.Sequential(layers, input_size=FEATURES)
    model.compile("adam", "cross_entropy")
    return model


def serve(connection: Connection, form: Form, folder: Path, n_threads: int | None) -> None:
    """Train an epoch whenever asked, in a process of its own."""
    model = build()
    model.fit(np.zeros((1024, FEATURES)), np.zeros(1024), n_threads=n_threads, verbose=0)  # compiles
    X, y = form.load(folder)
    gc.collect()
    connection.send("ready")
    while connection.recv():
        with sampled_memory() as memory:
            wall, cpu = time.perf_counter(), time.process_time()
            model.fit(X, y, batch_size=BATCH, n_threads=n_threads, verbose=0)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        connection.send(Turn(wall, cpu, memory[0]))


def drop_from_cache(path: Path) -> None:
    """Drop a file from the page cache, so that it is read from disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(forms: Sequence[Form], folder: Path, rounds: int, n_threads: int | None) -> list[list[Turn]]:
    """The turns of each form, round after round."""
    context = multiprocessing.get_context("spawn")
    processes, ends = [], []
    turns: list[list[Turn]] = [[] for _ in forms]
    try:
        for form in forms:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, form, folder, n_threads), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            ends.append(ours)
            ours.recv()
        for number in range(rounds):
            for form, end, taken in zip(forms, ends, turns, strict=True):
                for name in form.cold:
                    drop_from_cache(folder / name)
                end.send(True)
                taken.append(end.recv())
                wall, cpu, anonymous = taken[-1]
                print(f"round {number}, {form.title}: {wall:.2f} s, {cpu:.2f} s of work, {anonymous / 1e6:.0f} MB")
    finally:
        for process in processes:
            process.kill()
            process.join()
    return turns


# ---------------------------------------------------------------- the page


def describe(form: Form, turns: list[Turn], base: list[Turn], rows: int) -> list[str]:
    """One row of the table: rows a second, speed and work beside the arrays in memory, anonymous memory."""
    speed = statistics.median(b.wall / t.wall for b, t in zip(base, turns, strict=True))
    work = statistics.median(t.cpu / b.cpu for b, t in zip(base, turns, strict=True))
    return [
        form.title,
        f"{rows / statistics.median(t.wall for t in turns):,.0f}",
        f"{speed:.0%}",
        f"{work:.0%}",
        f"{max(t.anonymous for t in turns) / 1e6:,.0f}",
    ]


def table(forms: Sequence[Form], turns: list[list[Turn]], rows: int) -> str:
    """The table of all forms."""
    header = ["form", "rows/s", "speed", "work", "anonymous memory, MB"]
    return markdown_table(header, [describe(f, t, turns[0], rows) for f, t in zip(forms, turns, strict=True)])


def page_text(large: str, small: str, args: argparse.Namespace) -> str:
    """The generated text."""
    here, used = machine(), versions(["fastbp", "numpy", "numba", "pyarrow", "h5py"])
    packages = ", ".join(f"{name} {version}" for name, version in used.items())
    gigabytes, megabytes = (4e-9 * FEATURES * args.rows, 4e-6 * FEATURES * args.table_rows)
    threads = counted(args.threads, "thread") if args.threads else "as many threads as pay"
    return f"""784-512-512-10, batch {BATCH}, Adam; speed and work (the time of all threads) beside arrays in memory,
medians of {counted(args.rounds, "round")} of an epoch each. {args.rows:,} rows, {gigabytes:.2f} GB:

{large}

{args.table_rows:,} rows, {megabytes:.0f} MB in memory:

{small}

Measured on {date.today().isoformat()} by `python -m benchmarks.streaming` on {here["processor"]},
{here["cores"]} cores, {threads}, Python {here["python"]}; {packages}.
"""


def met(turns: list[list[Turn]]) -> bool:
    """Whether maps and source are fast enough, in little enough memory."""
    base, goals = turns[0], turns[1:3]
    speeds = [statistics.median(b.wall / t.wall for b, t in zip(base, form, strict=True)) for form in goals]
    return min(speeds) >= SPEED_GOAL and max(t.anonymous for form in goals for t in form) <= MEMORY_GOAL


def main(argv: Sequence[str] | None = None) -> int:
    """Make the files, measure, write the page; exit code 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N", help=f"default: {ROWS}")
    parser.add_argument("--table-rows", type=int, default=TABLE_ROWS, metavar="N", help=f"default: {TABLE_ROWS}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--threads", type=int, metavar="N", help="of each training (default: as many as pay)")
    parser.add_argument("--folder", type=Path, metavar="PATH", help="where there is room (default: the system's own)")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, leave the page alone")
    args = parser.parse_args(argv)
    need = 4 * FEATURES * (args.rows + 6 * args.table_rows)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        if shutil.disk_usage(name).free < 1.2 * need:
            raise SystemExit(f"{name} has too little space for {need / 1e9:.1f} GB: choose another place with --folder")
        folder, tables = Path(name), Path(name, "tables")
        make_arrays(folder, args.rows)
        turns = measure(LARGE, folder, args.rounds, args.threads)
        (folder / "X.npy").unlink()
        tables.mkdir()
        make_arrays(tables, args.table_rows)
        make_tables(tables)
        others = measure(SMALL, tables, args.rounds, args.threads)
    text = page_text(table(LARGE, turns, args.rows), table(SMALL, others, args.table_rows), args)
    print(text)
    if not args.dry_run:
        replace_generated(PAGE, "benchmarks.streaming", text, title="Data")
    return 0 if met(turns) else 1


if __name__ == "__main__":
    sys.exit(main())
