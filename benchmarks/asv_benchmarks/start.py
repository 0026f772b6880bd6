"""Startup: imports, the first fit with an empty cache, and with a full one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST_FIT = """
import time, numpy as np, fastbp
start = time.perf_counter()
model = fastbp.Sequential([fastbp.Dense(4, "relu"), fastbp.Dense(1)], input_size=2)
model.compile("sgd", loss="mse")
model.fit(np.zeros((8, 2), np.float32), np.zeros((8, 1), np.float32), batch_size=4, epochs=2, verbose=0)
print(time.perf_counter() - start)
"""
IMPORT = """
import time
import {before}
start = time.perf_counter()
import {name}
print(time.perf_counter() - start)
"""


def _seconds(code: str, cache: str | None = None) -> float:
    """The output of the code, run in a new process with this cache folder."""
    environment = {**os.environ, **({} if cache is None else {"FASTBP_CACHE_DIR": cache})}
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return float(output.stdout.split()[-1])


class Import:
    """``import fastbp`` in a new process, after its dependencies."""

    params = ("numpy", "numba")
    param_names = ("imported before",)
    unit = "s"

    def track_import(self, before: str) -> float:
        """The minimum of five."""
        return min(_seconds(IMPORT.format(before=before, name="fastbp")) for _ in range(5))


class FirstFit:
    """The first fit of a process, with an empty cache or with one filled by an earlier process."""

    timeout = 300.0
    unit = "s"

    def track_empty_cache(self) -> float:
        """Compiles everything."""
        with tempfile.TemporaryDirectory(dir=Path.home()) as cache:
            return _seconds(FIRST_FIT, cache)

    def track_full_cache(self) -> float:
        """Compiles nothing: the minimum of three."""
        with tempfile.TemporaryDirectory(dir=Path.home()) as cache:
            _seconds(FIRST_FIT, cache)
            return min(_seconds(FIRST_FIT, cache) for _ in range(3))


def track_architectures() -> float:
    """Seconds for a step of each of 100 architectures in one process: no architecture needs compilation."""
    import numpy as np

    import fastbp

    X, y = np.zeros((4, 3), np.float32), np.zeros((4, 2), np.float32)
    start = time.perf_counter()
    for units in range(1, 101):
        model = fastbp.Sequential([fastbp.Dense(units, "relu"), fastbp.Dense(2)], input_size=3)
        model.compile("adam", loss="mse")
        model.train_on_batch(X, y)
    return time.perf_counter() - start


track_architectures.unit = "s"  # type: ignore[attr-defined]
