"""Panels in registers: transpose, gather from rows, scatter to rows.

A panel holds one line per feature; lane i of every line belongs to row i of the batch.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp.isa.emitters.vocabulary.lines import I32, I64, PTR, Lines, declare, define, loop


def lane_mask(x: Lines, count):
    """Lanes 0 ... count-1."""
    lanes = ir.Constant(ir.VectorType(I32, x.lanes), list(range(x.lanes)))
    one = x.b.insert_element(ir.Constant(lanes.type, ir.Undefined), x.b.trunc(count, I32), I32(0))
    every = x.b.shuffle_vector(one, ir.Constant(lanes.type, ir.Undefined), ir.Constant(lanes.type, [0] * x.lanes))
    return x.b.icmp_signed("<", lanes, every)


def masked_load(x: Lines, place, mask):
    """The line's masked lanes at any alignment, 0 elsewhere; memory behind the other lanes is not touched."""
    name = f"llvm.masked.load.v{x.lanes}f{x.bits}.p0"
    load = declare(x.b.module, name, ir.FunctionType(x.vector, [PTR, I32, x.mask, x.vector]))
    return x.b.call(load, [place, I32(x.bits // 8), mask, x.const(0.0)])


def masked_store(x: Lines, value, place, mask):
    name = f"llvm.masked.store.v{x.lanes}f{x.bits}.p0"
    store = declare(x.b.module, name, ir.FunctionType(ir.VoidType(), [x.vector, PTR, I32, x.mask]))
    x.b.call(store, [value, place, I32(x.bits // 8), mask])


def nothing(x: Lines):
    return ir.Constant(x.mask, [0] * x.lanes)


def index_at(b, indices, i):
    load = b.load(b.gep(indices, [i if isinstance(i, ir.Value) else I64(i)], source_etype=I64), typ=I64)
    load.align = 8
    return load


def at_most(b, value, bound: int):
    return b.select(b.icmp_signed("<", value, I64(bound)), value, I64(bound))


def transpose(module: ir.Module, bits: int, table) -> ir.Function:
    """One L x L block, of which `columns` target lines are wanted; source lines from `rows` on count as zero."""

    def body(builder, rows, columns, source, target):
        x, b = Lines(builder, bits), builder

        def line(i):
            with b.if_else(b.icmp_signed("<", I64(i), rows)) as (there, absent):
                with there:
                    value, here = x.load(source, i * x.lanes), b.block
                with absent:
                    elsewhere = b.block
            phi = b.phi(x.vector)
            phi.add_incoming(value, here)
            phi.add_incoming(x.const(0.0), elsewhere)
            return phi

        def write(lines):
            for i, value in enumerate(x.transpose(lines)):
                x.store(value, target, i * x.lanes)

        def element(i, _):
            b.store(x.load_scalar(source, b.mul(i, I64(x.lanes))), x.at(target, i), align=bits // 8)
            return []

        with b.if_else(b.icmp_signed("==", columns, I64(1))) as (one, several):
            with one:  # online learning: as many moves as there are elements
                x.store(x.const(0.0), target)
                loop(b, rows, [], element)
            with several, b.if_else(b.icmp_signed(">=", rows, I64(x.lanes))) as (whole, part):
                with whole:
                    write([x.load(source, i * x.lanes) for i in range(x.lanes)])
                with part:
                    write([line(i) for i in range(x.lanes)])

    return define(module, bits, "transpose", body)


def gather(module: ir.Module, bits: int, table) -> ir.Function:
    """Lane i of the panel becomes row indices[i] of x, zero from `count` on.

    The rest of the panel's last block of lines may be overwritten.
    """

    def body(builder, features, count, source, pitch, indices, panel):
        x, b = Lines(builder, bits), builder

        def block(k, _):
            inside = lane_mask(x, at_most(b, b.sub(features, k), x.lanes))
            lines = []
            for i in range(x.lanes):
                there = b.icmp_signed("<", I64(i), count)
                row = b.mul(index_at(b, indices, b.select(there, I64(i), I64(0))), pitch)  # indices end at `count`
                place = x.at(source, b.add(row, k))
                lines.append(masked_load(x, place, b.select(there, inside, nothing(x))))
            for i, value in enumerate(x.transpose(lines)):
                x.store(value, panel, b.mul(b.add(k, I64(i)), I64(x.lanes)))
            return []

        def feature(k, _):
            row = b.mul(index_at(b, indices, I64(0)), pitch)
            value = b.insert_element(x.const(0.0), x.load_scalar(source, b.add(row, k)), I32(0))
            x.store(value, panel, b.mul(k, I64(x.lanes)))
            return []

        with b.if_else(b.icmp_signed("==", count, I64(1))) as (one, several):
            with one:  # online learning: no transpose
                loop(b, features, [], feature)
            with several:
                loop(b, features, [], block, step=x.lanes)

    return define(module, bits, "gather", body)


def scatter(module: ir.Module, bits: int, table) -> ir.Function:
    """Lane i of the panel becomes row i of x, for i < count."""

    def body(builder, features, count, panel, target, pitch):
        x, b = Lines(builder, bits), builder

        def block(k, _):
            inside = lane_mask(x, at_most(b, b.sub(features, k), x.lanes))
            lines = [x.load(panel, b.mul(b.add(k, I64(i)), I64(x.lanes))) for i in range(x.lanes)]
            for i, value in enumerate(x.transpose(lines)):
                there = b.icmp_signed("<", I64(i), count)
                place = x.at(target, b.add(b.mul(I64(i), pitch), k))
                masked_store(x, value, place, b.select(there, inside, nothing(x)))
            return []

        loop(b, features, [], block, step=x.lanes)

    return define(module, bits, "scatter", body)
