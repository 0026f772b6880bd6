"""Dropout and Gaussian noise from a counter-based generator: no state, the same numbers in any order of work.

Philox4x32-10 (Salmon et al. 2011) turns (row, unit // 4, step, node) under a key into four random words, those of units
4 i ... 4 i + 3 of that row. A call fills four lines: lane l belongs to row `row + l`.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fastbp.isa.emitters.panels import index_at
from fastbp.isa.emitters.vocabulary import transcendental
from fastbp.isa.emitters.vocabulary.lines import I32, I64, Lines, at_line, define, loop
from fastbp.isa.emitters.vocabulary.transcendental import horner
from fastbp.isa.twins.dropout import ERFINV_CENTRE, ERFINV_TAIL, MULTIPLIERS, ROUNDS, SQRT_2, WEYL

LOW = 0xFFFFFFFF


class Philox:
    """Four lines of random words for each group of four units."""

    def __init__(self, x: Lines, row, step, node, keys):
        self.x = x
        self.words = ir.VectorType(I32, x.lanes)
        self.pairs = ir.VectorType(I64, x.lanes // 2)
        b = x.b
        lanes = ir.Constant(self.words, list(range(x.lanes)))
        self.rows = b.add(self.splat(b.trunc(row, I32)), lanes)
        high = b.shl(b.lshr(step, I64(32)), I64(16))
        self.step, self.node = self.splat(b.trunc(step, I32)), self.splat(b.trunc(b.xor(node, high), I32))
        self.keys = [b.trunc(index_at(b, keys, i), I32) for i in range(2)]

    def splat(self, word):
        b, undefined = self.x.b, ir.Constant(self.words, ir.Undefined)
        one = b.insert_element(undefined, word, I32(0))
        return b.shuffle_vector(one, undefined, ir.Constant(self.words, [0] * self.x.lanes))

    def product(self, words, factor: int):
        """High and low words of words * factor, computed on every other word at a time."""
        b = self.x.b
        pairs = b.bitcast(words, self.pairs)
        even, odd = (b.mul(half, self.pair(factor)) for half in (b.and_(pairs, self.pair(LOW)), self.high(pairs)))
        high = b.or_(self.high(even), b.and_(odd, self.pair(LOW << 32)))
        low = b.or_(b.and_(even, self.pair(LOW)), b.shl(odd, self.pair(32)))
        return b.bitcast(high, self.words), b.bitcast(low, self.words)

    def pair(self, value: int):
        return ir.Constant(self.pairs, [value] * (self.x.lanes // 2))

    def high(self, pairs):
        return self.x.b.lshr(pairs, self.pair(32))

    def group(self, number) -> list:
        b, keys = self.x.b, list(self.keys)
        c = [self.rows, self.splat(b.trunc(number, I32)), self.step, self.node]
        for _ in range(ROUNDS):
            (high_0, low_0), (high_1, low_1) = self.product(c[0], MULTIPLIERS[0]), self.product(c[2], MULTIPLIERS[1])
            c = [b.xor(b.xor(high_1, c[1]), self.splat(keys[0])), low_1,
                 b.xor(b.xor(high_0, c[3]), self.splat(keys[1])), low_0]  # fmt: skip
            keys = [b.add(key, I32(weyl)) for key, weyl in zip(keys, WEYL, strict=True)]
        return c


def each_unit(x: Lines, n, random: Philox, unit: Callable) -> None:
    """unit(i, words) for every i < n."""
    b = x.b

    def group(i, _):
        for j, words in enumerate(random.group(b.lshr(i, I64(2)))):
            here = b.add(i, I64(j))
            with b.if_then(b.icmp_signed("<", here, n)):
                unit(here, words)
        return []

    loop(b, n, [], group, step=4)


def dropout(module: ir.Module, bits: int, table) -> ir.Function:
    """One panel of n units: f <- 0 where the unit's random word is below the threshold, else scale; z <- a f."""

    def body(builder, n, row, step, node, threshold, keys, a, z, f, scale):
        x, b = Lines(builder, bits), builder
        random = Philox(x, row, step, node, keys)
        limit, kept = random.splat(b.trunc(threshold, I32)), x.splat(x.load_scalar(scale))

        def unit(i, words):
            factor = b.select(b.icmp_unsigned("<", words, limit), x.const(0.0), kept)
            x.store(factor, f, at_line(x, i))
            x.store(b.fmul(factor, x.load(a, at_line(x, i))), z, at_line(x, i))

        each_unit(x, n, random, unit)

    return define(module, bits, "dropout", body)


def noise(module: ir.Module, bits: int, table) -> ir.Function:
    """One panel of n units: z <- a + deviation N(0, 1)."""

    def body(builder, n, row, step, node, keys, a, z, deviation):
        x = Lines(builder, bits)
        random, sigma = Philox(x, row, step, node, keys), x.splat(x.load_scalar(deviation))

        def unit(i, words):
            x.store(x.fma(sigma, normal(x, words), x.load(a, at_line(x, i))), z, at_line(x, i))

        each_unit(x, n, random, unit)

    return define(module, bits, "noise", body)


def normal(x: Lines, words):
    """sqrt(2) erfinv(x), x = 2 u - 1, u = (r + 1/2) / 2^32, from the distance v of u from the nearer end, which keeps
    its digits: (1 - x) (1 + x) = 4 v (1 - v)."""
    b = x.b
    negative = b.icmp_signed(">=", words, ir.Constant(words.type, [0] * x.lanes))  # r < 2^31
    nearer = b.uitofp(b.select(negative, words, b.not_(words)), x.vector)
    v = b.fmul(b.fadd(nearer, x.const(0.5)), x.const(2.0**-32))
    w = x.neg(transcendental.log(x, b.fmul(b.fmul(x.const(4.0), v), b.fsub(x.const(1.0), v))))
    centre = horner(x, b.fsub(w, x.const(2.5)), ERFINV_CENTRE)
    tail = horner(x, b.fsub(x.call("sqrt", w), x.const(3.0)), ERFINV_TAIL)
    size = b.fmul(x.fma(x.const(-2.0), v, x.const(1.0)), b.select(b.fcmp_ordered("<", w, x.const(5.0)), centre, tail))
    size = b.fmul(size, x.const(SQRT_2))
    return b.select(negative, x.neg(size), size)
