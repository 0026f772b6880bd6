"""What a `Preprocessor` fits per column: the scaling of numbers, the codes of categories."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.tables.columns import numbers_of, places, texts
from fastbp.util.types import Array

CLIP = 3.0  # bound of smooth clipping: results lie within ±3
OTHER, ABSENT, FIRST = 0, 1, 2  # codes: rare or unseen, missing, the first category
_CHUNK = 1 << 18  # elements scaled at a time


@dataclass(frozen=True)
class Numeric:
    """(x - shift) / scale, and fill if x is missing; indicator: a second feature, 1 if x is missing."""

    name: str | None
    fill: float
    shift: float
    scale: float
    indicator: bool
    missing: float  # share of the training rows

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 + self.indicator

    def features(self, label: str) -> list[str]:
        """Names of the features."""
        return [label, f"{label} missing"][: self.width]

    def write(self, values: Array, label: str, out: Array, clip: bool) -> None:
        """Write the features to out (rows, width)."""
        numbers = numbers_of(values, label)
        scale_into(numbers[:, np.newaxis], [self], out[:, :1], clip)
        if self.indicator:
            out[:, 1] = np.isnan(numbers)


@dataclass(frozen=True)
class Category:
    """One-hot features of a categorical column, or one column of codes.

    One-hot: missing values and others (rare in training, or unseen) have a feature only if there were any in training;
    otherwise all features are 0. coded: 0 for others, 1 for missing, then the categories.
    """

    name: str | None
    categories: tuple[str, ...]
    missing: float
    others: float
    coded: bool

    @property
    def width(self) -> int:
        """Number of features."""
        return 1 if self.coded else len(self.categories) + (self.missing > 0) + (self.others > 0)

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return len(self.categories) + FIRST

    def features(self, label: str) -> list[str]:
        """Names of the features."""
        if self.coded:
            return [label]
        extra = ["missing"] * (self.missing > 0) + ["other"] * (self.others > 0)
        return [*(f"{label}={category}" for category in self.categories), *(f"{label} {word}" for word in extra)]

    def write(self, values: Array, label: str, out: Array, clip: bool) -> None:
        """Write the features to out (rows, width)."""
        codes = places(values, self.categories, label) + FIRST
        if self.coded:
            out[:, 0] = codes
            return
        n, out[:] = len(self.categories), 0
        place = np.full(self.cardinality, -1)
        place[FIRST:] = range(n)
        place[ABSENT] = n if self.missing > 0 else -1
        place[OTHER] = n + (self.missing > 0) if self.others > 0 else -1
        feature = place[codes]
        rows = np.flatnonzero(feature >= 0)
        out[rows, feature[rows]] = 1


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


# ---------------------------------------------------------------- fitting


def learn_numbers(
    values: Array, names: list[str | None], labels: list[str], scaling: str | float, indicator: bool
) -> list[Numeric]:
    """Fit the rules of numeric columns (rows, columns)."""
    absent = np.isnan(values) if values.dtype.kind == "f" else np.zeros((1, values.shape[1]), bool)
    share = absent.mean(axis=0)
    complete = not absent.any()
    if isinstance(scaling, float):
        fill, shift, scale = np.zeros(len(names)), np.zeros(len(names)), np.full(len(names), scaling)
    else:
        statistics = _plain if complete else _of_present
        fill, shift, scale = statistics(values, scaling)
    rules = []
    for i, name in enumerate(names):
        numbers = float(fill[i]), float(shift[i]), float(scale[i])
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{labels[i]} has numbers too large to be scaled: divide the column by a constant first")
        rules.append(Numeric(name, *numbers, bool(indicator and 0 < share[i] < 1), float(share[i])))
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
            return median, median, np.where(spread > 0, spread, 1.0)
        mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    constant = deviation <= 1e-12 * np.abs(mean)  # rounding alone gives a constant column a tiny deviation
    return median, mean, np.where(constant, 1.0, deviation)


def _of_present(values: Array, scaling: str) -> tuple[Array, Array, Array]:
    """The same over the values that are present; 0, 0 and 1 for an empty column."""
    found = []
    for column in values.T:
        present = column[~np.isnan(column)][:, np.newaxis]
        found.append([float(a[0]) for a in _plain(present, scaling)] if len(present) else [0.0, 0.0, 1.0])
    fill, shift, scale = np.array(found).T
    return fill, shift, scale


def learn_category(
    values: Array, name: str | None, label: str, encoding: str, most_one_hot: int, min_frequency: int
) -> Category:
    """Fit the rule of a categorical column."""
    column = texts(values, label)
    counts = Counter(dict(zip(column.values, np.bincount(column.codes[column.codes >= 0]).tolist(), strict=True)))
    if counts.keys() & {"True", "False"} and counts.keys() <= {"True", "False", "1", "0"}:
        counts = Counter({word: counts[word] + counts[digit] for word, digit in (("True", "1"), ("False", "0"))})
    frequent = tuple(sorted(category for category, n in counts.items() if n >= min_frequency))
    rare = sum(counts.values()) - sum(counts[category] for category in frequent)
    absent = int((column.codes < 0).sum())
    coded = encoding == "codes" or (encoding == "auto" and len(frequent) > most_one_hot)
    return Category(name, frequent, absent / len(values), rare / len(values), coded)


# ---------------------------------------------------------------- as text


def described(rules: Sequence[Numeric | Category]) -> str:
    """A table with one line per column."""
    lines = [("column", "kind", "becomes", "missing")]
    for i, rule in enumerate(rules):
        name = f"{i}" if rule.name is None else rule.name
        lines.append((name, *_described(rule), f"{100 * rule.missing:.1f} %" if rule.missing else ""))
    wide = [max(len(line[i]) for line in lines) for i in range(4)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(x, wide, strict=True)).rstrip() for x in lines)


def _described(rule: Numeric | Category) -> tuple[str, str]:
    if isinstance(rule, Numeric):
        middle = f"(x - {rule.shift:.4g}) / {rule.scale:.4g}"
        return "number", f"{middle}, and whether it is missing" if rule.indicator else middle
    rare = f", {100 * rule.others:.1f} % rare" if rule.others else ""
    n = len(rule.categories)
    kind = f"{n} categor{'y' if n == 1 else 'ies'}{rare}"
    return kind, "codes" if rule.coded else f"{rule.width} feature{'s' * (rule.width != 1)}"


# ---------------------------------------------------------------- as JSON values


def to_json(rule: Numeric | Category) -> list[Any]:
    """As a list, which is short, because there may be many."""
    if isinstance(rule, Numeric):
        return ["number", rule.name, rule.fill, rule.shift, rule.scale, rule.indicator, rule.missing]
    return ["category", rule.name, list(rule.categories), rule.missing, rule.others, rule.coded]


def from_json(value: Any) -> Numeric | Category:
    """The inverse of `to_json`; ValueError, TypeError or KeyError for an invalid value."""
    kind, name, *rest = value
    if not (name is None or isinstance(name, str)):
        raise TypeError(f"a column name must be a string, got {name!r}")
    if kind == "number":
        fill, shift, scale, indicator, missing = rest
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in (fill, shift, scale, missing)) or not scale:
            raise ValueError(f"a column of numbers has the scale {rest}")
        return Numeric(name, float(fill), float(shift), float(scale), bool(indicator), float(missing))
    if kind != "category":
        raise ValueError(f"a column is of the kind {kind!r}")
    categories, missing, others, coded = rest
    if not isinstance(categories, list) or not all(isinstance(category, str) for category in categories):
        raise TypeError("categories must be strings")
    return Category(name, tuple(categories), float(missing), float(others), bool(coded))
