"""The worker that interprets a plan, and the two entries that start workers.

The worker is compiled once for each element type, as a C callback. The serial caller calls it with the GIL released;
the parallel entry starts one per thread, each of which calls the same address: Numba would copy it into every caller.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from fastbp.kernels import fields as field
from fastbp.kernels import operations as op
from fastbp.kernels import updates as treat
from fastbp.kernels.dense import Memory, Rule, backward, forward, weights
from fastbp.kernels.embedding import embed, table_weights
from fastbp.kernels.jit import callback, called, inlined, kernel, parallel
from fastbp.kernels.loss_layer import Data, gather_inputs, loss_and_deltas, predict
from fastbp.kernels.microkernels import atomic_store, exchange_if, flush_denormals, restore_denormals
from fastbp.kernels.nodes import node_backward, node_forward, node_weights
from fastbp.kernels.parallel import ALONE, FLAGS, STATUS, STEPS, TOGETHER, WORDS, barrier, counter, gather_workers, take
from fastbp.kernels.sparse import run_sparse
from fastbp.kernels.updates import (
    Arena,
    apply_piece,
    clips,
    direction_scalars,
    factors,
    fold_groups,
    measure_piece,
    penalty,
    prepare_piece,
    square_runs,
    trust,
)

# Arrays of a call, in the order of their addresses and lengths in its context; then its numbers.
ARRAYS = ("sync", "program", "layers", "bounds", "labels", "order", "table", "random", "pieces",  # int64
          "partials", "totals", "scalars", "losses", "settings", "update_spec", "sums",  # float64
          "P", "M", "G", "X", "y", "weight", "outputs",  # of the network's type
          "starts", "columns")  # int64, int32
# Those of rows.
SHAPES = {"program": (-1, op.N_PROGRAM), "layers": (-1, field.ROW), "pieces": (-1, treat.N_PIECE), "scalars": (-1, 8),
          "settings": (-1, treat.N_SETTINGS)}
(N_STEPS, LOSS, BACKWARD, FUSED, RULE, AHEAD, STRIDE, SCRATCH, SCRATCH_SIZE, WORKERS, SPINS, TRAIN, GROUPS,
 PENALISED, LAMB, FIRST_STEP, N_NUMBERS) = range(17)
CONTEXT = 2 * len(ARRAYS) + N_NUMBERS
OK, LOSS_NOT_FINITE, UPDATE_NOT_FINITE = range(3)


@inlined
def parts(total, size):
    """How many parts of `size` there are; the divider is slow, and small networks wait for it."""
    return 1 if size >= total else (total + size - 1) // size


@inlined
def units_of(row, arena, what, panels, training):
    """How many units of work an operation has."""
    if what >= op.PENALTIES:
        return 1 if what in (op.FACTORS, op.TRUST) else arena.pieces.shape[0]
    if what in (op.GATHER, op.LOSS, op.OUTPUT):
        return panels
    if is_sparse(row, what):
        return parts(row[field.PANELS], field.SPARSE_PANELS)
    if row[field.N_TABLES] and what == op.WEIGHTS:
        return row[field.WEIGHTS_UNITS + field.UNITS]
    if not row[field.IS_DENSE]:
        blocks = what == op.WEIGHTS or (row[field.KIND] == field.BATCH_NORM and training)
        return row[field.PANELS] if blocks else panels
    if what == op.WEIGHTS:
        return row[field.WEIGHTS_UNITS + field.UNITS] * row[field.WEIGHTS_UNITS + field.SHARE]
    place = field.FORWARD_UNITS if what == op.FORWARD else field.BACKWARD_UNITS
    return row[place + field.UNITS] * parts(panels, row[place + field.SHARE])


@inlined
def divided(unit, size):
    """Quotient and remainder, without the divider where there is one part."""
    return (0, unit) if unit < size else (unit // size, unit % size)


@inlined
def is_sparse(row, what):
    """Whether a layer reads sparse rows, and this operation with it."""
    return row[field.SPARSE] and what in (op.FORWARD, op.WEIGHTS)


@kernel
def run_unit(mem, layers, data, rule, arena, scratch, what, layer, unit, span, step, first, batch, panels):
    """One unit of one operation, or all of it in a span of outputs, inputs and batch panels."""
    row, L = layers[layer], mem.L
    whole, p0, p1, b0, b1, q0, q1 = span
    if is_sparse(row, what):
        run_sparse(mem, row, data, rule, scratch, what, unit, first, batch)
    elif what == op.FORWARD:
        if row[field.IS_DENSE]:
            if not whole:
                size, share = row[field.FORWARD_UNITS + field.SIZE], row[field.FORWARD_UNITS + field.SHARE]
                p, q = divided(unit, parts(panels, share))
                p0, p1, q0, q1 = p * size, min(p * size + size, p1), q * share, min(q * share + share, panels)
            forward(mem, row, p0, p1, q0, q1)
        elif row[field.N_TABLES]:
            embed(mem, layers, row, unit)
        else:
            node_forward(mem, row, data, step, batch, layer, unit)
    elif what == op.BACKWARD:
        if row[field.IS_DENSE]:
            below = layers[row[field.BELOW]]
            if not whole:
                size, share = row[field.BACKWARD_UNITS + field.SIZE], row[field.BACKWARD_UNITS + field.SHARE]
                b, q = divided(unit, parts(panels, share))
                b0, b1, q0, q1 = b * size, min(b * size + size, b1), q * share, min(q * share + share, panels)
            backward(mem, row, below, batch, b0, b1, q0, q1)
        else:
            node_backward(mem, row, layers, batch, unit)
    elif what == op.WEIGHTS and row[field.N_TABLES]:
        table_weights(mem, layers, row, rule, scratch, batch, unit)
    elif what == op.WEIGHTS and not row[field.IS_DENSE]:
        node_weights(mem, row, rule, batch, unit)
    elif what == op.WEIGHTS:
        lines = row[field.K] + row[field.BIAS]
        k0, k1 = b0 * L, lines if b1 == row[field.BLOCKS] else b1 * L
        if not whole:
            size, groups = row[field.WEIGHTS_UNITS + field.SIZE], row[field.WEIGHTS_UNITS + field.SHARE]
            k, g = divided(unit, groups)
            k0, k1, p0 = k * size, min(k * size + size, lines), g * field.WEIGHTS_PANELS
            p1 = min(p0 + field.WEIGHTS_PANELS, p1)
        weights(mem, row, rule, scratch, batch, p0, p1, k0, k1)
        if not rule.fused and rule.training and clips(arena):  # while it is in the second-level cache
            square_runs(mem, row, arena, p0, p1, k0, k1)
    elif what == op.GATHER:
        gather_inputs(mem, row, data, first, batch, unit)
    elif what == op.LOSS:
        loss_and_deltas(mem, row, data, scratch, step, first, batch, unit)
    elif what == op.OUTPUT:
        predict(mem, row, data, first, batch, unit)
    else:
        run_arena(mem, layers, data, rule, arena, what, step, unit)


@called
def run_arena(mem, layers, data, rule, arena, what, step, piece):
    """One piece of what is done to parameters and to gradients in their arena."""
    row = data.scalars[step] if data.scalars.shape[0] > 1 else data.scalars[0]
    if what == op.PENALTIES:
        penalty(mem, arena, row[1], piece)
    elif what == op.PREPARE:
        prepare_piece(mem, layers, arena, rule.training, piece)
    elif what == op.FACTORS:
        factors(mem, arena)
        if arena.lamb:
            direction_scalars(mem, arena, row)
    elif what == op.MEASURE:
        measure_piece(mem, arena, rule, piece)
    elif what == op.TRUST:
        trust(mem, arena, rule.code, row)
    else:
        apply_piece(mem, arena, rule, piece)


@inlined
def span_of(row, split, me, workers, panels):
    """What is a worker's own: (True, panels of outputs, blocks of inputs, panels of the batch)."""
    p0, p1, b0, b1, q0, q1 = 0, row[field.PANELS], 0, row[field.BLOCKS], 0, panels
    if split == op.BY_OUTPUTS:
        p0, p1 = me * p1 // workers, (me + 1) * p1 // workers
    elif split == op.BY_INPUTS:
        b0, b1 = me * b1 // workers, (me + 1) * b1 // workers
    elif split == op.BY_BATCH:
        q0, q1 = me * q1 // workers, (me + 1) * q1 // workers
    return True, p0, p1, b0, b1, q0, q1


