"""CSV files, read a chunk of lines at a time."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fastbp.sources.base import Chunk, Source, check_weight, naming_damage
from fastbp.tables.values import as_number
from fastbp.util.files import reading


class CSV(Source):
    """Numeric columns of .csv or .csv.gz files, each of which is a piece.

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
    ) -> None:
        super().__init__(paths, scale, chunk_rows)
        check_weight(target, weight)
        with reading(paths[0]), _opened(paths[0]) as file:
            first = next(csv.reader(file), [])
        self._named = not all(as_number(name) is not None for name in first)
        names = [name.strip() for name in first] if self._named else [str(place) for place in range(len(first))]
        if not names or len(set(names)) != len(names):
            raise ValueError(
                f"{paths[0]} must begin with a row of numbers or of distinct names, got "
                f"{', '.join(names) or 'nothing'}: name every column"
            )
        self._names = names
        self.columns = Columns(names, target, features, weight, str(paths[0]))
        self.options["columns"] = self.columns.chosen
        self.pieces = len(paths)

    @naming_damage
    def read_piece(self, piece: int) -> Iterator[tuple[str, Chunk]]:
        path, chosen = self.files[piece], self.columns
        places = [self._names.index(name) for name in chosen.all]
        step = self.fitting_rows(len(chosen.features))
        with _opened(path) as file:
            if self._named and [name.strip() for name in next(csv.reader(file), [])] != self._names:
                raise ValueError(f"{path} must have the same columns as {self.files[0]}: use one header for all files")
            line = 1 + self._named
            while lines := list(islice(file, step)):
                if filled := [text for text in lines if not text.isspace()]:
                    table = self._numbers(filled, places, path, line)
                    yield f"{path.name} from line {line}", self.chunk(*chosen.split(table))
                line += len(lines)

    def _numbers(self, lines: list[str], places: list[int], path: Path, line: int) -> Any:
        try:
            return np.loadtxt(lines, delimiter=",", usecols=places, ndmin=2, comments=None, quotechar='"')
        except (ValueError, IndexError) as error:
            self._explain(lines, places, f"{path}, from line {line} on,")
            raise ValueError(f"{path} must hold numbers, but from line {line} on: {error}") from error

    def _explain(self, lines: list[str], places: list[int], where: str) -> None:
        """ValueError for the first line with a value that is not a number."""
        for fields in csv.reader(lines):
            if len(fields) != len(self._names):
                raise ValueError(
                    f"{where} must have {len(self._names)} values per line, but one has {len(fields)}: "
                    f"fix the line {','.join(fields)[:60]!r}"
                )
            for place in places:
                if as_number(fields[place]) is None:
                    raise ValueError(
                        f"{where} must hold numbers, but column {self._names[place]!r} holds {fields[place]!r} in the "
                        f"line {','.join(fields)[:60]!r}: leave the column out by features=, or use "
                        "fastbp.Preprocessor on the table"
                    )


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


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")
