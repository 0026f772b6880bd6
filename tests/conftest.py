"""What the tests share; that warnings are errors, pyproject.toml says."""

import os
import signal


def take_a_core_of_its_own() -> None:
    """For a worker of pytest-xdist, before any library counts the cores.

    With two threads in each of as many workers as there are cores, threads wait for others that do not run: the tests
    would take several times as long. Two threads that are asked for still start, and take turns.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
        os.environ.setdefault("NUMBA_NUM_THREADS", "2")


take_a_core_of_its_own()

import numpy as np  # noqa: E402
import pytest  # noqa: E402

os.environ.setdefault("KERAS_BACKEND", "torch")  # TensorFlow, its default, is not among the dependencies


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would the processes that the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that every test starts anew."""
    return np.random.default_rng(20240229)
