"""The same files by Python's own csv module and float(), to judge by another rule than fastbp's which columns hold
numbers.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

FEW = 0.05  # texts among the values of a column that still holds numbers
_MISSING = ("", "?", "na", "n/a", "nan", "null", "none")


class Count(NamedTuple):
    """What a column holds: how many numbers, how many texts; counting: whether its numbers are 0, 1, 2, … or 1, 2, …"""

    numbers: int
    texts: int
    counting: bool

    @property
    def numeric(self) -> bool:
        """Whether there are numbers, and under 5 % texts."""
        return self.numbers > 0 and self.texts < FEW * (self.numbers + self.texts)


def names_of(path: Path) -> list[str]:
    """The names of the columns: 0, 1, … where the first line holds numbers alone."""
    return list(counts_of(path))


def counts_of(path: Path) -> dict[str, Count]:
    """What each column holds."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        separator = max(",;\t|", key=file.readline().count)
        file.seek(0)
        rows = [row for row in csv.reader(file, delimiter=separator) if any(map(str.strip, row))]
    if not rows:
        return {}
    headed = any(_number(value) is None for value in rows[0])
    names = [name.strip() for name in rows[0]] if headed else list(map(str, range(len(rows[0]))))
    body = [row for row in rows[headed:] if len(row) == len(names)]
    return {name: _count([row[place] for row in body]) for place, name in enumerate(names)}


def _count(values: list[str]) -> Count:
    present = [value for value in values if value.strip().lower() not in _MISSING]
    numbers = [number for value in present if (number := _number(value)) is not None]
    counting = bool(numbers) and any(numbers == [*range(first, first + len(values))] for first in (0, 1))
    return Count(len(numbers), len(present) - len(numbers), counting)


def _number(text: str) -> float | None:
    if "_" in text or not text.isascii():  # float() reads more than what a person calls a number
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
