"""The scripts in docs/examples run unmodified and print what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"

pytestmark = pytest.mark.jit


def run(name: str, *arguments: str) -> str:
    """The output of a script, run with warnings as errors."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_xor():
    printed = run("xor.py")
    outputs = [float(value) for value in re.findall(r"\d xor \d = (\d\.\d+)", printed)]
    assert [round(output) for output in outputs] == [0, 1, 1, 0]
    assert max(abs(output - round(output)) for output in outputs) < 0.1
    assert "accuracy 100%" in printed


def test_digits():
    printed = run("digits.py")
    rate = float(re.search(r"learning rate of (\S+)", printed)[1])
    assert 1e-4 < rate < 1
    assert "the layers are healthy" in printed
    # over splits, such networks reach 98.0 % on average, with a standard deviation of 0.7 % on 360 rows: allow four
    assert float(re.search(r"test accuracy (\S+)%", printed)[1]) > 95


def test_spiral():
    printed = run("spiral.py").splitlines()
    assert float(re.search(r"accuracy (\S+)%", printed[0])[1]) > 97
    picture = printed[1:]
    assert len(picture) == 30
    assert {len(row) for row in picture} == {60}
    share = [sum(row.count(letter) for row in picture) / 1800 for letter in ".oX"]
    assert min(share) > 0.2  # the arms differ only by a rotation of 120°


def test_spiral_writes_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    run("spiral.py", str(tmp_path / "spiral.png"))
    assert (tmp_path / "spiral.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_deep():
    plain, residual, exploding, clipped = run("deep.py").split("\n\n")
    test = [float(re.search(r"test accuracy (\S+)%", part)[1]) for part in (plain, residual, exploding, clipped)]
    assert max(test[0], test[2]) < 15
    assert min(test[1], test[3]) >= 96
    assert "vanishing: layers 0–198 (Dense(64, sigmoid))" in plain
    assert "exploding: layers 0 (Dense(64, identity)), 1, 3, …, " in exploding
    assert "healthy before training, healthy after it" in residual
    assert "exploding before training, healthy after it" in clipped


def test_tune():
    printed = run("tune.py")
    trials, pruned, epochs, most = map(int, re.findall(r"\d+", printed.splitlines()[0]))
    assert 0 < pruned < trials
    assert epochs < most
    # as in test_digits; a trial chosen on 360 rows may be somewhat worse than the mean
    assert float(re.search(r"test accuracy (\S+)%", printed)[1]) > 94


def test_every_script_is_run():
    tested = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'run("{path.name}"' not in tested] == []
