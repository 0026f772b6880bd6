"""What an instruction set contributes: the sizes of its register tiles, largest first, and what it can estimate."""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    name: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    reciprocals: bool  # 14-bit estimates of 1/x and 1/sqrt(x)
    cpu: str  # the processor LLVM compiles for when this table is chosen on another one
    features: tuple[str, ...]  # what the processor must have, in LLVM's names
