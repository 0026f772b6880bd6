"""The register tile: every size, start and post-operation, emitted code and twins, against higher precision."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import isa
from fastbp.isa.codes import ACCUMULATE, APPLY_RELU, KEEP, ZERO

from .cases import assert_bits, lanes_of, run_and_check
from .cases_tile import Product, outers, tiles
from .machines import each_dtype, each_machine, emitted, plain

STEPS = (0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 100)
SMALL = isa.table()._replace(sums=4, columns=2)


@pytest.mark.jit
@pytest.mark.parametrize("k", STEPS)
@each_dtype
def test_tiles_are_within_the_bound_and_bit_identical(dtype, k):
    run_and_check(emitted, tiles(isa.table(), dtype, k))


@pytest.mark.parametrize("k", [0, 1, 7, 8, 17])
@each_dtype
def test_twin_tiles_are_within_the_bound_and_bit_identical(dtype, k):
    run_and_check(plain, tiles(SMALL, dtype, k))


@each_dtype
@each_machine
def test_outer_products_have_the_bits_of_tiles(machine, dtype):
    run_and_check(machine, outers(isa.table(), dtype))


@pytest.mark.parametrize("first", [1, 8, 16, 30])
@pytest.mark.parametrize("form", ["across", "along"])
@each_dtype
@each_machine
def test_product_in_blocks_is_bit_identical(machine, dtype, form, first):
    k, rows, columns = 33, 1, 1
    product = Product(dtype, k, rows, columns)
    begin, rest = product.part(0, first), product.part(first, k)
    run_and_check(machine, [p.tile(form, rows, columns, ZERO, KEEP) for p in (product, begin)])
    rest.C = begin.bits[ZERO, KEEP][0]
    run_and_check(machine, [rest.tile(form, rows, columns, ACCUMULATE, KEEP)])
    assert_bits(rest.bits[ACCUMULATE, KEEP][0], product.bits[ZERO, KEEP][0])


@each_dtype
@each_machine
def test_relu_propagates_nan(machine, dtype):
    product = Product(dtype, 3, 1, 1)
    product.B[0, 1, 2] = np.nan
    case = product.tile("across", 1, 1, ZERO, APPLY_RELU)
    machine([case])
    line = case.operands()[2].values[: lanes_of(dtype)]
    np.testing.assert_array_equal(np.isnan(line), np.arange(line.size) == 2)
