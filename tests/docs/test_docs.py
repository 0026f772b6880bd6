"""README.md, docs/ and docstrings are correct: blocks, tables and examples run, links resolve.

The blocks of a page run in order, in an empty folder; Python blocks share a namespace. Shell blocks run too, except
installations and benchmarks, of which only the names are checked; blocks that cannot run are marked as text. In tables
with the columns "… | fastbp | what differs", the code in the first two columns runs row by row.
"""

import doctest
import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastbp

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if not {"_build", "notebooks"} & set(p.parts))]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"^\|[^|\n]+\| fastbp \| what differs \|\n\| ---[^\n]*\n((?:\|[^\n]*\n)+)", re.MULTILINE)
LANGUAGES = {"python", "sh", "text"}  # what cannot run is marked as text
SPHINX = re.compile(r"\{(toctree|pages|eval-rst)\}")
LONG = {"tutorial.md", "coming-from.md", "exchange.md", "resume.md"}  # ten seconds each on a busy machine
NOT_RUN = ("pip ", "pytest ", "python -m benchmarks.", "python -m sphinx ")  # install things, or take minutes
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

pytestmark = pytest.mark.jit


def name_of(page):
    return str(page.relative_to(DOCS if DOCS in page.parents else ROOT))


def snippets(page):
    """The code of a page in order: (language, number of the first line, text)."""
    text = page.read_text(encoding="utf-8")
    found = [(m.start(2), m[1], m[2]) for m in BLOCK.finditer(text)]
    found += [(m.start(1), "table", m[1]) for m in TABLE.finditer(text)]
    return [(kind, text.count("\n", 0, start) + 1, piece) for start, kind, piece in sorted(found)]


def pages_that_run():
    for page in PAGES:
        if {"python", "sh", "table"} & {kind for kind, _, _ in snippets(page)}:
            yield pytest.param(page, id=name_of(page), marks=[pytest.mark.slow] * (page.name in LONG))


@pytest.fixture
def shell(tmp_path):
    """Runs a shell block in which `python` and `fastbp` are the versions under test."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, command in (("python", ""), ("fastbp", "-m fastbp ")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command}"$@"\n')
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    path["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

    def run(text):
        lines = [line for line in text.splitlines() if not line.startswith(NOT_RUN)]
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **path})
        assert done.returncode == 0, f"{text}{done.stdout}{done.stderr}"

    return run


def run_python(text, line, page, namespace):
    # padded with empty lines, so that errors give the line number in the page
    exec(compile("\n" * (line - 1) + text, str(page), "exec"), namespace)


def run_table(text, line, page, namespace):
    theirs, ours = dict(namespace), dict(namespace)
    for number, row in enumerate(text.splitlines(), line):
        for cell, names in zip(row.strip("|").split(" | "), (theirs, ours), strict=False):
            if cell.strip():
                code = re.fullmatch(r"`([^`]+)`", cell.strip())
                assert code, f"{page.name}, line {number}: {cell!r} is not a single code span"
                with warnings.catch_warnings():
                    if names is theirs:  # warnings of other libraries are not ours
                        warnings.simplefilter("ignore")
                    run_python(code[1], number, page, names)


@pytest.mark.parametrize("page", list(pages_that_run()))
def test_blocks_run(page, tmp_path, monkeypatch, shell):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(os, "environ", os.environ.copy())  # pages may set variables
    namespace = {"__name__": "__main__"}
    for kind, line, text in snippets(page):
        if kind == "python":
            run_python(text, line, page, namespace)
        elif kind == "table":
            run_table(text, line, page, namespace)
        elif kind == "sh":
            shell(text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_names_its_language(page):
    kinds = [kind for kind, _, _ in snippets(page)]
    assert [k for k in kinds if k not in LANGUAGES | {"table"} and not SPHINX.match(k)] == []
    assert page.read_text(encoding="utf-8").count("\n```") % 2 == 0  # none is left open


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def commands():
    return {line for page in PAGES for kind, _, text in snippets(page) if kind == "sh" for line in text.splitlines()}


def test_mentioned_extras_and_benchmarks_exist():
    extras = [name for line in commands() if line.startswith("pip ") for name in re.findall(r"\[([\w,]+)\]", line)]
    assert {name for some in extras for name in some.split(",")} <= set(EXTRAS)
    modules = {found[1] for line in commands() if (found := re.match(r"python -m (benchmarks\.\w+)", line))}
    assert [name for name in sorted(modules) if importlib.util.find_spec(name) is None] == []


def all_modules():
    return ["fastbp", *(found.name for found in pkgutil.walk_packages(fastbp.__path__, "fastbp."))]


@pytest.mark.parametrize("name", all_modules())
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    names = {"np": np, **{key: getattr(fastbp, key) for key in fastbp.__all__}, **vars(module)}
    assert doctest.testmod(module, globs=names).failed == 0
