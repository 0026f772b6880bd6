"""The documentation site is built without a warning, shows all that is public, and loses no word of a docstring."""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import fastbp
from fastbp.cli.main import make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LEFT_OUT = ("_build", "notebooks", "jupyter_execute", "__pycache__")

pytestmark = pytest.mark.jit


@pytest.fixture(scope="module")
def docstrings():
    """The module that turns docstrings into sections."""
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module("docstrings")
    finally:
        sys.path.remove(str(DOCS / "_ext"))
        sys.modules.pop("docstrings", None)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the pages, built from a copy: building writes beside its sources."""
    copy = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, copy / "docs", ignore=shutil.ignore_patterns(*LEFT_OUT))
    if (ROOT / "notebooks").is_dir():
        shutil.copytree(ROOT / "notebooks", copy / "notebooks", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build"],
        cwd=copy, capture_output=True, text=True, timeout=600, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return copy / "docs" / "_build"


@pytest.mark.slow
def test_all_that_is_public_is_in_the_reference(site):
    shown = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    public = [name for name in fastbp.__all__ if callable(getattr(fastbp, name))]
    assert [name for name in public if f'id="fastbp.{name}"' not in shown] == []
    methods = [name for name, _ in inspect.getmembers(fastbp.Sequential, inspect.isfunction) if name[0] != "_"]
    assert [name for name in methods if f'id="fastbp.Sequential.{name}"' not in shown] == []
    for module in ("kernels", "reference"):
        names = importlib.import_module(f"fastbp.{module}").__all__
        assert [name for name in names if name != name.upper() and f'id="fastbp.{module}.{name}"' not in shown] == []


@pytest.mark.slow
def test_the_command_line_is_in_the_reference(site):
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    choices = next(a.choices for a in make_parser()._actions if isinstance(a.choices, dict))
    for name, parser in choices.items():
        assert f"usage: fastbp {name}" in page
        assert all(option in page for action in parser._actions for option in action.option_strings)


@pytest.mark.slow
def test_the_site_fetches_nothing(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:[^"]*)"', text) == [], page.name


WRITTEN = """
Do something to X.

    Y = f(X)        for all of it

X: (n, features). gain: a number above 0; offset: another. clip_: where
to stop. Rows are |independent|.
More of them change nothing. Raises TypeError or ValueError for no numbers, KeyError where none
is there. As PyTorch's.

>>> 1 + 1
2

Somebody 2001.
"""

SHOWN = r"""
Do something to X.

::

    Y = f(X)        for all of it

Parameters
----------
X
    (n, features).
gain
    a number above 0
offset
    another.
clip_
    where to stop. Rows are \|independent\|.

Raises
------
TypeError or ValueError
    for no numbers, KeyError where none is there.

Notes
-----
More of them change nothing.

As PyTorch's.

Somebody 2001.

Examples
--------
>>> 1 + 1
2
"""


def test_a_docstring_of_prose_gets_sections(docstrings):
    assert docstrings.converted(WRITTEN, ["X", "gain", "offset", "clip_"]) == [*SHOWN.strip().split("\n"), ""]


def test_what_no_argument_is_called_stays_prose(docstrings):
    assert docstrings.converted("Do it.\n\na: outputs; y: targets.") == ["Do it.", "", "a: outputs; y: targets.", ""]


def test_numpydoc_is_left_as_it_is(docstrings):
    text = "Do it.\n\nParameters\n----------\nx : int\n    A number."
    assert docstrings.converted(text, ["x"]) == text.split("\n")


def public_objects():
    """(name, object) of what the reference shows: functions, classes and their methods."""
    for module in ("", ".callbacks", ".kernels", ".reference", ".optimizers", ".datasets", ".metrics", ".initializers"):
        found = importlib.import_module("fastbp" + module)
        for name in getattr(found, "__all__", None) or [name for name in vars(found) if name[0] != "_"]:
            thing = getattr(found, name)
            if callable(thing) and (getattr(thing, "__module__", None) or "").startswith("fastbp"):
                yield name, thing
                yield from ((f"{name}.{m}", value) for m, value in vars(thing).items() if inspect.isfunction(value))


def test_no_word_of_a_docstring_is_lost(docstrings):
    headers = {"Args", "Returns", "Raises", "Example", "Examples", "Source", "Parameters", "Notes", "and", "result"}
    seen = 0
    for name, thing in public_objects():
        text = inspect.getdoc(thing)
        if text and "Built-in" not in text:
            lines = docstrings.converted(text, docstrings.known_arguments(thing))
            before, after = (Counter(re.findall(r"\w+", part)) for part in (text, "\n".join(lines).replace("\\", "")))
            assert {w: n for w, n in (before - after).items() if w not in headers} == {}, name
            assert {w: n for w, n in (after - before).items() if w not in headers} == {}, name
            seen += 1
    assert seen > 150
