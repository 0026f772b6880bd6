"""Products of operands of bfloat16 with sums in float32: tiles of AMX, or the same sums by multiply-adds of lines.

    C[j][i][:] (+)= sum over k of  a(i, k) * b(k, j, :)      i < 16 rows, j < columns, lines of 16 float32

Both operands lie as blocks of 512 words, 1 KiB, for 32 steps of k: 16 lines of A for 16 rows, each with its 32 values
of k; 16 lines of B for 16 pairs of k, each with the 16 lanes' pairs.

    A  [row i][k 0 ... 31]        B  [pair k/2][lane][k even, k odd]

The order of the sums is the tiles': for each block the 16 products of even k are added up in their order, from 0 on,
those of odd k likewise, then the two sums, then this to C. Each product with its addition is rounded once. Operands and
sums below the smallest normal number count as 0.
"""

from __future__ import annotations

from itertools import product

from llvmlite import ir

from fastbp.isa.codes import ACCUMULATE, STREAM_A, STREAM_B
from fastbp.isa.emitters.vocabulary.lines import I32, I64, Lines, declare, define, loop, private, signature

I8, I16 = ir.IntType(8), ir.IntType(16)
VOID = ir.VoidType()
BLOCK = 512  # words of an operand's block
TILE = 256  # floats of a tile of sums
SIDES = (1, 2)  # tiles of rows, and of columns


def word_at(b: ir.IRBuilder, pointer, offset):
    """The address of a word of 16 bits."""
    place = b.gep(pointer, [offset if isinstance(offset, ir.Value) else I64(offset)], source_etype=I16)
    place.type = ir.PointerType()
    return place


class Tiles:
    """AMX's instructions on fixed tile registers: 0 to 3 hold sums, 4 and 5 blocks of A, 6 and 7 of B."""

    def __init__(self, b: ir.IRBuilder):
        self.b = b

    def call(self, name: str, *arguments):
        kind = ir.FunctionType(VOID, [x.type for x in arguments])
        self.b.call(declare(self.b.module, f"llvm.x86.{name}", kind), arguments)

    def zero(self, tile: int):
        self.call("tilezero", I8(tile))

    def load(self, tile: int, place, once: bool = False):
        """once: it will not be wanted again soon, so that it does not take the place of what will."""
        self.call("tileloaddt164" if once else "tileloadd64", I8(tile), place, I64(64))

    def store(self, tile: int, place):
        self.call("tilestored64", I8(tile), place, I64(64))

    def multiply(self, sums: int, a: int, b: int):
        self.call("tdpbf16ps", I8(sums), I8(a), I8(b))


def absent(module: ir.Module, bits: int, name: str) -> ir.Function:
    """A function that is never called: float64 has no operands of bfloat16."""
    return define(module, bits, name, lambda builder, *_: None)


def products(module: ir.Module, bits: int, table) -> ir.Function:
    """`rows` tiles of rows by `columns` tiles, 1 or 2 each, over `depth` blocks of k.

    `alow`, `blow`: how far behind an operand lies what rounding left of it, in bfloat16 again; then the products of
    these with the other operand are added block by block, behind that of both. 0: neither. `streamed` says which of the
    operands is not kept in the first-level cache: STREAM_B or STREAM_A. What is left of that one comes last, so that
    each of its blocks is loaded once.
    `fetch` lines from `ahead` on are prefetched with the first block, from `hstep` words further with the next.
    """
    if bits != 32 or table.bfloat16 not in ("tiles", "lines"):
        return absent(module, bits, "products")
    emit = by_tiles if table.bfloat16 == "tiles" else by_lines

    def body(builder, rows, columns, *rest):
        low = builder.zext(builder.icmp_signed("!=", rest[7], I64(0)), I64)
        kind = builder.add(builder.mul(rows, I64(16)), builder.mul(columns, I64(4)))
        kind = builder.add(kind, builder.add(builder.mul(low, I64(2)), rest[12]))
        done = builder.append_basic_block("done")
        switch = builder.switch(kind, done)
        for r, c, split, stream in product(SIDES, SIDES, (0, 1), (STREAM_B, STREAM_A)):
            block = builder.append_basic_block("products")
            switch.add_case(I64(16 * r + 4 * c + 2 * split + stream), block)
            builder.position_at_end(block)
            name, arguments = f"fastbp_products_{r}x{c}_{split}{stream}", signature("products")[2:]

            def fixed(b, *given, shape=(r, c, bool(split), stream)):
                emit(b, *shape, *given)

            builder.call(private(module, name, arguments, fixed), rest)
            builder.branch(done)
        builder.position_at_end(done)

    return define(module, bits, "products", body)


