"""Compiling entries side by side: what the cache lacks is shared out among this process and others beside it.

A process compiles its entries into the cache on disk, where this one then finds them. It starts from this interpreter
and `sys.path`, never from the user's program, and ends when this process does. Where no other process can be started,
or one fails, this process compiles everything itself.
"""

from __future__ import annotations

import contextlib
import os
import selectors
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
from fastbp.kernels.notice import COSTS, Name, Stages

START = 1.0  # of another process
LONGEST = 600.0  # that this process waits for another one
CODE = "import sys; sys.path[:] = {path!r}; from fastbp.kernels import warm_up; warm_up.compile_for_another({names!r})"
_lock = threading.RLock()
_ready: set[Name] = set()


class Entry(NamedTuple):
    """An entry that was compiled, or loaded from the cache, and how many seconds that took."""

    name: str
    dtype: str
    compiled: bool
    seconds: float


def ready(dtype: str, parallel: bool, bfloat16: bool = False) -> None:
    """Sees to it that all a network of a type needs is compiled."""
    products = entries.NEEDED_FOR_BFLOAT16 if bfloat16 else ()
    names = [(name, dtype) for name in (*entries.NEEDED, *products, *(["launcher"] if parallel else []))]
    if jit.JIT and not _ready.issuperset(names):
        prepare(names)


def prepare(names: Sequence[Name]) -> list[Entry]:
    """Compiles what the cache lacks, loads the rest."""
    with _lock:
        missing = [name for name in names if name not in _ready
                   and not jit.is_kept(entries.FUNCTIONS[name[0]][name[1]])]
        shares = shared_out(missing, usable_cores() if can_start_processes() else 1)
        stages = Stages(missing, [cost(share) + START * (i > 0) for i, share in enumerate(shares)])
        with jit.announced():
            done = _compiled_beside(shares, stages)
        known = {(entry.name, entry.dtype) for entry in done}
        with jit.announced() if missing else contextlib.nullcontext():
            for name in names:  # what others have compiled is loaded now; what they have not is compiled
                entry = compiled(name, name in missing and name not in known)
                if name in missing and name not in known:
                    stages.entry(name)
                done += [] if name in known else [entry]
        _ready.update(names)
        return done


def _compiled_beside(shares: Sequence[Sequence[Name]], stages: Stages) -> list[Entry]:
    """The first share by this process, the others by processes of their own."""
    done = []
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(process(share)) for share in shares[1:]]
        for name in shares[0] if shares else []:
            done.append(compiled(name, True))
            stages.entry(name)
        for other in others:
            for entry in reported(other):
                done.append(entry)
                stages.entry((entry.name, entry.dtype))
    return done


def cost(names: Sequence[Name]) -> float:
    return sum(COSTS[what] for what, _ in names)


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
def process(share: Sequence[Name]) -> Iterator[subprocess.Popen[bytes] | None]:
    """A process that compiles these entries; None if it cannot be started. It is gone when the block is left."""
    folder = jit.cache_dir()
    assert folder is not None
    environment = {**os.environ, "FASTBP_ISA": isa.NAME if os.environ.get("FASTBP_ISA") else "",
                   "FASTBP_CACHE_DIR": str(folder.parents[1])}
    command = [sys.executable, "-c", CODE.format(path=sys.path, names=list(share))]
    try:
        other = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
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


def reported(other: subprocess.Popen[bytes] | None) -> Iterator[Entry]:
    """What a process has compiled, until it ends; without a thread to watch it, which might not be had."""
    if other is None or other.stdout is None:
        return
    end, rest = time.monotonic() + LONGEST, b""
    with selectors.DefaultSelector() as selector:
        selector.register(other.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            data = os.read(other.stdout.fileno(), 4096)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                name, dtype, seconds = line.decode().split("\t")
                yield Entry(name, dtype, True, float(seconds))


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
