"""Lines of float32 as operands of bfloat16: rounded to the nearest, ties to even; NaN stays NaN, tiny ones become 0.

Two lines rounded make a register of 32 words. From two panels' lines of one unit it is a line of `rows`, 32 rows of the
batch for a product over rows; words of two such lines interleaved make a line of `pairs`, two units for each lane, for
a product over units; and 16 lines of rows transposed by pairs of words are the pairs of a product over rows.

    rows   [unit][32 rows of the batch]      pairs  [unit/2][16 rows][even unit, odd unit]

`low` elements behind each operand, unless it is 0, lies what rounding left of it, rounded again.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fastbp.isa.codes import APPLY_RELU, HALVES, PADDED, STREAMED, WHOLE
from fastbp.isa.emitters.panels import lane_mask
from fastbp.isa.emitters.products import I16, absent, word_at
from fastbp.isa.emitters.vocabulary.lines import I32, I64, Lines, at_line, define, loop, private, signature

WORDS = ir.VectorType(I16, 32)
HALF = ir.VectorType(I16, 16)


class Rounding:
    """Words of bfloat16 over the vocabulary of lines."""

    def __init__(self, builder: ir.IRBuilder, native: bool):
        self.x, self.b, self.native = Lines(builder, 32), builder, native

    def words(self, first, second):
        """A line, and behind it another, as 32 words."""
        if self.native:
            kind = ir.FunctionType(self.x.ivector, [self.x.vector] * 2)
            packed = ir.InlineAsm(kind, "vcvtne2ps2bf16 $1, $2, $0", "=v,v,v")
            return self.b.bitcast(self.b.call(packed, [first, second]), WORDS)
        return self.shuffle(self.half(first), self.half(second), list(range(32)))

    def half(self, line):
        """16 words without the processor's help."""
        x, b = self.x, self.b
        word, exponent = b.bitcast(line, x.ivector), x.iconst(0x7F800000)
        magnitude = b.and_(word, x.iconst(0x7FFFFFFF))
        nearest = b.add(b.add(word, x.iconst(0x7FFF)), b.and_(b.lshr(word, x.iconst(16)), x.iconst(1)))
        nearest = b.select(b.icmp_unsigned("<", magnitude, x.iconst(0x00800000)),
                           b.and_(word, x.iconst(0x80000000)), nearest)
        nearest = b.select(b.icmp_unsigned(">", magnitude, exponent), b.or_(word, x.iconst(0x00400000)), nearest)
        return b.trunc(b.lshr(nearest, x.iconst(16)), HALF)

    def shuffle(self, first, second, order: list[int]):
        return self.b.shuffle_vector(first, second, self.x._order(order))

    def left(self, lines: list, words):
        """What rounding left of one or two lines; 0 of what is not finite."""
        x, b = self.x, self.b
        rest = []
        for n, line in enumerate(lines):
            half = self.shuffle(words, words, list(range(16 * n, 16 * n + 16)))
            rounded = b.bitcast(b.shl(b.zext(half, x.ivector), x.iconst(16)), x.vector)
            finite = b.fcmp_ordered("<", x.call("fabs", rounded), x.const(float("inf")))
            rest.append(b.select(finite, b.fsub(line, rounded), x.const(0.0)))
        return rest

    def pairs(self, even, odd, panel: int):
        """A line of pairs of a panel from the lines of rows of two units."""
        return self.shuffle(even, odd, [x for i in range(16) for x in (16 * panel + i, 32 + 16 * panel + i)])

    def transposed(self, lines: list) -> list:
        """16 registers of 16 pairs of words."""
        x, b = self.x, self.b
        return [b.bitcast(line, WORDS) for line in x.transpose([b.bitcast(line, x.vector) for line in lines])]

    def store(self, words, pointer, offset=0):
        return self.b.store(words, word_at(self.b, pointer, offset), align=64)

    def streamed(self, words, pointer, offset):
        """Past the caches, for what nobody reads before it would have left them."""
        self.store(words, pointer, offset).set_metadata("nontemporal", self.b.module.add_metadata([I32(1)]))

    def store_either(self, words, pointer, offset, streams):
        with self.b.if_else(streams) as (past, through):
            with past:
                self.streamed(words, pointer, offset)
            with through:
                self.store(words, pointer, offset)

    def store_rows(self, words, pointer, offset, halves):
        """The whole line, past the caches or not, its first half, or nothing of it."""
        b = self.b
        place = word_at(b, pointer, offset)
        with b.if_then(b.icmp_signed(">=", halves, I64(WHOLE))):
            self.store_either(words, pointer, offset, b.icmp_signed("==", halves, I64(STREAMED)))
        with b.if_then(b.icmp_signed("==", halves, I64(HALVES))):
            b.store(self.shuffle(words, words, list(range(16))), place, align=32)


