"""The products of a small network's step as straight code, for one worker and one size of batch.

The interpreter spends more on a small network's loops and branches than on its arithmetic. Here its operations are
written out for one plan: the passes, which Numba compiles for every plan, are run by Python on a recorder, and the
calls of microkernels that they make, in their order and with their numbers as constants, become a function. Tiles have
loops of constant length and no prefetches. What is added to what, and in which order, stays, so the bits do.

A program of straight code has one operation STRAIGHT for each run of products between losses, checks and penalties,
which the interpreter goes on doing; it holds the function's address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from fastbp import isa
from fastbp.isa.codes import FAMILIES
from fastbp.isa.contract import CONTRACT, FILES
from fastbp.isa.emitters.vocabulary.lines import I64, PTR, Constants
from fastbp.isa.microkernels import emitter
from fastbp.kernels import microkernels
from fastbp.kernels.native import Code, compiled
from fastbp.kernels.parallel import STATUS
from fastbp.kernels.passes.dense import backward, forward, weights
from fastbp.kernels.passes.loss_layer import gather_inputs
from fastbp.kernels.schema import operations as op
from fastbp.kernels.schema.context import PLACES, plain_rows
from fastbp.kernels.schema.fields import Layer, Operation

# Files whose microkernels become functions of constant size; those of others know their sizes at run time.
FIXED = ("tile", "panels")
# What tiles of constant size have no use for.
UNUSED = frozenset(("along", argument) for argument in ("pitch", "stride", "arrays", "step", "until"))
PRODUCTS = frozenset({op.GATHER, op.FORWARD, op.BACKWARD, op.WEIGHTS})


class Step(NamedTuple):
    """What a step's code depends on."""

    bits: int
    batch: int
    layers: np.ndarray
    program: np.ndarray
    rule: int
    stride: int
    scratch: int
    groups: int
    flag: int
    tiles: int

    def key(self) -> str:
        """Of the file that keeps the code."""
        arrays = self.layers.tobytes() + self.program.tobytes()
        numbers = [x for x in self if not isinstance(x, np.ndarray)]
        return hashlib.sha256(arrays + repr(numbers).encode()).hexdigest()[:32]


def program(step: Step) -> tuple[np.ndarray, Code]:
    """The program of a step whose products are straight code, and the code, which must live as long."""
    runs = [(products, [tuple(row) for row in rows])
            for products, rows in groupby(step.program.tolist(), lambda row: row[Operation.WHAT] in PRODUCTS)]
    segments = [rows for products, rows in runs if products]
    names = [f"fastbp_straight_{step.key()}_{i}" for i in range(len(segments))]
    code = compiled(step.key(), names, lambda module: emit(module, step, dict(zip(names, segments, strict=True))))
    addresses = iter(code.addresses)
    rows: list[Sequence[int]] = []
    for products, run in runs:
        rows += [(op.STRAIGHT, next(addresses), 0, op.FIXED)] if products else run
    return np.array(rows, np.int64), code


def emit(module: Constants, step: Step, segments: dict[str, list[tuple[int, ...]]]) -> None:
    for name, operations in segments.items():
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 4), name)
        Recorder(function, step).run(operations)


class Array:
    """An array of the context: where it begins, and stores of numbers known beforehand."""

    def __init__(self, builder: ir.IRBuilder, begin: ir.Value, element: ir.Type):
        self.builder, self.begin, self.element = builder, begin, element

    def at(self, offset: Any) -> ir.Value:
        place = self.builder.gep(self.begin, [offset if isinstance(offset, ir.Value) else I64(offset)],
                                 source_etype=self.element)
        place.type = self.element.as_pointer()  # llvmlite's builder wants to see the type it stores to
        return place

    def __setitem__(self, offset: int, value: float) -> None:
        self.builder.store(ir.Constant(self.element, value), self.at(offset))


