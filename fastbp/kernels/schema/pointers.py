"""Thin types for compiled code: a pointer, rows of named words, and the context, each one LLVM value.

Numba's arrays are seven values each, and a dozen of them passed from function to function is what compiling cost most.
Loads of what does not change while a worker runs are marked as invariant, so that LLVM keeps them in registers.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin, lower_getattr_generic, lower_setattr_generic
from numba.core.typing.templates import AbstractTemplate, AttributeTemplate, infer_getattr, infer_global, signature
from numba.extending import intrinsic, register_model
from numba.np.arrayobj import populate_array

from fastbp.isa import LINE
from fastbp.kernels.schema.context import PLACES, SHARED
from fastbp.kernels.schema.fields import Settings, length

WORD = ir.IntType(64)
PTR = ir.IntType(8).as_pointer()  # Numba's stores want to see what a pointer points to


class Pointer(types.Type):  # type: ignore[misc]
    """A pointer to numbers of one type."""

    def __init__(self, dtype: Any):
        self.dtype = dtype
        super().__init__(f"Pointer({dtype})")


class Rows(types.Type):  # type: ignore[misc]
    """A pointer to rows whose fields a class names; indexed, one of them."""

    def __init__(self, kind: type):
        self.kind = kind
        super().__init__(f"Rows({kind.__name__})")


class Row(types.Type):  # type: ignore[misc]
    """A pointer to one row."""

    def __init__(self, kind: type):
        self.kind = kind
        self.dtype = types.float64 if kind is Settings else types.int64
        super().__init__(f"Row({kind.__name__})")


class ContextType(types.Type):  # type: ignore[misc]
    """The address of a worker's own words, of a network of type `real`."""

    def __init__(self, real: Any):
        self.real = real
        super().__init__(f"Context({real})")


@register_model(Pointer)
@register_model(Rows)
@register_model(Row)
@register_model(ContextType)
class ThinModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Any):
        super().__init__(dmm, fe_type, PTR)


def invariant_load(builder: Any, address: Any, index: int, kind: Any) -> Any:
    load = builder.load(offset(builder, address, WORD(index)), typ=kind)
    load.align = 8
    load.set_metadata("invariant.load", builder.module.add_metadata([]))
    return load


def offset(builder: Any, address: Any, index: Any, kind: Any = WORD) -> Any:
    """The address of an element, or of a word."""
    place = builder.gep(address, [index], source_etype=kind)
    place.type = kind.as_pointer()
    return place


def as_thin(place: Any) -> Any:
    place.type = PTR
    return place


def attribute_type(real: Any, name: str) -> Any:
    if name == "L":
        return types.int64
    place = PLACES.get(name)
    if place is None:
        return None
    if place.pointer is None:
        return types.int64
    if isinstance(place.pointer, str):
        return Pointer(real if place.pointer == "real" else getattr(types, place.pointer))
    return Rows(place.pointer)


@infer_getattr
class ContextAttributes(AttributeTemplate):  # type: ignore[misc]
    key = ContextType

    def generic_resolve(self, context: Any, attribute: str) -> Any:
        return attribute_type(context.real, attribute)


