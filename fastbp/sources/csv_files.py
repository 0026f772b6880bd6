"""CSV files, read a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.sources.base import Chunk, Source, check_weight, naming_damage
from fastbp.tables.table_files import say_dialect
from fastbp.tables.text.dialect import Dialect
from fastbp.tables.text.gathering import Batch
from fastbp.tables.text.reader import batches, value_error
from fastbp.tables.text.records import Layout, layout_of
from fastbp.tables.values import as_number
from fastbp.util.types import Array


class CSV(Source):
    """Numeric columns of .csv files and their kin, each of which is a piece.

    The first line is a header row, unless it holds numbers: then columns are named 0, 1, …
    """

    def __init__(
        self,
        paths: Sequence[Path],
        target: Any,
        features: Sequence[Any] | None,
        weight: Any,
        scale: float | None,
        chunk_rows: int | None,
        dialect: Dialect | None = None,
    ) -> None:
        super().__init__(paths, scale, chunk_rows)
        check_weight(target, weight)
        self._dialect = dialect or Dialect()
        self._first = layout_of(paths[0], self._dialect)
        say_dialect(self._first._replace(headed=True), self._dialect)  # files without a header row are usual here
        self.columns = Columns(self._first.names, target, features, weight, str(paths[0]))
        self.options["columns"] = self.columns.chosen
        self.pieces = len(paths)

    @naming_damage
    def read_piece(self, piece: int) -> Iterator[tuple[str, Chunk]]:
        chosen, layout = self.columns, self._layout(piece)
        places = [layout.names.index(name) for name in chosen.all]
        step, row = self.fitting_rows(len(chosen.features)), 0
        for table, plain in _tables(layout, places, step):
            # every line is a record in a plain file; others are not read twice to name a line
            first = f"line {row + 1 + layout.headed}" if plain else f"row {row}"
            yield f"{layout.path.name} from {first}", self.chunk(*chosen.split(table))
            row += len(table)

    def _layout(self, piece: int) -> Layout:
        path = self.files[piece]
        layout = self._first if piece == 0 else layout_of(path, self._dialect)
        if self._first.headed and layout.names != self._first.names:
            raise ValueError(f"{path} must have the same columns as {self.files[0]}: use one header for all files")
        if len(layout.names) != len(self._first.names):
            raise ValueError(
                f"{path} must have as many columns as {self.files[0]}, {len(self._first.names)}, got "
                f"{len(layout.names)}: open files of one kind"
            )
        return layout._replace(headed=layout.headed and self._first.headed)


def _tables(layout: Layout, places: Sequence[int], step: int) -> Iterator[tuple[Array, bool]]:
    """Columns as arrays of `step` rows, however the reader cuts the file, each with whether all before it is plain."""
    kept, held, done = [], 0, 0
    for batch in batches(layout, sorted(set(places))):
        kept.append(_numbers(batch, places, layout, done))
        held, done = held + batch.rows, done + batch.rows
        if held >= step:
            table = kept[0] if len(kept) == 1 else np.concatenate(kept)
            for start in range(0, held - step + 1, step):
                yield table[start : start + step], batch.plain
            kept, held = [table[held - held % step :]], held % step
    if held:
        yield np.concatenate(kept), batch.plain


def _numbers(batch: Batch, places: Sequence[int], layout: Layout, done: int) -> Array:
    """The columns of a batch, (rows, columns); ValueError for the first value that is not a finite number."""
    result = np.empty((batch.rows, len(places)))
    for k, place in enumerate(places):
        numbers = batch.numbers(place)
        if numbers is None or not np.isfinite(numbers).all():
            raise _not_a_number(batch, places, layout, done)
        result[:, k] = numbers
    return result


def _not_a_number(batch: Batch, places: Sequence[int], layout: Layout, done: int) -> ValueError:
    """The error for the first value of a batch that is not a finite number."""
    wrong, decimal = [], layout.dialect.decimal
    for place in places:
        numbers = batch.numbers(place)
        if numbers is None:
            texts = batch.texts(place)
            read = [as_number(text.replace(",", ".") if decimal == "," else text) for text in texts.values]
            numbers = np.array(read, np.float64)[texts.codes]
        if not np.isfinite(numbers).all():
            wrong.append((int((~np.isfinite(numbers)).argmax()), place))
    row, place = min(wrong)
    remedy = "leave the column out by features=, or use fastbp.Preprocessor on the table"
    return value_error(layout, done + row, place, "must hold finite numbers", remedy)


class Columns:
    """Which columns of a table are features, target and weight."""

    def __init__(self, names: Sequence[str], target: Any, features: Any, weight: Any, path: str) -> None:
        self.targets = [] if target is None else [str(target)] if isinstance(target, str | int) else [*map(str, target)]
        self.single = isinstance(target, str | int)
        self.weights = [] if weight is None else [str(weight)]
        apart = {*self.targets, *self.weights}
        self.features = [name for name in names if name not in apart] if features is None else [*map(str, features)]
        for name in self.all:
            if name not in names:
                there = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
                raise ValueError(f"{path} must have a column {name!r}, but it has {there}: name one of these")
        if not self.features:
            raise ValueError(f"{path} must have features, but all its columns are target or weight: name features")

    @property
    def all(self) -> list[str]:
        """Names of all columns that are read."""
        return [*self.features, *self.targets, *self.weights]

    @property
    def chosen(self) -> dict[str, list[str]]:
        """Column names by role."""
        return {"features": self.features, "target": self.targets, "weight": self.weights}

    def split(self, table: Any) -> tuple[Any, Any, Any]:
        """X, y and weights from an array of all columns."""
        n, k = len(self.features), len(self.targets)
        y = None if not k else table[:, n] if self.single else table[:, n : n + k]
        return table[:, :n], y, table[:, n + k] if self.weights else None