class Recorder:
    """Writes the calls that passes make into a function."""

    def __init__(self, function: ir.Function, step: Step):
        self.module, self.step = function.module, step
        self.builder = b = ir.IRBuilder(function.append_basic_block("entry"))
        self.own = b.inttoptr(function.args[0], PTR)
        self.shared = self.word("shared", PTR)
        real = ir.FloatType() if step.bits == 32 else ir.DoubleType()
        arrays = {name: Array(b, self.word(name, PTR), real) for name in ("M", "P", "X")}
        order, sync = (Array(b, self.word(name, PTR), I64) for name in ("order", "sync"))
        order = Array(b, order.at(self.word("first")), I64)  # its rows begin with those of this step
        lanes = isa.LINE * 8 // step.bits
        self.context = SimpleNamespace(
            **arrays, G=None, order=order, sync=sync, L=lanes, table=None, me=0, workers=1, first=0, batch=step.batch,
            n_order=step.batch, panels=-(-step.batch // lanes), n_starts=0, bfloat16=0, fused=1, ahead=0,
            rule=step.rule, stride=step.stride, scratch=step.scratch, groups=step.groups, flag=step.flag,
            tiles=step.tiles, layers=plain_rows(step.layers, Layer))
        self.passes = {name: self.recorded(known) for name, known in
                       {"gather": gather_inputs, "forward": forward, "backward": backward, "weights": weights}.items()}

    def word(self, name: str, kind: ir.Type = I64) -> ir.Value:
        """A word of the context."""
        place = PLACES[name]
        base = self.own if place.own else self.shared
        load = self.builder.load(self.builder.gep(base, [I64(place.word)], source_etype=I64), typ=kind)
        load.align = 8
        return load

    def recorded(self, function: Any, known: dict[Any, Any] | None = None) -> Callable[..., None]:
        """A pass as Python runs it, with calls of microkernels that are written down."""
        known = {} if known is None else known
        source = getattr(function, "py_func", function)
        if source not in known:
            names = dict(source.__globals__)
            known[source] = FunctionType(source.__code__, names, source.__name__, source.__defaults__)
            for name in source.__code__.co_names:
                value = names.get(name)
                if name in CONTRACT and value is getattr(microkernels, name, None):
                    names[name] = self.writer(name)
                elif hasattr(value, "py_func"):
                    names[name] = self.recorded(value, known)
        return known[source]

    def writer(self, name: str) -> Callable[..., None]:
        """What a pass calls in the place of a microkernel."""

        fixed = FILES[name] in FIXED

        def write(_table: Any, *arguments: Any) -> None:
            given = list(arguments)
            member = FAMILIES[name][given.pop(0)] if name in FAMILIES else ""
            values: list[Any] = []
            for argument in CONTRACT[name]:
                value = given.pop(0)
                if argument.offset:
                    values.append(value.at(given.pop(0)))
                else:  # tiles of one size that would fetch differently are one function
                    values.append(0 if (name, argument.name) in UNUSED else int(value))
            numbers = [x for x in values if isinstance(x, int)]
            self.module.numbers = numbers if fixed else None
            kernel = emitter(name)(self.module, self.step.bits, isa.table(), *[member] * bool(member))
            values = [x if isinstance(x, ir.Value) else I64(x) for x in values if not (fixed and isinstance(x, int))]
            self.builder.call(kernel, values)

        return write

    def run(self, operations: Sequence[tuple[int, ...]]) -> None:
        """The operations of a run, and the end of the function."""
        c, passes = self.context, self.passes
        for row in operations:
            what, index = row[Operation.WHAT], row[Operation.LAYER]
            layer = c.layers[index]
            if what == op.GATHER:
                for q in range(c.panels):
                    passes["gather"](c, layer, q)
            elif what == op.FORWARD:
                passes["forward"](c, layer, 0, layer.PANELS, 0, c.panels)
            elif what == op.BACKWARD:
                passes["backward"](c, layer, c.layers[layer.BELOW], 0, layer.BLOCKS, 0, c.panels)
            else:
                passes["weights"](c, layer, 0, layer.PANELS, 0, layer.K + layer.BIAS)
                self.tell(index)
        self.builder.ret_void()

    def tell(self, layer: int) -> None:
        """The status of a step that refused an update is the number of its first such layer."""
        b, sync = self.builder, self.context.sync
        with b.if_then(b.icmp_signed("!=", b.load(sync.at(self.step.flag), typ=I64), I64(0)), likely=False):
            parity = b.and_(self.word("step"), I64(1))
            place = sync.at(b.add(parity, I64(STATUS)))
            before = b.load(place, typ=I64)
            b.store(b.select(b.icmp_signed("==", before, I64(0)), I64(layer + 1), before), place)
