"""The worker that interprets a plan.

It is compiled once for each element type, as a C callback. The serial caller calls it with the GIL released; the
parallel entry starts one per thread, each of which calls the same address: Numba would copy it into every caller. What
small networks do not run thousands of times a step is compiled apart (see `pieces`) and called by address.
"""

from __future__ import annotations

import math

from fastbp.kernels.jit import inlined_part
from fastbp.kernels.microkernels import (
    atomic_store,
    begin_tiles,
    end_tiles,
    exchange_if,
    flush_denormals,
    restore_denormals,
)
from fastbp.kernels.parallel import (
    ALONE,
    OUTSIDE,
    REFUSED,
    STATUS,
    STEPS,
    UNDECIDED,
    WORDS,
    barrier,
    counter,
    gather_workers,
    take,
)
from fastbp.kernels.passes.dense import backward, forward, weights
from fastbp.kernels.passes.loss_layer import gather_inputs, loss_and_deltas, predict
from fastbp.kernels.passes.updates import ACCUMULATION, N_SUMS, PENALTY, clips, fold_groups, square_runs, start
from fastbp.kernels.pieces import call_node, call_products, call_straight, call_update, worker_zero
from fastbp.kernels.schema import fields as field
from fastbp.kernels.schema import operations as op

BATCH_NORM = field.code_of("batch_norm")


@inlined_part
def parts(total, size):
    """How many parts of `size` there are; the divider is slow, and small networks wait for it."""
    return 1 if size >= total else (total + size - 1) // size


@inlined_part
def quotient(unit, size):
    """Without the divider where there is one part."""
    return 0 if unit < size else unit // size


@inlined_part
def is_product(row, what):
    """Whether an operation is one of the three products of a dense layer on dense rows."""
    return row.IS_DENSE and not (row.SPARSE and what != op.BACKWARD)


@inlined_part
def units_of(c, row, what):
    """How many units of work an operation has."""
    if what >= op.PENALTIES:
        return 1 if what in (op.FACTORS, op.TRUST) else c.n_pieces
    if what in (op.GATHER, op.LOSS, op.OUTPUT):
        return c.panels
    if what == op.CHAIN:
        return parts(c.panels, field.CHAIN_PANELS)
    if row.IS_DENSE:
        return product_units(c, row, what)
    if row.N_TABLES and what == op.WEIGHTS:
        return row.WEIGHTS_UNITS
    blocks = what == op.WEIGHTS or (row.KIND == BATCH_NORM and c.backward)
    return row.PANELS if blocks else c.panels


@inlined_part
def product_units(c, row, what):
    """The units of a dense layer's product."""
    if row.SPARSE and what != op.BACKWARD:
        return parts(row.PANELS, field.SPARSE_PANELS)
    if what == op.WEIGHTS:
        return row.WEIGHTS_UNITS * row.WEIGHTS_SHARE
    if what == op.FORWARD:
        return row.FORWARD_UNITS * parts(c.panels, row.FORWARD_SHARE)
    return row.BACKWARD_UNITS * parts(c.panels, row.BACKWARD_SHARE)


@inlined_part
def run_unit(c, row, what, layer, unit):
    """One unit of one operation."""
    if what == op.GATHER:
        gather_inputs(c, row, unit)
    elif what == op.LOSS:
        loss_and_deltas(c, row, unit)
    elif what == op.OUTPUT:
        predict(c, row, unit)
    elif what >= op.PENALTIES:
        call_update(c, what, unit)
    elif what == op.CHAIN or is_product(row, what):
        if c.bfloat16:
            call_products(c, what, layer, unit)
        else:
            run_product(c, row, what, unit)
    else:
        call_node(c, what, layer, unit)


