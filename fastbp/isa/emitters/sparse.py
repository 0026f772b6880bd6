"""Rows with few nonzero features times a kernel's panels: no zero is ever touched.

A row is `n` columns (int32) and their values. The kernel's panel has a line of outputs for every column, so forward
adds up lines, and the gradient is added to the same lines.

A kernel has `lines` of them. Columns belong to the caller, who may change them at any time, so each is compared when it
is used: one that is none of the lines is read as line 0 and never written, and *outside becomes 1.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp.isa.emitters.optimizers import all_lanes, finite
from fastbp.isa.emitters.vocabulary.lines import I32, I64, Lines, at_line, define, loop

GROUP = 4  # panels whose sums are in registers at once: four chains of multiply-adds


def column_at(x: Lines, columns, i, lines):
    """A column as a line of the kernel, and whether it is one."""
    load = x.b.load(x.b.gep(columns, [i], source_etype=I32), typ=I32)
    load.align = 4
    column = x.b.zext(load, I64)  # negative ones become large
    return column, x.b.icmp_unsigned("<", column, lines)


def sparse_forward(module: ir.Module, bits: int, table) -> ir.Function:
    """z[j] <- bias[j] + sum over i of values[i] W[j][columns[i]], a line for each of the panels.

    Panels and biases are wpitch apart.
    """

    def body(builder, n, columns, values, w, wpitch, lines, panels, bias, z, zpitch, outside):
        x, b = Lines(builder, bits), builder

        def group(count):
            def run(j, _):
                starts = [b.mul(b.add(j, I64(c)), wpitch) for c in range(count)]

                def element(i, sums):
                    value = x.splat(x.load_scalar(values, i))
                    column, inside = column_at(x, columns, i, lines)
                    with b.if_then(b.not_(inside), likely=False):
                        b.store(I64(1), outside, align=8)
                    line = at_line(x, b.select(inside, column, I64(0)))
                    return [x.fma(value, x.load(w, b.add(start, line)), total)
                            for start, total in zip(starts, sums, strict=True)]

                sums = loop(b, n, [x.load(bias, start) for start in starts], element)
                for c, total in enumerate(sums):
                    x.store(total, z, b.mul(b.add(j, I64(c)), zpitch))
                return []
            return run

        whole = b.and_(panels, I64(-GROUP))
        loop(b, whole, [], group(GROUP), step=GROUP)
        loop(b, panels, [], group(1), start=whole)

    return define(module, bits, "sparse_forward", body)


def sparse_add(module: ir.Module, bits: int, table) -> ir.Function:
    """One panel: W[columns[i]] <- W[columns[i]] + factor values[i] d where that is finite in every lane.

    Elsewhere, and for columns that are no lines, *flag becomes 1.
    """

    def body(builder, n, columns, values, d, w, lines, factor, flag, outside):
        x, b = Lines(builder, bits), builder
        delta = b.fmul(x.splat(x.load_scalar(factor)), x.load(d))

        def element(i, _):
            column, inside = column_at(x, columns, i, lines)
            with b.if_else(inside, likely=True) as (known, unknown):
                with known:
                    at = at_line(x, column)
                    value = x.fma(x.splat(x.load_scalar(values, i)), delta, x.load(w, at))
                    with b.if_else(all_lanes(x, finite(x, value)), likely=True) as (fine, spoilt):
                        with fine:
                            x.store(value, w, at)
                        with spoilt:
                            b.store(I64(1), flag, align=8)
                with unknown:
                    b.store(I64(1), flag, align=8)
                    b.store(I64(1), outside, align=8)
            return []

        loop(b, n, [], element)

    return define(module, bits, "sparse_add", body)
