"""Docstrings as they are written here, turned into sections that numpydoc knows.

A docstring is one line, equations (indented), paragraphs, and examples (doctests). Paragraphs hold the arguments
("name: what it is"), the errors ("Raises ValueError for …"), and remarks. Some have the headers "Args:", "Returns:",
"Raises:", "Example:" and "Source:" instead. Nothing is lost, and only the layout is changed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from textwrap import dedent
from typing import Any

HEADER = re.compile(r"(Args|Returns|Raises|Examples?|Source):(?: |$)")
ERRORS = r"[A-Z]\w*(?:Error|Warning)"
RAISED = re.compile(rf"Raises ({ERRORS}(?:(?:, | or | and ){ERRORS})*),? ")
NAMES = r"\*{0,2}[a-z]\w*|[A-Z]"  # of arguments: in small letters, or single capitals such as X
SENTENCE = "\x00"  # where a line begins after a full stop: what has been spoken of ends there
ARGUMENT = re.compile(rf"(?:^|(?<=[.;] )|(?<={SENTENCE}))((?:{NAMES})(?:(?:, | and )(?:{NAMES}))*): ")
UNDERLINED = re.compile(r"^-{3,}$", re.MULTILINE)


@dataclass
class Sections:
    """What a docstring says, by the section it is shown in."""

    first: str
    extended: list[str] = field(default_factory=list)
    parameters: list[tuple[str, str]] = field(default_factory=list)
    returns: list[str] = field(default_factory=list)
    raises: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The docstring in numpydoc's format."""
        parts = [self.first, "", *_spaced(self.extended)]
        for title, named in (("Parameters", self.parameters), ("Raises", self.raises)):
            if title == "Raises" and self.returns:
                parts += ["Returns", "-------", *_returned(self.returns), ""]
            if named:
                items = [line for name, text in named for line in (name, *_indented(text))]
                parts += [title, "-" * len(title), *items, ""]
        parts += _titled("Notes", self.notes) + _titled("Examples", self.examples)
        return "\n".join(parts).split("\n")


def converted(text: str, known: Iterable[str] = ()) -> list[str]:
    """The lines of a docstring in numpydoc's format; known: the arguments of what it describes."""
    text = inspect.cleandoc(text)
    if UNDERLINED.search(text):  # in that format already
        return text.split("\n")
    first, _, rest = text.partition("\n\n")
    if first.lstrip().startswith(">>>"):
        first, rest = "", text
    found = Sections(escaped(" ".join(first.split("\n"))))
    names = {name.lstrip("*") for name in known}
    for header, body in _headed(rest):
        _take(found, header, body, names)
    return found.lines()


def _headed(text: str) -> Iterable[tuple[str, str]]:
    """(header, text below it), the first with an empty header."""
    header, body = "", list[str]()
    for line in text.split("\n"):
        match = HEADER.match(line)
        if match:
            yield header, "\n".join(body)
            header, body = match[1], [line[match.end() :]]
        else:
            body.append(line)
    yield header, "\n".join(body)


def _take(found: Sections, header: str, body: str, known: set[str]) -> None:
    if header in ("Args", "Returns", "Raises", "Example", "Examples"):
        first, _, rest = body.partition("\n")
        body = dedent(rest) if not first.strip() else f"{first}\n{dedent(rest)}"
    match header:
        case "Args":
            found.parameters += [(name, escaped(text)) for name, text in _items(body)]
        case "Returns":
            found.returns += [escaped(" ".join(part.split())) for part in body.strip().split("\n\n")]
        case "Raises":
            found.raises += [(name, escaped(text)) for name, text in _errors(" ".join(body.split()))]
        case _:
            for paragraph in _paragraphs(body):
                _sort(found, paragraph, known, remarks=header == "Source")


def _sort(found: Sections, paragraph: str, known: set[str], *, remarks: bool) -> None:
    """One paragraph into the sections it belongs to."""
    if paragraph.startswith(">>>"):
        found.examples.append(paragraph)
    elif paragraph.startswith(" "):
        (found.examples if found.examples else found.extended).append("::\n\n" + _shifted(paragraph))
    elif re.match(r"(- |\* |\||\d+\. )", paragraph):
        (found.notes if remarks else found.extended).append(escaped(paragraph, names=False))
    else:
        _sort_sentences(found, paragraph, known, remarks=remarks or bool(found.examples))


