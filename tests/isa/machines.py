"""The two machines that cases run on: the emitted code, and the twins as plain Python."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from fastbp.isa.microkernels import twin
from fastbp.kernels import entries, jit, microkernels

from .cases import DTYPES, Case


@cache
def harness(family: str):
    """A kernel that calls one microkernel, as other kernels do."""
    microkernel = getattr(microkernels, family)

    def call(table, *arguments):
        microkernel(table, *arguments)

    return jit.kernel(call)


def emitted(cases: list[Case]) -> None:
    """Through the callers in `kernels`: machine code, or with FASTBP_ISA=portable the compiled twins."""
    for case in cases:
        family, code = case.family()
        harness(family)(entries.addresses(case.dtype), *code, *case.flat())


def plain(cases: list[Case]) -> None:
    """The twins as plain Python."""
    with np.errstate(all="ignore"):
        for case in cases:
            family, code = case.family()
            twin(family)(None, *code, *case.flat())


MACHINES = [pytest.param(emitted, marks=pytest.mark.jit, id="emitted"), pytest.param(plain, id="plain")]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_machine = pytest.mark.parametrize("machine", MACHINES)
