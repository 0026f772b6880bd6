"""What is compiled apart from the worker and called by the addresses that its context holds, about 10 ns a call."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.kernels import jit
from fastbp.kernels.jit import inlined_part, part
from fastbp.kernels.passes.bfloat16 import run_products
from fastbp.kernels.passes.embedding import embed, table_weights
from fastbp.kernels.passes.nodes import node_backward, node_forward, node_weights
from fastbp.kernels.passes.operands import round_block, round_outputs, round_piece
from fastbp.kernels.passes.periodic import periodic_deltas, periodic_forward, periodic_weights
from fastbp.kernels.passes.piecewise import piecewise_deltas, piecewise_forward, piecewise_weights
from fastbp.kernels.passes.sparse import run_sparse
from fastbp.kernels.passes.updates import (
    apply_piece,
    direction_scalars,
    factors,
    measure_piece,
    penalty,
    prepare_piece,
    trust,
)
from fastbp.kernels.schema import fields as field
from fastbp.kernels.schema import operations as op
from fastbp.kernels.schema.pointers import address_of
from fastbp.kernels.schema.pointers import worker_zero as _worker_zero

BATCH_NORM, PERIODIC, PIECEWISE = map(field.code_of, ("batch_norm", "periodic", "piecewise"))


@part
def run_node(c, what, layer, unit):
    """One unit of an operation of a node that is not dense, or of a dense layer on sparse rows."""
    row = c.layers[layer]
    if row.IS_DENSE:
        run_sparse(c, row, what, unit)
        if c.bfloat16 and what == op.FORWARD:
            round_sparse(c, row, unit)
    elif what == op.FORWARD:
        if row.KIND == PERIODIC:
            periodic_forward(c, row, unit)
        elif row.KIND == PIECEWISE:
            piecewise_forward(c, row, unit)
        elif row.N_TABLES:
            embed(c, row, unit)
        else:
            node_forward(c, row, layer, unit)
        if c.bfloat16:
            round_node(c, row, unit)
    elif what == op.BACKWARD:
        if row.KIND == PERIODIC:
            periodic_deltas(c, row, unit)
        elif row.KIND == PIECEWISE:
            piecewise_deltas(c, row, unit)
        else:
            node_backward(c, row, unit)
    elif row.KIND == PERIODIC:
        periodic_weights(c, row, unit)
    elif row.KIND == PIECEWISE:
        piecewise_weights(c, row, unit)
    elif row.N_TABLES:
        table_weights(c, row, unit)
    else:
        node_weights(c, row, unit)


@part
def round_node(c, row, unit):
    """The operands of a node's outputs of which a unit was computed."""
    if row.KIND == BATCH_NORM and c.backward:
        round_block(c, row, unit)
    else:
        round_outputs(c, row, 0, row.N, unit, 1)


@part
def round_sparse(c, row, unit):
    """The same of a dense layer on sparse rows."""
    end = min((unit + 1) * field.SPARSE_PANELS, row.PANELS)
    for p in range(unit * field.SPARSE_PANELS, end):
        round_block(c, row, p)


@part
def run_update(c, what, piece):
    """One piece of what is done to parameters and to gradients in their buffers."""
    s = c.step * 8 if c.n_scalars > 1 else 0
    if what == op.PENALTIES:
        penalty(c, c.scalars[s + 1], piece)
    elif what == op.PREPARE:
        prepare_piece(c, piece)
    elif what == op.FACTORS:
        factors(c)
        if c.lamb:
            direction_scalars(c, s)
    elif what == op.MEASURE:
        measure_piece(c, piece)
    elif what == op.TRUST:
        trust(c, s)
    elif what == op.APPLY:
        apply_piece(c, piece)
        if c.bfloat16:
            round_piece(c, piece)
    else:
        round_piece(c, piece)


@intrinsic
def call_at(typing_context: Any, address: Any, c: Any, what: Any, layer: Any, unit: Any) -> Any:
    """Calls a piece with int64 arguments."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word] * 4)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def _call_node(c, what, layer, unit):
    call_at(c.run_node, address_of(c), what, layer, unit)


def _call_update(c, what, piece):
    call_at(c.run_update, address_of(c), what, 0, piece)


def _call_products(c, what, layer, unit):
    call_at(c.run_products, address_of(c), what, layer, unit)


def _call_straight(c, address):
    call_at(address, address_of(c), 0, 0, 0)


if jit.JIT:
    call_straight = inlined_part(_call_straight)
    call_node, call_update = inlined_part(_call_node), inlined_part(_call_update)
    call_products, worker_zero = inlined_part(_call_products), _worker_zero
else:
    call_straight = _call_straight  # there is no such code
    call_node, call_update, call_products, worker_zero = run_node, run_update, run_products, lambda c: c
