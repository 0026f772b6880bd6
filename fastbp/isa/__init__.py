"""Instruction sets: the microkernel contract, and the choice among them.

The microkernels work on flat arrays of one element type; an operand is an array and an offset in elements, here a
pointer. L is the number of elements in a cache line (16 float32, 8 float64). Lines are aligned; nothing aliases unless
said. `along` and `across` are one register tile with its scalars laid out in two ways (see `emit`):

    across(rows, columns, k, a, b, bpitch, c, cpitch, start, bias, post, ahead)
    along(rows, columns, k, a, apitch, b, bpitch, c, cpitch, start, bias, post, ahead, pitch, stride, arrays, step,
          until, stream)

        k                       columns lines              C[j][i][:] (+)= sum_k a(i, k) * B[j][k][:]
      +---+---+---+           +----------------+
    i | a |   |   |   times   | B[j][k][0:L]   |  k        start: ZERO, ACCUMULATE (C is read), BIAS_ROWS, BIAS_COLUMNS
      +---+---+---+           +----------------+           post:  KEEP, RELU

Rows and columns are sizes of the table; callers cut a grid into those with `kernels.dense`. The other microkernels are
described at their emitters in `panels`, `outputs`, `elementwise`, `rules` and `peak`; the twin of each, in plain loops,
is in `portable`.
"""

from __future__ import annotations

import os

from fastbp.isa import detect
from fastbp.isa.targets.table import Table

LINE = 64
NAME = detect.choose(os.environ.get("FASTBP_ISA"))


def table(name: str = NAME) -> Table:
    from fastbp.isa import avx2, avx512, neon

    known = {module.TABLE.name: module.TABLE for module in (avx512, avx2, neon)}
    return known.get(name, avx2.TABLE._replace(name="portable"))
