"""The register tile, the one microkernel of every pass of backpropagation (`L` lanes, `i < rows`, `j < columns`).

    C[j, i, :] (+)= sum over k of  a(i, k) * B[j, k, :]        a scalar, broadcast, times a line

    form "across":  a(i, k) = A[k*L + i]                        scalars of one step side by side
    form "along":   a(i, k) = A[(k // L)*pitch + i*L + k % L]   scalars of one row side by side, L at a time

`C` is read before the product in mode ACCUMULATE alone. Each element is one chain of fused multiply-adds in the order
of k, so no choice of rows, columns or blocks of k changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from fastbp.isa.codes import (
    ACCUMULATE,
    AHEAD_LINES,
    APPLY_RELU,
    BIAS_COLUMNS,
    BIAS_ROWS,
    KEEP,
    ROUNDS,
    ZERO,
)
from fastbp.isa.emitters.vocabulary.lines import I64, Lines, constant, define, loop, merge, private, signature


def fence(b: ir.IRBuilder):
    """Keeps LLVM from hoisting loads of the next step over this one, which costs registers and then spills."""
    nothing = ir.FunctionType(ir.VoidType(), [])
    b.call(ir.InlineAsm(nothing, "", "~{memory}", side_effect=True), [])


class Ahead(NamedTuple):
    """Lines to prefetch during a product, a few with each of its first `until` panels of k, `step` further each time:
    AHEAD_LINES lines in each of `arrays` arrays, `stride` apart, and for each of the tile's columns, `pitch` apart."""

    first: ir.Value
    pitch: ir.Value
    stride: ir.Value
    arrays: ir.Value
    step: ir.Value
    until: ir.Value
    stream: ir.Value  # and from here on a line with every round of `run`