def fetched(x: Lines, ahead, offset, fetch):
    """Prefetches `fetch` lines into the second-level cache."""
    b = x.b
    here = word_at(b, ahead, offset)

    def line(i, _):
        x.prefetch(here, b.mul(i, I64(x.lanes)), level=2)
        return []

    loop(b, fetch, [], line)


def by_tiles(b: ir.IRBuilder, rows: int, columns: int, split: bool, stream: int, depth, a, apitch, astep, bp, bpitch,
             bstep, alow, blow, c, cpitch, start, streamed, ahead, hstep, fetch):
    """Sums stay in tile registers over all of k."""
    x, t = Lines(b, 32), Tiles(b)
    once = None if split else stream  # measured: where each is two, the hint costs 5 to 8 %
    cells = [(i, j) for i in range(rows) for j in range(columns)]

    def place(i, j):
        return x.at(c, b.add(b.mul(cpitch, I64(j)), I64(i * TILE)))

    with b.if_else(b.icmp_signed("==", start, I64(ACCUMULATE))) as (known, fresh):
        with known:
            for i, j in cells:
                t.load(2 * i + j, place(i, j))
        with fresh:
            for i, j in cells:
                t.zero(2 * i + j)

    def step(index, _):
        fetched(x, ahead, b.mul(index, hstep), fetch)
        here, there = word_at(b, a, b.mul(index, astep)), word_at(b, bp, b.mul(index, bstep))

        def of_a(i, low=None):
            t.load(4 + i, word_at(b, here, b.add(b.mul(apitch, I64(i)), low or I64(0))), once == STREAM_A)

        def of_b(j, low=None):
            t.load(6 + j, word_at(b, there, b.add(b.mul(bpitch, I64(j)), low or I64(0))), once == STREAM_B)

        def multiplied(a_low=None, b_low=None, load_a=True, load_b=True):
            """Each block is loaded just before its first product."""
            for n, (i, j) in enumerate(cells):
                if load_a and j == 0:
                    of_a(i, a_low)
                if load_b and n < columns:
                    of_b(j, b_low)
                t.multiply(2 * i + j, 4 + i, 6 + j)

        multiplied()
        if split and stream == STREAM_B:
            multiplied(a_low=alow, load_b=False)
            multiplied(b_low=blow)
        elif split:
            multiplied(b_low=blow, load_a=False)
            multiplied(a_low=alow)
        return []

    loop(b, depth, [], step)
    for i, j in cells:
        t.store(2 * i + j, place(i, j))


GROUP = 8  # lines of sums that registers hold twice, beside the operands


