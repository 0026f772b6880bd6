"""Batch and layer normalization over panels.

Batch normalization needs sums over the rows of a batch: over panels in their order, then over lanes by halves. Layer
normalization needs sums over a row's features: see `softmax.Sums`. `apitch`, `dpitch` … lead to the next panel. Lanes
without a row add nothing to a sum; what is computed for them is not used.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fastbp.isa.emitters.panels import lane_mask
from fastbp.isa.emitters.softmax import Sums
from fastbp.isa.emitters.vocabulary.lines import I64, Lines, at_line, define, loop


def over_lanes(x: Lines, v):
    """The sum of a line, in every lane."""
    step = x.lanes // 2
    while step:
        order = [(i + step) % x.lanes for i in range(x.lanes)]
        v = x.b.fadd(v, x.shuffle(v, v, order))
        step //= 2
    return v


def over_panels(x: Lines, batch, n_sums: int, terms: Callable) -> list:
    """Sums over the rows of a batch: terms(panel) gives a line for each."""
    b = x.b
    whole = b.sdiv(batch, I64(x.lanes))
    left = b.sub(batch, b.mul(whole, I64(x.lanes)))

    def panel(q, sums):
        return [b.fadd(total, term) for total, term in zip(sums, terms(q), strict=True)]

    def part(q, sums):
        there = lane_mask(x, left)
        lines = [b.select(there, term, x.const(0.0)) for term in terms(q)]
        return [b.fadd(total, line) for total, line in zip(sums, lines, strict=True)]

    sums = loop(b, whole, [x.const(0.0)] * n_sums, panel)
    last = b.add(whole, b.zext(b.icmp_signed(">", left, I64(0)), I64))
    return [over_lanes(x, total) for total in loop(b, last, sums, part, start=whole)]


def panels_of(x: Lines, batch):
    return x.b.sdiv(x.b.add(batch, I64(x.lanes - 1)), I64(x.lanes))


def place(x: Lines, q, pitch, at):
    return x.b.add(x.b.mul(q, pitch), at)


def store_first(x: Lines, v, pointer, offset):
    x.b.store(x.b.extract_element(v, ir.IntType(32)(0)), x.at(pointer, offset), align=x.bits // 8)


def reciprocal_root(x: Lines, variance, epsilon):
    return x.b.fdiv(x.const(1.0), x.call("sqrt", x.b.fadd(variance, x.splat(x.load_scalar(epsilon)))))


def rows_in(x: Lines, batch):
    """1 / batch."""
    return x.b.fdiv(x.const(1.0), x.splat(x.b.sitofp(batch, x.scalar)))


def batch_norm(module: ir.Module, bits: int, table) -> ir.Function:
    """n features of all panels.

    f <- (a - mean) / sqrt(variance + epsilon) over the batch, z <- gamma f + beta. stats <- mean, variance (biased) and
    1 / sqrt(variance + epsilon), spitch apart; beta lies gpitch behind gamma, f is as z.
    """

    def body(builder, n, batch, a, apitch, z, zpitch, f, gamma, gpitch, stats, spitch, epsilon):
        x, b = Lines(builder, bits), builder
        share = rows_in(x, batch)

        def feature(i, _):
            at = at_line(x, i)

            def value(q):
                return x.load(a, place(x, q, apitch, at))

            def square(q):
                centred = b.fsub(value(q), mean)
                return [b.fmul(centred, centred)]

            def normalize(q, _):
                known = b.fmul(b.fsub(value(q), mean), inverse)
                x.store(known, f, place(x, q, zpitch, at))
                x.store(x.fma(scale, known, shift), z, place(x, q, zpitch, at))
                return []

            mean = b.fmul(over_panels(x, batch, 1, lambda q: [value(q)])[0], share)
            variance = b.fmul(over_panels(x, batch, 1, square)[0], share)
            inverse = reciprocal_root(x, variance, epsilon)
            for number, known in enumerate((mean, variance, inverse)):
                store_first(x, known, stats, b.add(i, b.mul(spitch, I64(number))))
            scale, shift = (x.splat(x.load_scalar(gamma, offset)) for offset in (i, b.add(i, gpitch)))
            loop(b, panels_of(x, batch), [], normalize)
            return []

        loop(b, n, [], feature)

    return define(module, bits, "batch_norm", body)


def batch_norm_predict(module: ir.Module, bits: int, table) -> ir.Function:
    """One panel: z <- gamma (a - mean) / sqrt(variance + epsilon) + beta with moving statistics.

    beta, mean and variance lie gpitch, 2 gpitch and 3 gpitch behind gamma.
    """

    def body(builder, n, a, z, gamma, gpitch, epsilon):
        x, b = Lines(builder, bits), builder

        def feature(i, _):
            places = [b.add(i, b.mul(gpitch, I64(number))) for number in range(4)]
            scale, shift, mean, variance = (x.splat(x.load_scalar(gamma, offset)) for offset in places)
            known = b.fmul(b.fsub(x.load(a, at_line(x, i)), mean), reciprocal_root(x, variance, epsilon))
            x.store(x.fma(scale, known, shift), z, at_line(x, i))
            return []

        loop(b, n, [], feature)

    return define(module, bits, "batch_norm_predict", body)


def gains(module: ir.Module, bits: int, table) -> ir.Function:
    """The gradients of gamma and beta for n features of all panels.

    g[i] <- sum of d f, g[gpitch + i] <- sum of d, over the batch.
    """

    def body(builder, n, batch, d, dpitch, f, fpitch, g, gpitch):
        x, b = Lines(builder, bits), builder

        def feature(i, _):
            def terms(q):
                delta = x.load(d, place(x, q, dpitch, at_line(x, i)))
                return [b.fmul(delta, x.load(f, place(x, q, fpitch, at_line(x, i)))), delta]

            for number, total in enumerate(over_panels(x, batch, 2, terms)):
                store_first(x, total, g, b.add(i, b.mul(gpitch, I64(number))))
            return []

        loop(b, n, [], feature)

    return define(module, bits, "gains", body)


def batch_norm_backward(module: ir.Module, bits: int, table) -> ir.Function:
    """n features of all panels: e <- gamma inverse (d - sum(d) / batch - f sum(d f) / batch).

    The sums are those that `gains` left in g.
    """

    def body(builder, n, batch, d, dpitch, f, fpitch, gamma, inverse, g, gpitch, e, epitch):
        x, b = Lines(builder, bits), builder
        share = rows_in(x, batch)

        def feature(i, _):
            at = at_line(x, i)
            factor = b.fmul(x.splat(x.load_scalar(gamma, i)), x.splat(x.load_scalar(inverse, i)))
            slant = b.fmul(x.splat(x.load_scalar(g, i)), share)
            mean = b.fmul(x.splat(x.load_scalar(g, b.add(i, gpitch))), share)

            def panel(q, _):
                rest = b.fsub(x.load(d, place(x, q, dpitch, at)), mean)
                rest = x.fma(x.neg(x.load(f, place(x, q, fpitch, at))), slant, rest)
                x.store(b.fmul(factor, rest), e, place(x, q, epitch, at))
                return []

            loop(b, panels_of(x, batch), [], panel)
            return []

        loop(b, n, [], feature)

    return define(module, bits, "batch_norm_backward", body)


def layer_norm(module: ir.Module, bits: int, table) -> ir.Function:
    """One panel: f <- (a - mean) / sqrt(variance + epsilon) over each row's n features, z <- gamma f + beta.

    inverse <- the line of 1 / sqrt(variance + epsilon).
    """

    def body(builder, n, a, z, f, gamma, gpitch, inverse, epsilon):
        x, b = Lines(builder, bits), builder
        share = rows_in(x, n)

        def total(term):
            sums = Sums(x)

            def line(i, _):
                sums.add(i, term(x.load(a, at_line(x, i))))
                return []

            loop(b, n, [], line)
            return b.fmul(sums.total(), share)

        def square(value):
            centred = b.fsub(value, mean)
            return b.fmul(centred, centred)

        def normalize(i, _):
            at = at_line(x, i)
            known = b.fmul(b.fsub(x.load(a, at), mean), factor)
            x.store(known, f, at)
            shift = x.splat(x.load_scalar(gamma, b.add(i, gpitch)))
            x.store(x.fma(x.splat(x.load_scalar(gamma, i)), known, shift), z, at)
            return []

        mean = total(lambda value: value)
        factor = reciprocal_root(x, total(square), epsilon)
        x.store(factor, inverse)
        loop(b, n, [], normalize)

    return define(module, bits, "layer_norm", body)


def layer_norm_backward(module: ir.Module, bits: int, table) -> ir.Function:
    """One panel: e <- inverse (g - mean(g) - f mean(g f)), g = gamma d, means over each row's features."""

    def body(builder, n, d, f, gamma, inverse, e):
        x, b = Lines(builder, bits), builder
        share, plain, mixed = rows_in(x, n), Sums(x), Sums(x)

        def weighted(i):
            return b.fmul(x.splat(x.load_scalar(gamma, i)), x.load(d, at_line(x, i)))

        def add(i, _):
            term = weighted(i)
            plain.add(i, term)
            mixed.add(i, b.fmul(term, x.load(f, at_line(x, i))))
            return []

        def line(i, _):
            rest = x.fma(x.neg(x.load(f, at_line(x, i))), slant, b.fsub(weighted(i), mean))
            x.store(b.fmul(factor, rest), e, at_line(x, i))
            return []

        loop(b, n, [], add)
        mean, slant = b.fmul(plain.total(), share), b.fmul(mixed.total(), share)
        factor = x.load(inverse)
        loop(b, n, [], line)

    return define(module, bits, "layer_norm_backward", body)
