"""Passes over runs of parameters and their gradients, for what must know the whole gradient before any update.

Sums are taken in double precision, lane by lane in the order of the lines, then over the lanes from the first to the
last: one order, whoever computes it.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp.isa.emitters.optimizers import averages
from fastbp.isa.emitters.vocabulary.lines import I64, Lines, at_line, declare, define, loop

DOUBLE = ir.DoubleType()


class Doubles:
    """Lane-wise sums of squares and the like, of which `store` writes the totals as doubles."""

    def __init__(self, x: Lines):
        self.x, self.kind = x, ir.VectorType(DOUBLE, x.lanes)
        self.zero, self.one = (ir.Constant(self.kind, [value] * x.lanes) for value in (0.0, 1.0))

    def wide(self, v):
        return v if self.x.bits == 64 else self.x.b.fpext(v, self.kind)

    def narrow(self, v):
        return v if self.x.bits == 64 else self.x.b.fptrunc(v, self.x.vector)

    def plus_square(self, total, v):
        """total + v^2, lane by lane."""
        wide = self.wide(v)
        return self.x.b.fadd(total, self.x.b.fmul(wide, wide))

    def root(self, v):
        kind = ir.FunctionType(self.kind, [self.kind])
        return self.x.b.call(declare(self.x.b.module, f"llvm.sqrt.v{self.x.lanes}f64", kind), [v])

    def store(self, total, pointer, index: int):
        b = self.x.b
        result = DOUBLE(0.0)
        for lane in range(self.x.lanes):
            result = b.fadd(result, b.extract_element(total, ir.IntType(32)(lane)))
        b.store(result, b.gep(pointer, [I64(index)], source_etype=DOUBLE), align=8)


def prepare(module: ir.Module, bits: int, table) -> ir.Function:
    """g <- clip(s[0] g + s[1] sign(w) + s[2] w) to [-s[3], s[3]]; *sum <- sum of g^2."""

    def body(builder, n, g, w, s, total):
        x, b = Lines(builder, bits), builder
        sums = Doubles(x)
        share, l1, l2, bound = (x.splat(x.load_scalar(s, i)) for i in range(4))
        zero, lowest = x.const(0.0), x.neg(bound)

        def line(i, values):
            weight = x.load(w, at_line(x, i))
            sign = b.select(b.fcmp_ordered(">", weight, zero), l1, zero)
            sign = b.select(b.fcmp_ordered("<", weight, zero), x.neg(l1), sign)
            value = x.fma(l2, weight, x.fma(share, x.load(g, at_line(x, i)), sign))
            value = b.select(b.fcmp_ordered(">", value, bound), bound, value)
            value = b.select(b.fcmp_ordered("<", value, lowest), lowest, value)
            x.store(value, g, at_line(x, i))
            return [sums.plus_square(values[0], value)]

        sums.store(loop(b, n, [sums.zero], line)[0], total, 0)

    return define(module, bits, "prepare", body)


def squares(module: ir.Module, bits: int, table) -> ir.Function:
    """*sum <- sum of g^2, as `prepare` adds it up."""

    def body(builder, n, g, total):
        x, b = Lines(builder, bits), builder
        sums = Doubles(x)

        def line(i, values):
            return [sums.plus_square(values[0], x.load(g, at_line(x, i)))]

        sums.store(loop(b, n, [sums.zero], line)[0], total, 0)

    return define(module, bits, "squares", body)


def penalties(module: ir.Module, bits: int, table) -> ir.Function:
    """sums[0] <- sum |w|, sums[1] <- sum w^2."""

    def body(builder, n, w, totals):
        x, b = Lines(builder, bits), builder
        sums = Doubles(x)

        def line(i, values):
            weight = x.load(w, at_line(x, i))
            size = sums.wide(x.call("fabs", weight))
            return [b.fadd(values[0], size), sums.plus_square(values[1], weight)]

        for index, total in enumerate(loop(b, n, [sums.zero] * 2, line)):
            sums.store(total, totals, index)

    return define(module, bits, "penalties", body)


def limit(module: ir.Module, bits: int, table) -> ir.Function:
    """Every lane's n weights are scaled to a norm of at most *bound.

    Norm and factor are doubles: a float32's square may overflow or vanish, and a factor of 1e-38 counts as 0.
    """

    def body(builder, n, w, bound):
        x, b = Lines(builder, bits), builder
        sums = Doubles(x)
        most = sums.wide(x.splat(x.load_scalar(bound)))

        def square(i, values):
            return [sums.plus_square(values[0], x.load(w, at_line(x, i)))]

        def scale(i, _):
            weight = sums.wide(x.load(w, at_line(x, i)))
            x.store(sums.narrow(b.fmul(factor, weight)), w, at_line(x, i))
            return []

        (total,) = loop(b, n, [sums.zero], square)
        norm = sums.root(total)
        factor = b.select(b.fcmp_ordered(">", norm, most), b.fdiv(most, norm), sums.one)
        loop(b, n, [], scale)

    return define(module, bits, "limit", body)


def average(module: ir.Module, bits: int, table) -> ir.Function:
    """mean <- w + momentum (mean - w)."""

    def body(builder, n, w, mean, momentum):
        x, b = Lines(builder, bits), builder
        share = x.splat(x.load_scalar(momentum))

        def line(i, _):
            weight = x.load(w, at_line(x, i))
            x.store(x.fma(share, b.fsub(x.load(mean, at_line(x, i)), weight), weight), mean, at_line(x, i))
            return []

        loop(b, n, [], line)

    return define(module, bits, "average", body)


def lamb(module: ir.Module, bits: int, table) -> ir.Function:
    """sums[0] <- sum w^2, sums[1] <- sum r^2 of LAMB's direction r, from the states
    stride and 2 stride behind w, which stay as they are. s: decay, beta_1, beta_2, epsilon', alpha' (see `optimizers`).

    r is the direction that the update takes: where all gradients were 0, so is its quotient, epsilon' or no epsilon'.
    """

    def body(builder, n, g, w, stride, s, totals):
        x, b = Lines(builder, bits), builder
        sums = Doubles(x)
        decay, beta_1, beta_2, epsilon, alpha = (x.splat(x.load_scalar(s, i)) for i in range(5))

        def line(i, values):
            at = at_line(x, i)
            gradient, weight = x.load(g, at), x.load(w, at)
            states = [x.load(w, b.add(at, b.mul(stride, I64(i)))) for i in (1, 2)]
            m, v = averages(x, gradient, states, beta_1, beta_2)
            step = b.fdiv(b.fmul(alpha, m), b.fadd(x.call("sqrt", v), epsilon))
            direction = x.fma(decay, weight, step)
            return [sums.plus_square(values[0], weight), sums.plus_square(values[1], direction)]

        for index, total in enumerate(loop(b, n, [sums.zero] * 2, line)):
            sums.store(total, totals, index)

    return define(module, bits, "lamb", body)