def by_lines(b: ir.IRBuilder, rows: int, columns: int, split: bool, stream: int, depth, a, apitch, astep, bp, bpitch,
             bstep, alow, blow, c, cpitch, start, streamed, ahead, hstep, fetch):
    """The tiles' sums in their order by multiply-adds of lines: as exact, not as fast."""
    x = Lines(b, 32)
    odd_half = x.iconst(0xFFFF0000)

    def floats(words):
        """Two lines from one of pairs: its even and its odd values."""
        return (b.bitcast(b.shl(words, x.iconst(16)), x.vector), b.bitcast(b.and_(words, odd_half), x.vector))

    def sums_of(here, there):
        """The sums of a block, GROUP lines of even k, then of odd."""
        def pair(n, sums):
            load = b.load(word_at(b, there, b.mul(n, I64(32))), typ=x.ivector)
            load.align = 64
            even, odd = floats(load)
            sums = list(sums)
            for i in range(GROUP):
                scalar = b.load(word_at(b, here, b.add(b.mul(n, I64(2)), I64(32 * i))), typ=I32)
                scalar.align = 4
                one = b.insert_element(ir.Constant(x.ivector, ir.Undefined), scalar, I32(0))
                splat = b.shuffle_vector(one, ir.Constant(x.ivector, ir.Undefined), x._order([0] * x.lanes))
                a_even, a_odd = floats(splat)
                sums[i] = x.fma(a_even, even, sums[i])
                sums[GROUP + i] = x.fma(a_odd, odd, sums[GROUP + i])
            return sums

        sums = loop(b, I64(16), [x.const(0.0)] * 2 * GROUP, pair)
        return [b.fadd(sums[i], sums[GROUP + i]) for i in range(GROUP)]

    accumulates = b.icmp_signed("==", start, I64(ACCUMULATE))
    for j in range(columns):
        for group in range(0, 16 * rows, GROUP):
            i, first = divmod(group, 16)
            target = x.at(c, b.add(b.mul(cpitch, I64(j)), I64(group * x.lanes)))
            begin = []
            for line in range(GROUP):  # what is not read may be anything
                begin.append(b.select(accumulates, x.load(target, line * x.lanes), x.const(0.0)))

            def step(index, sums, i=i, j=j, first=first):
                here = word_at(b, a, b.add(b.add(b.mul(index, astep), b.mul(apitch, I64(i))), I64(32 * first)))
                there = word_at(b, bp, b.add(b.mul(index, bstep), b.mul(bpitch, I64(j))))
                parts = [(here, there)]
                if split:
                    rest = [(word_at(b, here, alow), there), (here, word_at(b, there, blow))]
                    parts += rest if stream == STREAM_B else rest[::-1]
                for part in parts:
                    sums = [b.fadd(s, t) for s, t in zip(sums, sums_of(*part), strict=True)]
                return sums

            for line, value in enumerate(loop(b, depth, begin, step)):
                x.store(value, target, line * x.lanes)


def begin_tiles(module: ir.Module, bits: int, table) -> ir.Function:
    """Keeps the thread's tile configuration, 64 bytes, and sets one of eight tiles of 16 lines."""
    if bits != 32 or table.bfloat16 != "tiles":
        return absent(module, bits, "begin_tiles")

    def body(builder, saved):
        t = Tiles(builder)
        t.call("sttilecfg", saved)
        kind = ir.ArrayType(I8, 64)
        sizes = [1, 0, *[0] * 14, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8]  # palette, bytes of lines, lines
        wanted = builder.alloca(kind)
        wanted.align = 64
        builder.store(ir.Constant(kind, sizes), wanted)
        t.call("ldtilecfg", wanted)

    return define(module, bits, "begin_tiles", body)


def end_tiles(module: ir.Module, bits: int, table) -> ir.Function:
    """Sets the configuration that the thread had before; what its tiles held is lost, as after any call."""
    if bits != 32 or table.bfloat16 != "tiles":
        return absent(module, bits, "end_tiles")

    def body(builder, saved):
        t = Tiles(builder)
        palette = builder.load(saved, typ=I8)
        with builder.if_else(builder.icmp_unsigned("==", palette, I8(0))) as (none, some):
            with none:
                t.call("tilerelease")
            with some:
                t.call("ldtilecfg", saved)

    return define(module, bits, "end_tiles", body)


def tile_peak(module: ir.Module, bits: int, table) -> ir.Function:
    """n times the four products of a 2 x 2 block on tiles loaded once: what no product can exceed."""
    if bits != 32 or table.bfloat16 != "tiles":
        return absent(module, bits, "tile_peak")

    def body(builder, n, a, c):
        x, t = Lines(builder, 32), Tiles(builder)
        for cell in range(4):
            t.zero(cell)
            t.load(4 + cell, word_at(builder, a, cell * BLOCK))

        def turn(_index, _):
            for cell in range(4):
                t.multiply(cell, 4 + cell // 2, 6 + cell % 2)
            return []

        loop(builder, n, [], turn)
        for cell in range(4):
            t.store(cell, x.at(c, cell * TILE))

    return define(module, bits, "tile_peak", body)



