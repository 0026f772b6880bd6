"""The peak microkernel computes the multiply-adds that it counts."""

from __future__ import annotations

import numpy as np

from fastbp import isa

from .cases import Case, Operand, lanes_of, normal_lines, run_and_check, within, writable
from .machines import each_dtype, each_machine
from .rounded import Rounded


@each_dtype
@each_machine
def test_peak_computes_multiply_adds(machine, dtype):
    """c <- c x + y, three times, on as many lines as the largest tile has, with one or two roundings each."""
    L, lines = lanes_of(dtype), isa.table().sums
    x, c = (normal_lines(np.random.default_rng(n), dtype, n) for n in (2, lines))
    C = writable(Operand(dtype, c.size, c))
    expected = Rounded.exact(c)
    for _ in range(3):
        expected = expected * Rounded.exact(x[:1]) + Rounded.exact(x[1:])
    check = within(C, expected.value, 1.01 * expected.error)
    run_and_check(machine, [Case("peak", dtype, [3, lines, Operand(dtype, 2 * L, x), C], check)])
