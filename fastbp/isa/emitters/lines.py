"""The LLVM vocabulary and the one register-tile emitter.

Everything here builds LLVM IR through llvmlite for vectors of one cache line (16 float32 or 8 float64), whatever the
instruction set: LLVM splits a line into two AVX2 or four NEON registers by itself. An instruction set contributes only
its table (how many accumulators fit), see `avx512`, `avx2`, `neon`.

The register tile, the one microkernel of every pass of backpropagation (`L` lanes, `i < rows`, `j < columns`):

    C[j, i, :] (+)= sum over k of  a(i, k) * B[j, k, :]        a scalar, broadcast, times a line

    form "across":  a(i, k) = A[k*L + i]                        scalars of one step side by side
    form "along":   a(i, k) = A[(k // L)*pitch + i*L + k % L]   scalars of one row side by side, L at a time

`C` is read before the product in mode ACCUMULATE alone. Each element is one chain of fused multiply-adds in the order
of k, so no choice of rows, columns or blocks of k changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from llvmlite import ir

LINE = 64  # bytes
I32 = ir.IntType(32)
I64 = ir.IntType(64)

# How a tile's accumulators start.
ZERO, ACCUMULATE, BIAS_ROWS, BIAS_COLUMNS = range(4)
# What happens to them before the store.
KEEP, RELU = range(2)


class Lines:
    """Arithmetic on cache-line vectors of one element type, over an llvmlite builder."""

    def __init__(self, builder: ir.IRBuilder, bits: int):
        self.b = builder
        self.bits = bits
        self.lanes = LINE * 8 // bits
        self.scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.integer = ir.IntType(bits)
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.ivector = ir.VectorType(self.integer, self.lanes)
        self.mask = ir.VectorType(ir.IntType(1), self.lanes)

    # -- addresses: offsets count elements -------------------------------------------------------------------------
    def at(self, pointer, offset):
        place = self.b.gep(pointer, [offset if isinstance(offset, ir.Value) else I64(offset)], source_etype=self.scalar)
        place.type = ir.PointerType()  # Numba's array pointers are typed ones, which a store of a line would refuse
        return place

    def load(self, pointer, offset=0, align=LINE):
        return self._typed(self.b.load(self.at(pointer, offset), typ=self.vector), align)

    def store(self, value, pointer, offset=0, align=LINE):
        self.b.store(value, self.at(pointer, offset), align=align)

    def load_scalar(self, pointer, offset=0):
        return self._typed(self.b.load(self.at(pointer, offset), typ=self.scalar), self.bits // 8)

    @staticmethod
    def _typed(load, align):
        load.align = align
        return load

    # -- constants and arithmetic ----------------------------------------------------------------------------------
    def const(self, value: float):
        return ir.Constant(self.vector, [value] * self.lanes)

    def iconst(self, value: int):
        return ir.Constant(self.ivector, [value] * self.lanes)

    def splat(self, scalar):
        one = self.b.insert_element(ir.Constant(self.vector, ir.Undefined), scalar, I32(0))
        return self.b.shuffle_vector(one, ir.Constant(self.vector, ir.Undefined), self._order([0] * self.lanes))

    def _order(self, indices: Sequence[int]):
        return ir.Constant(ir.VectorType(I32, len(indices)), list(indices))

    def shuffle(self, a, b, indices: Sequence[int]):
        return self.b.shuffle_vector(a, b, self._order(indices))

    def call(self, name: str, *arguments, result=None):
        result = result or self.vector
        suffix = f"v{self.lanes}f{self.bits}"
        kind = ir.FunctionType(result, [x.type for x in arguments])
        return self.b.call(declare(self.b.module, f"llvm.{name}.{suffix}", kind), arguments)

    def prefetch(self, pointer, offset, level: int = 1):
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType(), I32, I32, I32])
        prefetch = declare(self.b.module, "llvm.prefetch.p0", kind)
        self.b.call(prefetch, [self.at(pointer, offset), I32(0), I32(4 - level), I32(1)])

    def fma(self, a, b, c):
        return self.call("fma", a, b, c)

    def neg(self, a):
        return self.b.fneg(a)

    def maximum(self, a, x):
        """max(a, x), and x where either is NaN (one instruction on x86)."""
        return self.b.select(self.b.fcmp_ordered(">", a, x), a, x)

    def minimum(self, a, x):
        """min(a, x), and x where either is NaN."""
        return self.b.select(self.b.fcmp_ordered("<", a, x), a, x)

    def transpose(self, rows: list) -> list:
        """The L x L transpose in registers: log2(L) rounds of interleaving row i with row i + L/2."""
        half = self.lanes // 2
        low = [x for i in range(half) for x in (i, i + self.lanes)]
        high = [x for i in range(half, self.lanes) for x in (i, i + self.lanes)]
        width = 1
        while width < self.lanes:
            paired = []
            for i in range(half):
                paired += [self.shuffle(rows[i], rows[i + half], low), self.shuffle(rows[i], rows[i + half], high)]
            rows, width = paired, 2 * width
        return rows


def declare(module: ir.Module, name: str, kind: ir.FunctionType) -> ir.Function:
    known = module.globals.get(name)
    return known if known is not None else ir.Function(module, kind, name)


def loop(b: ir.IRBuilder, count, carried: Sequence, body: Callable, step: int = 1, start=None) -> list:
    """`for i in range(start, count, step): carried = body(i, carried)`; returns the last carried values."""
    before = b.block
    head, inside, after = b.append_basic_block("head"), b.append_basic_block("body"), b.append_basic_block("after")
    start = I64(0) if start is None else start
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(I64)
    index.add_incoming(start, before)
    values = [b.phi(v.type) for v in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    b.cbranch(b.icmp_signed("<", index, count), inside, after)
    b.position_at_end(inside)
    results = body(index, values)
    index.add_incoming(b.add(index, I64(step)), b.block)
    for phi, value in zip(values, results, strict=True):
        phi.add_incoming(value, b.block)
    b.branch(head)
    b.position_at_end(after)
    return values


def define(module: ir.Module, name: str, arguments: Sequence[ir.Type], body: Callable) -> ir.Function:
    """A private function of the module with `body(builder, *arguments)`; emitted once, found again by name."""
    target = declare(module, name, ir.FunctionType(ir.VoidType(), list(arguments)))
    if not target.blocks:
        target.linkage = "linkonce_odr"
        target.attributes.add("noinline")
        builder = ir.IRBuilder(target.append_basic_block("entry"))
        body(builder, *target.args)
        builder.ret_void()
    return target


def merge(b: ir.IRBuilder, selector, cases: dict[int, Callable[[], list]]) -> list:
    """`switch (selector)`: each case builds its values; the chosen ones are returned (the first is the default)."""
    done = b.append_basic_block("merged")
    blocks = {key: b.append_basic_block(f"case{key}") for key in cases}
    switch = b.switch(selector, next(iter(blocks.values())))
    for key, block in list(blocks.items())[1:]:
        switch.add_case(selector.type(key), block)
    results = []
    for key, build in cases.items():
        b.position_at_end(blocks[key])
        values = build()
        results.append((values, b.block))
        b.branch(done)
    b.position_at_end(done)
    phis = []
    for position, first in enumerate(results[0][0]):
        phi = b.phi(first.type)
        for values, block in results:
            phi.add_incoming(values[position], block)
        phis.append(phi)
    return phis


def fence(b: ir.IRBuilder):
    """Keeps LLVM from hoisting loads of the next step over this one, which costs registers and then spills."""
    nothing = ir.FunctionType(ir.VoidType(), [])
    b.call(ir.InlineAsm(nothing, "", "~{memory}", side_effect=True), [])


AHEAD_LINES = 2
ROUNDS = 4  # of a panel of k


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

    def start(self, mode, c, cpitch, bias) -> list:
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
            vectors = [x.load(bias, j * x.lanes) for j in range(self.columns)]
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
                with b.if_then(b.icmp_signed("<", index, ahead.until)):
                    self.prefetch(index, ahead)
                here = x.at(a, b.mul(index, apitch))
                rows = [x.at(row, b.mul(index, I64(x.lanes * x.lanes))) for row in b_rows]
                stream = x.at(ahead.stream, b.mul(index, I64(ROUNDS * x.lanes)))
                return self.run(values, count, here, rows, stream, unroll=x.lanes // ROUNDS)

            return body

        whole = b.sdiv(k, I64(x.lanes))
        sums = loop(b, whole, sums, panel(I64(x.lanes)))
        left = b.sub(k, b.mul(whole, I64(x.lanes)))
        return loop(b, b.add(whole, I64(1)), sums, panel(left), start=whole)

    def finish(self, sums: list, post, c, cpitch):
        x, b = self.x, self.x.b

        def relu():
            return [x.maximum(x.const(0.0), s) for s in sums]

        sums = merge(b, post, {KEEP: lambda: sums, RELU: relu})
        for s, (i, j) in zip(sums, self.cells(), strict=True):
            x.store(s, c, b.add(b.mul(cpitch, I64(j)), I64(i * x.lanes)))


PTR = ir.PointerType()
ACROSS_ARGUMENTS = [I64, PTR, PTR, I64, PTR, I64, I64, PTR, I64, PTR]
ALONG_ARGUMENTS = [I64, PTR, I64, PTR, I64, PTR, I64, I64, PTR, I64, PTR, I64, I64, I64, I64, I64, PTR]


def across(module: ir.Module, bits: int, rows: int, columns: int) -> ir.Function:
    """void (k, a, b, bpitch, c, cpitch, start, bias, post, ahead)"""

    def body(builder, k, a, bp, bpitch, c, cpitch, start, bias, post, ahead):
        tile = Tile(Lines(builder, bits), rows, columns, along=False)
        sums = tile.product(tile.start(start, c, cpitch, bias), k, a, None, bp, bpitch, ahead)
        tile.finish(sums, post, c, cpitch)

    return define(module, f"fastbp_across_f{bits}_{rows}x{columns}", ACROSS_ARGUMENTS, body)


def along(module: ir.Module, bits: int, rows: int, columns: int) -> ir.Function:
    """void (k, a, apitch, b, bpitch, c, cpitch, start, bias, post, ahead...)"""

    def body(builder, k, a, apitch, bp, bpitch, c, cpitch, start, bias, post, *ahead):
        tile = Tile(Lines(builder, bits), rows, columns, along=True)
        sums = tile.product(tile.start(start, c, cpitch, bias), k, a, apitch, bp, bpitch, Ahead(*ahead))
        tile.finish(sums, post, c, cpitch)

    return define(module, f"fastbp_along_f{bits}_{rows}x{columns}", ALONG_ARGUMENTS, body)


def dispatch(module: ir.Module, bits: int, table, tile: Callable, arguments: Sequence[ir.Type]) -> ir.Function:
    """void (rows, columns, ...): jumps to the tile of that size; `table` holds the sizes an instruction set emits."""

    def body(builder, rows, columns, *rest):
        done = builder.append_basic_block("done")
        switch = builder.switch(builder.add(builder.mul(rows, I64(8)), columns), done)
        for r, c in table.sizes:
            block = builder.append_basic_block(f"tile{r}x{c}")
            switch.add_case(I64(8 * r + c), block)
            builder.position_at_end(block)
            builder.call(tile(module, bits, r, c), rest)
            builder.branch(done)
        builder.position_at_end(done)

    return define(module, f"fastbp_{tile.__name__}_f{bits}", [I64, I64, *arguments], body)
