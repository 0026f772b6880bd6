"""The threads that do a slice of work: one parallel slice at a time."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np

from fastbp.engine.memory import address
from fastbp.isa.targets.detect import usable_cores
from fastbp.kernels import jit
from fastbp.kernels import worker as run

Array = np.ndarray


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
        entry = run.serial_entry(dtype)
        if workers == 1:
            entry.ctypes(0, address(context))
            return
        with self.lock, jit.threads(workers):
            run.parallel_entry()(entry.address, address(context), workers)


THREADS = Threads()
