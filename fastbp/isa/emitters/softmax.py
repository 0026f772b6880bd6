"""Softmax over one panel: a line per output, a lane per row of the batch; what the losses do with it is in `losses`.

A sum over features is defined as L partial sums, by index mod L, added up by halves (i + i + L/2, ...): the order in
which a row's features would be summed if they lay side by side in memory. So a row's probabilities are the same bits
in either layout.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp.isa.emitters.vocabulary import transcendental
from fastbp.isa.emitters.vocabulary.lines import I64, Lines, at_line, define, loop


class Sums:
    """L partial sums in memory, and their tree."""

    def __init__(self, x: Lines):
        self.x = x
        self.place = x.b.alloca(ir.ArrayType(x.vector, x.lanes))
        self.place.align = 64
        for i in range(x.lanes):
            x.store(x.const(0.0), self.place, i * x.lanes)

    def add(self, index, value):
        x, b = self.x, self.x.b
        slot = b.mul(b.and_(index, I64(x.lanes - 1)), I64(x.lanes))
        x.store(b.fadd(x.load(self.place, slot), value), self.place, slot)

    def total(self):
        x = self.x
        lines = [x.load(self.place, i * x.lanes) for i in range(x.lanes)]
        while len(lines) > 1:
            half = len(lines) // 2
            lines = [x.b.fadd(lines[i], lines[i + half]) for i in range(half)]
        return lines[0]


def softmax(module: ir.Module, bits: int, table) -> ir.Function:
    """p = exp(z - max) / sum; logsum = max + log(sum). Stable; z and p may be the same."""

    def body(builder, n, z, p, logsum):
        x, b = Lines(builder, bits), builder
        sums = Sums(x)

        def larger(i, values):
            return [x.maximum(values[0], x.load(z, at_line(x, i)))]

        def exponential(i, _):
            e = transcendental.exp(x, b.fsub(x.load(z, at_line(x, i)), top))
            x.store(e, p, at_line(x, i))
            sums.add(i, e)
            return []

        def normalize(i, _):
            x.store(b.fdiv(x.load(p, at_line(x, i)), total), p, at_line(x, i))
            return []

        (top,) = loop(b, n, [x.const(float("-inf"))], larger)
        loop(b, n, [], exponential)
        total = sums.total()
        x.store(b.fadd(top, transcendental.log(x, total)), logsum)
        loop(b, n, [], normalize)

    return define(module, bits, "softmax", body)


def softmax_slope(module: ir.Module, bits: int, table) -> ir.Function:
    """d <- p (d - sum of d p), the Jacobian of softmax applied to d."""

    def body(builder, n, p, d):
        x, b = Lines(builder, bits), builder
        sums = Sums(x)

        def product(i, _):
            sums.add(i, b.fmul(x.load(p, at_line(x, i)), x.load(d, at_line(x, i))))
            return []

        def apply(i, _):
            centred = b.fsub(x.load(d, at_line(x, i)), total)
            x.store(b.fmul(x.load(p, at_line(x, i)), centred), d, at_line(x, i))
            return []

        loop(b, n, [], product)
        total = sums.total()
        loop(b, n, [], apply)

    return define(module, bits, "softmax_slope", body)
