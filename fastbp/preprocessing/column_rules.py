"""What a `Preprocessor` fits per column: the scaling of numbers, the codes of categories."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastbp.tables.columns import FEW, numbers_of, places, shown
from fastbp.tables.columns import texts as texts_of
from fastbp.tables.dates import PARTS, date_features, days_in, parts_of
from fastbp.util.types import Array

CLIP = 3.0  # bound of smooth clipping: results lie within ±3
CONSTANT = 1e300  # the scale of a column without variation: its feature is 0 for whatever comes later
OTHER, ABSENT, FIRST = 0, 1, 2  # codes: rare or unseen, missing, the first category
_CHUNK = 1 << 18  # elements scaled at a time


class Given(NamedTuple):
    """A column of a table to be transformed, and how to speak of it."""

    values: Any
    label: str
    missing: frozenset[str]
    place: Callable[[int], str]


@dataclass(frozen=True)
class Ignored:
    """A column of which nothing can be learnt; it has no features, and tables need not have it."""

    name: str | None
    why: str
    missing: float = 0.0
    width = 0

    def features(self, label: str) -> list[str]:
        """None."""
        return []

    def write(self, column: Given, out: Array, clip: bool) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Numeric:
    """(x - shift) / scale, and fill if x is missing; indicator: a second feature, 1 if x is missing."""

    name: str | None
    fill: float
    shift: float
    scale: float
    indicator: bool
    missing: float  # share of the training rows
    texts: tuple[str, ...] = ()  # stand for missing values in this column, beside those that do in every column

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 + self.indicator

    def features(self, label: str) -> list[str]:
        """Names of the features."""
        return [label, f"{label} missing"][: self.width]

    def write(self, column: Given, out: Array, clip: bool) -> None:
        """Write the features to out (rows, width)."""
        missing = column.missing.union(map(str.lower, self.texts))
        numbers = numbers_of(column.values, column.label, missing, column.place)
        scale_into(numbers[:, np.newaxis], [self], out[:, :1], clip)
        if self.indicator:
            out[:, 1] = np.isnan(numbers)


@dataclass(frozen=True)
class Category:
    """One-hot features of a categorical column, or one column of codes.

    One-hot: missing values and others (rare in training, or unseen) have a feature only if there were any in training;
    otherwise all features are 0. coded: 0 for others, 1 for missing, then the categories. scales: (shift, scale) of
    each one-hot feature, if they are scaled as numbers are; then missing values and others have no feature, and two
    categories are one, -1 and 1.
    """

    name: str | None
    categories: tuple[str, ...]
    missing: float
    others: float
    coded: bool
    scales: tuple[tuple[float, float], ...] = ()

    @property
    def width(self) -> int:
        """Number of features."""
        if self.coded or self.scales:
            return 1 if self.coded else len(self.scales)
        return len(self.categories) + (self.missing > 0) + (self.others > 0)

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return len(self.categories) + FIRST

    def features(self, label: str) -> list[str]:
        """Names of the features."""
        if self.coded:
            return [label]
        if self.scales:
            return [f"{label}={category}" for category in self.categories[-len(self.scales) :]]
        extra = ["missing"] * (self.missing > 0) + ["other"] * (self.others > 0)
        return [*(f"{label}={category}" for category in self.categories), *(f"{label} {word}" for word in extra)]

    def write(self, column: Given, out: Array, clip: bool) -> None:
        """Write the features to out (rows, width)."""
        codes = places(column.values, self.categories, column.label, column.missing) + FIRST
        if self.coded:
            out[:, 0] = codes
            return
        if self.scales:
            self._write_scaled(codes - FIRST, out, clip)
            return
        n, out[:] = len(self.categories), 0
        place = np.full(self.cardinality, -1)
        place[FIRST:] = range(n)
        place[ABSENT] = n if self.missing > 0 else -1
        place[OTHER] = n + (self.missing > 0) if self.others > 0 else -1
        feature = place[codes]
        rows = np.flatnonzero(feature >= 0)
        out[rows, feature[rows]] = 1

    def _write_scaled(self, places: Array, out: Array, clip: bool) -> None:
        """Scaled features, by the place of each row's category; below 0 for missing values and others."""
        for j, (shift, scale) in enumerate(self.scales):
            values = (np.array(_levels(len(self.categories), j)) - shift) / scale
            if clip:
                values = values / np.hypot(1.0, values / CLIP)
            out[:, j] = values[np.where(places < 0, len(self.categories), places)]