def _sort_sentences(found: Sections, paragraph: str, known: set[str], *, remarks: bool) -> None:
    text = re.sub(r"(?<=[.:]) ?\n(?=[A-Z]|[a-z_]+: )", f" {SENTENCE}", paragraph).replace("\n", " ")
    marks: list[tuple[int, int, str]] = []
    for m in ARGUMENT.finditer(text):  # after one argument, what is told of at a line's begin is another
        if _all_known(m[1], known) or (marks and m.start() and text[m.start() - 1] == SENTENCE):
            marks.append((m.start(), m.end(), m[1]))
    marks += [(m.start(), m.end(), "Raises " + m[1]) for m in RAISED.finditer(text) if _begins(text, m.start())]
    marks.sort()
    head = text[: marks[0][0]] if marks else text
    _add(found.notes if remarks or found.parameters or found.raises else found.extended, head)
    for (_, start, name), (end, _, _) in pairwise([*marks, (len(text), 0, "")]):
        said, _, rest = text[start:end].partition(SENTENCE)
        if name.startswith("Raises "):
            said, rest = _sentence(said, rest)
            found.raises.append((name.removeprefix("Raises "), escaped(said.strip())))
        else:
            found.parameters.append((name.replace(" and ", ", "), escaped(said.strip().rstrip(";"))))
        _add(found.notes, rest)


def _sentence(text: str, rest: str) -> tuple[str, str]:
    """The first sentence, and what comes after it."""
    end = re.search(r"\.(?= [A-Z])", text)
    return (text, rest) if end is None else (text[: end.end()], text[end.end() :] + " " + rest)


def _begins(text: str, position: int) -> bool:
    before = text[:position].rstrip(" " + SENTENCE)
    return not before or before[-1] in ".;:"


def _all_known(names: str, known: set[str]) -> bool:
    return all(name.lstrip("*") in known for name in re.split(", | and ", names))


def _add(section: list[str], text: str) -> None:
    text = " ".join(text.replace(SENTENCE, "").split())
    if text:
        section.append(escaped(text))


def _items(body: str) -> Iterable[tuple[str, str]]:
    """The items of "Args:", each of which begins at the margin; two on a line are two."""
    for item in re.split(r"\n(?=\S)", body.strip("\n")):
        text = " ".join(item.split())
        marks = [m for m in ARGUMENT.finditer(text) if m.start() == 0 or text[m.start() - 2] == "."]
        if not marks:  # "weight_decay and all other keywords: see …"
            name, _, said = text.partition(": ")
            yield name, said
        yield from _pieces(marks, text)


def _errors(text: str) -> Iterable[tuple[str, str]]:
    marks = list(re.finditer(rf"(?:^|(?<=\. ))({ERRORS}(?:, {ERRORS})*): ", text))
    if not marks:
        yield "Exception", text
    yield from _pieces(marks, text)


def _pieces(marks: list[re.Match[str]], text: str) -> Iterable[tuple[str, str]]:
    """What each mark names, with the text up to the next."""
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends[: len(marks)], strict=True):
        yield mark[1], text[mark.end() : end].strip()


def _paragraphs(text: str) -> list[str]:
    parts = re.split(r"\n[ \t]*\n", text.strip("\n"))
    return [part if part.startswith(" ") and not part.lstrip().startswith(">>>") else dedent(part).strip("\n")
            for part in parts if part.strip()]  # fmt: skip


def _shifted(paragraph: str) -> str:
    return "\n".join("    " + line for line in dedent(paragraph).split("\n"))


def _indented(text: str) -> list[str]:
    return ["    " + text]


def _spaced(parts: list[str]) -> list[str]:
    return [line for part in parts for line in (part, "")]


def _titled(title: str, parts: list[str]) -> list[str]:
    return [title, "-" * len(title), *_spaced(parts)] if parts else []


def _returned(parts: list[str]) -> list[str]:
    """numpydoc takes the first line for the type: here that is the shape, where one is told."""
    shape, colon, said = parts[0].partition(": ")
    if not colon or len(shape) > 30:
        shape, said = "result", parts[0]
    return [shape, *(line for part in [said, *parts[1:]] for line in ("    " + part, ""))]


def escaped(text: str, *, names: bool = True) -> str:
    """Prose in which reStructuredText finds nothing but `code` and *Titles*: no substitutions, no references."""
    parts = re.split(r"(``[^`]+``|`[^`]+`|(?<!\S)\*[A-Z][^*]+\*)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*|\\])", r"\\\1", parts[i]) if names else parts[i]
        parts[i] = re.sub(r"(?<=\w)_(?=\W|$)", r"\_", parts[i])
    if names:
        parts[0] = re.sub(r"^(\w{1,3}[.)]) ", r"\\\1 ", parts[0])  # "E. Somebody" is no list
    for i in range(1, len(parts), 2):
        if parts[i][0] != "*" and not parts[i].startswith("``") and not re.fullmatch(r"`[\w.]+`", parts[i]):
            parts[i] = f"`{parts[i]}`"  # no name that could be looked up: plain code
    return "".join(parts)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's autodoc-process-docstring; before numpydoc's."""
    text = "\n".join(lines)
    if text.strip():
        lines[:] = converted(text, () if what == "module" else known_arguments(obj))


def known_arguments(obj: Any) -> set[str]:
    """The names of an object's arguments; of a class or NamedTuple the fields, too."""
    try:
        names = set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        names = set()
    return names | set(getattr(obj, "__annotations__", {}))


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True}