@inlined_part
def run_product(c, row, what, unit):
    """One unit of a product."""
    if what == op.FORWARD:
        size, share = row.FORWARD_SIZE, row.FORWARD_SHARE
        n = parts(c.panels, share)
        p = quotient(unit, n)
        q = unit - p * n
        forward(c, row, p * size, min(p * size + size, row.PANELS), q * share, min(q * share + share, c.panels))
    elif what == op.BACKWARD:
        size, share = row.BACKWARD_SIZE, row.BACKWARD_SHARE
        n = parts(c.panels, share)
        b = quotient(unit, n)
        q = unit - b * n
        backward(c, row, c.layers[row.BELOW], b * size, min(b * size + size, row.BLOCKS),
                 q * share, min(q * share + share, c.panels))
    else:
        size, lines = row.WEIGHTS_SIZE, row.K + row.BIAS
        k = quotient(unit, row.WEIGHTS_SHARE)
        p = (unit - k * row.WEIGHTS_SHARE) * field.WEIGHTS_PANELS
        run_weights(c, row, p, min(p + field.WEIGHTS_PANELS, row.PANELS), k * size, min(k * size + size, lines))


@inlined_part
def run_weights(c, row, p0, p1, k0, k1):
    """The gradient and the update of part of a kernel; squares are summed while it is in the second-level cache."""
    weights(c, row, p0, p1, k0, k1)
    if not c.fused and c.train and clips(c):
        square_runs(c, row, p0, p1, k0, k1)


@inlined_part
def run_span(c, row, what, split):
    """A worker's own part of a product: panels of outputs, blocks of inputs, or panels of the batch."""
    p0, p1, b0, b1, q0, q1 = 0, row.PANELS, 0, row.BLOCKS, 0, c.panels
    if c.workers > 1:
        me, workers = c.me, c.workers
        if split == op.BY_OUTPUTS:
            p0, p1 = me * p1 // workers, (me + 1) * p1 // workers
        elif split == op.BY_INPUTS:
            b0, b1 = me * b1 // workers, (me + 1) * b1 // workers
        elif split == op.BY_BATCH:
            q0, q1 = me * q1 // workers, (me + 1) * q1 // workers
        if p0 >= p1 or b0 >= b1 or q0 >= q1:
            return
    if what == op.FORWARD:
        forward(c, row, p0, p1, q0, q1)
    elif what == op.BACKWARD:
        backward(c, row, c.layers[row.BELOW], b0, b1, q0, q1)
    else:
        run_weights(c, row, p0, p1, b0 * c.L, row.K + row.BIAS if b1 == row.BLOCKS else b1 * c.L)


@inlined_part
def run_helping(c, row, what, layer, place):
    """This worker's share of an operation, then what the others have left of theirs."""
    units, me, workers = units_of(c, row, what), c.me, c.workers
    victim = me
    while True:
        unit = take(c.sync, place + victim * WORDS, victim, workers, units)
        if unit >= 0:
            run_unit(c, row, what, layer, unit)
            continue
        victim = (victim + 1) % workers
        if victim == me:
            break


@inlined_part
def run_share(c, row, what, layer, split):
    """A fixed share of an operation's units."""
    unit, end = 0, units_of(c, row, what)
    if c.workers > 1 and split != op.EVERYONE:
        unit, end = c.me * end // c.workers, (c.me + 1) * end // c.workers
    while unit < end:
        run_unit(c, row, what, layer, unit)
        unit += 1


@inlined_part
def run_operation(c, operation, i):
    """This worker's part of an operation; False if it is skipped because this step makes no update."""
    what, layer, split = operation.WHAT, operation.LAYER, operation.SPLIT
    row, helping = c.layers[layer], split == op.HELPING and c.workers > 1
    # A gradient that is accumulated is looked at in every step, so that it is told which one made it infinite.
    skipped = what >= op.PREPARE and not (c.updates or what == op.PREPARE)
    if not skipped:
        if helping:
            run_helping(c, row, what, layer, counter(c.step & 1, i, c.n_program, 0, c.workers))
        elif split >= op.BY_BATCH and what in (op.FORWARD, op.BACKWARD, op.WEIGHTS) and row.IS_DENSE:
            run_span(c, row, what, split)
        else:
            run_share(c, row, what, layer, split)
    if helping:
        atomic_store(c.sync, counter(1 - (c.step & 1), i, c.n_program, c.me, c.workers), 0)
    if what == op.WEIGHTS and c.sync[c.flag]:
        exchange_if(c.sync, STATUS + (c.step & 1), 0, layer + 1)
    return not skipped


