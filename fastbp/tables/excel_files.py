"""Excel workbooks as tables: the first sheet, with the header in its first row."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.tables.columns import Columns
from fastbp.tables.text.records import check_names
from fastbp.tables.values import Coded, coded
from fastbp.tables.wanted import FileTable, Wanted, chosen
from fastbp.util.types import Array


class SheetRows:
    """The rows of the sheet in which those of a table stand, from 1 as it shows them."""

    unit = "row"

    def __init__(self, numbers: Array) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, places: Any) -> Any:
        """That of one row, or those of some rows."""
        found = self._numbers[places]
        return SheetRows(found) if np.ndim(found) else int(found)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self._numbers.astype(dtype or np.int64)


def read_excel(path: Path, wanted: Wanted) -> FileTable:
    """Read a workbook; ImportError without openpyxl."""
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise ImportError(
            'reading Excel workbooks needs the package openpyxl: pip install "fastbp[excel]", or save the sheet as .csv'
        ) from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        rows = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"cannot read {path}: it is no Excel workbook, or damaged ({error})") from error
    filled = [(line, row) for line, row in enumerate(rows, start=1) if any(value is not None for value in row)]
    if not filled:
        raise ValueError(
            f"{path} must start with a header row of distinct names, got nothing: its first sheet is empty"
        )
    (_, header), *body = filled
    while header and header[-1] is None:  # formatted cells beside the table
        header.pop()
    names = tuple("" if name is None else str(name).strip() for name in header)
    check_names(path, names)
    for line, row in body:
        if any(value is not None for value in row[len(names) :]):
            raise ValueError(
                f"row {line} of {path} has more values than the header row has names, {len(names)}: name all columns"
            )
    if not body:
        raise ValueError(f"{path} holds no rows below its header row: add some")
    features = chosen(names, wanted, path)
    columns: dict[str | None, Array | Coded] = {}
    for name in {*features, *([wanted.target] if wanted.target in names else [])}:
        place = names.index(str(name))
        values = [row[place] if place < len(row) else None for _, row in body]
        columns[name] = _column(values, str(name), path, name in wanted.texts)
    lines = SheetRows(np.array([line for line, _ in body]))
    table = Columns(features, [columns[name] for name in features], None, lines)
    return FileTable(table, columns.get(wanted.target))


def _column(values: list[Any], name: str, path: Path, as_texts: bool) -> Array | Coded:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds and kinds <= {datetime.date, datetime.datetime} and not as_texts:
        return np.array(values, "datetime64[us]")  # None becomes NaT
    if not kinds <= {int, float, str, bool}:
        value = next(value for value in values if value is not None and type(value) not in (int, float, str, bool))
        raise TypeError(
            f"column {name!r} of {path} must hold numbers, strings, booleans or dates, got {value!r:.60}: format it as "
            "one of these, or leave it out"
        )
    if kinds <= {int, float} and not as_texts:
        if kinds == {int} and None not in values:
            return np.array(values) if all(abs(value) < 1 << 63 for value in values) else np.array(values, np.float64)
        return np.array([np.nan if value is None else value for value in values], np.float64)
    column = np.empty(len(values), object)
    column[:] = values
    return coded(column)
