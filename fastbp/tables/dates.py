"""Dates and times: read from texts, objects and arrays as days since 1970, and taken apart into parts of cycles.

Like `values`, this module uses NumPy and the standard library alone, and is copied into exported modules.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from fastbp.tables.values import MISSING, Numbers, coded, is_missing, numbers_among, only_numbers

_TIME = r"(?:[T ]+(?P<clock>[0-9:.,]+)\s*(?P<zone>Z|UTC|[+-][0-9]{2}:?[0-9]{2}|[+-][0-9]{2})?)?"
_DATES = [
    re.compile(pattern + _TIME, re.IGNORECASE)
    for pattern in (
        r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})(?:-(?P<day>[0-9]{1,2}))?",
        r"(?P<year>[0-9]{4})/(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})",
        r"(?P<year>[0-9]{4})[- ]?(?:q(?P<quarter>[1-4])|m(?P<month>[0-9]{1,2}))",
        r"(?:(?P<day>[0-9]{1,2})[- ])?(?P<name>[a-z]{3,9})\.?[- ](?P<year>[0-9]{4})",
        r"(?P<name>[a-z]{3,9})\.?[- ](?P<day>[0-9]{1,2})(?:, ?|[- ])(?P<year>[0-9]{4})",
    )
]
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
           "december")  # fmt: skip
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?")
# Which of these numbers is the month, or the century, cannot be known.
_AMBIGUOUS = re.compile(
    r"[0-9]{1,2}([./-])[0-9]{1,2}\1([0-9]{4}|[0-9]{2})(\s.*)?|[0-9]{1,2}[ -][a-z]{3}[ -][0-9]{2}(\s.*)?", re.IGNORECASE
)
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_WEEK_START = 3  # 1970-01-01 was a Thursday
PARTS = ("days", "year", "of year", "of week", "of day")  # what a date becomes; the last three as sine and cosine


def as_days(value: Any) -> float | None:
    """A date or time as days since 1970 in UTC, a time of day as the share of the day gone by; None if it is neither.

    >>> as_days("1970-01-02 06:00"), as_days("12:00"), as_days("1971/01/01"), as_days("1970-02-30"), as_days(3)
    (1.25, 0.5, 365.0, None, None)
    """
    if isinstance(value, str):
        return _of_text(value.strip())
    if type(value).__name__ == "Period":  # of pandas
        value = value.start_time
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else float(_of_array(np.array([value]))[0])
    if isinstance(value, datetime.datetime):  # pandas' Timestamp, too
        if value != value:
            return None
        zone = value.utcoffset() or datetime.timedelta()
        whole = value.toordinal() - _EPOCH
        return whole + _of_clock(value.hour, value.minute, value.second + value.microsecond / 1e6) - zone / _DAY
    if isinstance(value, datetime.date):
        return float(value.toordinal() - _EPOCH)
    if isinstance(value, datetime.time):
        return _of_clock(value.hour, value.minute, value.second + value.microsecond / 1e6)
    return None


_DAY = datetime.timedelta(days=1)


def _of_text(text: str) -> float | None:
    if not 4 <= len(text) <= 50:
        return None
    found = next((match for pattern in _DATES if (match := pattern.fullmatch(text))), None)
    if not found:
        return _of_time(text)
    part: dict[str, Any] = {"month": 1, "day": 1} | {name: value for name, value in found.groupdict().items() if value}
    if "quarter" in part:
        part["month"] = 3 * int(part["quarter"]) - 2
    if "name" in part:
        name = part["name"].lower()
        part["month"] = next((i for i, month in enumerate(_MONTHS, 1) if name in (month, month[:3], month[:4])), 0)
    try:
        day = datetime.date(int(part["year"]), int(part["month"]), int(part["day"]))
    except ValueError:  # the 30th of February
        return None
    time = _of_time(part["clock"]) if "clock" in part else 0.0
    return None if time is None else day.toordinal() - _EPOCH + time - _offset(part.get("zone"))


def _of_time(text: str) -> float | None:
    found = _CLOCK.fullmatch(text)
    if not found:
        return None
    hour, minute, second = (int(each or 0) for each in found.groups()[:3])
    if hour > 23 or minute > 59 or second > 60:
        return None
    return _of_clock(hour, minute, second + float(f"0.{found[4] or 0}"))


def _of_clock(hour: int, minute: int, second: float) -> float:
    return (hour * 3600 + minute * 60 + second) / 86400


def _offset(zone: str | None) -> float:
    if not zone or zone[0] not in "+-":
        return 0.0
    digits = zone[1:].replace(":", "")
    return float(f"{zone[0]}1") * (int(digits[:2]) * 60 + int(digits[2:] or 0)) / 1440


def _of_array(values: Any) -> Any:
    """An array of datetime64 as days, NaN where one is missing."""
    whole = values.astype("M8[D]")
    unit = np.datetime_data(values.dtype)[0]
    days = np.where(np.isnat(values), np.nan, whole.astype(np.int64))
    if unit in ("h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"):
        rest = (values - whole.astype(values.dtype)) / np.timedelta64(1, "D")
        days = days + rest
    return days


def days_in(values: Any, missing: Collection[str] = MISSING) -> Numbers:
    """A column as days, NaN where one is missing; rows and values of what is neither missing nor a date."""
    if values.dtype.kind == "M":
        return only_numbers(_of_array(values))
    column = coded(values)
    gaps = [is_missing(value, missing) for value in column.values]
    read = [None if gap else as_days(value) for value, gap in zip(column.values, gaps, strict=True)]
    return numbers_among(column, read, gaps)


def looks_ambiguous(text: Any) -> bool:
    """Whether a text is a date of which day and month could be mistaken: 03/04/2020, 3-Apr-20."""
    return isinstance(text, str) and bool(_AMBIGUOUS.fullmatch(text.strip()))


def parts_of(days: Any, parts: Sequence[str]) -> dict[str, Any]:
    """Days and years as numbers, and the share of each cycle gone by, from 0 to 1."""
    whole = np.floor(days)
    dates = whole.astype(np.int64).astype("M8[D]")
    years = dates.astype("M8[Y]")
    next_years = years + np.timedelta64(1, "Y")
    first, length = years.astype("M8[D]").astype(np.int64), next_years.astype("M8[D]") - years.astype("M8[D]")
    found = {
        "days": days,
        "year": years.astype(np.int64) + 1970.0,
        "of year": (days - first) / length.astype(np.int64),
        "of week": np.mod(days + _WEEK_START, 7) / 7,
        "of day": days - whole,
    }
    return {part: found[part] for part in parts}


def date_features(days: Any, numbers: Sequence[tuple[str, float, float]], cycles: Sequence[str]) -> list[Any]:
    """(part - shift) / scale of days and years, then sine and cosine of each cycle."""
    found = parts_of(days, (*(part for part, _, _ in numbers), *cycles))
    features = [(found[part] - shift) / scale for part, shift, scale in numbers]
    for part in cycles:
        features += [np.sin(2 * np.pi * found[part]), np.cos(2 * np.pi * found[part])]
    return features
