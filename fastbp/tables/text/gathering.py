"""Columns put together from batches of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastbp.tables.values import Coded
from fastbp.util.types import Array


class Batch(Protocol):
    """Some records of a file; columns by their number in it."""

    rows: int
    plain: bool  # whether so far every line of the file is a record

    def numbers(self, place: int) -> Array | None:
        """A column as numbers, NaN where one is missing; None if it holds something else."""

    def integers(self, place: int) -> Array | None:
        """A column as integers; None if a value is none that 64 bits hold, or written as a name: 007."""

    def texts(self, place: int) -> Coded:
        """A column as the texts of the file."""


class Growing:
    """An array that grows by rows: the memory is that of its rows, not twice as much."""

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self.rows = 0
        self._array: Array = np.empty((0,) if width is None else (0, width), dtype)

    def room(self, n: int) -> Array:
        """The next n rows, uninitialized."""
        start, self.rows = self.rows, self.rows + n
        if self.rows > len(self._array):
            # untouched pages take no memory, and realloc moves pages instead of copying them
            self._array.resize((2 * self.rows, *self._array.shape[1:]), refcheck=False)
        return self._array[start : self.rows]

    def result(self) -> Array:
        """The rows."""
        self._array.resize((self.rows, *self._array.shape[1:]), refcheck=False)
        return self._array


class Texts:
    """A column of texts as codes into the distinct ones."""

    def __init__(self) -> None:
        self._codes = Growing(np.int32)
        self._places: dict[str, int] = {}

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._codes.rows

    def add(self, column: Coded) -> None:
        """Append the rows of a batch."""
        places = self._places
        place = [places.setdefault(value, len(places)) for value in column.values]
        self._codes.room(len(column))[:] = np.array(place, np.int32)[column.codes]

    def result(self) -> Coded:
        """The column."""
        return Coded(self._codes.result(), list(self._places))


class Numbers:
    """Columns of numbers in one matrix.

    Those with texts among the first rows are not begun. Others in which a text follows are `given_up`.
    """

    def __init__(self, places: Sequence[int]) -> None:
        self.given_up: list[int] = []
        self._places = list(places)
        self._table: Growing | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return 0 if self._table is None else self._table.rows

    def add(self, batch: Batch) -> list[int]:
        """Append the rows of a batch; of the first, the columns that are not begun."""
        columns = {place: batch.numbers(place) for place in self._places if place not in self.given_up}
        texts = [place for place, column in columns.items() if column is None]
        begun = self._table is not None
        if self._table is None:
            self._places = [place for place in self._places if place not in texts]
            self._table = Growing(np.float64, len(self._places))
        else:
            self.given_up += texts
        rows = self._table.room(batch.rows)
        for k, place in enumerate(self._places):
            column = columns.get(place)
            if column is not None:
                rows[:, k] = column
        return [] if begun else texts

    def result(self) -> tuple[tuple[int, ...], Array]:
        """The columns that hold numbers alone, and the matrix of their values."""
        if self._table is None:
            return (), np.empty((0, 0))
        kept = [k for k, place in enumerate(self._places) if place not in self.given_up]
        matrix = self._table.result()
        places = tuple(self._places[k] for k in kept)
        return places, matrix if len(kept) == len(self._places) else np.ascontiguousarray(matrix[:, kept])


class Target:
    """A column of integers, which stay exact, of other numbers, or of texts."""

    def __init__(self, place: int) -> None:
        self.place, self.rows = place, 0
        self._numbers = Numbers([place])
        self._integers: Growing | None = Growing(np.int64)
        self._texts: Texts | None = None

    def add(self, batch: Batch) -> None:
        """Append the rows of a batch."""
        self.rows += batch.rows
        if self._texts is None and self._numbers.add(batch):
            self._texts = Texts()
        if self._texts is not None:
            self._texts.add(batch.texts(self.place))
        integers = None if self._integers is None else batch.integers(self.place)
        if self._integers is None or integers is None:
            self._integers = None
        else:
            self._integers.room(batch.rows)[:] = integers

    @property
    def needs_texts(self) -> bool:
        """Whether `result` needs the column as texts: a text follows numbers, or integers have gaps or many digits."""
        if self._texts is not None or self._integers is not None:
            return False
        if self._numbers.given_up:
            return True
        numbers = self._numbers.result()[1]
        return not (np.floor(numbers) != numbers)[np.isfinite(numbers)].any()

    def result(self, texts: Coded | None) -> Array | Coded:
        """int64; float64 with NaN for missing values; or texts, among them those of integers with gaps."""
        if self._integers is not None:
            return self._integers.result()
        if self._texts is not None:
            return self._texts.result()
        return self._numbers.result()[1][:, 0] if texts is None else texts
