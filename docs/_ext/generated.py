"""What the pages of the reference are made of: the public names, the command line's help, and the notebooks."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.directives.other import TocTree
from sphinx.util import docname_join
from sphinx.util.docutils import SphinxDirective
from sphinx.util.matching import patfilter

import fastbp

WIDTH = "96"  # columns of the help's text
WITHIN = ("get", "check_output")  # that modules keep for each other


class Public(SphinxDirective):
    """``.. public:: MODULE …``: a table of, and then all about, what these modules make public.

    That is what they define of fastbp.__all__, and what their own __all__ names; a module may be missing. The content
    names more, one a line, in full.
    """

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The nodes of what `text` writes."""
        modules = self.arguments[0].split() if self.arguments else []
        more = [line.strip() for line in self.content if line.strip()]
        names: dict[int, str] = {}
        for name in [*public_names(modules), *more]:
            names.setdefault(id(resolve(name)), name)
        if not names:
            return []
        current = self.env.ref_context.get("py:module") or ""
        text = StringList(list(reference(names.values(), current)), source="public names")
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(text, self.content_offset, node, match_titles=1)
        return list(node.children)


def public_names(modules: Iterable[str]) -> list[str]:
    """The full names of what modules make public: of a module in its order, of a package by name."""
    found: list[str] = []
    for module in modules:
        full = [f"fastbp.{name}" for name in fastbp.__all__]
        for name in own_names(module):
            short = getattr(fastbp, name, None) is resolve(f"{module}.{name}")
            full.append(f"fastbp.{name}" if short else f"{module}.{name}")
        mine = {name: defined_at(resolve(name)) for name in full if documented(name, resolve(name))}
        mine = {name: place for name, place in mine.items() if f"{place[0]}.".startswith(f"{module}.")}
        one_file = len({place[0] for place in mine.values()}) == 1
        found += sorted(mine, key=mine.__getitem__ if one_file else last_name)
    return found


def defined_at(thing: Any) -> tuple[str, int]:
    """The module and the line where a class or function is defined; the line 0 where that cannot be told."""
    try:
        return thing.__module__, inspect.getsourcelines(inspect.unwrap(thing))[1]
    except (OSError, TypeError):
        return getattr(thing, "__module__", ""), 0


def last_name(name: str) -> str:
    """What names are sorted by."""
    return name.rpartition(".")[2].lower()


def own_names(module: str) -> list[str]:
    """A module's __all__; nothing where there is no such module."""
    try:
        return list(getattr(importlib.import_module(module), "__all__", ()))
    except ModuleNotFoundError as error:
        if error.name != module:  # it is there, but what it imports is not
            raise
        return []


def documented(name: str, thing: Any) -> bool:
    """Classes and functions are, but tables, aliases of types and what modules keep for each other are not."""
    return (inspect.isclass(thing) or inspect.isroutine(thing)) and last_name(name) not in WITHIN


def reference(names: Iterable[str], module: str) -> Iterable[str]:
    """The lines of a page's reference: a table of the names, then each in full; module: the current one."""
    names = list(names)
    rows = [f"   {name.removeprefix(module + '.')}" for name in names]
    yield from (".. autosummary::", "   :nosignatures:", "", *rows, "")
    for name in names:
        thing = resolve(name)
        kind = "class" if isinstance(thing, type) else "function" if callable(thing) else "data"
        kind = "exception" if kind == "class" and issubclass(thing, BaseException) else kind
        members = ("   :members:",) if kind == "class" and shows_members(thing) else ()
        if members and thing.__module__.startswith("fastbp.model."):  # Sequential has methods of private base classes
            members += ("   :inherited-members:",)
        yield from (f".. auto{kind}:: {name}", *members, "")


def shows_members(thing: type) -> bool:
    """NamedTuples are told about in their docstrings: their fields have none of their own."""
    return not issubclass(thing, tuple)


def resolve(name: str) -> Any:
    """The object of a full name."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


class Pages(TocTree):
    """A toctree from which those entries are left out that lead to no page: more may be written, or taken away."""

    def run(self) -> list[nodes.Node]:
        """The nodes of a toctree."""
        known = self.env.found_docs
        for i in range(len(self.content) - 1, -1, -1):
            if not patfilter(known, docname_join(self.env.docname, self.content[i])):
                del self.content[i]
        return super().run()


class CommandLine(SphinxDirective):
    """``.. command-line::``: what ``--help`` prints, for the program and for each of its commands."""

    def run(self) -> list[nodes.Node]:
        """A section for each command."""
        self.env.note_dependency(str(Path(fastbp.__file__).with_name("cli.py")))
        return [self._section(title, text) for title, text in helps()]

    def _section(self, title: str, text: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(title)], names=[title])
        section += nodes.title("", "", nodes.literal("", title))
        section += nodes.literal_block(text, text, language="text")
        self.state.document.note_implicit_target(section)
        return section


def helps() -> Iterable[tuple[str, str]]:
    """(command, its help), the program's own first."""
    from fastbp.cli.main import make_parser

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        parser = make_parser()
        yield parser.prog, parser.format_help()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, command in action.choices.items():
                    yield f"{parser.prog} {name}", command.format_help()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def left_out(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """autodoc-skip-member: what scikit-learn makes for its metadata routing is told of there."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def copy_notebooks(app: Any, config: Any) -> None:
    """The notebooks of the repository into the folder of the pages, which alone Sphinx reads."""
    here = Path(app.srcdir)
    there = here / "notebooks"
    shutil.rmtree(there, ignore_errors=True)
    found = sorted((here.parent / "notebooks").glob("*.ipynb"))
    if found:
        there.mkdir()
    for path in found:
        text = path.read_text(encoding="utf-8").replace("](../docs/", "](../")
        (there / path.name).write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("public", Public)
    app.add_directive("pages", Pages)
    app.add_directive("command-line", CommandLine)
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-skip-member", left_out)
    app.connect("config-inited", copy_notebooks)
    return {"parallel_read_safe": True}
