"""The entries of compiled code that the engine calls, by name and element type."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.isa.microkernels import SLOTS
from fastbp.kernels.jit import callback, parallel
from fastbp.kernels.microkernels import PORTABLE, table_bfloat16, table_float32, table_float64
from fastbp.kernels.notice import label
from fastbp.kernels.passes.array_update import update_float32 as update_array_float32
from fastbp.kernels.passes.array_update import update_float64 as update_array_float64
from fastbp.kernels.passes.bfloat16 import run_products
from fastbp.kernels.peak import repeat_float32, repeat_float64, repeat_tiles
from fastbp.kernels.pieces import run_node, run_update
from fastbp.kernels.schema.pointers import context_float32, context_float64
from fastbp.kernels.worker import work


def worker_float32(context):
    work(context_float32(context))


def worker_float64(context):
    work(context_float64(context))


def node_float32(context, what, layer, unit):
    run_node(context_float32(context), what, layer, unit)


def node_float64(context, what, layer, unit):
    run_node(context_float64(context), what, layer, unit)


def update_float32(context, what, layer, unit):
    run_update(context_float32(context), what, unit)


def update_float64(context, what, layer, unit):
    run_update(context_float64(context), what, unit)


def products_float32(context, what, layer, unit):
    run_products(context_float32(context), what, layer, unit)


@intrinsic
def call_worker(typing_context: Any, address: Any, context: Any) -> Any:
    def generate(_: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return _.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def launch(address, contexts, stride, workers):
    """Starts `workers` workers, each on a thread of its own where the threading layer has that many."""
    for me in numba.prange(workers):
        call_worker(address, contexts + me * stride)


# What each entry is made from, by element type, and its signature.
FUNCTIONS: dict[str, dict[str, Any]] = {
    "microkernels": {"float32": table_float32, "float64": table_float64},
    "bfloat16": {"float32": table_bfloat16},
    "worker": {"float32": worker_float32, "float64": worker_float64},
    "node": {"float32": node_float32, "float64": node_float64},
    "update": {"float32": update_float32, "float64": update_float64},
    "products": {"float32": products_float32},
    "launcher": {"float32": launch, "float64": launch},  # one for both types
    "plain update": {"float32": update_array_float32, "float64": update_array_float64},
    "peak": {"float32": repeat_float32, "float64": repeat_float64},
    "tile peak": {"float32": repeat_tiles},
}
ARGUMENTS = {
    "microkernels": 1, "bfloat16": 1, "worker": 1, "node": 4, "update": 4, "products": 4, "launcher": 4,
    "plain update": 1, "peak": 4, "tile peak": 3,
}  # fmt: skip
# What a network of one type needs.
NEEDED = ("microkernels", "worker", "node", "update")
NEEDED_FOR_BFLOAT16 = ("bfloat16", "products")


@cache
def entry(name: str, dtype: str) -> Any:
    """The compiled entry: a C callback with its address, or the launcher."""
    if name == "launcher" and dtype != "float32":
        return entry(name, "float32")
    make = parallel if name == "launcher" else callback
    signature = types.void(*[types.int64] * ARGUMENTS[name])
    return make(FUNCTIONS[name][dtype], signature, label((name, dtype)))


@cache
def addresses(dtype: str) -> np.ndarray:
    """The table for float32 or float64; compiles or loads the microkernels when first asked for."""
    words = np.zeros(len(SLOTS), np.int64)
    if not PORTABLE:
        entry("microkernels", dtype).ctypes(words.ctypes.data)
    return words


@cache
def addresses_with_bfloat16() -> np.ndarray:
    """The table for float32, with the microkernels on operands of bfloat16."""
    words = addresses("float32").copy()
    if not PORTABLE:
        entry("bfloat16", "float32").ctypes(words.ctypes.data)
    return words
