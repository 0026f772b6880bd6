"""bfloat16 operands: emitted code and twins are bit-identical; rounding and sums are within their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import isa
from fastbp.isa.targets import amx
from fastbp.isa.twins.products import widened
from fastbp.isa.twins.rounding import narrowed
from fastbp.kernels import entries, jit
from fastbp.kernels.microkernels import begin_tiles, end_tiles

from .cases import Operand, run_and_check
from .cases_bfloat16 import TABLES, words
from .machines import harness

supported = bool(isa.table().bfloat16) and (isa.table().bfloat16 != "tiles" or amx.permitted())


def emitted(cases):
    """As in machines, on AMX tiles if there are any, with the control word that workers set."""
    table = entries.addresses_with_bfloat16()

    @jit.kernel
    def begin(table, saved, s):
        begin_tiles(table, saved, s)

    @jit.kernel
    def end(table, saved, s):
        end_tiles(table, saved, s)

    saved = Operand(np.int64, 8)
    for case in cases:
        if isa.table().bfloat16 == "tiles":
            begin(table, saved.array, saved.offset)
        harness(case.name)(table, *case.flat())
        if isa.table().bfloat16 == "tiles":
            end(table, saved.array, saved.offset)


if supported:

    @pytest.mark.jit
    @pytest.mark.parametrize("cases", TABLES, ids=lambda cases: cases.__name__)
    def test_emitted_code_is_bit_identical_to_the_twins(cases):
        run_and_check(emitted, cases())


def test_rounding_is_to_nearest_even():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=2000), 10.0 ** rng.uniform(-37, 38, 2000)]).astype(np.float32)
    for value in values.tolist():
        back = widened(narrowed(value))
        assert abs(back - value) <= 2**-8 * abs(value)
    assert [narrowed(v) for v in (1 + 2**-8, 1 + 3 * 2**-8, -1e-40, float("inf"), 3.4e38)] == [
        0x3F80, 0x3F82, 0x8000, 0x7F80, 0x7F80]  # fmt: skip


def test_product_matches_that_of_the_rounded_operands():
    """16 x 16 sums of 96 products within (96 + 3) u of exact ones."""
    from fastbp.isa.twins.products import products

    rng = np.random.default_rng(1)
    A, B, C = words(rng, 1536), words(rng, 1536), Operand(np.float32, 256)
    products(None, 1, 1, 3, A.array, A.offset, 0, 512, B.array, B.offset, 0, 512, 0, 0, C.array, C.offset, 0, 0, 0,
             A.array, A.offset, 0, 0)
    a = np.vectorize(widened)(A.values).reshape(3, 16, 32).transpose(1, 0, 2).reshape(16, 96)
    b = np.vectorize(widened)(B.values).reshape(3, 16, 16, 2).transpose(0, 1, 3, 2).reshape(96, 16)
    bound = 99 * 2.0**-24 * (np.abs(a) @ np.abs(b))
    assert (np.abs(C.values.reshape(16, 16) - a @ b) <= bound).all()