@inlined_part
def step_loss(c):
    """The sum over panels and penalties, in their order, by every worker: they all come to the same decision."""
    total = 0.0
    for q in range(c.panels):
        total += c.partials[q]
    if c.penalized:
        for i in range(c.n_pieces):
            total += c.sums[i * N_SUMS + PENALTY]
    c.losses[c.step] = total
    return math.isfinite(total)


@inlined_part
def check(c):
    """Whether training goes on to this step's updates.

    This is decided after a barrier and from what no worker changes until the next one: the losses of this step, whether
    all that it read was in range, and whether the step before refused an update, which is why those words have a
    parity.
    """
    parity = c.step & 1
    if c.sync[STATUS + 1 - parity] != 0:
        return False
    if c.sync[OUTSIDE + parity] != 0:
        c.sync[STATUS + parity] = REFUSED
        return False
    if not step_loss(c):
        c.sync[STATUS + parity] = -1
        return False
    return True


@inlined_part
def run_step(c):
    """One step of the program; False when training must stop before its updates."""
    straight = c.n_straight > 0 and c.batch == c.straight_rows
    program = c.straight if straight else c.program
    for i in range(c.n_straight if straight else c.n_program):
        operation = program[i]
        if operation.WHAT == op.STRAIGHT:
            call_straight(c, operation.LAYER)
            continue
        if operation.WHAT == op.CHECK:
            if not check(c):
                return False
        elif not run_operation(c, operation, i):
            continue
        if operation.BARRIER:
            barrier(c.sync, c.me, c.workers, c.spins)
    return True


@inlined_part
def begin_step(c, step, every):
    """Writes what holds for this step."""
    number = c.first_step + step
    phase = number % every if every > 1 else 0
    c.step, c.accumulates, c.updates, c.first_update = step, phase > 0, phase == every - 1, number < every
    c.first, c.batch = c.bounds[step], c.bounds[step + 1] - c.bounds[step]
    c.panels = parts(c.batch, c.L)
    if c.train and (step == 0 or c.n_scalars > 1):  # one row of scalars stands for all steps
        fold_groups(c, step * 8)


@inlined_part
def round_kernels(c):
    """Every kernel's operands, before the first step that needs them."""
    for i in range(c.me, c.n_pieces, c.workers):
        call_update(c, op.ROUND, i)
    barrier(c.sync, c.me, c.workers, c.spins)


@inlined_part
def run_slice(c):
    """All steps of a slice; how many were completed goes to sync."""
    every = int(c.update_spec[ACCUMULATION])  # steps that make an update
    if not c.fused:
        start(c)
    if c.stale:
        round_kernels(c)
    done = 0
    for step in range(c.n_steps):
        begin_step(c, step, every)
        if not run_step(c):
            break
        done += 1
    if c.me == 0:
        c.sync[STEPS] = done


@inlined_part
def work(c):
    """One worker's part in a slice, with denormals as zero; the caller's control word is restored."""
    control = flush_denormals()
    decision = gather_workers(c.sync, c.n_workers, c.spins)
    if decision != UNDECIDED:
        own = worker_zero(c) if decision == ALONE else c
        own.workers = 1 if decision == ALONE else c.n_workers
        if c.bfloat16:
            begin_tiles(own.table, own.saved, WORDS * own.me)
        run_slice(own)
        if c.bfloat16:
            end_tiles(own.table, own.saved, WORDS * own.me)
    restore_denormals(control)

