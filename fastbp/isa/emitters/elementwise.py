"""Passes over lines: set to zero, scaled, added up."""

from __future__ import annotations

from llvmlite import ir

from fastbp.isa.emitters.vocabulary.lines import I64, Lines, at_line, define, loop


def zero(module: ir.Module, bits: int, table) -> ir.Function:
    """n lines of zeros."""

    def body(builder, n, target):
        x = Lines(builder, bits)

        def line(i, _):
            x.store(x.const(0.0), target, builder.mul(i, I64(x.lanes)))
            return []

        loop(builder, n, [], line)

    return define(module, bits, "zero", body)


def scale(module: ir.Module, bits: int, table) -> ir.Function:
    """Every line of d times the line of weights."""

    def body(builder, n, d, weights):
        x, b = Lines(builder, bits), builder
        factor = x.load(weights)

        def line(i, _):
            x.store(b.fmul(x.load(d, at_line(x, i)), factor), d, at_line(x, i))
            return []

        loop(b, n, [], line)

    return define(module, bits, "scale", body)


def add(module: ir.Module, bits: int, table) -> ir.Function:
    """z <- a + s, n lines; z may be either."""

    def body(builder, n, a, s, z):
        x, b = Lines(builder, bits), builder

        def line(i, _):
            at = at_line(x, i)
            x.store(b.fadd(x.load(a, at), x.load(s, at)), z, at)
            return []

        loop(b, n, [], line)

    return define(module, bits, "add", body)
