"""Settings and fixtures shared by all tests; pyproject.toml turns warnings into errors."""

import os
import signal


def pin_worker_to_core() -> None:
    """Pin a pytest-xdist worker to one core, before any library counts the cores.

    With as many workers as cores and two threads in each, threads would wait for others that are not running, and the
    tests would take several times as long. Tests that ask for two threads still get them; they take turns.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
        os.environ.setdefault("NUMBA_NUM_THREADS", "2")


pin_worker_to_core()

import numpy as np  # noqa: E402
import pytest  # noqa: E402

os.environ.setdefault("KERAS_BACKEND", "torch")  # TensorFlow, its default, is not among the dependencies


def pytest_configure() -> None:
    """Restore Ctrl-C: background jobs of a shell ignore it, and so would the processes that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with the same seed in every test."""
    return np.random.default_rng(20240229)
