"""Notebooks are stored with small, clean outputs and run unmodified from the first cell to the last."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from fastbp.kernels.notice import PREFIX

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUNNER = Path(__file__).with_name("run_notebook.py")
MOST_BYTES, MOST_LINES = 300_000, 16
SLOW = ("02", "03", "05", "06")  # more than about ten seconds on a busy core


def name_of(path):
    return path.stem


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def kinds_of_output(cell):
    """The kinds of output that a cell shows (text, images, tables), except the notices about compiling."""
    outputs = [output for output in cell.outputs if not is_notice(output.get("text", ""))]
    return {kind for output in outputs for kind in (output.get("data") or [output.get("name", "error")])}


def is_notice(text):
    """Whether all lines are notices about compiling."""
    return bool(text.strip()) and all(line.startswith(PREFIX) for line in text.strip().splitlines())


def texts_of(cell):
    """The source and all outputs except images."""
    yield cell.source
    for output in cell.outputs:
        yield output.get("text", "")
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield str(data)


def execute(path, tmp_path, data):
    """Code cells of the executed notebook; MNIST and Adult are read from the folder `data`, if given."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    environment.pop("FASTBP_DATA", None)
    if data:
        environment["FASTBP_DATA"] = data
    result = tmp_path / "executed.ipynb"
    command = [sys.executable, str(RUNNER), str(path), str(result), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    return code_cells(result)


def assert_runs(path, tmp_path, data=None):
    """It runs without warnings, and every cell shows the kinds of output that are stored."""
    for stored, cell in zip(code_cells(path), execute(path, tmp_path, data), strict=True):
        assert "stderr" not in kinds_of_output(cell), cell.outputs
        assert kinds_of_output(cell) == kinds_of_output(stored), cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_stored_outputs_are_clean(path):
    nbformat.validate(json.loads(path.read_text(encoding="utf-8")))
    assert path.stat().st_size < MOST_BYTES
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in kinds_of_output(cell) for cell in cells)
    for cell in cells:
        assert PREFIX not in "".join(texts_of(cell))
        assert not kinds_of_output(cell) & {"stderr", "error"}
        assert cell.source.count("\n") < MOST_LINES
        for text in texts_of(cell):
            assert not re.search(r"/(home|root|tmp|Users|work|opt|mnt)/|Warning:", text), text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_links_resolve(path):
    for cell in nbformat.read(path, as_version=4).cells:
        links = re.findall(r"\]\((?!https?:)([^)#]+\.\w+)\)", cell.source) if cell.cell_type == "markdown" else []
        assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.jit
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] if p.name.startswith(SLOW) else [], id=p.stem) for p in NOTEBOOKS],
)
def test_runs_without_external_data(path, tmp_path):
    assert_runs(path, tmp_path)


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.name.startswith(("02", "05"))], ids=name_of)
def test_runs_on_data_in_a_folder(path, tmp_path):
    assert_runs(path, tmp_path, os.environ["FASTBP_DATA"])


CELLS = (
    """import numpy as np
import fastbp
model = fastbp.Sequential([fastbp.Dense(4, "tanh"), fastbp.Dense(1)])
model.compile("adam", "mse", ["mae"])
X = np.random.default_rng(0).normal(size=(200, 3))
history = model.fit(X, X[:, 0], epochs=5, validation_split=0.2)""",
    "history = model.fit(X, X[:, 0], epochs=2, verbose=2)",
    "history = model.fit(X, X[:, 0], epochs=2, verbose=0)",
)


@pytest.mark.jit
def test_fit_in_a_notebook_shows_a_progress_bar(tmp_path):
    """A widget if ipywidgets is installed, otherwise tqdm's bar as text, without a warning that it is missing."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    path = tmp_path / "fit.ipynb"
    nbformat.write(book, path)
    bar, lines, nothing = execute(path, tmp_path, None)
    shown = "".join(str(output.get("text") or output.get("data")) for output in bar.outputs)
    assert "Warning" not in shown
    if "widget-view" not in shown:
        assert "100%|" in shown
        assert "val_mae=" in shown
    printed = "".join(output["text"] for output in lines.outputs).splitlines()
    assert [line.split(",")[0] for line in printed if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert kinds_of_output(nothing) == set()
