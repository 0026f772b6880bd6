"""Records of a text file, one by one, with the line on which each begins; every error of a file is told here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from fastbp.tables.text.dialect import Dialect, separator_in
from fastbp.tables.text.stream import TextFile, damaged, undecodable
from fastbp.tables.text.unpacking import COMPRESSED, DAMAGED
from fastbp.tables.values import as_number

END = "\0end"  # read after the last line: found within a record if a quote is never closed
_SHOWN = 60  # characters of a line in messages


class Layout(NamedTuple):
    """What the first record says: column names, whether it holds them, and blank records before it."""

    path: Path
    dialect: Dialect
    names: tuple[str, ...]
    headed: bool
    leading: int  # blank records of one value before the first record


def layout_of(path: Path, dialect: Dialect) -> Layout:
    """The layout of a file; without a header row, which is one of numbers alone, columns are named 0, 1, …"""
    with TextFile(path, dialect.encoding) as file:
        text, whole = file.head
    if dialect.separator is None:
        name = path.name.lower()
        for ending in COMPRESSED:
            name = name.removesuffix(ending)
        found = separator_in(text, whole, "\t" if name.endswith((".tsv", ".tab")) else ",")
        dialect = dialect._replace(separator=found)
    leading, first = 0, []
    for _, fields in records(path, dialect):
        if any(map(str.strip, fields)) or len(fields) > 1:
            first = fields
            break
        leading += 1
    headed = not first or not all(as_number(_pointed(value, dialect)) is not None for value in first)
    names = tuple(name.strip() for name in first) if headed else tuple(map(str, range(len(first))))
    check_names(path, names)
    return Layout(path, dialect, names, headed, leading)


def records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The line, from 1, on which each record begins, and its values; empty lines are left out."""
    _allow_long_fields()
    with TextFile(path, dialect.encoding) as file:
        reader = csv.reader(_lines(file), delimiter=dialect.separator or ",")
        line = 1
        try:
            for fields in reader:
                if fields and END in fields[-1]:
                    if fields == [END]:
                        return
                    raise _unclosed(path, line, fields)
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise undecodable(path, dialect.encoding) or ValueError(f"cannot read {path}: {error}") from error
        except DAMAGED as error:
            raise damaged(path, error) from error
        except OSError as error:
            raise damaged(path, error) if file.path.suffix.lower() in COMPRESSED else error from None
        except csv.Error as error:
            raise ValueError(f"line {line} of {path} cannot be read: {error}: correct it") from error


def records_in(text: str, layout: Layout) -> list[list[str]]:
    """The values of the records of a text that holds whole ones; empty lines are left out."""
    _allow_long_fields()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=layout.dialect.separator or ",")
    return [fields for fields in reader if fields]


def _allow_long_fields() -> None:
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))  # the usual limit, 128 kB, also meets long texts


def rows(layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Line and values of every row below the header; ValueError for one of another length."""
    n, first = len(layout.names), layout.headed
    for line, fields in islice(records(layout.path, layout.dialect), layout.leading, None):
        if len(fields) != n:
            if len(fields) == 1 and not fields[0].strip():
                continue
            raise _of_another_length(layout, line, fields)
        if not first:
            yield line, fields
        first = False


def record_of(layout: Layout, row: int) -> tuple[int, list[str]]:
    """The line of the file on which a row begins, counted from 1 as an editor does, and its values.

    The file is read again for it: only errors and warnings ask. Rows count from 0.
    """
    return next(islice(rows(layout), row, None), (0, []))


def fault_of(layout: Layout) -> ValueError:
    """The error of a file that a faster reader gave up."""
    try:
        for _ in rows(layout):
            pass
    except ValueError as error:
        return error
    return ValueError(f"cannot read {layout.path}: it changed while it was read: read it again")


def shown(fields: list[str], separator: str) -> str:
    """A record in messages."""
    text = separator.join(fields)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _lines(file: TextFile) -> Iterator[str]:
    """Lines with their ends, whichever they are; ValueError for NUL characters."""
    number = 0
    waiting: list[str] = []  # parts of a line that is longer than a part
    for part in file.text():
        waiting.append(part)
        if not any(end in part for end in "\r\n"):
            continue
        pieces = io.StringIO("".join(waiting), newline="").readlines()
        waiting = [pieces.pop()]  # it may go on, or end in half of \r\n
        for piece in pieces:
            number += 1
            if "\0" in piece:
                raise _nul(file.path, number)
            yield piece
    rest = "".join(waiting)
    if "\0" in rest:
        raise _nul(file.path, number + 1)
    if rest:
        yield rest if rest[-1] in "\r\n" else rest + "\n"
    yield END + "\n"


def _nul(path: Path, line: int) -> ValueError:
    return ValueError(
        f"line {line} of {path} has a NUL character: remove it, or name the encoding, as in --encoding utf-16, if the "
        "whole file has them"
    )


def _unclosed(path: Path, line: int, fields: list[str]) -> ValueError:
    line += sum(field.count("\n") for field in fields[:-1])
    text = fields[-1].split("\n")[0]
    return ValueError(
        f"line {line} of {path} opens a quote that is never closed, before {text[:_SHOWN]!r}: close it, or double "
        "quotes within quoted values"
    )


def _of_another_length(layout: Layout, line: int, fields: list[str]) -> ValueError:
    separator, n = layout.dialect.separator or ",", len(layout.names)
    wanted = f"the header row has {n} names" if layout.headed else f"the first line has {n}"
    return ValueError(
        f"line {line} of {layout.path} has {len(fields)} values, but {wanted}: quote values that contain "
        f"{separator!r}, or correct the line {shown(fields, separator)}"
    )


def check_names(path: Path, names: tuple[str, ...]) -> None:
    """ValueError unless there are names, all different."""
    if not names:
        raise ValueError(f"{path} must start with a header row of distinct names, got nothing: the file is empty")
    places: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if name in places:
            what = f"the name {name[:_SHOWN]!r}" if name else "no name"
            raise ValueError(
                f"{path} must start with a header row of distinct names, but columns {places[name]} and {place} have "
                f"{what}: rename one"
            )
        places[name] = place


def _pointed(value: str, dialect: Dialect) -> str:
    return value.replace(",", ".") if dialect.decimal == "," else value