def parts(r: Rounding, lines: list, split: bool) -> list:
    """One or two lines as words, and what is left of them as words again."""
    nothing = r.x.const(0.0)
    words = r.words(lines[0], lines[1] if len(lines) > 1 else nothing)
    if not split:
        return [words]
    rest = r.left(lines, words)
    return [words, r.words(rest[0], rest[1] if len(lines) > 1 else nothing)]


def variants(module: ir.Module, bits: int, table, name: str, body: Callable) -> ir.Function:
    """`body(rounding, columns, split, *arguments)` for one and two columns, with and without what is left.

    The columns are the second argument of the contract, how far the rest lies is the last.
    """
    if bits != 32 or table.bfloat16 not in ("tiles", "lines"):
        return absent(module, bits, name)
    types = signature(name)

    def dispatch(builder, *arguments):
        split = builder.icmp_signed("!=", arguments[-1], I64(0))
        kind = builder.add(builder.mul(arguments[1], I64(2)), builder.zext(split, I64))
        done = builder.append_basic_block("done")
        switch = builder.switch(kind, done)
        for columns in (1, 2):
            for rest in (False, True):
                block = builder.append_basic_block(f"columns{columns}{'rest' * rest}")
                switch.add_case(I64(2 * columns + rest), block)
                builder.position_at_end(block)

                def fixed(b, *given, columns=columns, rest=rest):
                    body(Rounding(b, table.bfloat16 == "tiles"), columns, rest, *given)

                full = f"fastbp_{name}_{columns}{'_rest' * rest}"
                builder.call(private(module, full, types, fixed), arguments)
                builder.branch(done)
        builder.position_at_end(done)

    return define(module, bits, name, dispatch)


def finish_outputs(module: ir.Module, bits: int, table) -> ir.Function:
    """Z <- f(C + bias) of n lines of one or two panels, f the identity or ReLU, and its operands.

    Of what goes into rows, the lanes from `count` on are zero.
    """

    def body(r, columns, split, n, _, count, c, cpitch, bias, biased, post, z, zpitch, keep, p, ppitch, pairs, rows,
             halves, low):
        x, b = r.x, r.b
        floor = b.select(b.icmp_signed("==", post, I64(APPLY_RELU)), x.const(0.0), x.const(float("-inf")))
        masks = [lane_mask(x, b.sub(count, I64(16 * j))) for j in range(columns)]
        some = b.icmp_signed("!=", biased, I64(0))

        def line(i):
            """A unit's outputs, stored if wanted."""
            scalar = x.splat(x.load_scalar(bias, b.mul(i, biased)))
            at = [b.add(b.mul(cpitch, I64(j)), at_line(x, i)) for j in range(columns)]
            sums = [x.load(c, place) for place in at]
            values = [x.maximum(floor, b.select(some, b.fadd(s, scalar), s)) for s in sums]
            with b.if_then(b.icmp_signed("!=", keep, I64(0))):
                for j, value in enumerate(values):
                    x.store(value, z, b.add(b.mul(zpitch, I64(j)), at_line(x, i)))
            return [b.select(mask, value, x.const(0.0)) for mask, value in zip(masks, values, strict=True)]

        def two(i, last: bool):
            even = parts(r, line(i), split)
            odd = parts(r, line(b.add(i, I64(1))), split) if not last else [ir.Constant(WORDS, None)] * len(even)
            for which, (e, o) in enumerate(zip(even, odd, strict=True)):
                behind = low if which else I64(0)
                with b.if_then(b.icmp_signed("!=", pairs, I64(0))):
                    for j in range(columns):
                        place = b.add(b.add(b.mul(ppitch, I64(j)), b.mul(i, I64(16))), behind)
                        r.store(r.pairs(e, o, j), p, place)
                r.store_rows(e, rows, b.add(b.mul(i, I64(32)), behind), halves)
                if not last:
                    r.store_rows(o, rows, b.add(b.mul(i, I64(32)), b.add(behind, I64(32))), halves)
            return []

        whole = b.and_(n, I64(-2))
        loop(b, whole, [], lambda i, _: two(i, False), step=2)
        loop(b, n, [], lambda i, _: two(i, True), step=2, start=whole)

    return variants(module, bits, table, "finish_outputs", body)


