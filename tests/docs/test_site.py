"""The documentation site builds without warnings and covers the public API; docstrings match signatures."""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

import fastbp
from benchmarks import compare
from fastbp.cli.commands import make_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXCLUDED = ("_build", "notebooks", "jupyter_execute", "__pycache__")

pytestmark = pytest.mark.jit


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of built pages; they are built from a copy, since Sphinx writes next to its sources."""
    copy = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, copy / "docs", ignore=shutil.ignore_patterns(*EXCLUDED))
    if (ROOT / "notebooks").is_dir():
        shutil.copytree(ROOT / "notebooks", copy / "notebooks", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build"],
        cwd=copy, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return copy / "docs" / "_build"


@pytest.mark.slow
def test_reference_covers_the_public_api(site):
    shown = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    public = [name for name in fastbp.__all__ if callable(getattr(fastbp, name))]
    assert [name for name in public if f'id="fastbp.{name}"' not in shown] == []
    methods = [name for name, _ in inspect.getmembers(fastbp.Sequential, inspect.isfunction) if name[0] != "_"]
    assert [name for name in methods if f'id="fastbp.Sequential.{name}"' not in shown] == []
    for module in ("kernels", "reference"):
        names = importlib.import_module(f"fastbp.{module}").__all__
        assert [name for name in names if name != name.upper() and f'id="fastbp.{module}.{name}"' not in shown] == []


@pytest.mark.slow
def test_reference_covers_the_command_line(site):
    page = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    choices = next(a.choices for a in make_parser()._actions if isinstance(a.choices, dict))
    for name, parser in choices.items():
        assert f"usage: fastbp {name}" in page
        assert all(option in page for action in parser._actions for option in action.option_strings)


@pytest.mark.slow
def test_site_loads_nothing_external(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:[^"]*)"', text) == [], page.name


def public_objects():
    """(name, object) of the functions and classes in the reference; exceptions have no arguments of their own."""
    for module in ("", ".callbacks", ".estimators", ".exchange", ".kernels", ".optimizers", ".plots", ".sources"):
        found = importlib.import_module("fastbp" + module)
        for name in set(found.__all__) - {"get"}:  # internal: modules use it among themselves
            thing = getattr(found, name)
            is_error = isinstance(thing, type) and issubclass(thing, BaseException)
            if callable(thing) and not is_error and (getattr(thing, "__module__", None) or "").startswith("fastbp"):
                yield f"{module[1:]}.{name}".lstrip("."), thing


def names_of(parameters):
    return {name.strip().lstrip("*") for each in parameters for name in each.name.split(",")}


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*each, id=each[0]) for each in sorted(public_objects())])
def test_docstrings_describe_all_arguments(name, thing):
    """In the sections of numpydoc; fields of results, which users do not construct, are attributes."""
    doc = NumpyDocString(inspect.getdoc(thing))  # warns about unknown sections
    parameters = inspect.signature(thing).parameters
    assert not any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    arguments, described = set(parameters) - {"args"}, names_of(doc["Parameters"])
    assert described - {"args"} <= arguments
    assert arguments - described - (set() if described else names_of(doc["Attributes"])) == set()


METHODS = [
    (f"Sequential.{name}", method) for name, method in inspect.getmembers(fastbp.Sequential, inspect.isfunction)
    if not name.startswith("_")
]  # fmt: skip


@pytest.mark.parametrize(("name", "method"), [pytest.param(*each, id=each[0]) for each in METHODS])
def test_methods_describe_all_arguments(name, method):
    described = names_of(NumpyDocString(inspect.getdoc(method))["Parameters"])
    assert described == set(inspect.signature(method).parameters) - {"self"}


def test_start_page_shows_usage_speed_and_a_picture():
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    table = page.split("<!-- generated: benchmarks.compare -->")[1].split("<!-- end")[0].strip()
    tables = compare.PAGE.read_text(encoding="utf-8")
    sections = re.findall("generated: (benchmarks.compare (?!busy)[a-z0-9]+)", tables)
    assert table in [compare.front_text(tables, section) for section in sections]
    assert table.count("\n") > 10
    (picture,) = re.findall(r"!\[[^\]]+\]\((.*?)\)", page)
    assert (DOCS / picture).is_file()
    places = [page.index(part) for part in ("pip install", "model.fit", picture, table)]
    assert places == sorted(places)


def test_long_code_lines_wrap():
    style = (DOCS / "_static" / "fastbp.css").read_text(encoding="utf-8")
    assert re.search(r"div\.highlight pre {[^}]*white-space: pre-wrap", style)