def _levels(n: int, j: int) -> list[float]:
    """What one-hot feature j of n categories is before it is scaled, by category, and last for missing and others."""
    return [-1.0, 1.0, 0.0] if n == 2 else [float(place == j) for place in range(n + 1)]


def scale_into(values: Array, rules: list[Numeric], out: Array, clip: bool) -> None:
    """out <- numeric columns scaled by their rules, some rows at a time, in float64 before rounding."""
    fill, shift, scale = (np.array([getattr(rule, name) for rule in rules]) for name in ("fill", "shift", "scale"))
    step = max(1, _CHUNK // len(rules))
    for start in range(0, len(values), step):
        part = values[start : start + step].astype(np.float64)
        absent = np.isnan(part)
        if absent.any():
            part = np.where(absent, fill, part)
        part -= shift
        part /= scale
        if clip:  # hypot does not overflow
            part /= np.hypot(1.0, part / CLIP)
        out[start : start + step] = part


@dataclass(frozen=True)
class Date:
    """Dates and times as days and years, (x - shift) / scale, and as sine and cosine of parts of cycles.

    numbers: part, shift and scale of "days" (since 1970) and "year". cycles: of "of year", "of week", "of day". Parts
    that were the same in all training rows are left out. fill: days where one is missing.
    """

    name: str | None
    fill: float
    numbers: tuple[tuple[str, float, float], ...]
    cycles: tuple[str, ...]
    indicator: bool
    missing: float
    texts: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.numbers) + 2 * len(self.cycles) + self.indicator

    def features(self, label: str) -> list[str]:
        """Names of the features."""
        names = [f"{label} {part}" for part, _, _ in self.numbers]
        names += [f"{label} {wave} {part}" for part in self.cycles for wave in ("sin", "cos")]
        return names + [f"{label} missing"] * self.indicator

    def write(self, column: Given, out: Array, clip: bool) -> None:
        """Write the features to out (rows, width)."""
        days = _days_of(column, self.texts)
        absent = np.isnan(days)
        features = date_features(np.where(absent, self.fill, days), self.numbers, self.cycles)
        for place, feature in enumerate(features):
            if clip and place < len(self.numbers):
                feature = feature / np.hypot(1.0, feature / CLIP)
            out[:, place] = feature
        if self.indicator:
            out[:, -1] = absent


Rule = Numeric | Category | Date | Ignored


def _days_of(column: Given, texts: Sequence[str]) -> Array:
    """Days, NaN where one is missing; few values that are no dates are missing, with a warning, more are an error."""
    days: Array
    days, rows, others = days_in(column.values, column.missing.union(map(str.lower, texts)))
    if len(rows):
        what = f"{column.label} must hold dates as YYYY-MM-DD, got {shown(others[0])} at {column.place(int(rows[0]))}"
        remedy = "correct it, leave it empty if it is unknown, or name it in missing= (--missing)"
        if len(rows) >= FEW * (len(rows) + np.count_nonzero(~np.isnan(days))):
            raise ValueError(f"{what}: {remedy}")
        more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        warnings.warn(f"{what}{more}, treated as missing: {remedy}", stacklevel=3)
    return days


# ---------------------------------------------------------------- fitting


def learn_dates(column: Given, name: str | None, scaling: str | float, indicator: bool, texts: tuple[str, ...]) -> Rule:
    """Fit the rule of a column of dates."""
    days = _days_of(column, texts)
    known = days[~np.isnan(days)]
    if not len(known):
        return empty(name, column.label)
    found = parts_of(known, PARTS)
    same_day = np.ptp(np.floor(known)) == 0  # times of day, for example
    told = {"days", "of day"} if same_day else set(PARTS)
    varied = [part for part in PARTS if part in told and (part == "days" or np.ptp(found[part]) > 0)]
    rules = []
    for part in (part for part in varied if part in ("days", "year")):
        median, shift, scale = (float(each[0]) for each in _plain(found[part][:, np.newaxis], _statistics(scaling)))
        rules.append((part, *((shift, scale) if isinstance(scaling, str) and scaling != "none" else (median, 1.0))))
    absent = 1 - len(known) / len(days)
    cycles = tuple(part for part in varied if part.startswith("of "))
    return Date(name, float(np.median(known)), tuple(rules), cycles, bool(indicator and absent > 0), absent, texts)


def _statistics(scaling: str | float) -> str:
    return scaling if isinstance(scaling, str) else "none"


