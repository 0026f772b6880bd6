"""The entries of compiled code that the engine calls, and their compilation side by side in processes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels.jit import callback, parallel
from fastbp.kernels.pieces import run_node, run_update
from fastbp.kernels.pointers import context_float32, context_float64
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


@cache
def worker(dtype: str) -> Any:
    """The compiled worker as a C callback."""
    return callback(worker_float32 if dtype == "float32" else worker_float64, types.void(types.int64))


@cache
def node(dtype: str) -> Any:
    return callback(node_float32 if dtype == "float32" else node_float64, types.void(*[types.int64] * 4))


@cache
def update(dtype: str) -> Any:
    return callback(update_float32 if dtype == "float32" else update_float64, types.void(*[types.int64] * 4))


def piece(name: str, dtype: str) -> Any:
    return {"worker": worker, "node": node, "update": update}[name](dtype)


def prepare(dtype: str, parallel: bool) -> None:
    """Compiles or loads all that a network of a type runs."""
    for name in ("worker", "node", "update"):
        piece(name, dtype)
    if parallel:
        launcher()


@cache
def launcher() -> Any:
    return parallel(launch, types.void(*[types.int64] * 4))
