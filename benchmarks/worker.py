"""One peer in its own process, controlled over a pipe: a line of JSON in, a line of JSON out.

    {"ask": "check", "row": {...}, "max_steps": 5}     -> {"loss": ...}     train a fresh peer a few steps
    {"ask": "prepare", "row": {...}, "seconds": 0.3}   -> {"epochs": ...}   make and warm the peer; passes that fill it
    {"ask": "train", "epochs": 3}                      -> {"seconds": ...}  of one step, from a timed call
    {"ask": "peak", "dtype": "float32"}                -> {"flops": ...}    this machine's measured peak
    {"ask": "memory"}                                  -> {"bytes": ...}    the highest since it was prepared

A reply {"error": text} says what went wrong. Between requests the process sleeps in a read.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from benchmarks.peers import Peer, make_peer
from benchmarks.rows import loss_of, make_workload
from fastbp.cli.bench import MAX_STEPS, Row

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Worker:
    """Handles the requests for one peer."""

    def __init__(self, name: str, n_threads: int) -> None:
        self.name, self.n_threads = name, n_threads
        self.peer: Peer | None = None
        self.steps = 0
        self.memory_before: int | None = None
        self.handlers: dict[str, Callable[..., dict[str, Any]]] = {
            "check": self.check, "prepare": self.prepare, "train": self.train, "peak": self.peak,
            "memory": self.memory,
        }  # fmt: skip

    def check(self, row: dict[str, Any], max_steps: int, epochs: int = 1) -> dict[str, float]:
        """Train a fresh peer a few steps and give its loss over their data."""
        work = make_workload(as_row(row), max_steps=max_steps)
        peer = make_peer(self.name, work, self.n_threads)
        peer.train(epochs)
        return {"loss": loss_of(peer.weights(), work), "start": loss_of(list(work.weights), work)}

    def prepare(self, row: dict[str, Any], seconds: float, max_steps: int = MAX_STEPS) -> dict[str, float]:
        """Make the peer, warm it up, train the passes that come before the clock, and find how many fill a turn.

        Three turns' time brings to rest what compiles while it runs.
        """
        work = make_workload(as_row(row), max_steps=max_steps)
        release_freed()
        before = resident("VmRSS")
        self.peer, self.steps = make_peer(self.name, work, self.n_threads), work.steps
        self.peer.train(max(1, work.row.warm_epochs))
        end = time.perf_counter() + 3 * seconds
        while time.perf_counter() < end:
            self.peer.train(1)
        release_freed()  # other variants of the peer, tried and left
        self.memory_before = before if restart_peak() else None
        return {"epochs": max(1, round(seconds / max(1e-9, self.train(1)["seconds"] * self.steps)))}

    def train(self, epochs: int) -> dict[str, float]:
        """Seconds per step over some consecutive passes."""
        if self.peer is None:
            raise ValueError("ask prepare before train")
        start = time.perf_counter()
        self.peer.train(epochs)
        return {"seconds": (time.perf_counter() - start) / (epochs * self.steps)}

    def memory(self) -> dict[str, int | None]:
        """Resident bytes at the highest since `prepare`, more than before the peer was made; None if unknown."""
        highest = resident("VmHWM")
        known = highest is not None and self.memory_before is not None
        return {"bytes": max(0, (highest or 0) - (self.memory_before or 0)) if known else None}

    def peak(self, dtype: str = "float32") -> dict[str, float]:
        """FLOP/s of the multiply-add units, measured on as many threads."""
        from fastbp.engine.peak import measured_peak

        return {"flops": measured_peak(dtype, self.n_threads)}


def resident(field: str) -> int | None:
    """Resident memory of this process in bytes, "VmRSS" now or "VmHWM" at the highest; None where no file tells."""
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")]
    return sizes[0] if sizes else None


def restart_peak() -> bool:
    """Set VmHWM back to VmRSS, since the system's highest value never falls by itself; False where it may not be."""
    try:
        CLEAR.write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def release_freed() -> None:
    """Give memory that was freed back to the system, where libc can: else the next peer would seem to need less."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def as_row(fields: dict[str, Any]) -> Row:
    """The row from its JSON form."""
    return Row(**{**fields, "sizes": tuple(fields["sizes"])})


def answer(worker: Worker, line: str) -> dict[str, Any]:
    """The reply to one line."""
    question = json.loads(line)
    try:
        return worker.handlers[question.pop("ask")](**question)
    except Exception as error:  # any exception of a framework becomes the reply: the caller reports it and continues
        return {"error": f"{type(error).__name__}: {error}"}


def serve(worker: Worker, questions: TextIO, answers: TextIO) -> None:
    """Reply until the requests end."""
    for line in questions:
        answers.write(json.dumps(answer(worker, line)) + "\n")
        answers.flush()


def main() -> None:
    """Serve the peer and the threads that the command line names; whatever a framework prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Worker(sys.argv[1], int(sys.argv[2])), sys.stdin, answers)
