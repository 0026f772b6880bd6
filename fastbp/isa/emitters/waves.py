"""The waves of a column of numbers, L rows at a time, and what a periodic embedding makes of them.

Lines that belong together stand one behind the other: the column x, the deltas of its outputs, slopes by the angles of
its n waves, n cosines, n sines.
"""

from __future__ import annotations

from llvmlite import ir

from fastbp.isa.emitters.vocabulary import transcendental
from fastbp.isa.emitters.vocabulary.lines import I64, Lines, at_line, branch, define, loop
from fastbp.isa.emitters.vocabulary.transcendental import product

TURNS = 0.15915494309189535  # 1 / (2 pi): a phase in turns


def waves(module: ir.Module, bits: int, table) -> ir.Function:
    """Of a line of x: n lines of cos(2 pi x w + b), then n of sin(2 pi x w + b), for n frequencies w and phases b."""

    def body(builder, n, line, frequencies, phases, out):
        x, b = Lines(builder, bits), builder
        value = x.load(line)

        def wave(i, _):
            phase = product(x, x.splat(x.load_scalar(phases, i)), x.const(TURNS))
            cosine, sine = transcendental.turns(x, x.fma(value, x.splat(x.load_scalar(frequencies, i)), phase))
            x.store(cosine, out, at_line(x, i))
            x.store(sine, out, at_line(x, b.add(i, n)))
            return []

        loop(b, n, [], wave)

    return define(module, bits, "waves", body)


def mix(module: ir.Module, bits: int, table) -> ir.Function:
    """z[o] <- b[o] + sum over h of w[h, o] c[h], for n waves c and the lines z of some outputs."""

    def body(builder, n, outputs, weights, bias, waves, z):
        x, b = Lines(builder, bits), builder

        def output(o, _):
            def wave(h, values):
                weight = x.splat(x.load_scalar(weights, b.add(b.mul(h, outputs), o)))
                return [x.fma(weight, x.load(waves, at_line(x, h)), values[0])]

            (total,) = loop(b, n, [x.splat(x.load_scalar(bias, o))], wave)
            x.store(total, z, at_line(x, o))
            return []

        loop(b, outputs, [], output)

    return define(module, bits, "mix", body)


def wave_slopes(module: ir.Module, bits: int, table) -> ir.Function:
    """Slopes by the angles: -sin u, u = sum over o of w[h, o] d[o]; and + cos v, v that of w[n + h], if both are."""

    def body(builder, n, outputs, both, weights, lines):
        x, b = Lines(builder, bits), builder
        slopes = b.add(outputs, I64(1))
        cosines = b.add(slopes, n)
        sines = b.add(cosines, n)

        def weighed(h):
            def output(o, values):
                weight = x.splat(x.load_scalar(weights, b.add(b.mul(h, outputs), o)))
                return [x.fma(weight, x.load(lines, at_line(x, b.add(o, I64(1)))), values[0])]

            return loop(b, outputs, [x.const(0.0)], output)[0]

        def wave(h, _):
            place = at_line(x, b.add(slopes, h))
            fall = product(x, x.neg(weighed(h)), x.load(lines, at_line(x, b.add(sines, h))))

            def add_sine():
                rise = weighed(b.add(n, h))
                x.store(x.fma(rise, x.load(lines, at_line(x, b.add(cosines, h))), fall), lines, place)

            branch(b, "==", both, I64(1), add_sine, lambda: x.store(fall, lines, place))
            return []

        loop(b, n, [], wave)

    return define(module, bits, "wave_slopes", body)


def wave_sums(module: ir.Module, bits: int, table) -> ir.Function:
    """Adds to lines: slopes times x; slopes, if there are as many waves as slopes; waves times deltas; deltas."""

    def body(builder, n, waves, outputs, lines, sums):
        x, b = Lines(builder, bits), builder
        value, slopes = x.load(lines), b.add(outputs, I64(1))
        cosines = b.add(slopes, n)

        def add(place, change):
            """sums[place] <- change(sums[place])"""
            at = at_line(x, place)
            x.store(change(x.load(sums, at)), sums, at)

        def slope(h, _):
            line = x.load(lines, at_line(x, b.add(slopes, h)))
            add(h, lambda total: x.fma(line, value, total))
            return []

        def phase(h, _):
            add(b.add(n, h), lambda total: b.fadd(total, x.load(lines, at_line(x, b.add(slopes, h)))))
            return []

        loop(b, n, [], slope)
        phases = b.select(b.icmp_signed("==", n, waves), n, I64(0))
        loop(b, phases, [], phase)
        kernel = b.add(n, phases)

        def wave(h, _):
            line, first = x.load(lines, at_line(x, b.add(cosines, h))), b.add(kernel, b.mul(h, outputs))

            def output(o, _):
                delta = x.load(lines, at_line(x, b.add(o, I64(1))))
                add(b.add(first, o), lambda total: x.fma(line, delta, total))
                return []

            return loop(b, outputs, [], output)

        loop(b, waves, [], wave)

        def bias(o, _):
            delta = x.load(lines, at_line(x, b.add(o, I64(1))))
            add(b.add(b.add(kernel, b.mul(waves, outputs)), o), lambda total: b.fadd(total, delta))
            return []

        loop(b, outputs, [], bias)

    return define(module, bits, "wave_sums", body)
