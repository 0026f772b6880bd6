"""Every microkernel x dtype x size: emitted code and plain-loop twins, against higher precision."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp import isa
from fastbp.isa.codes import KEEP, LOSSES, ZERO
from fastbp.isa.contract import BFLOAT16, FILES
from fastbp.isa.microkernels import SLOTS

from . import cases_losses as losses
from .cases import run_and_check
from .cases_dropout import DROPOUT
from .cases_elementwise import additions
from .cases_normalization import BY_PAIRS, NORMALIZATION
from .cases_panels import gathers, scatters, transposes
from .cases_parameters import PARAMETERS
from .cases_tile import Product, outers, tiles
from .machines import each_dtype, each_machine, emitted, plain
from .tables import SHORTER, TABLES


@pytest.mark.parametrize("cases", TABLES, ids=lambda cases: f"{cases.__module__.rpartition('_')[2]}-{cases.__name__}")
@each_dtype
@each_machine
def test_results_are_as_expected(machine, dtype, cases):
    run_and_check(machine, cases(dtype, **(SHORTER.get(cases, {}) if machine is plain else {})))


def test_every_microkernel_has_a_case():
    cases = [case for table in TABLES for case in table("float32", **SHORTER.get(table, {}))]
    cases += [case for name in losses.BOUNDS for case in losses.cases_of(name, "float32", (1,))]
    cases += [*tiles(isa.table("avx2"), "float32", 1), *outers(isa.table("avx2"), "float32")]
    own = {name for name, file in FILES.items() if file in BFLOAT16}  # see test_bfloat16
    assert {case.name for case in cases} | {"peak"} | own == set(SLOTS)
    assert set(losses.BOUNDS) == set(LOSSES)


@pytest.mark.jit
@each_dtype
def test_nothing_is_accessed_past_the_end_of_operands(dtype):
    """Operands end right before an unreadable page; in a separate process, since it may crash."""
    command = [sys.executable, "-c", f"import {__name__} as t; t.access_ends_of_pages({dtype!r})"]
    root = Path(__file__).parents[__name__.count(".")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"


def move_to_the_end_of_a_page(operand):
    """Move the operand to the end of a page, before one that cannot be read."""
    import ctypes
    import mmap

    page, size = mmap.PAGESIZE, operand.values.nbytes
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start + pages * page), page, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    array = np.frombuffer(memory, operand.array.dtype, size // operand.array.itemsize, pages * page - size)
    array[:] = operand.values
    operand.array, operand.offset, operand.values = array, 0, array


def access_ends_of_pages(dtype: str) -> None:
    cases = [*gathers(dtype, (1, 15, 17)), *scatters(dtype, (1, 15, 17)), *transposes(dtype)]
    for k in (0, 1, 3, 17):
        product = Product(dtype, k, 2, 1)
        cases += [product.tile(form, 2, 1, ZERO, KEEP, gap=0) for form in ("across", "along")]
        cases += [product.outer()] if k < 16 else []
    pairs = [(17, 31), (1, 1), (33, 16)]
    for table in NORMALIZATION:
        cases += table(dtype, pairs) if table in BY_PAIRS else table(dtype)
    cases += [case for table in (*DROPOUT, *PARAMETERS) for case in table(dtype)] + list(additions(dtype))
    for case in cases:
        print(case.name, case.label, flush=True)
        for operand in case.operands():
            move_to_the_end_of_a_page(operand)
        emitted([case])
