"""The fitted state of a `Preprocessor`."""

from __future__ import annotations

from typing import NamedTuple

from fastbp.preprocessing.column_rules import Rule
from fastbp.preprocessing.targets import Targets


class Learnt(NamedTuple):
    """A rule per column, whether the columns have names, and the rule of the targets."""

    rules: tuple[Rule, ...]
    named: bool
    targets: Targets | None
