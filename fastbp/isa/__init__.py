"""Instruction sets: the microkernels, and the choice among the sets.

`contract` has the arguments of every microkernel, `codes` what they are told by number, `emitters` the machine code and
`twins` the same in plain loops, in files of equal names; `targets` holds a table for each instruction set, and
`microkernels` the list that all of this makes.
"""

from __future__ import annotations

import os

from fastbp.isa.targets import TARGETS, detect
from fastbp.isa.targets.table import LINE, Table

__all__ = ["LINE", "NAME", "Table", "detect", "table"]

NAME = detect.choose(os.environ.get("FASTBP_ISA"))


def table(name: str = NAME) -> Table:
    """What the chosen instruction set, or another, contributes."""
    return TARGETS[name]