@inlined
def run_operation(mem, layers, data, rule, arena, scratch, sync, workers, place, what, layer, split, step, first, batch,
                  panels):
    """This worker's share of an operation and, where that is wanted, what the others have left."""
    me, row = mem.me, layers[layer]
    product = row[field.IS_DENSE] and what in (op.FORWARD, op.BACKWARD, op.WEIGHTS)
    whole = product and split >= op.BY_BATCH
    helping = split == op.HELPING and workers > 1
    span = (whole, 0, row[field.PANELS], 0, row[field.BLOCKS], 0, panels)
    units = 1 if whole else units_of(row, arena, what, panels, data.backward)
    unit, end = 0, units
    if workers > 1 and whole:
        span = span_of(row, split, me, workers, panels)
        end = int(span[1] < span[2] and span[3] < span[4] and span[5] < span[6])
    elif workers > 1 and split != op.EVERYONE:
        unit, end = me * units // workers, (me + 1) * units // workers
    victim = me
    while True:
        if helping:
            unit = take(sync, place + victim * WORDS, victim, workers, units)
            if unit < 0:
                victim = (victim + 1) % workers
                if victim == me:
                    break
                continue
        elif unit >= end:
            break
        run_unit(mem, layers, data, rule, arena, scratch, what, layer, unit, span, step, first, batch, panels)
        unit += 1


