"""What the columns of a table are: numbers, dates, categories, or nothing to learn from.

Settled on all rows that there are, before any of them is held out: a handful of texts among many numbers must not
decide, and neither must the rows that they happen to stand in.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from fastbp.tables.columns import FEW, Columns, check_finite, distinct, parsed, texts
from fastbp.tables.dates import days_in, looks_ambiguous
from fastbp.tables.values import MISSING, Coded, Numbers
from fastbp.util.types import Array

FEWEST_IDS = 10  # rows from which on texts that are all different are names of the rows
MISSING_OPTIONS = "--missing, Preprocessor(missing=…)"
# Of a frame's row numbers in a file, and as pandas reads them, also of a file written again.
_NAMELESS = re.compile(r"(Unnamed: [0-9]+(\.[0-9]+)*)?")
COUNTING_NAMES = ("rownames", "row.names", "rowname", "index", "id")
_FORMATTED = re.compile(r"[-+(]?\s*[$€£¥]?\s*[-+]?[0-9]{1,3}([,.' ]?[0-9]{3})*([.,][0-9]+)?\s*[%$€£¥kKmM]?\s*\)?")


class Kind(NamedTuple):
    """kind: "number", "date", "category", or "ignored", and why; others: texts that stand for missing values here."""

    kind: str
    others: tuple[str, ...] = ()
    why: str = ""


def settle(table: Columns, categorical: Collection[str | int] = (), missing: Collection[str] = MISSING) -> Columns:
    """The table with its kinds; columns of texts that are numbers or dates become such. categorical: names or places.

    Warns of texts that are treated as missing and of columns that are left out, with places and remedy.
    """
    if table.kinds:
        return table
    chosen = _places(table, categorical)
    arrays, kinds = list(table.arrays), []
    for place, values in enumerate(table.arrays):
        if place in chosen:
            kinds.append(Kind("category"))
        elif _are_row_numbers(table, place):
            kinds.append(Kind("ignored", why="row numbers"))
            _warn(f"{table.label(place)} is left out: these are row numbers; rename it to make it a feature")
        else:
            arrays[place], kind = _settled(table, place, values, missing)
            kinds.append(kind)
    return table._replace(arrays=arrays, kinds=tuple(kinds))


def _are_row_numbers(table: Columns, place: int) -> bool:
    """Whether one of the first columns has no name, or the first is called like row numbers and counts the rows."""
    if not table.names or all(_NAMELESS.fullmatch(name) for name in table.names[: place + 1]):
        return bool(table.names)
    if place or table.names[0].lower() not in COUNTING_NAMES or table.rows < FEWEST_IDS:
        return False
    numbers = parsed(table.arrays[0], table.label(0)).numbers
    return bool(numbers[0] in (0, 1) and (np.diff(numbers) == 1).all())


def _places(table: Columns, keys: Collection[str | int]) -> set[int]:
    """Positions of the columns that are to be categorical."""
    result = set()
    for key in keys:
        place = table.names.index(key) if key in table.names else key
        if not isinstance(place, int) or not 0 <= place < len(table.arrays):
            known = ", ".join(table.names) or f"the numbers 0 to {len(table.arrays) - 1}"
            raise ValueError(f"categorical has {key!r}, which is not a column of X: these are {known}")
        result.add(place)
    return result


def _settled(table: Columns, place: int, values: Any, missing: Collection[str]) -> tuple[Any, Kind]:
    if isinstance(values, Coded) and values.categorical:
        return values, Kind("category")
    if values.dtype.kind in "iufbM":
        check_finite(values, values, table.label(place), table.place)
        return values, Kind({"b": "category", "M": "date"}.get(values.dtype.kind, "number"))
    label = table.label(place)
    values = distinct(values, label)
    numbers = parsed(values, label, missing)
    present = int((~np.isnan(numbers.numbers)).sum()) + len(numbers.rows)
    if len(numbers.rows) < FEW * present or not len(numbers.rows):
        check_finite(numbers.numbers, values, label, table.place)
        _tell_others(table, place, numbers, "number")
        return numbers.numbers, Kind("number", _texts_of(numbers.others))
    dates = days_in(values, missing)
    if len(dates.rows) < FEW * present:
        _tell_others(table, place, dates, "date")
        return _as_dates(dates.numbers), Kind("date", _texts_of(dates.others))
    _refuse_ambiguous(table, place, numbers)
    if _all_different(values, label, missing):
        _warn(
            f"{label} is left out: its {present:,} strings are all different, so nothing can be learned from them; "
            f"drop it, or make it categorical ({_options(table, place)})"
        )
        return values, Kind("ignored", why="all different")
    _tell_lost_numbers(table, place, numbers, present)
    return values, Kind("category")


def _as_dates(days: Array) -> Array:
    result = np.full(len(days), np.datetime64("NaT", "us"), "M8[us]")
    known = ~np.isnan(days)
    result[known] = np.round(days[known] * 86_400_000_000).astype(np.int64).astype("M8[us]")
    return result


def _all_different(values: Any, label: str, missing: Collection[str]) -> bool:
    column = texts(values, label, missing)
    present = int((column.codes >= 0).sum())
    return len(column.values) >= present >= FEWEST_IDS and len(column.used().values) == present


def _texts_of(others: Coded) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(other).strip() for other in others.values))


# ---------------------------------------------------------------- what is said


def _tell_others(table: Columns, place: int, found: Numbers, kind: str) -> None:
    n = len(found.rows)
    if not n:
        return
    one = n == 1
    others = f"value is not a {kind}" if one else f"values are not {kind}s"
    _warn(
        f"{table.label(place)} holds {kind}s, but {n:,} {others}: "
        f"{_shown(table, found)}; treated as missing. Correct {'it' if one else 'them'}, name what stands for a "
        f"missing value ({MISSING_OPTIONS}), or make the column categorical ({_options(table, place)})"
    )


def _tell_lost_numbers(table: Columns, place: int, found: Numbers, present: int) -> None:
    """A word about categories that were probably meant as numbers."""
    n = len(found.rows)
    formatted = all(
        isinstance(other, str) and _FORMATTED.fullmatch(other.strip()) is not None for other in found.others.values
    )
    if n <= present / 2 or formatted:
        _warn(
            f"{table.label(place)} becomes categories, because {n:,} of its {present:,} values are not plain numbers: "
            f"{_shown(table, found)}. Write plain numbers, or name what stands for a missing value ({MISSING_OPTIONS})"
        )


def _refuse_ambiguous(table: Columns, place: int, found: Numbers) -> None:
    if all(map(looks_ambiguous, found.others.values)):
        got = f"{found.others[0]!r} at {table.place(int(found.rows[0]))}"
        raise ValueError(
            f"{table.label(place)} must hold dates as YYYY-MM-DD, got {got}, whose day and month "
            f"could be mistaken: write them so (pandas.to_datetime reads them), leave the column out, or make it "
            f"categorical ({_options(table, place)})"
        )


def _shown(table: Columns, found: Numbers) -> str:
    """The different texts and where they first stand: '.' at line 35, 'nil' (12 times, first at line 7)."""
    counts: dict[str, int] = {}
    first: dict[str, int] = {}
    _, start, times = np.unique(found.others.codes, return_index=True, return_counts=True)
    for other, row, n in zip(found.others.values, found.rows[start].tolist(), times.tolist(), strict=True):
        text = str(other).strip()
        counts[text] = counts.get(text, 0) + n
        first.setdefault(text, row)
    shown = [
        f"{text[:40]!r} at {table.place(first[text])}"
        if n == 1
        else f"{text[:40]!r} ({n:,} times, first at {table.place(first[text])})"
        for text, n in sorted(counts.items(), key=lambda item: -item[1])[:5]
    ]
    return ", ".join(shown) + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")


def _options(table: Columns, place: int) -> str:
    name = table.names[place] if table.names else str(place)
    return f"--categorical {name}, Preprocessor(categorical=…)"


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
