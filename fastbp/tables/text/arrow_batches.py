"""Batches of a text file's records through pyarrow, if it is installed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from fastbp.tables.text.records import Layout, fault_of, records_in
from fastbp.tables.text.stream import TextFile, Unreadable, record_blocks
from fastbp.tables.text.unpacking import COMPRESSED, DAMAGED
from fastbp.tables.values import Coded, as_number, numbers_in
from fastbp.util.types import Array

BLOCK_BYTES = 1 << 19  # larger ones take more memory and are no faster


class ArrowBatch:
    """Some records; columns by their number in the file."""

    def __init__(self, columns: dict[int, Any], rows: int, plain: bool, missing: Collection[str], decimal: str) -> None:
        self.rows, self.plain = rows, plain
        self._columns, self._missing, self._decimal = columns, missing, decimal

    def numbers(self, place: int) -> Array | None:
        """A column as numbers, NaN where one is missing; None if it holds something else."""
        import pyarrow.compute as pc

        column = self._columns[place]
        if self._decimal == ",":
            if pc.any(pc.match_substring(column, ".")).as_py():
                return None  # a number with a point, or a text: the texts tell
            column = pc.replace_substring(column, ",", ".")
        numbers = _cast(column)
        if numbers is None:
            numbers = _cast(self._without_gaps(column))
        if numbers is not None and np.isfinite(numbers).all():
            return numbers
        # to Arrow, nan(1) is a number, and " 1" in Unicode's other spaces is none
        odd = column if numbers is None else column.filter(_mask(~np.isfinite(numbers)))
        for value in odd.unique().to_pylist():
            if as_number(value) is None and not self._is_missing(value):
                return None
        if numbers is None:
            return np.asarray(numbers_in(_coded(column), self._missing).numbers)
        return np.where(np.isnan(numbers), np.nan, numbers)  # -nan has other bits

    def integers(self, place: int) -> Array | None:
        """A column as integers; None if a value is none that 64 bits hold, or written as a name: 007."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._columns[place]
        if pc.any(pc.match_substring_regex(column, "^-?0[0-9x]")).as_py():  # to us, 007 is a name and 0x10 a text
            return None
        try:
            return np.asarray(pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            return None

    def texts(self, place: int) -> Coded:
        """A column as the texts of the file."""
        return _coded(self._columns[place])

    def _without_gaps(self, column: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        trimmed = pc.utf8_trim_whitespace(column)
        gaps = pc.is_in(pc.utf8_lower(trimmed), value_set=_strings(tuple(sorted(self._missing))))
        return pc.if_else(gaps, pa.nulls(1, pa.string())[0], trimmed)

    def _is_missing(self, text: str) -> bool:
        return text.strip().lower() in self._missing


def arrow_batches(
    layout: Layout, places: Sequence[int], missing: Collection[str], on_read: Callable[[int], None] | None = None
) -> Iterator[ArrowBatch]:
    """The file's rows in batches; on_read is called with the bytes read so far.

    Arrow is given whole records in memory. Its own streams and row handlers call back into Python from threads of
    theirs; a stream that is left before its end then hangs.
    """
    import pyarrow as pa

    n, dialect = len(layout.names), layout.dialect
    left_out, plain = layout.headed + (layout.leading if n == 1 else 0), True
    try:
        with TextFile(layout.path, dialect.encoding) as file:
            for block in record_blocks(file, dialect.separator or ",", BLOCK_BYTES):
                table = _parsed(block, layout, places)
                if on_read is not None:
                    on_read(file.position)
                plain = plain and table.num_rows == _lines(block)
                skip = min(left_out, table.num_rows)
                left_out -= skip
                if skip < table.num_rows:
                    whole = (column.combine_chunks() for column in table.slice(skip).columns)
                    columns = dict(zip(places, whole, strict=True))
                    yield ArrowBatch(columns, table.num_rows - skip, plain, missing, dialect.decimal)
    except (pa.ArrowException, Unreadable, UnicodeError, EOFError, *DAMAGED) as error:
        raise fault_of(layout) from error
    except OSError as error:
        raise (fault_of(layout) if layout.path.suffix.lower() in COMPRESSED else error) from error


def _lines(block: bytes) -> int:
    """How many lines a block has."""
    ends = block.count(b"\n")
    if b"\r" in block:
        ends += block.count(b"\r") - block.count(b"\r\n")
    return ends + (not block.endswith((b"\n", b"\r")))


def _parsed(block: bytes, layout: Layout, places: Sequence[int]) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    names = [str(place) for place in range(len(layout.names))]
    chosen = [str(place) for place in places]
    if not block.strip(b"\r\n"):
        return pa.table({name: pa.array([], pa.string()) for name in chosen})
    try:
        return csv.read_csv(
            pa.BufferReader(block),
            # a single thread: others may be training, and two are no faster
            csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            csv.ParseOptions(delimiter=layout.dialect.separator or ",", newlines_in_values=True),
            csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(chosen, pa.string()),
                strings_can_be_null=False,
                include_columns=chosen,
            ),
        )
    except pa.ArrowInvalid:  # to Arrow, a line of spaces is a row of one value
        records = [fields for fields in records_in(block.decode(), layout) if len(fields) > 1 or fields[0].strip()]
        if any(len(fields) != len(names) for fields in records):
            raise
        return pa.table({str(place): pa.array([fields[place] for fields in records], pa.string()) for place in places})


def _cast(column: Any) -> Array | None:
    """Texts as numbers, as float() reads them; None if one is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None


# From what NumPy and Python hold, pyarrow.array, scalar and computations make arrays with the help of pandas, if it is
# installed: importing it takes a third of a second and 30 MB.


def _mask(chosen: Array) -> Any:
    import pyarrow as pa

    bits = np.packbits(chosen, bitorder="little").tobytes()
    return pa.Array.from_buffers(pa.bool_(), len(chosen), [None, pa.py_buffer(bits)])


@cache
def _strings(texts: tuple[str, ...]) -> Any:
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    starts = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(starts.tobytes()), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def _coded(column: Any) -> Coded:
    encoded = column.dictionary_encode()
    return Coded(encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist())
