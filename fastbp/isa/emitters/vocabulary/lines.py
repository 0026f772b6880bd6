"""The LLVM vocabulary of all emitters: vectors of one cache line, loops, switches, and functions of the contract.

Everything here builds LLVM IR through llvmlite for vectors of one cache line (16 float32 or 8 float64), whatever the
instruction set: LLVM splits a line into two AVX2 or four NEON registers by itself. An instruction set contributes only
its table (how many accumulators fit), see `targets`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from llvmlite import ir

from fastbp.isa.contract import CONTRACT
from fastbp.isa.targets.table import LINE

I32 = ir.IntType(32)
I64 = ir.IntType(64)
PTR = ir.PointerType()


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
        """The n x n transpose in registers: log2(n) rounds of interleaving row i with row i + n/2.

        Where a register holds several rows of n elements side by side, each of these blocks is transposed.
        """
        n, lanes = len(rows), rows[0].type.count
        half = n // 2

        def interleaved(first: int) -> list[int]:
            return [x for block in range(first, lanes, n) for i in range(block, block + half) for x in (i, i + lanes)]

        width = 1
        while width < n:
            paired = []
            for i in range(half):
                for first in (0, half):
                    paired.append(self.shuffle(rows[i], rows[i + half], interleaved(first)))
            rows, width = paired, 2 * width
        return rows


def declare(module: ir.Module, name: str, kind: ir.FunctionType) -> ir.Function:
    known = module.globals.get(name)
    return known if known is not None else ir.Function(module, kind, name)


def loop(b: ir.IRBuilder, count, carried: Sequence, body: Callable, step: int = 1, start=None) -> list:
    """`for i in range(start, count, step): carried = body(i, carried)`; returns the last carried values."""
    start = I64(0) if start is None else start
    first, end = constant(start), constant(count)
    if first is not None and end is not None and first >= end:
        return list(carried)
    before = b.block
    head, inside, after = b.append_basic_block("head"), b.append_basic_block("body"), b.append_basic_block("after")
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


class Constants(ir.Module):  # type: ignore[misc]
    """A module for one caller: the next microkernel's integers are `numbers`, and its arguments are pointers alone."""

    numbers: Sequence[int] | None = None


def constant(value: ir.Value) -> int | None:
    """The number that a value is known to be while code is emitted."""
    return int(value.constant) if isinstance(value, ir.Constant) else None


def branch(b: ir.IRBuilder, comparison: str, left, right, yes: Callable[[], None], no: Callable[[], None]):
    """Emits `yes()` and `no()`, one of which runs; of two constants only that one."""
    first, second = constant(left), constant(right)
    if first is not None and second is not None:
        (yes if {"==": operator.eq, ">=": operator.ge}[comparison](first, second) else no)()
        return
    with b.if_else(b.icmp_signed(comparison, left, right)) as (then, otherwise):
        with then:
            yes()
        with otherwise:
            no()


def signature(name: str) -> list[ir.Type]:
    """The arguments of a microkernel in LLVM: an array and its offset are one pointer."""
    return [PTR if argument.offset else I64 for argument in CONTRACT[name]]


def define(module: ir.Module, bits: int, name: str, body: Callable, member: str = "") -> ir.Function:
    """A microkernel of the contract, or a member of a family, with `body(builder, *arguments)`."""
    full = f"fastbp_{name}_{member}_f{bits}" if member else f"fastbp_{name}_f{bits}"
    numbers = module.numbers if isinstance(module, Constants) else None
    if numbers is None:
        return private(module, full, signature(name), body)

    def fixed(builder, *pointers):
        constants, places = iter(numbers), iter(pointers)
        body(builder, *[next(places) if argument.offset else I64(next(constants)) for argument in CONTRACT[name]])

    function = private(module, "_".join([full, *map(str, numbers)]), [x for x in signature(name) if x is PTR], fixed)
    function.linkage = "internal"
    function.attributes.discard("noinline")
    return function


def private(module: ir.Module, name: str, arguments: Sequence[ir.Type], body: Callable) -> ir.Function:
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
    chosen = constant(selector)
    if chosen is not None:
        return cases[chosen]()
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


def at_line(x: Lines, i):
    """The offset of line i."""
    return x.b.mul(i, I64(x.lanes))