class Tile:
    """Emits one register tile of fixed rows x columns."""

    def __init__(self, lines: Lines, rows: int, columns: int, along: bool):
        self.x, self.rows, self.columns, self.along = lines, rows, columns, along

    def cells(self):
        return [(i, j) for j in range(self.columns) for i in range(self.rows)]

    def start(self, mode, c, cpitch, bias, bpitch) -> list:
        x, b = self.x, self.x.b

        def zero():
            return [x.const(0.0) for _ in self.cells()]

        def accumulate():
            pitches = [b.mul(cpitch, I64(j)) for j in range(self.columns)]
            return [x.load(c, b.add(pitches[j], I64(i * x.lanes))) for i, j in self.cells()]

        def bias_rows():
            splats = [x.splat(x.load_scalar(bias, i)) for i in range(self.rows)]
            return [splats[i] for i, _ in self.cells()]

        def bias_columns():
            vectors = [x.load(bias, b.mul(bpitch, I64(j))) for j in range(self.columns)]
            return [vectors[j] for _, j in self.cells()]

        return merge(b, mode, {ZERO: zero, ACCUMULATE: accumulate, BIAS_ROWS: bias_rows, BIAS_COLUMNS: bias_columns})

    def step(self, sums: list, a, b_rows: list, offset: int, spread: int) -> list:
        """One k: `rows` broadcasts, `columns` lines."""
        x = self.x
        lines = [x.load(row, offset * x.lanes) for row in b_rows]
        sums = list(sums)
        for i in range(self.rows):  # a row at a time: each scalar dies before the next is loaded, nothing spills
            scalar = x.splat(x.load_scalar(a, offset * (1 if self.along else x.lanes) + i * spread))
            for j, line in enumerate(lines):
                sums[j * self.rows + i] = x.fma(scalar, line, sums[j * self.rows + i])
        return sums

    def run(self, sums: list, k, a, b_rows: list, ahead=None, unroll: int = 2) -> list:
        """k steps from a and the rows of B, unrolled; with each round a line from `ahead` on is prefetched."""
        x, b = self.x, self.x.b
        spread = x.lanes if self.along else 1
        a_step = 1 if self.along else x.lanes

        def steps(count):
            def body(index, values):
                here = x.at(a, b.mul(index, I64(a_step)))
                rows = [x.at(row, b.mul(index, I64(x.lanes))) for row in b_rows]
                if ahead is not None and count == unroll:
                    x.prefetch(ahead, b.mul(index, I64(x.lanes // unroll)), level=2)
                for offset in range(count):
                    values = self.step(values, here, rows, offset, spread)
                    fence(b)
                return values
            return body

        whole = I64(k.constant & -unroll) if isinstance(k, ir.Constant) else b.and_(k, I64(-unroll))
        sums = loop(b, whole, sums, steps(unroll), step=unroll)
        if isinstance(k, ir.Constant) and k.constant % unroll == 0:
            return sums
        return loop(b, k, sums, steps(1), start=whole)

    def prefetch(self, panel, ahead: Ahead):
        """Asks for the lines that a panel of k brings (see Ahead)."""
        x, b = self.x, self.x.b

        def array(index, _):
            first = x.at(ahead.first, b.add(b.mul(index, ahead.stride), b.mul(panel, ahead.step)))
            for j in range(self.columns):
                for line in range(AHEAD_LINES):
                    x.prefetch(first, b.add(b.mul(ahead.pitch, I64(j)), I64(line * x.lanes)))
            return []

        loop(b, ahead.arrays, [], array)

    def product(self, sums: list, k, a, apitch, bp, bpitch, ahead) -> list:
        x, b = self.x, self.x.b
        b_rows = [x.at(bp, b.mul(bpitch, I64(j))) for j in range(self.columns)]
        if not self.along:
            return self.run(sums, k, a, b_rows, ahead)

        def panel(count):
            def body(index, values):
                stream = None
                if ahead is not None:
                    with b.if_then(b.icmp_signed("<", index, ahead.until)):
                        self.prefetch(index, ahead)
                    stream = x.at(ahead.stream, b.mul(index, I64(ROUNDS * x.lanes)))
                here = x.at(a, b.mul(index, apitch))
                rows = [x.at(row, b.mul(index, I64(x.lanes * x.lanes))) for row in b_rows]
                return self.run(values, count, here, rows, stream, unroll=x.lanes // ROUNDS)

            return body

        known = constant(k)
        if known is not None:
            whole, left = I64(known // x.lanes), I64(known % x.lanes)
        else:
            whole = b.sdiv(k, I64(x.lanes))
            left = b.sub(k, b.mul(whole, I64(x.lanes)))
        sums = loop(b, whole, sums, panel(I64(x.lanes)))
        if constant(left) == 0:
            return sums
        return loop(b, b.add(whole, I64(1)), sums, panel(left), start=whole)

    def finish(self, sums: list, post, c, cpitch):
        x, b = self.x, self.x.b

        def relu():
            return [x.maximum(x.const(0.0), s) for s in sums]

        sums = merge(b, post, {KEEP: lambda: sums, APPLY_RELU: relu})
        for s, (i, j) in zip(sums, self.cells(), strict=True):
            x.store(s, c, b.add(b.mul(cpitch, I64(j)), I64(i * x.lanes)))


def emit_across(builder, bits, rows, columns, k, a, bp, bpitch, c, cpitch, start, bias, post, ahead):
    """A tile of the form across; of constant size, it prefetches nothing."""
    tile = Tile(Lines(builder, bits), rows, columns, along=False)
    stream = ahead if constant(k) is None else None
    sums = tile.product(tile.start(start, c, cpitch, bias, bpitch), k, a, None, bp, bpitch, stream)
    tile.finish(sums, post, c, cpitch)


def emit_along(builder, bits, rows, columns, k, a, apitch, bp, bpitch, c, cpitch, start, bias, post, *ahead):
    """A tile of the form along; of constant size, it prefetches nothing."""
    tile = Tile(Lines(builder, bits), rows, columns, along=True)
    stream = Ahead(*ahead) if constant(k) is None else None
    sums = tile.product(tile.start(start, c, cpitch, bias, bpitch), k, a, apitch, bp, bpitch, stream)
    tile.finish(sums, post, c, cpitch)


def across(module: ir.Module, bits: int, table) -> ir.Function:
    """The tile whose scalars of one step lie side by side, in every size of the table."""
    return dispatch(module, bits, table, "across", emit_across)


def along(module: ir.Module, bits: int, table) -> ir.Function:
    """The tile whose scalars of one row lie side by side; it prefetches `ahead`."""
    return dispatch(module, bits, table, "along", emit_along)


def outer(module: ir.Module, bits: int, table) -> ir.Function:
    """c[i, :] = sum over the rows r of a[i*L + r] b[r, :], any number of lines of at most a line of rows: tiles of the
    form along, of which one call makes as many as are wanted."""

    def body(builder, lines, rows, a, bp, c):
        x, height = Lines(builder, bits), table.tallest(1)

        def block(rest: int):
            tile = Tile(x, rest, 1, along=True)

            def run(index, _):
                at = builder.mul(index, I64(x.lanes))
                sums = tile.run([x.const(0.0)] * rest, rows, x.at(a, at), [bp])
                tile.finish(sums, I64(KEEP), x.at(c, at), I64(0))
                return []

            return run

        whole = builder.mul(builder.sdiv(lines, I64(height)), I64(height))
        loop(builder, whole, [], block(height), step=height)
        loop(builder, lines, [], block(1), start=whole)

    return define(module, bits, "outer", body)


def dispatch(module: ir.Module, bits: int, table, name: str, tile: Callable) -> ir.Function:
    """Jumps to the tile of `rows` x `columns` lines, each a function of its own."""

    def emit(rows: int, columns: int) -> ir.Function:
        def fixed(builder, *rest):
            tile(builder, bits, rows, columns, *rest)

        return private(module, f"fastbp_{name}_f{bits}_{rows}x{columns}", signature(name)[2:], fixed)

    def body(builder, rows, columns, *rest):
        if constant(rows) is not None:
            tile(builder, bits, constant(rows), constant(columns), *rest)
            return
        done = builder.append_basic_block("done")
        switch = builder.switch(builder.add(builder.mul(rows, I64(8)), columns), done)
        for r, c in table.sizes:
            block = builder.append_basic_block(f"tile{r}x{c}")
            switch.add_case(I64(8 * r + c), block)
            builder.position_at_end(block)
            builder.call(emit(r, c), rest)
            builder.branch(done)
        builder.position_at_end(done)

    return define(module, bits, name, body)


# -- what the multiply-add units can do ----------------------------------------------------------------------------
def peak(module: ir.Module, bits: int, table) -> ir.Function:
    """C[j, :] <- C[j, :] * X[0, :] + X[1, :], n times, for the `lines` sums of a register tile.

    As many independent sums as the largest tile keeps in registers, so that each FMA's latency is hidden behind the
    others: 24 on AVX-512, where 2 a cycle with a latency of 4 need 8. `lines` says so to the twin.
    """
    sums = table.sums

    def body(builder, n, lines, x_, c):
        x = Lines(builder, bits)
        factor, term = x.load(x_), x.load(x_, x.lanes)
        start = [x.load(c, j * x.lanes) for j in range(sums)]
        ends = loop(builder, n, start, lambda _, values: [x.fma(value, factor, term) for value in values])
        for j, value in enumerate(ends):
            x.store(value, c, j * x.lanes)

    return define(module, bits, "peak", body)