def empty(name: str | None, label: str) -> Ignored:
    """The rule of a column without a value, with a warning."""
    warnings.warn(f"{label} is left out: it has no value in the training rows", stacklevel=4)
    return Ignored(name, "no value in training", 1.0)


def learn_numbers(
    values: Array,
    names: list[str | None],
    labels: list[str],
    scaling: str | float,
    indicator: bool,
    texts: tuple[str, ...] = (),
) -> list[Numeric | Ignored]:
    """Fit the rules of numeric columns (rows, columns)."""
    absent = np.isnan(values) if values.dtype.kind == "f" else np.zeros((1, values.shape[1]), bool)
    share = absent.mean(axis=0)
    complete = not absent.any()
    if isinstance(scaling, float):
        fill, shift, scale = np.zeros(len(names)), np.zeros(len(names)), np.full(len(names), scaling)
    else:
        statistics = _plain if complete else _of_present
        fill, shift, scale = statistics(values, scaling)
    rules: list[Numeric | Ignored] = []
    for i, name in enumerate(names):
        numbers = float(fill[i]), float(shift[i]), float(scale[i])
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{labels[i]} has numbers too large to be scaled: divide the column by a constant first")
        if share[i] == 1:
            rules.append(empty(name, labels[i]))
        else:
            rules.append(Numeric(name, *numbers, bool(indicator and share[i] > 0), float(share[i]), texts))
    return rules


def _plain(values: Array, scaling: str) -> tuple[Array, Array, Array]:
    """Median, location and scale of columns without missing values."""
    with np.errstate(over="ignore", invalid="ignore"):
        median = np.median(values, axis=0).astype(np.float64)
        if scaling == "none":
            return median, np.zeros_like(median), np.ones_like(median)
        if scaling == "robust":
            low, quarter, three_quarters, high = np.quantile(values.astype(np.float64), [0, 0.25, 0.75, 1], axis=0)
            spread = np.where(three_quarters > quarter, three_quarters - quarter, (high - low) / 2)
            return median, median, np.where(spread > 0, spread, CONSTANT)
        mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    constant = deviation <= 1e-12 * np.abs(mean)  # rounding alone gives a constant column a tiny deviation
    return median, mean, np.where(constant, CONSTANT, deviation)


def _of_present(values: Array, scaling: str) -> tuple[Array, Array, Array]:
    """The same over the values that are present; 0, 0 and 1 for an empty column."""
    found = []
    for column in values.T:
        present = column[~np.isnan(column)][:, np.newaxis]
        found.append([float(a[0]) for a in _plain(present, scaling)] if len(present) else [0.0, 0.0, 1.0])
    fill, shift, scale = np.array(found).T
    return fill, shift, scale


def learn_category(
    given: Given, name: str | None, encoding: str, most_one_hot: int, min_frequency: int,
    scaling: str | float | None = None,
) -> Category | Ignored:  # fmt: skip
    """Fit the rule of a categorical column; scaling: of its one-hot features, if they are scaled."""
    column = texts_of(given.values, given.label, given.missing)
    if (column.codes < 0).all():
        return empty(name, given.label)
    found = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values)).tolist()
    counts = Counter({value: n for value, n in zip(column.values, found, strict=True) if n})  # others are held out
    if counts.keys() & {"True", "False"} and counts.keys() <= {"True", "False", "1", "0"}:
        counts = Counter({word: counts[word] + counts[digit] for word, digit in (("True", "1"), ("False", "0"))})
    frequent = tuple(sorted(category for category, n in counts.items() if n >= min_frequency))
    rare = sum(counts.values()) - sum(counts[category] for category in frequent)
    absent = int((column.codes < 0).sum())
    coded = encoding == "codes" or (encoding == "auto" and len(frequent) > most_one_hot)
    scales: tuple[tuple[float, float], ...] = ()
    if scaling is not None and not coded:
        known = [counts[category] for category in frequent]
        scales = tuple(_scaled_levels([*known, len(column) - sum(known)], j, scaling)
                       for j in range(1 if len(frequent) == 2 else len(frequent)))  # fmt: skip
    return Category(name, frequent, absent / len(column), rare / len(column), coded, scales)


def _scaled_levels(counts: list[int], j: int, scaling: str | float) -> tuple[float, float]:
    """Shift and scale of one-hot feature j, from how often each category occurs, and last how often none does."""
    if isinstance(scaling, float):
        return 0.0, scaling
    column = np.repeat(_levels(len(counts) - 1, j), counts)[:, np.newaxis]
    _, shift, scale = _plain(column, scaling)
    return float(shift[0]), float(scale[0])