@inlined
def step_loss(data, arena, losses, step, panels):
    """The sum over panels and penalties, in their order, by every worker: they all come to the same decision."""
    total = 0.0
    for q in range(panels):
        total += data.partials[q]
    if arena.penalised:
        for i in range(arena.pieces.shape[0]):
            total += arena.sums[i * treat.N_SUMS + treat.PENALTY]
    losses[step] = total
    return np.isfinite(total)


@inlined
def run_step(mem, layers, program, data, rule, arena, scratch, sync, workers, spins, step, first, batch, losses):
    """One step of the program; False when training must stop before its updates.

    Whether it must is decided after a barrier and from what no worker changes until the next one: the losses of this
    step, and whether the step before refused an update, which is why that word has a parity.
    """
    n, me, parity = program.shape[0], mem.me, step & 1
    panels = parts(batch, mem.L)
    for operation in range(n):
        what, layer = program[operation, op.WHAT], program[operation, op.LAYER]
        if what == op.CHECK:
            if sync[STATUS + 1 - parity] != 0:
                return False
            if not step_loss(data, arena, losses, step, panels):
                sync[STATUS + parity] = -1
                return False
        else:
            split, skipped = program[operation, op.SPLIT], what >= op.PREPARE and not rule.updates
            if not skipped:
                place = counter(parity, operation, n, 0, workers) if split == op.HELPING else 0
                run_operation(mem, layers, data, rule, arena, scratch, sync, workers, place, what, layer, split, step,
                              first, batch, panels)
            if workers > 1 and split == op.HELPING:
                atomic_store(sync, counter(1 - parity, operation, n, me, workers), 0)
            if skipped:
                continue
            if what == op.WEIGHTS and sync[rule.flag]:
                exchange_if(sync, STATUS + parity, 0, layer + 1)
        if program[operation, op.BARRIER]:
            barrier(sync, me, workers, spins)
    return True


@inlined
def run_slice(numbers, layers, program, sync, mem, data, arena, bounds, losses, workers):
    """All steps of a slice; how many were completed goes to sync."""
    me = mem.me
    scratch = numbers[SCRATCH] + me * numbers[SCRATCH_SIZE]
    fused, training, code = numbers[FUSED] != 0, numbers[TRAIN] != 0, numbers[RULE]
    every = int(arena.update_spec[treat.ACCUMULATION])  # steps that make an update
    if not fused:
        treat.start(mem, arena)
    done = 0
    for step in range(numbers[N_STEPS]):
        phase = (numbers[FIRST_STEP] + step) % every if every > 1 else 0
        rule = Rule(fused, phase > 0, training, phase == every - 1, numbers[FIRST_STEP] + step < every, code,
                    numbers[AHEAD], arena.groups, numbers[STRIDE], sync, FLAGS + me * WORDS, step & 1)
        if training and (step == 0 or data.scalars.shape[0] > 1):  # one row of scalars stands for all steps
            fold_groups(mem, arena, code, data.scalars[step])
        first, batch = bounds[step], bounds[step + 1] - bounds[step]
        if not run_step(mem, layers, program, data, rule, arena, scratch, sync, workers, numbers[SPINS], step, first,
                        batch, losses):
            break
        done += 1
    if me == 0:
        sync[STEPS] = done


