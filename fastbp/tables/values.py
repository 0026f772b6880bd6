"""What a value of a table is, as a number and as a text: one answer for files, frames, arrays and exported modules.

Only NumPy and the standard library are used here: `fastbp.exchange` copies the source of this module into the modules
that it writes.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Collection, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

# Case-insensitive, without surrounding spaces: what pandas treats as missing, and the question mark.
MISSING = frozenset({
    "", "?", "nan", "-nan", "na", "n/a", "#n/a", "#na", "#n/a n/a", "<na>", "null", "none", "1.#ind", "-1.#ind",
    "1.#qnan", "-1.#qnan", "nat",
})  # fmt: skip
OTHER, ABSENT = -2, -1  # codes: not among the categories, missing
# Python's float() also reads underscores, and digits of every alphabet.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
# A number as programs write it. Others are names: 007 and +1 are not 7 and 1, and 1e5 may be part of a serial number.
_WRITTEN = re.compile(r"(-?)(0|[1-9][0-9]*|(?=\.[0-9]))(?:\.([0-9]*))?(e[+-][0-9]{2,3})?", re.IGNORECASE)
_INTEGER = re.compile(r"(-?(?:0|[1-9][0-9]*))|[+-]?[0-9]+")
MAX_NAMES = 100  # more integers than that are a quantity
_TRUTH = {"true": "True", "false": "False"}
_SIMPLE = frozenset({int, float, type(None), np.float64, np.int64})


def is_missing(value: Any, missing: Collection[str] = MISSING) -> bool:
    """Whether a value is missing: None, NaN and the like, and strings that stand for a missing value.

    >>> [is_missing(value) for value in (None, math.nan, " ? ", "", 0, "no")]
    [True, True, True, True, False, False]
    """
    if isinstance(value, str):
        return value.strip().lower() in missing
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # comparing pandas' NA gives no truth value
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, Real | np.datetime64 | np.timedelta64) and bool(value != value)


def as_number(value: Any) -> float | None:
    """A value as a number; None if it is none, or missing. Booleans are not numbers; texts must be plain decimals.

    >>> [as_number(value) for value in (3, " -1.5e3 ", "007", "3_5", "0x1f", True, None)]
    [3.0, -1500.0, 7.0, None, None, None, None]
    """
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real | Decimal) or is_missing(value):
        return None
    number: Any = value
    try:
        return float(number)
    except OverflowError:  # an integer beyond 1e308
        return math.inf if number > 0 else -math.inf


def as_text(value: Any, missing: Collection[str] = MISSING) -> str | None:
    """The one spelling of a category or label; None if it is missing, TypeError for what is no value.

    >>> [as_text(value) for value in (1, 1.0, "1.00", np.int64(1), "true", True, " a ", "007", "+1", "3_5")]
    ['1', '1', '1', '1', 'True', 'True', 'a', '007', '+1', '3_5']
    """
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in missing else _TRUTH.get(text.lower()) or _rewritten(text)
    if is_missing(value):
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float):
        return _of_float(float(value))
    if isinstance(value, np.floating):  # float32(0.1) is 0.1, not 0.10000000149
        return _of_float(float(value)) if np.floor(value) == value else _rewritten(str(value))
    if isinstance(value, Decimal):
        return _rewritten(format(value, "f"))
    if isinstance(value, Real):
        return _of_float(float(value))
    if isinstance(value, np.datetime64):
        value = value.astype("M8[us]").item()
    if isinstance(value, datetime.datetime):  # as pandas writes it into files
        return value.isoformat(" ").removesuffix(" 00:00:00")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if type(value).__name__ in ("Interval", "Period"):  # of pandas
        return str(value)
    raise TypeError(f"got {value!r} ({type(value).__name__})")


def _of_float(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _rewritten(text: str) -> str:
    """A number in its shortest form: 1.50 as 1.5, 2.0 as 2, 1e+16 in digits; other texts as they are."""
    found = _WRITTEN.fullmatch(text)
    if not found:
        return text
    sign, whole, decimals, exponent = found.groups()
    if exponent or (decimals or "").strip("0"):
        number = float(text)
        return _of_float(number) if math.isfinite(number) else text
    return "0" if whole in ("", "0") else sign + whole  # digit by digit: integers beyond 2**53 stay exact


def are_names(texts: Collection[str]) -> bool:
    """Whether distinct labels that are all integers are rather names: 007, +1, or too long for int64.

    >>> are_names({"007", "042"}), are_names({"7", "42"}), are_names({"-1", "+1"}), are_names({"1.0", "2"})
    (True, False, True, False)
    """
    found = [_INTEGER.fullmatch(text.strip()) for text in texts]
    if not all(found) or len(found) > MAX_NAMES:
        return False
    return any(each is not None and (not each[1] or abs(int(each[0])) >= 2**63) for each in found)


# ---------------------------------------------------------------- columns


class Coded:
    """A column as codes into its distinct values, -1 where one is missing.

    categorical: the values are categories even if they are numbers, as in a frame's column of categories.
    """

    dtype = np.dtype(object)
    ndim = 1

    def __init__(self, codes: Any, values: Sequence[Any], categorical: bool = False) -> None:
        self.codes, self.values, self.categorical = codes, tuple(values), categorical

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Any:
        """A value, or the column of some rows."""
        codes = self.codes[rows]
        if np.ndim(codes):
            return Coded(codes, self.values, self.categorical)
        return None if codes < 0 else self.values[codes]

    def used(self) -> Any:
        """The column with those values alone that occur in it, in order of appearance.

        >>> Coded(np.array([2, -1, 0, 2]), ["a", "b", "c"]).used().values
        ('c', 'a')
        """
        n = len(self.codes)
        first = np.full(len(self.values) + 1, n)  # the last is that of missing values, whose code is -1
        first[self.codes[::-1]] = np.arange(n)[::-1]  # the last one written, which is the first row, stays
        order = np.argsort(first[:-1], kind="stable")[: np.count_nonzero(first[:-1] < n)]
        place = np.full(len(first), ABSENT)
        place[order] = np.arange(len(order))
        return Coded(place[self.codes], [self.values[code] for code in order], self.categorical)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """The values as objects, None where one is missing."""
        values = np.empty(len(self.values) + 1, object)
        values[:-1] = self.values
        return values[self.codes].astype(dtype or object, copy=False)


def coded(values: Any) -> Coded:
    """A column by its distinct values, 1 and True and "1" being three; TypeError for values that cannot be compared."""
    if isinstance(values, Coded):
        return values
    if values.dtype.kind != "O":
        distinct, codes = np.unique(values, return_inverse=True)
        n = len(distinct)
        while n and distinct[n - 1] != distinct[n - 1]:  # NaN stands last
            n -= 1
        return Coded(np.where(codes < n, codes, ABSENT), list(distinct[:n]))
    places: dict[Any, int] = {}
    found = [
        ABSENT if value is None or value != value else places.setdefault((type(value), value), len(places))
        for value in map(_comparable, values)
    ]
    return Coded(np.array(found, np.int64), [value for _, value in places])


def simplified(values: Any) -> Any:
    """Arrays of numbers, and of objects that NumPy converts to numbers, unchanged; others by their distinct values."""
    simple = isinstance(values, Coded) or values.dtype.kind != "O" or _SIMPLE.issuperset(map(type, values))
    return values if simple else coded(values)


def _comparable(value: Any) -> Any:
    return value if isinstance(value, str | float) else None if is_missing(value) else value


def texts_of(values: Any, missing: Collection[str] = MISSING) -> Coded:
    """A column as texts, in order of appearance or size.

    >>> texts_of(np.array([3.0, np.nan, 2.5, 3])).values
    ('2.5', '3')
    """
    column = coded(values)
    places: dict[str, int] = {}
    texts = [as_text(value, missing) for value in column.values]
    place = [ABSENT if text is None else places.setdefault(text, len(places)) for text in texts]
    return Coded(np.array([*place, ABSENT], np.int64)[column.codes], list(places), column.categorical)


class Numbers(NamedTuple):
    """A column of numbers, NaN where one is missing or something else; rows and values of what is something else."""

    numbers: Any
    rows: Any
    others: Coded  # of these rows, by those of their values that occur


def numbers_in(values: Any, missing: Collection[str] = MISSING) -> Numbers:
    """A column as numbers; arrays of numbers are returned as they are.

    >>> found = numbers_in(np.array(["1", " 2.5", "?", "nil"], object))
    >>> found.numbers, found.rows, found.others.values
    (array([1. , 2.5, nan, nan]), array([3]), ('nil',))
    """
    if not isinstance(values, Coded):
        if values.dtype.kind in "iuf":
            return only_numbers(values)
        if values.dtype.kind == "O" and _SIMPLE.issuperset(map(type, values)):
            try:
                return only_numbers(values.astype(np.float64))
            except OverflowError:
                pass
    column = coded(values)
    read = [as_number(value) for value in column.values]
    absent = [is_missing(value, missing) for value in column.values]
    return numbers_among(column, read, absent)


def numbers_among(column: Coded, read: Sequence[float | None], absent: Sequence[bool]) -> Numbers:
    """A column whose distinct values were read: the number of each, or None, and whether it is a missing value."""
    other = [number is None and not gap for number, gap in zip(read, absent, strict=True)]
    numbers = np.array([math.nan if number is None else number for number in [*read, None]])[column.codes]
    rows = np.flatnonzero(np.array([*other, False])[column.codes])
    return Numbers(numbers, rows, column[rows].used())


def only_numbers(numbers: Any) -> Numbers:
    """A column that holds nothing else."""
    none = np.empty(0, np.int64)
    return Numbers(numbers, none, Coded(none, ()))


def as_booleans(found: Numbers) -> Numbers:
    """Booleans as 1 and 0, if all values that are no numbers are booleans, or texts of them."""
    values, codes = found.others.values, found.others.codes
    if not all(isinstance(other, bool | np.bool_) or str(other).strip().lower() in _TRUTH for other in values):
        return found
    numbers = np.array(found.numbers, np.float64)
    numbers[found.rows] = np.array([str(other).strip().lower() == "true" for other in values], bool)[codes]
    return only_numbers(numbers)


def places_in(values: Any, categories: Sequence[str], missing: Collection[str] = MISSING) -> Any:
    """The place of each value among the categories; ABSENT if it is missing, OTHER if it is none of them.

    Where all categories are booleans, 1 and 0 are the same; so are True and False where all are 1 and 0.

    >>> places_in(np.array([1, 0, None, 2], object), ("False", "True"))
    array([ 1,  0, -1, -2])
    """
    exact = {category: place for place, category in enumerate(categories)}  # spelled as in files of earlier versions
    known: dict[str | None, int] = {}
    for place, category in enumerate(categories):
        known.setdefault(as_text(category, ()), place)
    truths = [("0", "False"), ("1", "True")]
    for digits in (True, False):
        if known.keys() <= {pair[digits] for pair in truths}:
            known |= {pair[not digits]: known[pair[digits]] for pair in truths if pair[digits] in known}
            break
    column = coded(values)
    found = []
    for value in column.values:
        if isinstance(value, str) and value.strip() in exact:
            found.append(exact[value.strip()])
        else:
            text = as_text(value, missing)
            found.append(ABSENT if text is None else known.get(text, OTHER))
    return np.array([*found, ABSENT], np.int64)[column.codes]
