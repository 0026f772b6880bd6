"""Batches of a text file's records through Python's csv module: the same values and errors, without pyarrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice

import numpy as np

from fastbp.tables.text.records import Layout, rows
from fastbp.tables.values import Coded, as_number, coded, is_missing, numbers_in
from fastbp.util.types import Array

_ROWS = 10_000
_VALUES = 1 << 18  # at most, in a batch
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")


class PlainBatch:
    """Some records; columns by their number in the file."""

    plain = False

    def __init__(self, columns: dict[int, Sequence[str]], n: int, missing: Collection[str], decimal: str) -> None:
        self.rows = n
        self._columns, self._missing, self._decimal = columns, missing, decimal

    def numbers(self, place: int) -> Array | None:
        """A column as numbers, NaN where one is missing; None if it holds something else."""
        column = self._columns[place]
        if self._decimal == ",":
            if any("." in value for value in column):
                return None
            column = [value.replace(",", ".") for value in column]
        if "".join(column).isascii() and not any("_" in value for value in column):  # float() reads more than numbers
            try:
                numbers = np.array(list(map(float, column)))
            except ValueError:
                pass
            else:
                if np.isfinite(numbers).all():
                    return numbers
        values = set(column)
        if any(as_number(value) is None and not is_missing(value, self._missing) for value in values):
            return None
        return np.asarray(numbers_in(coded(np.array(column, object)), self._missing).numbers)

    def integers(self, place: int) -> Array | None:
        """A column as integers; None if a value is none that 64 bits hold, or written as a name: 007."""
        column = self._columns[place]
        if not all(map(_INTEGER.fullmatch, column)):
            return None
        try:
            return np.array(list(map(int, column)), np.int64)
        except (OverflowError, ValueError):  # ValueError: thousands of digits
            return None

    def texts(self, place: int) -> Coded:
        """A column as the texts of the file."""
        places: dict[str, int] = {}
        codes = [places.setdefault(value, len(places)) for value in self._columns[place]]
        return Coded(np.array(codes, np.int32), list(places))


def plain_batches(
    layout: Layout, places: Sequence[int], missing: Collection[str], on_read: Callable[[int], None] | None = None
) -> Iterator[PlainBatch]:
    """The file's rows in batches; without on_read's progress, which needs no file of its own here."""
    step = max(1, min(_ROWS, _VALUES // len(layout.names)))
    records = (fields for _, fields in rows(layout))
    while batch := list(islice(records, step)):
        columns = list(zip(*batch, strict=True))
        yield PlainBatch({place: columns[place] for place in places}, len(batch), missing, layout.dialect.decimal)
