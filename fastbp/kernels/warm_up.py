"""Compiling entries side by side: what the cache lacks is shared out among this process and others beside it.

A process compiles its entries into the cache on disk, where this one then finds them. It starts from this interpreter
and `sys.path`, never from the user's program, and ends when this process does. Where no other process can be started,
or one fails, this process compiles everything itself.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fastbp import isa
from fastbp.isa.targets.detect import usable_cores
from fastbp.kernels import entries, jit

# Seconds that each takes, measured on one core of the machine of docs/performance.md.
COSTS = {
    "microkernels": 7.0, "worker": 5.5, "node": 2.4, "update": 2.0, "plain update": 1.5, "peak": 0.5, "launcher": 0.3,
}  # fmt: skip
START = 1.0  # of another process
LONGEST = 600.0  # that this process waits for another one
CODE = "import sys; sys.path[:] = {path!r}; from fastbp.kernels import warm_up; warm_up.compile_for_another({names!r})"
Name = tuple[str, str]  # of an entry: what it is and its element type
_lock = threading.Lock()
_ready: set[Name] = set()


class Entry(NamedTuple):
    """An entry that was compiled, or loaded from the cache, and how many seconds that took."""

    name: str
    dtype: str
    compiled: bool
    seconds: float


def ready(dtype: str, parallel: bool) -> None:
    """Sees to it that all a network of a type needs is compiled."""
    names = [(name, dtype) for name in (*entries.NEEDED, *(["launcher"] if parallel else []))]
    if jit.JIT and not _ready.issuperset(names):
        prepare(names)


def prepare(names: Sequence[Name]) -> list[Entry]:
    """Compiles what the cache lacks, loads the rest."""
    with _lock:
        missing = [name for name in names if not jit.is_kept(entries.FUNCTIONS[name[0]][name[1]])]
        shares = shared_out(missing, usable_cores() if can_start_processes() else 1)
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(process(share)) for share in shares[1:]]
            done = [compiled(name, True) for name in (shares[0] if shares else [])]
            for other in others:
                done += reported(other)
        known = {(entry.name, entry.dtype) for entry in done}
        for name in names:  # what others have compiled is loaded now; what they have not is compiled
            entry = compiled(name, name in missing and name not in known)
            done += [] if name in known else [entry]
        _ready.update(names)
        return done


def shared_out(names: Sequence[Name], cores: int) -> list[list[Name]]:
    """The names in shares of about equal cost, this process's own first; no share for what a start would cost."""
    shares: list[list[Name]] = [[]]
    costs = [0.0]
    for name in sorted(names, key=lambda name: -COSTS[name[0]]):
        least = costs.index(min(costs))
        if len(shares) < cores and costs[least] > START:
            shares.append([])
            costs.append(START)
            least = len(shares) - 1
        shares[least].append(name)
        costs[least] += COSTS[name[0]]
    return [share for share in shares if share]


def can_start_processes() -> bool:
    """Whether there is an interpreter to start, and a cache through which it hands over what it compiles."""
    executable = Path(sys.executable or "").name.lower()  # another program's where Python is embedded in it
    return executable.startswith("python") and not hasattr(sys, "frozen") and jit.cache_is_shared()


@contextlib.contextmanager
def process(share: Sequence[Name]) -> Iterator[subprocess.Popen[str] | None]:
    """A process that compiles these entries; None if it cannot be started. It is gone when the block is left."""
    folder = jit.cache_dir()
    assert folder is not None
    environment = {**os.environ, "FASTBP_ISA": isa.NAME if os.environ.get("FASTBP_ISA") else "",
                   "FASTBP_CACHE_DIR": str(folder.parents[1])}
    command = [sys.executable, "-c", CODE.format(path=sys.path, names=list(share))]
    try:
        other = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
    except OSError:
        yield None
        return
    try:
        yield other
    finally:
        other.kill()
        with other:  # closes its pipes and waits
            pass


def reported(other: subprocess.Popen[str] | None) -> list[Entry]:
    """What a process has compiled when it ends."""
    if other is None or other.stdout is None:
        return []
    timer = threading.Timer(LONGEST, other.kill)
    timer.start()
    try:
        lines = [line.rstrip("\n").split("\t") for line in other.stdout]
    finally:
        timer.cancel()
    return [Entry(name, dtype, True, float(seconds)) for name, dtype, seconds in lines]


def compiled(name: Name, missing: bool) -> Entry:
    start = time.perf_counter()
    entries.entry(*name)
    return Entry(*name, missing, time.perf_counter() - start)


def compile_for_another(names: Sequence[Name]) -> None:
    """Compiles into the cache and reports each entry in a line; ends at once if the process that asked has ended."""
    jit.be_quiet()
    threading.Thread(target=_end_with_other, daemon=True).start()
    for name in names:
        entry = compiled(name, True)
        print(entry.name, entry.dtype, entry.seconds, sep="\t", flush=True)


def _end_with_other() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