@inlined
def work(me, numbers, sync, program, layers, bounds, labels, order, table, random, pieces, partials, totals,
         scalars, losses, settings, update_spec, sums, P, M, G, X, y, weight, outputs, starts, columns):
    """One worker's part in a slice, with denormals as zero; the caller's control word is restored."""
    control = flush_denormals()
    workers = numbers[WORKERS]
    decision = gather_workers(sync, workers, numbers[SPINS])
    if decision == ALONE:
        me, workers = 0, 1
    if decision in (TOGETHER, ALONE):
        mem = Memory(table, P, M, G, me, 64 // M.itemsize)
        data = Data(X, y, labels, weight, totals, order, outputs, numbers[LOSS], numbers[BACKWARD] != 0, partials,
                    random, scalars, starts, columns)
        groups = numbers[SCRATCH] + me * numbers[SCRATCH_SIZE] + numbers[GROUPS]
        arena = Arena(pieces, settings, update_spec, sums, groups, numbers[PENALISED] != 0, numbers[LAMB] != 0)
        run_slice(numbers, layers, program, sync, mem, data, arena, bounds, losses, workers)
    restore_denormals(control)


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], ir.PointerType())

    return types.voidptr(address), generate


@inlined
def array(context, i, dtype):
    return carray(pointer(context[2 * i]), context[2 * i + 1], dtype)


# Rows are made here, not by `reshape`: of its results Numba no longer sees that nobody counts references to them, and
# does so at every use, which doubled the time of a small network's step.
@inlined
def rows(context, i, columns, dtype):
    return carray(pointer(context[2 * i]), (context[2 * i + 1] // columns, columns), dtype)


@inlined
def work_at(me, address, real):
    """The part of worker `me` in the slice whose context stands at `address`, of a network of type `real`."""
    c = carray(pointer(address), CONTEXT, np.int64)
    work(me, c[2 * len(ARRAYS):], array(c, 0, np.int64), rows(c, 1, op.N_PROGRAM, np.int64),
         rows(c, 2, field.ROW, np.int64), array(c, 3, np.int64), array(c, 4, np.int64), array(c, 5, np.int64),
         array(c, 6, np.int64), array(c, 7, np.int64), rows(c, 8, treat.N_PIECE, np.int64),
         array(c, 9, np.float64), array(c, 10, np.float64), rows(c, 11, 8, np.float64), array(c, 12, np.float64),
         rows(c, 13, treat.N_SETTINGS, np.float64), array(c, 14, np.float64), array(c, 15, np.float64),
         array(c, 16, real), array(c, 17, real), array(c, 18, real), array(c, 19, real), array(c, 20, real),
         array(c, 21, real), array(c, 22, real), array(c, 23, np.int64), array(c, 24, np.int32))


def worker_float32(me, address):
    work_at(me, address, np.float32)


def worker_float64(me, address):
    work_at(me, address, np.float64)


@intrinsic
def call_worker(typing_context: Any, address: Any, me: Any, context: Any) -> Any:
    def generate(_: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [word, word])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return _.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def launch(address, context, workers):
    """Starts `workers` workers, each on a thread of its own where the threading layer has that many."""
    for me in numba.prange(workers):
        call_worker(address, me, context)


@cache
def serial_entry(dtype: str) -> Any:
    """The compiled worker as a C callback."""
    worker = worker_float32 if dtype == "float32" else worker_float64
    return callback(worker, types.void(types.int64, types.int64))


@cache
def parallel_entry() -> Any:
    return parallel(launch, types.void(types.int64, types.int64, types.int64))
