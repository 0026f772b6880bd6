"""The microkernels of `isa` as functions that kernels can call, and the table of their addresses.

All of them are emitted into one module, compiled once and kept on disk; `addresses` returns where they are. A call goes
through the table, so no caller carries a copy of their code. With FASTBP_ISA=portable, or with the JIT off, the same
names are the plain-loop twins and the table is empty.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba.core import types
from numba.extending import intrinsic, register_jitable

from fastbp import isa
from fastbp.isa.codes import ELEMENTWISE, FAMILIES, LOSSES
from fastbp.isa.emitters import threads
from fastbp.isa.emitters.vocabulary.lines import signature as pointers
from fastbp.isa.microkernels import SLOTS, fill, twin, twin_helpers
from fastbp.kernels import jit
from fastbp.kernels.schema.pointers import Pointer, as_arrays

N_ACTIVATIONS, N_LOSSES = len(ELEMENTWISE), len(LOSSES)
PORTABLE = isa.NAME == "portable" or not jit.JIT


def _flat(context: Any, builder: Any, kinds: Any, values: Any) -> list[Any]:
    """Arguments as the microkernel takes them: an array and its offset become a pointer."""
    flat, arguments = [], iter(zip(kinds, values, strict=True))
    for kind, value in arguments:
        if isinstance(kind, Pointer):
            offset_kind, offset = next(arguments)
            offset = context.cast(builder, offset, offset_kind, types.int64)
            place = builder.gep(value, [offset], source_etype=context.get_value_type(kind.dtype))
            place.type = ir.PointerType()
            flat.append(place)
        elif isinstance(kind, types.Array):
            offset_kind, offset = next(arguments)
            data = builder.bitcast(context.make_array(kind)(context, builder, value).data, ir.PointerType())
            offset = context.cast(builder, offset, offset_kind, types.int64)
            element = context.get_value_type(kind.dtype)
            place = builder.gep(data, [offset], source_etype=element)
            place.type = ir.PointerType()
            flat.append(place)
        else:
            flat.append(context.cast(builder, value, kind, types.int64))
    return flat


def _emitted(name: str) -> Any:
    """A caller of microkernel `name`, or of a family: of the one whose place in it is the first argument."""
    family = name in FAMILIES
    first = SLOTS[f"{name}_{FAMILIES[name][0]}"] if family else SLOTS[name]
    kind = ir.FunctionType(ir.VoidType(), pointers(name))

    def call(typing_context: Any, table: Any, *arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            word = ir.IntType(64)
            slots = values[0]
            if isinstance(signature.args[0], types.Array):
                slots = context.make_array(signature.args[0])(context, builder, slots).data
            kinds = signature.args[1]
            flat = _flat(context, builder, kinds, [builder.extract_value(values[1], i) for i in range(len(kinds))])
            slot = builder.add(flat.pop(0), word(first)) if family else word(first)
            address = builder.load(builder.gep(slots, [slot], source_etype=word), typ=word)
            builder.call(builder.inttoptr(address, kind.as_pointer()), flat)
            return context.get_dummy_value()

        return types.void(table, _packed(arguments)), generate

    call.__name__ = name
    return intrinsic(call)


def _packed(arguments: Any) -> Any:
    """Numba asks twice: with the arguments one by one, then with them as a tuple."""
    if len(arguments) == 1 and isinstance(arguments[0], types.BaseTuple):
        return arguments[0]
    return types.StarArgTuple.from_types(arguments)


def _machine(name: str) -> Any:
    """An inlined emitter of `isa.emitters.threads` on int64 words; arrays stand for the address of one element."""
    emit = getattr(threads, name)

    def call(typing_context: Any, *arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kinds = signature.args[0]
            unpacked = [builder.extract_value(values[0], i) for i in range(len(kinds))]
            return emit(builder, *_flat(context, builder, kinds, unpacked))

        return types.int64(_packed(arguments)), generate

    call.__name__ = name
    return intrinsic(call)


if PORTABLE:
    for helper in twin_helpers():  # what the twins call must be known to Numba too
        register_jitable(**jit.OPTIONS)(helper)


def _microkernel(name: str) -> Any:
    if not PORTABLE:
        return _emitted(name)
    plain = jit.called(twin(name))
    if not jit.JIT:
        return plain

    def call(*arguments):
        plain(*as_arrays(arguments))

    return jit.called(call)


def _word(name: str) -> Any:
    return _machine(name) if jit.JIT else twin(name)


def _own(name: str) -> Any:
    """A caller of what stands in the table behind the codes that the twins know."""
    if jit.JIT:
        return _emitted(name)
    first = SLOTS[f"{name}_{FAMILIES[name][0]}"]
    return lambda table, code, *arguments: table[first + code](*arguments)


if PORTABLE:
    _known_activate, _known_loss = _microkernel("activate"), _microkernel("loss")
    _own_activate, _own_loss = _own("activate"), _own("loss")


def _activate(table, code, n, Z, z, A, a, slopes, s, alpha, o):
    if code < N_ACTIVATIONS:
        _known_activate(table, code, n, Z, z, A, a, slopes, s, alpha, o)
    else:
        _own_activate(table, code, n, Z, z, A, a, slopes, s, alpha, o)


def _loss(table, code, n, Z, z, T, t, D, d, weights, w, losses, o, extra, e, P, p):
    if code < N_LOSSES:
        _known_loss(table, code, n, Z, z, T, t, D, d, weights, w, losses, o, extra, e, P, p)
    else:
        _own_loss(table, code, n, Z, z, T, t, D, d, weights, w, losses, o, extra, e, P, p)


across, along, outer = (_microkernel(name) for name in ("across", "along", "outer"))
transpose, gather, scatter, zero = (_microkernel(name) for name in ("transpose", "gather", "scatter", "zero"))
softmax, softmax_slope, scale = (_microkernel(name) for name in ("softmax", "softmax_slope", "scale"))
batch_norm, batch_norm_predict, batch_norm_backward, gains, layer_norm, layer_norm_backward, add = (
    _microkernel(name)
    for name in ("batch_norm", "batch_norm_predict", "batch_norm_backward", "gains", "layer_norm",
                 "layer_norm_backward", "add")
)  # fmt: skip
dropout, noise = _microkernel("dropout"), _microkernel("noise")
waves, mix, wave_slopes, wave_sums = (_microkernel(name) for name in ("waves", "mix", "wave_slopes", "wave_sums"))
prepare, squares, penalties, limit, average, lamb = (
    _microkernel(name) for name in ("prepare", "squares", "penalties", "limit", "average", "lamb")
)
sparse_forward, sparse_add = _microkernel("sparse_forward"), _microkernel("sparse_add")
update, slope = _microkernel("update"), _microkernel("slope")
# A user's own activation or loss is called as an emitted one is, by a code behind theirs (see `custom`).
activate = _emitted("activate") if not PORTABLE else jit.kernel(_activate)
loss = _emitted("loss") if not PORTABLE else jit.kernel(_loss)
peak = _microkernel("peak")
products, finish_outputs, finish_deltas, round_kernel, begin_tiles, end_tiles, tile_peak = (
    _microkernel(name)
    for name in ("products", "finish_outputs", "finish_deltas", "round_kernel", "begin_tiles", "end_tiles", "tile_peak")
)  # fmt: skip
atomic_add, atomic_load, atomic_store = _word("atomic_add"), _word("atomic_load"), _word("atomic_store")
exchange_if, pause, yield_thread = _word("exchange_if"), _word("pause"), _word("yield_thread")
this_core, allowed_cores, allow_cores = _word("this_core"), _word("allowed_cores"), _word("allow_cores")
flush_denormals, restore_denormals = _word("flush_denormals"), _word("restore_denormals")


def _emit_all(bits: int, bfloat16: bool = False) -> Any:
    """An intrinsic that emits every microkernel and writes their addresses to an int64 array."""

    def emit_all(typing_context: Any, addresses: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            fill(builder, bits, isa.table(), builder.inttoptr(values[0], ir.PointerType()), bfloat16)
            return context.get_dummy_value()

        return types.void(addresses), generate

    emit_all.__name__ = "emit_bfloat16" if bfloat16 else f"emit_all_{bits}"
    return intrinsic(emit_all)


emit_all_32, emit_all_64, emit_bfloat16 = _emit_all(32), _emit_all(64), _emit_all(32, bfloat16=True)


def table_float32(address: int) -> None:
    """Writes the addresses of the float32 microkernels to int64 words from `address` on."""
    emit_all_32(address)


def table_float64(address: int) -> None:
    emit_all_64(address)


if isa.table().bfloat16 == "tiles" and jit.JIT:
    binding.initialize_native_asmparser()  # for instructions that LLVM has no plain name for


def table_bfloat16(address: int) -> None:
    """The addresses of those that work on operands of bfloat16, beside float32's."""
    emit_bfloat16(address)
