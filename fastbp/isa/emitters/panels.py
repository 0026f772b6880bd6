"""Panels in registers: transpose, gather from rows, scatter to rows.

A panel holds one line per feature; lane i of every line belongs to row i of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from llvmlite import ir

from fastbp.isa.emitters.vocabulary.lines import I32, I64, PTR, Lines, branch, constant, declare, define, loop
from fastbp.isa.targets.table import LINE

PART = 16  # bytes within which the registers of all instruction sets shuffle fast
PREFETCHED = 2048  # features of a row: longer ones the processor prefetches itself, and 16 must fit into the L2 cache


class Blocks:
    """Transposes of L rows by `span` columns, which leave registers as pieces of lines: L lanes of one feature.

    A register that holds a line transposes L x L elements at once. A shorter one would spill: there a block is 128
    bits wide, and a register holds some rows of it, which become some lanes of a line.
    """

    def __init__(self, x: Lines, register: int):
        self.x = x
        self.span = (LINE if register == LINE else PART) * 8 // x.bits
        self.lanes = register * 8 // x.bits  # of a register
        self.rows_held = self.lanes // self.span

    def columns(self, row: Callable[[int], ir.Value]) -> Iterator[tuple[int, int, ir.Value]]:
        """(feature, first lane, lanes) of all features, from `row(i)`, the `span` elements of row i."""
        for first in range(0, self.x.lanes, self.lanes):
            rows = [self._joined([row(first + held * self.span + i) for held in range(self.rows_held)])
                    for i in range(self.span)]  # fmt: skip
            for feature, lanes in enumerate(self.x.transpose(rows)):
                yield feature, first, lanes

    def rows(self, column: Callable[[int, int], ir.Value]) -> Iterator[tuple[int, ir.Value]]:
        """(i, the `span` elements of row i) of all rows, from `column(feature, first lane)`, a register of a line."""
        for first in range(0, self.x.lanes, self.lanes):
            turned = self.x.transpose([column(feature, first) for feature in range(self.span)])
            for held in range(self.rows_held):
                for i, rows in enumerate(turned):
                    part = range(held * self.span, (held + 1) * self.span)
                    yield first + held * self.span + i, self.x.shuffle(rows, rows, part)

    def _joined(self, parts: list) -> ir.Value:
        while len(parts) > 1:
            order = range(2 * parts[0].type.count)
            parts = [self.x.shuffle(a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return parts[0]

    def load(self, pointer, offset, lanes: int, align: int) -> ir.Value:
        """Some adjacent elements."""
        load = self.x.b.load(self.x.at(pointer, offset), typ=ir.VectorType(self.x.scalar, lanes))
        load.align = align
        return load

    def masked_load(self, pointer, offset, count) -> ir.Value:
        """The first `count` of `span` elements, 0 behind them; the memory there is not touched."""
        x, kind = self.x, ir.VectorType(self.x.scalar, self.span)
        mask = lane_mask(x, count, self.span)
        name = f"llvm.masked.load.v{self.span}f{x.bits}.p0"
        load = declare(x.b.module, name, ir.FunctionType(kind, [PTR, I32, mask.type, kind]))
        zeros = ir.Constant(kind, [0.0] * self.span)
        return x.b.call(load, [x.at(pointer, offset), I32(x.bits // 8), mask, zeros])

    def kept(self, value, first: int, count) -> ir.Value:
        """Lanes first, first + 1, ... of a line, zero from lane `count` on."""
        zeros = ir.Constant(value.type, [0.0] * self.lanes)
        return self.x.b.select(lane_mask(self.x, count, self.lanes, first), value, zeros)


def lane_mask(x: Lines, count, lanes: int = 0, first: int = 0):
    """Which of lanes first, first + 1, ... come before lane `count`; `lanes` of them, or a line."""
    lanes = lanes or x.lanes
    numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(first, first + lanes)))
    one = x.b.insert_element(ir.Constant(numbers.type, ir.Undefined), x.b.trunc(count, I32), I32(0))
    every = x.b.shuffle_vector(one, ir.Constant(numbers.type, ir.Undefined), ir.Constant(numbers.type, [0] * lanes))
    return x.b.icmp_signed("<", numbers, every)


def index_at(b, indices, i):
    load = b.load(b.gep(indices, [i if isinstance(i, ir.Value) else I64(i)], source_etype=I64), typ=I64)
    load.align = 8
    return load


def transpose(module: ir.Module, bits: int, table) -> ir.Function:
    """One L x L block, of which `columns` target lines are wanted; source lines from `rows` on count as zero."""

    def body(builder, rows, columns, source, target):
        x, b = Lines(builder, bits), builder
        blocks = Blocks(x, table.register)

        def write(there, kept):
            for k in range(0, x.lanes, blocks.span):
                def row(i, k=k):
                    return blocks.load(source, b.add(there(i), I64(k)), blocks.span, PART)

                for feature, first, lanes in blocks.columns(row):
                    x.store(kept(lanes, first), target, (k + feature) * x.lanes + first, align=table.register)

        def element(i, _):
            b.store(x.load_scalar(source, b.mul(i, I64(x.lanes))), x.at(target, i), align=bits // 8)
            return []

        def known(i):
            return b.select(b.icmp_signed("<", I64(i), rows), I64(i * x.lanes), I64(0))

        def one():  # online learning: as many moves as there are elements
            x.store(x.const(0.0), target)
            loop(b, rows, [], element)

        def whole():
            write(lambda i: I64(i * x.lanes), lambda lanes, _: lanes)

        def part():
            write(known, lambda lanes, first: blocks.kept(lanes, first, rows))

        branch(b, "==", columns, I64(1), one, lambda: branch(b, ">=", rows, I64(x.lanes), whole, part))

    return define(module, bits, "transpose", body)


def gather(module: ir.Module, bits: int, table) -> ir.Function:
    """Lane i of the panel becomes row indices[i] of x, zero from `count` on.

    The rest of the panel's last block of lines may be overwritten. `more` rows of the next panel are prefetched, each
    line beside the same one of this panel: their order is random, and no processor guesses where they begin.
    """

    def body(builder, features, count, source, pitch, indices, more, panel):
        x, b = Lines(builder, bits), builder
        blocks = Blocks(x, table.register)
        starts = b.alloca(I64, x.lanes)

        def start(i):
            place = b.gep(starts, [i if isinstance(i, ir.Value) else I64(i)], source_etype=I64)
            place.type = PTR
            return place

        def find(i, _):  # indices end at `count`: the other lanes read the first row, and are zero
            there = b.select(b.icmp_signed("<", i, count), i, I64(0))
            b.store(b.mul(index_at(b, indices, there), pitch), start(i), align=8)
            return []

        def prefetch(k):
            """Some of the next panel's rows with each block, so that all blocks of a line bring all."""
            if constant(more) == 0:
                return
            first = b.and_(k, I64(x.lanes - 1))
            for n in range(blocks.span):
                i = b.add(first, I64(n))
                there = b.select(b.icmp_signed("<", i, more), b.add(i, I64(x.lanes)), I64(0))
                row = b.mul(index_at(b, indices, there), pitch)
                x.prefetch(source, b.add(row, b.and_(k, I64(-x.lanes))), level=2)

        def block(load):
            def body(k, _):
                with b.if_then(b.icmp_signed("<", k, I64(PREFETCHED))):
                    prefetch(k)
                for feature, first, lanes in blocks.columns(lambda i: load(b.add(index_at(b, start(i), 0), k), k)):
                    place = b.add(b.mul(b.add(k, I64(feature)), I64(x.lanes)), I64(first))
                    x.store(blocks.kept(lanes, first, count), panel, place, align=table.register)
                return []
            return body

        def feature(k, _):
            row = b.mul(index_at(b, indices, I64(0)), pitch)
            value = b.insert_element(x.const(0.0), x.load_scalar(source, b.add(row, k)), I32(0))
            x.store(value, panel, b.mul(k, I64(x.lanes)))
            return []

        def one():  # online learning: no transpose
            loop(b, features, [], feature)

        def several():
            whole = b.and_(features, I64(-blocks.span))
            loop(b, I64(x.lanes), [], find)
            loop(b, whole, [], block(lambda at, _: blocks.load(source, at, blocks.span, bits // 8)), blocks.span)
            loop(b, features, [], block(lambda at, k: blocks.masked_load(source, at, b.sub(features, k))),
                 blocks.span, whole)

        branch(b, "==", count, I64(1), one, several)

    return define(module, bits, "gather", body)


def scatter(module: ir.Module, bits: int, table) -> ir.Function:
    """Lane i of the panel becomes row i of x, for i < count."""

    def body(builder, features, count, panel, target, pitch):
        x, b = Lines(builder, bits), builder
        blocks = Blocks(x, table.register)
        kind = ir.VectorType(x.scalar, blocks.span)
        turned = b.alloca(kind, x.lanes)
        turned.type = PTR

        def block(write):
            def body(k, _):
                def column(feature, first):
                    place = b.add(b.mul(b.add(k, I64(feature)), I64(x.lanes)), I64(first))
                    return blocks.load(panel, place, blocks.lanes, table.register)

                for i, row in blocks.rows(column):
                    b.store(row, x.at(turned, i * blocks.span), align=PART)

                def send(i, _):
                    write(x.at(turned, b.mul(i, I64(blocks.span))), x.at(target, b.add(b.mul(i, pitch), k)), k)
                    return []

                loop(b, count, [], send)
                return []
            return body

        def copy(here, there, _):
            b.store(blocks.load(here, 0, blocks.span, PART), there, align=bits // 8)

        def copy_part(here, there, k):
            def element(n, _):
                b.store(x.load_scalar(here, n), x.at(there, n), align=bits // 8)
                return []

            loop(b, b.sub(features, k), [], element)

        whole = b.and_(features, I64(-blocks.span))
        loop(b, whole, [], block(copy), blocks.span)
        loop(b, features, [], block(copy_part), blocks.span, whole)

    return define(module, bits, "scatter", body)
