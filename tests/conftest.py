"""What the tests share; that warnings are errors, pyproject.toml says."""

import os
import signal

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # TensorFlow, its default, is not among the dependencies


def pytest_configure() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would the processes that the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that every test starts anew."""
    return np.random.default_rng(20240229)
