"""Progress messages on stderr while kernels are compiled: what for, how far, time left; none if nothing is compiled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastbp.kernels import notice
from fastbp.kernels.notice import PREFIX, Single, Stages

# A small entry, so that the test is quick; compiled twice.
CODE = """
import numpy as np
from fastbp import kernels
W = np.zeros(3)
kernels.update("sgd", W, W + 1, kernels.init_state("sgd", W))
"""


def stderr_of(cache: Path, **environment: str) -> list[str]:
    variables = {**os.environ, "FASTBP_CACHE_DIR": str(cache), **environment}
    done = subprocess.run([sys.executable, "-c", CODE], env=variables, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


@pytest.mark.jit
@pytest.mark.slow
def test_compilation_is_announced_once(tmp_path):
    tmp_path.chmod(0o700)
    first = stderr_of(tmp_path)
    assert first
    assert all(line.startswith(PREFIX) for line in first)
    assert any("float64" in line for line in first)
    assert stderr_of(tmp_path) == []


def test_nothing_is_announced_without_the_jit(tmp_path):
    assert stderr_of(tmp_path, NUMBA_DISABLE_JIT="1") == []


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(notice.time, "perf_counter", lambda: now[0])
    return now


def test_stages_report_progress_and_time_left(capsys, clock):
    """On a machine half as fast as the one on which the costs were measured."""
    names = [("microkernels", "float64"), ("worker", "float64"), ("launcher", "float32")]
    stages = Stages(names, [7.3, 6.5])
    clock[0] += 14.0
    stages.entry(names[0])
    clock[0] += 0.6
    stages.entry(names[2])
    clock[0] += 0.2
    stages.entry(names[1])
    assert capsys.readouterr().err.splitlines() == [
        "fastbp: compiling for float64, threads, once on this machine: 3 parts, about 7 s",
        "fastbp: compiled microkernels (float64), 1 of 3, about 1 s left",
        "fastbp: compiled threads, 2 of 3, about 11 s left",
        "fastbp: compiled 3 parts in 15 s",
    ]


def test_time_left_is_estimated_again_after_each_stage(capsys, clock):
    names = [("microkernels", "float32"), ("worker", "float32"), ("node", "float32")]
    stages = Stages(names, [14.9])
    clock[0] += 70.0  # ten times the measured cost
    stages.entry(names[0])
    assert "about 79 s left" in capsys.readouterr().err


def test_terminal_gets_one_line(capsys, monkeypatch, clock):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    stages = Stages([("worker", "float32"), ("node", "float32")], [7.9])
    stages.entry(("worker", "float32"))
    stages.entry(("node", "float32"))
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert output.endswith("\n")
    assert len(output.split("\r")) == 4  # an empty string, the first line, two stages


@pytest.mark.parametrize("stream", ["none", "closed"])
def test_missing_or_closed_stderr_is_harmless(stream, monkeypatch, tmp_path):
    file = (tmp_path / "stderr").open("w")
    file.close()
    monkeypatch.setattr(sys, "stderr", None if stream == "none" else file)
    Stages([("worker", "float32")], [5.5]).entry(("worker", "float32"))
    single = Single()
    single.what = "updates (float32)"
    single.on_start(None)
    assert single.given


def test_every_line_starts_with_the_prefix(capsys, clock):
    Stages([("worker", "float32")], [5.5]).entry(("worker", "float32"))
    assert all(re.match(PREFIX, line) for line in capsys.readouterr().err.splitlines())
