"""Text files of comma-separated values and their kin: columns of numbers as arrays, columns of texts as codes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from fastbp.tables.text.gathering import Batch, Numbers, Target, Texts
from fastbp.tables.text.plain_batches import plain_batches
from fastbp.tables.text.progress import reading
from fastbp.tables.text.records import Layout, record_of
from fastbp.tables.values import MISSING, Coded, as_number
from fastbp.util.types import Array

ARROW = True  # whether pyarrow is used where it is installed


class Read(NamedTuple):
    """The chosen columns of a file: all columns of numbers in one matrix, in their order; the others by their place."""

    places: tuple[int, ...]  # of the columns of numbers
    numbers: Array
    texts: dict[int, Coded]
    target: Array | Coded | None  # float64 with NaN for missing values, int64 without any, or texts


@cache
def has_arrow() -> bool:
    """Whether pyarrow can be imported."""
    try:
        import pyarrow.csv  # noqa: F401
    except ImportError:
        return False
    return True


def batches(
    layout: Layout,
    places: Sequence[int],
    missing: Collection[str] = MISSING,
    on_read: Callable[[int], None] | None = None,
) -> Iterator[Batch]:
    """The rows of a file in batches of some megabytes."""
    if ARROW and has_arrow():
        from fastbp.tables.text.arrow_batches import arrow_batches

        return arrow_batches(layout, places, missing, on_read)
    return plain_batches(layout, places, missing, on_read)


def read(
    layout: Layout,
    features: Sequence[int],
    texts: Collection[int] = (),
    target: int | None = None,
    missing: Collection[str] = MISSING,
    progress: bool = False,
) -> Read:
    """Read columns; those in `texts` as texts even if they hold numbers."""
    places = sorted({*features, *(() if target is None else (target,))})
    numbers = Numbers([place for place in features if place not in texts])
    words = {place: Texts() for place in features if place in texts}
    goal = None if target is None else Target(target)
    rows = 0
    with reading(layout.path, progress) as on_read:
        for batch in batches(layout, places, missing, on_read):
            for place in numbers.add(batch):
                words[place] = Texts()
            for place, column in words.items():
                column.add(batch.texts(place))
            if goal is not None:
                goal.add(batch)
            rows += batch.rows
    if not rows:
        raise ValueError(f"{layout.path} holds no rows below its header row: add some")
    again = [*numbers.given_up, *([goal.place] if goal is not None and goal.needs_texts else [])]
    late = _texts_of(layout, again, missing)
    kept, matrix = numbers.result()
    for k, place in enumerate(kept):
        check_finite(matrix[:, k], layout, place)
    y = None if goal is None else goal.result(late.get(goal.place))
    found = {place: column.result() for place, column in words.items()}
    found |= {place: late[place] for place in numbers.given_up}
    if layout.dialect.decimal == ",":
        found = {place: _pointed(column, layout, place, place in texts) for place, column in found.items()}
        y = _pointed(y, layout, target or 0, False) if isinstance(y, Coded) else y
    if goal is not None and isinstance(y, np.ndarray) and y.dtype.kind == "f":
        check_finite(y, layout, goal.place)
    return Read(kept, matrix, found, y)


def check_finite(numbers: Array, layout: Layout, place: int) -> None:
    """ValueError for the first infinite number of a column, with its line."""
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax())
        raise value_error(layout, row, place, "must be finite", "leave it empty if the value is unknown, or bound it")


def value_error(layout: Layout, row: int, place: int, rule: str, remedy: str) -> ValueError:
    """The error for one value of a file."""
    line, fields = record_of(layout, row)
    value = fields[place] if fields else ""
    return ValueError(
        f"line {line} of {layout.path}: column {layout.names[place]!r} {rule}, got {value[:60]!r}: {remedy}"
    )


def _pointed(column: Coded, layout: Layout, place: int, categorical: bool) -> Coded:
    """Texts with decimal points in place of commas; ValueError for a number with a point, which may mean thousands."""
    values = []
    for code, value in enumerate(column.values):
        if not categorical and "." in value and as_number(value) is not None:
            row = int((column.codes == code).argmax())
            rule = "must have decimal commas"
            raise value_error(layout, row, place, rule, "write it without the point, or make the column categorical")
        pointed = value.replace(",", ".", 1)
        values.append(pointed if "." not in value and as_number(pointed) is not None else value)
    return Coded(column.codes, values)


def _texts_of(layout: Layout, places: Collection[int], missing: Collection[str]) -> dict[int, Coded]:
    """Columns as texts, read once more: those in which a text follows numbers only."""
    words = {place: Texts() for place in places}
    for batch in batches(layout, sorted(words), missing) if words else ():
        for place, column in words.items():
            column.add(batch.texts(place))
    return {place: column.result() for place, column in words.items()}
