"""A `Preprocessor` to and from JSON, including the format of version 0.1.0."""

from __future__ import annotations

import json
import math
from typing import Any

from fastbp.preprocessing import rule_texts
from fastbp.preprocessing.column_rules import Numeric
from fastbp.preprocessing.learned import Learnt
from fastbp.preprocessing.targets import Targets

VERSION = 1
Options = dict[str, Any]  # constructor arguments of a Preprocessor


def to_text(options: Options, learnt: Learnt) -> str:
    """Options and fitted state, as JSON."""
    content = {
        "version": VERSION,
        "options": options,
        "named": learnt.named,
        "columns": [rule_texts.to_json(rule) for rule in learnt.rules],
        "targets": None if learnt.targets is None else learnt.targets.to_json(),
    }
    return json.dumps(content, allow_nan=False)


def from_text(text: str) -> tuple[Options, Learnt]:
    """The inverse of `to_text`; various errors for invalid text."""
    content = json.loads(text)
    if content["version"] != VERSION:
        raise ValueError(f"the version is {content['version']!r}, and this fastbp reads {VERSION}")
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content["options"].items()}
    targets = None if content["targets"] is None else Targets.from_json(content["targets"])
    rules = tuple(rule_texts.from_json(rule) for rule in content["columns"])
    if not rules:
        raise ValueError("it has no columns")
    return options, Learnt(rules, bool(content["named"]), targets)


def from_old(text: str, inputs: int) -> tuple[Options, Learnt]:
    """Read the format of version 0.1.0: means and deviations, or one divisor, and classes or scaled targets."""
    parts = {name: tuple(value) for name, value in json.loads(text).items()}
    shift, scale, columns = parts["shift"], parts["scale"], parts["columns"]
    n = max(len(shift), len(scale), 1)
    width = inputs if n == 1 else n
    shifts, scales = (values * width if len(values) == 1 else values for values in (shift, scale))
    rules = tuple(
        Numeric(columns[i] if columns else None, float(shifts[i]), float(shifts[i]), float(scales[i]), False, 0.0)
        for i in range(width)
    )
    if width < 1 or not all(math.isfinite(rule.shift) and rule.scale for rule in rules):
        raise ValueError("it has no columns, or no scale")
    classes = parts["classes"]
    y_shift, y_scale = (tuple(map(float, parts[name])) for name in ("y_shift", "y_scale"))
    targets = Targets(classes, y_shift, y_scale, False)
    options = {"task": "classification" if classes else "regression", "classes": classes or None}
    return options, Learnt(rules, bool(columns), targets)
