"""The list of microkernels, in the order of their slots, and the one function that emits them all."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fastbp.isa import arena, elementwise, emit, losses, masks, norms, outputs, panels, peak, rules, sparse
from fastbp.isa.emitters.activations import CURVES
from fastbp.isa.emitters.lines import I64
from fastbp.isa.targets.table import Table

Emitter = Callable[[ir.Module, int, Table], ir.Function]


def _tile(tile: Callable, arguments: list) -> Emitter:
    return lambda module, bits, table: emit.dispatch(module, bits, table, tile, arguments)


def _rule(name: str) -> Emitter:
    return lambda module, bits, table: rules.update(module, bits, table, name)


EMITTERS: dict[str, Emitter] = {
    "across": _tile(emit.across, emit.ACROSS_ARGUMENTS),
    "along": _tile(emit.along, emit.ALONG_ARGUMENTS),
    "transpose": panels.transpose,
    "gather": panels.gather,
    "scatter": panels.scatter,
    "zero": panels.zero,
    "softmax": outputs.softmax,
    "softmax_slope": outputs.softmax_slope,
    "scale": outputs.scale,
    **{f"loss_{name}": emitter for name, emitter in losses.LOSSES.items()},
    "batch_norm": norms.batch_norm,
    "batch_norm_predict": norms.batch_norm_predict,
    "batch_norm_backward": norms.batch_norm_backward,
    "gains": norms.gains,
    "layer_norm": norms.layer_norm,
    "layer_norm_backward": norms.layer_norm_backward,
    "add": norms.add,
    "dropout": masks.dropout,
    "noise": masks.noise,
    "prepare": arena.prepare,
    "squares": arena.squares,
    "penalties": arena.penalties,
    "limit": arena.limit,
    "average": arena.average,
    "lamb": arena.lamb,
    "sparse_forward": sparse.sparse_forward,
    "sparse_add": sparse.sparse_add,
    **{f"update_{name}": _rule(name) for name in rules.RULES},
    **{f"activate_{name}": elementwise.activate(name) for name in CURVES if name != "softmax"},
    **{f"slope_{name}": elementwise.slope(name) for name in CURVES if name != "softmax"},
    "peak": peak.peak,
}
SLOTS = {name: slot for slot, name in enumerate(EMITTERS)}


def fill(builder: ir.IRBuilder, bits: int, table: Table, addresses) -> None:
    """Emits every microkernel into the builder's module and stores its address into its slot of `addresses`.

    The addresses are taken at run time by the code itself, so nothing frozen gets into a cache of that code.
    """
    for slot, emitter in enumerate(EMITTERS.values()):
        address = builder.ptrtoint(emitter(builder.module, bits, table), I64)
        builder.store(address, builder.gep(addresses, [I64(slot)], source_etype=I64), align=8)
