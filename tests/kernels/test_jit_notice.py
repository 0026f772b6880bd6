"""The line on standard error before the first compilation: once a process, never where nothing is compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastbp.kernels import jit

# A small entry, so that the test is quick; compiled twice.
CODE = """
import numpy as np
from fastbp import kernels
W = np.zeros(3)
kernels.update("sgd", W, W + 1, kernels.init_state("sgd", W))
"""


def said(cache: Path, **environment: str) -> list[str]:
    variables = {**os.environ, "FASTBP_CACHE_DIR": str(cache), **environment}
    done = subprocess.run([sys.executable, "-c", CODE], env=variables, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


@pytest.mark.jit
@pytest.mark.slow
def test_compiling_is_announced_once():
    cache = Path.home() / ".cache" / f"fastbp-test-{os.getpid()}"  # not below a folder that everyone may write to
    cache.mkdir(parents=True, mode=0o700)
    try:
        assert said(cache) == [jit.NOTICE]
        assert said(cache) == []
    finally:
        subprocess.run(["rm", "-rf", str(cache)], check=True)


def test_nothing_is_announced_without_the_jit(tmp_path):
    assert said(tmp_path, NUMBA_DISABLE_JIT="1") == []
