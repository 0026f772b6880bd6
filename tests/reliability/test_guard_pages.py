"""The engine stays within its arrays: between unreadable pages, a stray access would kill the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.jit


def run(where: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.reliability.guard_pages", where]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("where", ["after", "before"])
def test_stray_access_is_detected(where: str) -> None:
    done = run(where)
    assert done.returncode < 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("where", ["end", "start"])
def test_training_between_unreadable_pages(where: str) -> None:
    done = run(where)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    assert done.stdout.endswith(f"144 cases, {where}\n")
