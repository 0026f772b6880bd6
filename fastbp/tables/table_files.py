"""Tables in files: comma-separated text and its kin, Parquet, Excel; by the ending of the name."""

from __future__ import annotations

import warnings
from pathlib import Path

from fastbp.tables.columns import Columns
from fastbp.tables.text.dialect import Dialect
from fastbp.tables.text.lines import Lines
from fastbp.tables.text.reader import read
from fastbp.tables.text.records import Layout, layout_of
from fastbp.tables.text.unpacking import COMPRESSED
from fastbp.tables.wanted import FileTable, Wanted, chosen

TEXT = (".csv", ".tsv", ".tab")
PARQUET, EXCEL = (".parquet", ".pq"), (".xlsx", ".xlsm")
_ON_THE_COMMAND_LINE = {"\t": "tab", ";": "';'", "|": "'|'"}
LISTED = ".csv, .tsv (also .gz, .bz2, .xz, .zst), .parquet or .xlsx"


def ending_of(path: Path) -> str:
    """The ending of a table's name, in lower case and without that of its compression; "" if it is of no table.

    >>> ending_of(Path("A.CSV")), ending_of(Path("a.tsv.gz")), ending_of(Path("a.parquet.gz")), ending_of(Path("a.png"))
    ('.csv', '.tsv', '', '')
    """
    name = path.name.lower()
    for packed in COMPRESSED:
        if name.endswith(packed):
            ending = Path(name.removesuffix(packed)).suffix
            return ending if ending in TEXT else ""
    ending = Path(name).suffix
    return ending if ending in (*TEXT, *PARQUET, *EXCEL) else ""


def read_table(path: Path, wanted: Wanted, dialect: Dialect) -> FileTable:
    """Read a file by its ending; a named separator makes a text file of any."""
    ending = ending_of(path)
    if ending in PARQUET and dialect.separator is None:
        from fastbp.tables.parquet_files import read_parquet

        return read_parquet(path, wanted)
    if ending in EXCEL and dialect.separator is None:
        from fastbp.tables.excel_files import read_excel

        return read_excel(path, wanted)
    return read_text(path, wanted, dialect)


def read_text(path: Path, wanted: Wanted, dialect: Dialect) -> FileTable:
    """Read a text file."""
    layout = layout_of(path, dialect)
    say_dialect(layout, dialect)
    features = chosen(layout.names, wanted, path)
    places = [layout.names.index(name) for name in features]
    as_texts = {place for name, place in zip(features, places, strict=True) if name in wanted.texts}
    target = layout.names.index(wanted.target) if wanted.target in layout.names else None
    found = read(layout, places, as_texts, target, wanted.missing, wanted.progress)
    matrix = found.numbers if not found.texts else None
    at = {place: column for column, place in enumerate(found.places)}
    arrays = [found.texts[place] if place in found.texts else found.numbers[:, at[place]] for place in places]
    return FileTable(Columns(features, arrays, matrix, Lines(layout, len(arrays[0]))), found.target)


def say_dialect(layout: Layout, given: Dialect) -> None:
    """Warn of what was guessed: a separator other than the usual one, or that there is no header row."""
    found, usual = layout.dialect.separator, "\t" if ending_of(layout.path) in (".tsv", ".tab") else ","
    if given.separator is None and found != usual:
        warnings.warn(
            f"the values of {layout.path} are separated by {found!r}, as its first lines show: name it with "
            f"separator={found!r} (--separator {_ON_THE_COMMAND_LINE.get(found or '', found)}) to be sure",
            stacklevel=2,
        )
    if not layout.headed:
        warnings.warn(
            f"{layout.path} has no header row, since its first line holds only numbers: its columns are named 0 to "
            f"{len(layout.names) - 1}",
            stacklevel=2,
        )