def finish_deltas(module: ir.Module, bits: int, table) -> ir.Function:
    """The operands of a block of n <= 16 units' deltas; lines from n on count as 0.

    PADDED pairs are followed by as many of zeros, the other half of a product's 32 steps.
    `masked`: times ReLU's slope, from the pairs of its outputs at K. Transposed into T, lanes from `count` on are zero.
    """

    def body(r, columns, split, n, _, count, e, epitch, known, kpitch, masked, p, ppitch, pairs, t, halves, low):
        x, b = r.x, r.b
        masks = [lane_mask(x, b.sub(count, I64(16 * j))) for j in range(columns)]
        every = b.icmp_signed("==", masked, I64(0))
        rows: list[list] = [[], []]
        for i in range(16):
            there = b.icmp_signed("<", I64(i), n)
            at = b.select(there, I64(i * x.lanes), I64(0))
            lines = []
            for j in range(columns):
                value = b.select(there, x.load(e, b.add(b.mul(epitch, I64(j)), at)), x.const(0.0))
                half = b.select(every, I64(0), I64(i // 2 * 32))
                word = b.load(word_at(b, known, b.add(b.select(every, I64(0), b.mul(kpitch, I64(j))), half)),
                              typ=x.ivector)
                word.align = 64
                word = b.and_(word, x.iconst(0xFFFF0000)) if i % 2 else b.shl(word, x.iconst(16))
                positive = b.icmp_signed(">", word, x.iconst(0))
                keep = b.and_(b.or_(splat_bit(x, every), positive), masks[j])
                lines.append(b.select(keep, value, x.const(0.0)))
            for which, words in enumerate(parts(r, lines, split)):
                rows[which].append(words)
        for which in range(1 + split):
            behind = low if which else I64(0)
            with b.if_then(b.icmp_signed("!=", pairs, I64(0))):
                for j in range(columns):
                    for i in range(0, 16, 2):
                        place = b.add(b.add(b.mul(ppitch, I64(j)), I64(16 * i)), behind)
                        r.store(r.pairs(rows[which][i], rows[which][i + 1], j), p, place)
                    with b.if_then(b.icmp_signed("==", pairs, I64(PADDED))):
                        for i in range(8, 16):
                            place = b.add(b.add(b.mul(ppitch, I64(j)), I64(32 * i)), behind)
                            r.store(ir.Constant(WORDS, None), p, place)
            turned = r.transposed(rows[which])
            for i in range(8 * columns):
                r.store_either(turned[i], t, b.add(I64(32 * i), behind), b.icmp_signed("==", halves, I64(STREAMED)))
            if columns == 1:
                with b.if_then(b.icmp_signed(">=", halves, I64(WHOLE))):
                    for i in range(8, 16):
                        r.store(ir.Constant(WORDS, None), t, b.add(I64(32 * i), behind))

    return variants(module, bits, table, "finish_deltas", body)


def splat_bit(x: Lines, bit):
    one = x.b.insert_element(ir.Constant(x.mask, ir.Undefined), bit, I32(0))
    return x.b.shuffle_vector(one, ir.Constant(x.mask, ir.Undefined), x._order([0] * x.lanes))


def round_kernel(module: ir.Module, bits: int, table) -> ir.Function:
    """A kernel's operands from n <= 32 lines of one or two panels, lines from n on counting as 0.

    F: [output][32 inputs], a block for each panel; B: [input][outputs of two panels], of which one may be written, in
    two blocks of 16 inputs.
    """

    def body(r, columns, split, n, _, w, wpitch, f, fpitch, bp, bpitch, halves, low):
        x, b = r.x, r.b
        rows: list[list] = [[], []]
        for i in range(32):
            there = b.icmp_signed("<", I64(i), n)
            at = b.select(there, I64(i * x.lanes), I64(0))
            lines = [b.select(there, x.load(w, b.add(b.mul(wpitch, I64(j)), at)), x.const(0.0)) for j in range(columns)]
            for which, words in enumerate(parts(r, lines, split)):
                rows[which].append(words)
                place = b.add(b.mul(bpitch, I64(i // 16)), I64(32 * (i % 16)))
                r.store_rows(words, bp, b.add(place, low if which else I64(0)), halves)
        for which in range(1 + split):
            for j in range(columns):
                lines = [r.pairs(rows[which][i], rows[which][i + 1], j) for i in range(0, 32, 2)]
                for i, words in enumerate(r.transposed(lines)):
                    place = b.add(b.mul(fpitch, I64(j)), I64(32 * i))
                    r.store_either(words, f, b.add(place, low if which else I64(0)),
                                   b.icmp_signed("==", halves, I64(STREAMED)))

    return variants(module, bits, table, "round_kernel", body)
