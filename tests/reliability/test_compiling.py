"""Ctrl-C and kill -9 while the kernels are compiled for the first time, by this process and others beside it.

No process stays behind, nothing that is half written is ever read, and the next start works.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.jit,
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc"),
]

KILLS = 100
MOMENTS = 30  # at which Ctrl-C is tried
LATEST = 15.0  # seconds until all processes are gone, where the machine may be busy
FIRST_FIT = """
import sys, time
import numpy as np, fastbp
from fastbp.kernels import warm_up
warm_up.usable_cores = lambda: 2  # so that another process compiles, too
model = fastbp.Sequential([fastbp.Dense(6, "tanh"), fastbp.Dense(1)], input_size=4, seed=2)
model.compile("adam", "mse")
print("ready", flush=True)
model.fit(np.ones((8, 4)), np.ones(8), verbose=0)
print("fitted", flush=True)
time.sleep(float(sys.argv[1]))
"""
# Loads what is kept; prints how many entries that is, and what had to be compiled for it.
LOADS = """
from numba.core import event
passes = event.RecordingListener()
event.register("numba:run_pass", passes)
from fastbp.kernels import entries, jit
kept = [name for name in (*entries.NEEDED, "launcher") if jit.is_kept(entries.FUNCTIONS[name]["float32"])]
for name in kept:
    entries.entry(name, "float32")
print(len(kept), len(passes.buffer))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def options(cache: Path) -> dict:
    return {"env": {**os.environ, "FASTBP_CACHE_DIR": str(cache)}, "stdout": subprocess.PIPE, "text": True}


def start(cache: Path) -> subprocess.Popen:
    """A process in a group of its own, at the beginning of its first fit."""
    command = [sys.executable, "-c", FIRST_FIT, "60"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, **options(cache))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def clear(cache: Path) -> None:
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(mode=0o700)


def living(group: int) -> list[int]:
    """The processes of a group, without those that wait to be collected."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(stat.parent.name))
    return found


def assert_nothing_stays_behind(process: subprocess.Popen, cache: Path) -> None:
    """Neither a process of its group, after some seconds, nor code that cannot be loaded."""
    end = time.monotonic() + LATEST
    while living(process.pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not living(process.pid)
    done = subprocess.run([sys.executable, "-W", "error", "-c", LOADS], check=True, **options(cache))
    assert done.stdout.split()[1] == "0"


def assert_the_next_start_works(cache: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", FIRST_FIT, "0"], check=True, stderr=subprocess.PIPE,
                          **options(cache))
    assert done.stdout.split() == ["ready", "fitted"]


# ---------------------------------------------------------------- kill -9


def files(cache: Path) -> set[Path]:
    return {path for path in cache.rglob("*") if path.is_file()}


def at_any_time(draws: random.Random, process: subprocess.Popen, cache: Path) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(draws.random() * 8)


def when_a_file_appears(draws: random.Random, process: subprocess.Popen, cache: Path) -> None:
    """While one is written, or just afterwards."""
    before, end = files(cache), time.monotonic() + 60
    while files(cache) <= before and time.monotonic() < end and not is_fitted(process, 0.001):
        pass
    time.sleep(draws.random() * 0.01)


def is_fitted(process: subprocess.Popen, seconds: float) -> bool:
    """Whether it has done its fit within so many seconds."""
    return bool(select.select([process.stdout], [], [], seconds)[0])


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["the process", "its group"])
def test_kills_in_compile_leave_a_cache_that_works(kill: Callable[[int, int], None], cache: Path) -> None:
    """100 in all. Each goes on from what the one before left behind, until all is compiled."""
    draws = random.Random(0)
    clear(cache)
    for _ in range(KILLS // 2):
        process = start(cache)
        draws.choice([at_any_time, when_a_file_appears])(draws, process, cache)
        fitted = is_fitted(process, 0)
        kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert_nothing_stays_behind(process, cache)
        if fitted:
            clear(cache)
    assert_the_next_start_works(cache)


# ---------------------------------------------------------------- Ctrl-C


def duration(cache: Path) -> float:
    """Seconds of a first fit that nothing interrupts."""
    clear(cache)
    process, started = start(cache), time.monotonic()
    assert is_fitted(process, 600)
    process.kill()
    process.communicate()
    return time.monotonic() - started


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["the process", "its group"])
def test_ctrl_c_at_every_moment_of_a_first_fit(send: Callable[[int, int], None], cache: Path) -> None:
    """Sent to one process, or to its group as a terminal does; each time with an empty cache."""
    whole = duration(cache)
    for moment in range(MOMENTS):
        interrupt(send, whole * (moment + 0.5) / MOMENTS, whole, cache)
    assert_the_next_start_works(cache)


def interrupt(send: Callable[[int, int], None], delay: float, whole: float, cache: Path) -> None:
    """One Ctrl-C ends a first fit: when the current call of LLVM returns, which may take a third of the whole."""
    clear(cache)
    process = start(cache)
    if is_fitted(process, delay):  # sooner than the first time
        process.kill()
        process.communicate()
        return
    sent = time.monotonic()
    send(process.pid, signal.SIGINT)
    try:
        _, said = process.communicate(timeout=whole + LATEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    print(f"after {delay:.1f} of {whole:.1f} s: ended within {time.monotonic() - sent:.2f} s")
    assert process.returncode == -signal.SIGINT, said
    assert said.endswith("KeyboardInterrupt\n")
    assert "ignored" not in said, said
    assert_nothing_stays_behind(process, cache)
