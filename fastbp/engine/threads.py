"""The threads that do a slice of work: one parallel slice at a time.

Where the system refuses a thread, as containers and RLIMIT_NPROC do, OpenMP ends the process and Numba's own layer
waits for ever. So as many threads as a slice wants are started, and ended, before the first slice of a thread.
"""

from __future__ import annotations

import _thread
import os
import threading
import time
import warnings
from typing import Any

from fastbp.isa.targets.detect import usable_cores
from fastbp.kernels import entries, forks, jit  # noqa: F401  forks: what it registers
from fastbp.kernels.schema.context import OWN


class Threads:
    """One parallel slice at a time; none in a forked child, whose OpenMP runtime did not survive the fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forked = False
        self.started = threading.local()  # n: of this thread, each of which has OpenMP's threads of its own
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.lock, self.forked, self.started = threading.Lock(), True, threading.local()

    def limit(self, wanted: int | None) -> int:
        """How many workers a slice may have."""
        if self.forked or not jit.JIT:
            return 1
        most = jit.max_threads()
        if wanted is None:
            return min(usable_cores(), most)
        if wanted > most:
            warnings.warn(f"n_threads={wanted} is more than Numba may start: using {most}. "
                          f"Set NUMBA_NUM_THREADS={wanted} before the first import.", RuntimeWarning, stacklevel=4)
        return min(wanted, most)

    def startable(self, wanted: int) -> int:
        """As many workers as wanted, or one, with a warning, if the system does not give so many threads."""
        if wanted == 1 or wanted <= getattr(self.started, "n", 1):
            return wanted
        if self._can_start(wanted):
            self.started.n = wanted
            return wanted
        if not getattr(self.started, "warned", False):
            self.started.warned = True
            warnings.warn("the system allows this process too few threads, so training continues with one worker: "
                          "raise the limit (ulimit -u, or the container's pids limit), or pass n_threads=1",
                          RuntimeWarning, stacklevel=4)
        return 1

    def _can_start(self, wanted: int) -> bool:
        """Whether this thread may have so many workers; asked once."""
        if wanted >= getattr(self.started, "refused", wanted + 1):
            return False
        if jit.threads_are_launched():
            # Numba's own threads serve all; OpenMP starts some for every thread of Python.
            possible = jit.threading_layer() == "workqueue" or can_start(wanted)
        else:
            possible = can_start(jit.max_threads())  # Numba's own are all started at once
        if not possible:
            self.started.refused = wanted
        return possible

    def parallel(self) -> bool:
        """Whether slices may have several workers: loading the code that launches them may start them."""
        most = self.limit(None)
        return most > 1 and (jit.threads_are_launched() or self._can_start(most))

    def run(self, dtype: str, own: int, workers: int) -> None:
        """A slice of work; own: the address of the first worker's words."""
        entry = entries.entry("worker", dtype)
        if workers == 1:
            entry.ctypes(own)
            return
        with self.lock, jit.threads(workers):
            entries.entry("launcher", dtype)(entry.address, own, 8 * OWN, workers)

    @staticmethod
    def address(piece: str, dtype: str) -> int:
        """Where a piece of compiled code is; 0 without the JIT."""
        return int(entries.entry(piece, dtype).address) if jit.JIT else 0


def can_start(workers: int) -> bool:
    """Whether workers - 1 threads can be started beside this one, and one to spare for what else the process does."""
    go, before = _thread.allocate_lock(), _tasks()
    go.acquire()
    started = True
    try:
        for _ in range(workers):
            _thread.start_new_thread(_wait_for, (go,))
    except (RuntimeError, MemoryError):
        started = False
    finally:
        go.release()
    end = time.monotonic() + 1.0
    while _tasks() > before and time.monotonic() < end:  # they count until they are gone
        time.sleep(0.001)
    return started


def _wait_for(go: Any) -> None:
    with go:
        pass


def _tasks() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


THREADS = Threads()
