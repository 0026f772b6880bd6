"""What fitting a `Preprocessor` leaves."""

from __future__ import annotations

from typing import NamedTuple

from fastbp.preprocessing.column_rules import Category, Numeric
from fastbp.preprocessing.targets import Targets


class Learnt(NamedTuple):
    """A rule for each column, whether these have names, and the targets' rule."""

    rules: tuple[Numeric | Category, ...]
    named: bool
    targets: Targets | None
