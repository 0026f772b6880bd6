"""The threads that do a slice of work: one parallel slice at a time."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np

from fastbp.engine.memory import address
from fastbp.isa.targets.detect import usable_cores
from fastbp.kernels import entries, jit
from fastbp.kernels.schema.context import OWN, SHARED

Array = np.ndarray


FIRST_WORKER = 8 * SHARED  # bytes to the first worker's words


class Threads:
    """One parallel slice at a time; none in a forked child, whose OpenMP runtime did not survive the fork."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self.lock, self.forked = threading.Lock(), True

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

    def run(self, dtype: str, context: Array, workers: int) -> None:
        entry, own = entries.entry("worker", dtype), address(context) + FIRST_WORKER
        if workers == 1:
            entry.ctypes(own)
            return
        with self.lock, jit.threads(workers):
            entries.entry("launcher", dtype)(entry.address, own, 8 * OWN, workers)

    @staticmethod
    def address(piece: str, dtype: str) -> int:
        """Where a piece of compiled code is; 0 without the JIT."""
        return int(entries.entry(piece, dtype).address) if jit.JIT else 0


THREADS = Threads()
