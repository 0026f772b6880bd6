"""What the tests share; that warnings are errors, pyproject.toml says."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # TensorFlow, its default, is not among the dependencies


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that every test starts anew."""
    return np.random.default_rng(20240229)
