"""Activations and their slopes over runs of lines."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fastbp.isa.emitters.activations import CURVES
from fastbp.isa.emitters.lines import I64, PTR, Lines, define, loop


def activate(name: str) -> Callable:
    """void (n, z, a, slopes, alpha): a = f(z); z and a may be the same.

    Where f' is no function of a, it goes to `slopes`; elsewhere nothing is written there.
    """
    curve = CURVES[name]

    def emit(module: ir.Module, bits: int, table) -> ir.Function:
        def body(builder, n, z, a, slopes, alpha):
            x, b = Lines(builder, bits), builder
            parameter = x.splat(x.load_scalar(alpha))

            def line(i, _):
                at = b.mul(i, I64(x.lanes))
                value = x.load(z, at)
                if curve.forward_with_slope is None:
                    assert curve.forward is not None
                    x.store(curve.forward(x, value, parameter), a, at)
                else:
                    value, slope = curve.forward_with_slope(x, value, parameter)
                    x.store(value, a, at)
                    x.store(slope, slopes, at)
                return []

            loop(b, n, [], line)

        return define(module, f"fastbp_activate_{name}_f{bits}", [I64, PTR, PTR, PTR, PTR], body)

    return emit


def slope(name: str) -> Callable:
    """void (n, a, d, alpha): d <- d f'(z); a holds the activation, or the slopes where `activate` wrote them."""
    curve = CURVES[name]

    def emit(module: ir.Module, bits: int, table) -> ir.Function:
        def body(builder, n, a, d, alpha):
            x, b = Lines(builder, bits), builder
            parameter = x.splat(x.load_scalar(alpha))

            def line(i, _):
                at = b.mul(i, I64(x.lanes))
                known = x.load(a, at)
                slope = known if curve.slope_from_output is None else curve.slope_from_output(x, known, parameter)
                x.store(b.fmul(slope, x.load(d, at)), d, at)
                return []

            loop(b, n, [], line)

        return define(module, f"fastbp_slope_{name}_f{bits}", [I64, PTR, PTR, PTR], body)

    return emit
