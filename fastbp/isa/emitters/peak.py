"""What the multiply-add units can do: chains of FMAs that touch no memory."""

from __future__ import annotations

from llvmlite import ir

from fastbp.isa.emitters.vocabulary.lines import Lines, define, loop
from fastbp.isa.targets.table import Table


def peak(module: ir.Module, bits: int, table: Table) -> ir.Function:
    """C[j, :] <- C[j, :] * X[0, :] + X[1, :], n times, for the `lines` sums of a register tile.

    As many independent sums as the largest tile keeps in registers, so that each FMA's latency is hidden behind the
    others: 24 on AVX-512, where 2 a cycle with a latency of 4 need 8. `lines` says so to the twin.
    """
    sums = table.sums

    def body(builder, n, lines, x_, c):
        x = Lines(builder, bits)
        factor, term = x.load(x_), x.load(x_, x.lanes)
        start = [x.load(c, j * x.lanes) for j in range(sums)]
        ends = loop(builder, n, start, lambda _, values: [x.fma(value, factor, term) for value in values])
        for j, value in enumerate(ends):
            x.store(value, c, j * x.lanes)

    return define(module, bits, "peak", body)
