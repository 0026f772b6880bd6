"""Column rules as text: a table for people, and JSON values for files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastbp.preprocessing.column_rules import CONSTANT, Category, Date, Ignored, Numeric, Rule
from fastbp.tables.dates import PARTS

# ---------------------------------------------------------------- as text


def described(rules: Sequence[Rule]) -> str:
    """A table with one line per column."""
    lines = [("column", "kind", "becomes", "missing")]
    for i, rule in enumerate(rules):
        name = f"{i}" if rule.name is None else rule.name
        lines.append((name, *_described(rule), f"{100 * rule.missing:.1f} %" if rule.missing else ""))
    wide = [max(len(line[i]) for line in lines) for i in range(4)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(x, wide, strict=True)).rstrip() for x in lines)


def _described(rule: Rule) -> tuple[str, str]:
    if isinstance(rule, Ignored):
        return "left out", rule.why
    if isinstance(rule, Date):
        parts = [part for part, _, _ in rule.numbers] + [f"time {part}" for part in rule.cycles]
        return "date", ", ".join(parts) + (", and whether it is missing" if rule.indicator else "")
    if isinstance(rule, Numeric):
        middle = "0, since it is constant" if rule.scale == CONSTANT else f"(x - {rule.shift:.4g}) / {rule.scale:.4g}"
        return "number", f"{middle}, and whether it is missing" if rule.indicator else middle
    rare = f", {100 * rule.others:.1f} % rare" if rule.others else ""
    n = len(rule.categories)
    kind = f"{n} categor{'y' if n == 1 else 'ies'}{rare}"
    return kind, "codes" if rule.coded else f"{rule.width} feature{'s' * (rule.width != 1)}"


# ---------------------------------------------------------------- as JSON values


def to_json(rule: Rule) -> list[Any]:
    """As a list, which is short, because there may be many."""
    if isinstance(rule, Numeric):
        numbers = ["number", rule.name, rule.fill, rule.shift, rule.scale, rule.indicator, rule.missing]
        return [*numbers, list(rule.texts)] if rule.texts else numbers
    if isinstance(rule, Ignored):
        return ["ignored", rule.name, rule.why, rule.missing]
    if isinstance(rule, Date):
        parts = [list(each) for each in rule.numbers], list(rule.cycles)
        return ["date", rule.name, rule.fill, *parts, rule.indicator, rule.missing, list(rule.texts)]
    category = ["category", rule.name, list(rule.categories), rule.missing, rule.others, rule.coded]
    return [*category, [list(each) for each in rule.scales]] if rule.scales else category


def from_json(value: Any) -> Rule:
    """The inverse of `to_json`; ValueError, TypeError or KeyError for an invalid value."""
    kind, name, *rest = value
    if not (name is None or isinstance(name, str)):
        raise TypeError(f"a column name must be a string, got {name!r}")
    if kind == "number":
        fill, shift, scale, indicator, missing, *texts = rest
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in (fill, shift, scale, missing)) or not scale:
            raise ValueError(f"a column of numbers has the scale {rest}")
        others = _strings(texts[0]) if texts else ()
        return Numeric(name, float(fill), float(shift), float(scale), bool(indicator), float(missing), others)
    if kind == "ignored":
        why, missing = rest
        return Ignored(name, str(why), float(missing))
    if kind == "date":
        return _date(name, *rest)
    if kind != "category":
        raise ValueError(f"a column is of the kind {kind!r}")
    categories, missing, others, coded, *scales = rest
    scaled = tuple((float(shift), float(scale)) for shift, scale in (scales[0] if scales else ()))
    if not all(math.isfinite(x) for pair in scaled for x in pair) or not all(scale for _, scale in scaled):
        raise ValueError(f"a column of categories has the scales {scaled}")
    return Category(name, _strings(categories), float(missing), float(others), bool(coded), scaled)


def _date(name: str | None, fill: Any, numbers: Any, cycles: Any, indicator: Any, missing: Any, texts: Any) -> Date:
    parts = tuple((str(part), float(shift), float(scale)) for part, shift, scale in numbers)
    known = {part for part, _, _ in parts} <= {"days", "year"} and set(cycles) <= set(PARTS[2:])
    if not known or not all(math.isfinite(x) for part in parts for x in part[1:]) or not all(x for *_, x in parts):
        raise ValueError(f"a column of dates has the parts {parts} and {cycles}")
    return Date(name, float(fill), parts, _strings(cycles), bool(indicator), float(missing), _strings(texts))


def _strings(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("categories must be strings")
    return tuple(values)