@lower_getattr_generic(ContextType)
def load_attribute(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    if attribute == "L":
        return WORD(LINE * 8 // kind.real.bitwidth)
    place = PLACES[attribute]
    if place.changes:
        return builder.load(offset(builder, value, WORD(place.word)), typ=WORD)
    base = value if place.own else invariant_load(builder, value, PLACES["shared"].word, PTR)
    return invariant_load(builder, base, place.word, WORD if place.pointer is None else PTR)


@lower_setattr_generic(ContextType)
def store_attribute(context: Any, builder: Any, signature: Any, values: Any, attribute: str) -> None:
    place = PLACES[attribute]
    assert place.changes
    target = offset(builder, values[0], WORD(place.word))
    builder.store(context.cast(builder, values[1], signature.args[1], types.int64), target, align=8)


@infer_getattr
class RowAttributes(AttributeTemplate):  # type: ignore[misc]
    key = Row

    def generic_resolve(self, row: Any, attribute: str) -> Any:
        return row.dtype if attribute in vars(row.kind) else None


@lower_getattr_generic(Row)
def load_field(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    return invariant_load(builder, value, vars(kind.kind)[attribute], context.get_value_type(kind.dtype))


@infer_getattr
class PointerAttributes(AttributeTemplate):  # type: ignore[misc]
    key = Pointer

    def generic_resolve(self, pointer: Any, attribute: str) -> Any:
        return types.int64 if attribute == "itemsize" else None


@lower_getattr_generic(Pointer)
def itemsize(context: Any, builder: Any, kind: Any, value: Any, attribute: str) -> Any:
    return WORD(kind.dtype.bitwidth // 8)


@infer_global(operator.getitem)
class GetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, arguments: Any, _: Any) -> Any:
        target, index = arguments
        if isinstance(index, types.Integer) and isinstance(target, Pointer):
            return signature(target.dtype, target, types.int64)
        if isinstance(index, types.Integer) and isinstance(target, Rows):
            return signature(Row(target.kind), target, types.int64)
        return None


@infer_global(operator.setitem)
class SetItem(AbstractTemplate):  # type: ignore[misc]
    def generic(self, arguments: Any, _: Any) -> Any:
        target, index, _value = arguments
        if isinstance(index, types.Integer) and isinstance(target, Pointer):
            return signature(types.none, target, types.int64, target.dtype)
        return None


@lower_builtin(operator.getitem, Pointer, types.Integer)
def load_element(context: Any, builder: Any, sig: Any, values: Any) -> Any:
    return builder.load(element(context, builder, sig.args[0], values), typ=context.get_value_type(sig.return_type))


@lower_builtin(operator.setitem, Pointer, types.Integer, types.Any)
def store_element(context: Any, builder: Any, sig: Any, values: Any) -> Any:
    place = element(context, builder, sig.args[0], values)
    builder.store(values[2], place)
    return context.get_dummy_value()


def element(context: Any, builder: Any, kind: Any, values: Any) -> Any:
    return offset(builder, values[0], values[1], context.get_value_type(kind.dtype))


@lower_builtin(operator.getitem, Rows, types.Integer)
def row_at(context: Any, builder: Any, sig: Any, values: Any) -> Any:
    return as_thin(offset(builder, values[0], builder.mul(values[1], WORD(length(sig.args[0].kind)))))


def _cast_intrinsic(make: Any) -> Any:
    def of_address(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], PTR)

        return make(types)(types.int64), generate

    return intrinsic(of_address)


context_float32 = _cast_intrinsic(lambda t: ContextType(t.float32))
context_float64 = _cast_intrinsic(lambda t: ContextType(t.float64))


@intrinsic
def address_of(typing_context: Any, value: Any) -> Any:
    """A context, row or pointer as an integer."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.ptrtoint(values[0], WORD)

    return types.int64(value), generate


@intrinsic
def worker_zero(typing_context: Any, c: Any) -> Any:
    """The context of the first worker, for the one that does everything alone."""

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        shared = invariant_load(builder, values[0], PLACES["shared"].word, PTR)
        return as_thin(offset(builder, shared, WORD(SHARED)))

    return c(c), generate


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], PTR)

    return types.voidptr(address), generate


@intrinsic
def as_arrays(typing_context: Any, arguments: Any) -> Any:
    """A tuple with arrays in the place of pointers, which is what the twins take; their length is unknown."""
    kinds = [types.Array(kind.dtype, 1, "C") if isinstance(kind, Pointer) else kind for kind in arguments.types]
    made = types.Tuple(kinds)

    def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        whole = [builder.extract_value(values[0], i) for i in range(len(kinds))]
        for i, (given, kind) in enumerate(zip(arguments.types, kinds, strict=True)):
            if isinstance(given, Pointer):
                array, itemsize = context.make_array(kind)(context, builder), WORD(given.dtype.bitwidth // 8)
                populate_array(array, data=builder.bitcast(whole[i], array.data.type), shape=[WORD(1 << 40)],
                               strides=[itemsize], itemsize=itemsize, meminfo=None)
                whole[i] = array._getvalue()
            elif context.enable_nrt:  # the tuple owns a reference to what it holds
                context.nrt.incref(builder, given, whole[i])
        return context.make_tuple(builder, made, whole)

    return made(arguments), generate
