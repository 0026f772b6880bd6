"""What a `Preprocessor` learns of one column: how a number is scaled, which code a category has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.preprocessing.columns import categories_of, numbers_of
from fastbp.util.types import Array

CLIP = 3.0  # where smooth clipping bends: results lie within ±3
OTHER, ABSENT, FIRST = 0, 1, 2  # codes: rare or not known, missing, the first category
_CHUNK = 1 << 18  # elements scaled at a time


@dataclass(frozen=True)
class Numeric:
    """(x - shift) / scale, fill in the place of a missing x; indicator: a second feature, 1 where x was missing."""

    name: str | None
    fill: float
    shift: float
    scale: float
    indicator: bool
    missing: float  # share of the training rows

    @property
    def width(self) -> int:
        """Features it becomes."""
        return 1 + self.indicator

    def features(self, label: str) -> list[str]:
        """Names of these."""
        return [label, f"{label} missing"][: self.width]

    def write(self, values: Array, label: str, out: Array, clip: bool) -> None:
        """Fill out (rows, width)."""
        numbers = numbers_of(values, label)
        scale_into(numbers[:, np.newaxis], [self], out[:, :1], clip)
        if self.indicator:
            out[:, 1] = np.isnan(numbers)


@dataclass(frozen=True)
class Category:
    """One feature for each category, 1 where it is this, or one code.

    One-hot, missing and all others (rare in training, or new) have a feature if there were such in training; what has
    none is 0 throughout. coded: others are 0, missing is 1, then come the categories.
    """

    name: str | None
    categories: tuple[str, ...]
    missing: float
    others: float
    coded: bool

    @property
    def width(self) -> int:
        """Features it becomes."""
        return 1 if self.coded else len(self.categories) + (self.missing > 0) + (self.others > 0)

    @property
    def cardinality(self) -> int:
        """Codes there are."""
        return len(self.categories) + FIRST

    def features(self, label: str) -> list[str]:
        """Names of these."""
        if self.coded:
            return [label]
        extra = ["missing"] * (self.missing > 0) + ["other"] * (self.others > 0)
        return [*(f"{label}={category}" for category in self.categories), *(f"{label} {word}" for word in extra)]

    def write(self, values: Array, label: str, out: Array, clip: bool) -> None:
        """Fill out (rows, width)."""
        code: dict[str | None, int] = {category: FIRST + i for i, category in enumerate(self.categories)}
        code[None] = ABSENT
        codes = np.array([code.get(category, OTHER) for category in categories_of(values, label)])
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
    """out <- columns of numbers by their rules, some rows at a time, in float64 before they are rounded."""
    fill, shift, scale = (np.array([getattr(rule, name) for rule in rules]) for name in ("fill", "shift", "scale"))
    step = max(1, _CHUNK // len(rules))
    for start in range(0, len(values), step):
        part = values[start : start + step].astype(np.float64)
        absent = np.isnan(part)
        if absent.any():
            part = np.where(absent, fill, part)
        part -= shift
        part /= scale
        if clip:  # without squares that overflow
            part /= np.hypot(1.0, part / CLIP)
        out[start : start + step] = part


# ---------------------------------------------------------------- learning


def learn_numbers(
    values: Array, names: list[str | None], labels: list[str], scaling: str | float, indicator: bool
) -> list[Numeric]:
    """The rules of columns of numbers (rows, columns)."""
    absent = np.isnan(values) if values.dtype.kind == "f" else np.zeros((1, values.shape[1]), bool)
    share = absent.mean(axis=0)
    whole = not absent.any()
    if isinstance(scaling, float):
        fill, shift, scale = np.zeros(len(names)), np.zeros(len(names)), np.full(len(names), scaling)
    else:
        statistics = _plain if whole else _of_present
        fill, shift, scale = statistics(values, scaling)
    rules = []
    for i, name in enumerate(names):
        numbers = float(fill[i]), float(shift[i]), float(scale[i])
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{labels[i]} holds numbers too large to be scaled: divide the column by a constant first")
        rules.append(Numeric(name, *numbers, bool(indicator and 0 < share[i] < 1), float(share[i])))
    return rules


def _plain(values: Array, scaling: str) -> tuple[Array, Array, Array]:
    """Median, location and scale of columns without gaps."""
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
    """The same of what is there; 0, 0 and 1 for a column of which nothing is."""
    found = []
    for column in values.T:
        present = column[~np.isnan(column)][:, np.newaxis]
        found.append([float(a[0]) for a in _plain(present, scaling)] if len(present) else [0.0, 0.0, 1.0])
    fill, shift, scale = np.array(found).T
    return fill, shift, scale


def learn_category(
    values: Array, name: str | None, label: str, encoding: str, most_one_hot: int, min_frequency: int
) -> Category:
    """The rule of a column of categories."""
    counts: Counter[str | None] = Counter(categories_of(values, label))
    absent = counts.pop(None, 0)
    frequent = tuple(sorted(category for category, n in counts.items() if n >= min_frequency and category is not None))
    rare = sum(counts.values()) - sum(counts[category] for category in frequent)
    coded = encoding == "codes" or (encoding == "auto" and len(frequent) > most_one_hot)
    return Category(name, frequent, absent / len(values), rare / len(values), coded)


# ---------------------------------------------------------------- in words


def described(rules: Sequence[Numeric | Category]) -> str:
    """A table with a line for each column."""
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
    """Short, because there may be many."""
    if isinstance(rule, Numeric):
        return ["number", rule.name, rule.fill, rule.shift, rule.scale, rule.indicator, rule.missing]
    return ["category", rule.name, list(rule.categories), rule.missing, rule.others, rule.coded]


def from_json(value: Any) -> Numeric | Category:
    """The rule that `to_json` described; ValueError, TypeError or KeyError where there is none."""
    kind, name, *rest = value
    if not (name is None or isinstance(name, str)):
        raise TypeError(f"a column is called {name!r}")
    if kind == "number":
        fill, shift, scale, indicator, missing = rest
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in (fill, shift, scale, missing)) or not scale:
            raise ValueError(f"a column of numbers has the scale {rest}")
        return Numeric(name, float(fill), float(shift), float(scale), bool(indicator), float(missing))
    if kind != "category":
        raise ValueError(f"a column is of the kind {kind!r}")
    categories, missing, others, coded = rest
    if not isinstance(categories, list) or not all(isinstance(category, str) for category in categories):
        raise TypeError("categories are no texts")
    return Category(name, tuple(categories), float(missing), float(others), bool(coded))
