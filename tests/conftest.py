"""What the tests share; that warnings are errors, pyproject.toml says."""

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that every test starts anew."""
    return np.random.default_rng(20240229)
