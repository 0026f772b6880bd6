"""The worker that interprets a plan.

It is compiled once for each element type, as a C callback. The serial caller calls it with the GIL released; the
parallel entry starts one per thread, each of which calls the same address: Numba would copy it into every caller. What
small networks do not run thousands of times a step is compiled apart (see `pieces`) and called by address.
"""

from __future__ import annotations

import math

from fastbp.kernels.jit import inlined_part, part
from fastbp.kernels.microkernels import (
    atomic_load,
    atomic_store,
    begin_tiles,
    end_tiles,
    exchange_if,
    flush_denormals,
    restore_denormals,
)
from fastbp.kernels.parallel import (
    ALONE,
    COURTESY,
    OUTSIDE,
    REFUSED,
    STATUS,
    STEPS,
    STOPPED,
    UNDECIDED,
    WORDS,
    barrier,
    claim,
    counter,
    finish,
    gather_workers,
    is_done,
    is_taken,
    take,
    wait,
)
from fastbp.kernels.passes.dense import backward, forward, weights
from fastbp.kernels.passes.loss_layer import gather_inputs, loss_and_deltas, predict
from fastbp.kernels.passes.updates import ACCUMULATION, N_SUMS, PENALTY, clips, fold_groups, square_runs, start
from fastbp.kernels.pieces import call_node, call_products, call_straight, call_update, worker_zero
from fastbp.kernels.schema import fields as field
from fastbp.kernels.schema import operations as op

BATCH_NORM, PIECEWISE = map(field.code_of, ("batch_norm", "piecewise"))


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
    if row.KIND == PIECEWISE and what == op.FORWARD and not c.bfloat16:
        return row.N_TABLES + 1
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
        p = (unit - k * row.WEIGHTS_SHARE) * row.WEIGHTS_OUTPUTS
        run_weights(c, row, p, min(p + row.WEIGHTS_OUTPUTS, row.PANELS), k * size, min(k * size + size, lines))


@inlined_part
def run_weights(c, row, p0, p1, k0, k1):
    """The gradient and the update of part of a kernel; squares are summed while it is in the second-level cache."""
    weights(c, row, p0, p1, k0, k1)
    if not c.fused and c.train and clips(c):
        square_runs(c, row, p0, p1, k0, k1)


@inlined_part
def run_span(c, row, what, split):
    """A part of a product: panels of outputs, blocks of inputs, or panels of the batch."""
    p0, p1, b0, b1, q0, q1 = 0, row.PANELS, 0, row.BLOCKS, 0, c.panels
    if c.parts > 1:
        part, parts = c.part, c.parts
        if split == op.BY_OUTPUTS:
            p0, p1 = part * p1 // parts, (part + 1) * p1 // parts
        elif split == op.BY_INPUTS:
            b0, b1 = part * b1 // parts, (part + 1) * b1 // parts
        elif split == op.BY_BATCH:
            q0, q1 = part * q1 // parts, (part + 1) * q1 // parts
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
    if c.parts > 1 and split != op.EVERYONE:
        unit, end = c.part * end // c.parts, (c.part + 1) * end // c.parts
    while unit < end:
        run_unit(c, row, what, layer, unit)
        unit += 1


@part
def gather_alone(c, row):
    """All rows, for this worker alone, where it has not gathered them for an earlier part."""
    if c.gathered != c.step + 1:
        c.gathered = c.step + 1
        for q in range(c.panels):
            gather_inputs(c, row, q)


@inlined_part
def run_operation(c, operation, i):
    """This worker's part of an operation; False if it is skipped because this step makes no update."""
    what, layer, split = operation.WHAT, operation.LAYER, operation.SPLIT
    row, helping = c.layers[layer], split == op.HELPING and c.workers > 1
    # A gradient that is accumulated is looked at in every step, so that it is told which one made it infinite.
    skipped = what >= op.PREPARE and not (c.updates or what == op.PREPARE)
    alone = c.claims and row.OWN > 0
    if alone and what in (op.FORWARD, op.WEIGHTS):
        gather_alone(c, row)
    if not skipped and not (alone and what == op.GATHER):
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
def is_straight(c):
    return c.n_straight > 0 and c.batch == c.straight_rows


@part
def run_operations(c, i):
    """A step's operations from number i on, where parts are claimed only those of one phase; returns the number of the
    next one, -1 when training must stop before its updates."""
    straight = is_straight(c)
    program, end = c.straight if straight else c.program, c.n_straight if straight else c.n_program
    while i < end:
        operation = program[i]
        i += 1
        if operation.WHAT == op.STRAIGHT:
            call_straight(c, operation.LAYER)
        elif operation.WHAT == op.CHECK:
            if not check(c):
                return -1
        elif not run_operation(c, operation, i - 1):
            continue
        if operation.BARRIER:
            if c.claims:
                break
            barrier(c.sync, c.me, c.workers, c.spins)
    return i


@part
def run_phase(c, i):
    """The parts of a phase that begins with operation i: this worker's own, then those that nobody has taken.

    Returns the number of the first operation behind it when all parts are done, by whomever, or are at least under way
    where no barrier follows; -1 when training must stop. Whoever is put aside between two phases keeps nobody waiting:
    the others do its parts, and it finds them done. What the phase works on does not change before its parts are done,
    but what this worker has not seen may be many steps old, so it looks at it, and decides upon it, only while it has a
    part.
    """
    parts, phase, end = c.parts, c.phase, i + 1
    while end < c.n_program and not c.program[end - 1].BARRIER:
        end += 1
    free = not c.program[end - 1].BARRIER
    for ahead in range(parts):
        part = (c.me + ahead) % parts
        turn = -COURTESY if ahead > 0 and c.workers > 1 else 0
        while not (is_done(c.sync, part, parts, phase) or (free and is_taken(c.sync, part, parts, phase))):
            if turn >= 0 and claim(c.sync, part, parts, phase):
                c.part = part
                if run_operations(c, i) < 0:
                    atomic_store(c.sync, STOPPED, 1)
                    return -1
                finish(c.sync, part, parts, phase)
                break
            if atomic_load(c.sync, STOPPED):
                return -1
            wait(c.sync, c.me, c.n_workers, turn, c.spins)
            turn += 1
    c.phase = phase + 1
    return end


@inlined_part
def run_step(c):
    """One step of the program; False when training must stop before its updates."""
    if not c.claims:
        return run_operations(c, 0) >= 0
    i = 0
    while 0 <= i < c.n_program:
        i = run_phase(c, i)
    return i >= 0


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
    c.phase, c.gathered, done = 0, 0, 0
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
    decision = gather_workers(c.sync, c.me, c.n_workers, c.spins)
    if decision != UNDECIDED:
        own = worker_zero(c) if decision == ALONE else c
        own.workers = 1 if decision == ALONE else c.n_workers
        own.part, own.parts = own.me, c.n_workers if c.claims else own.workers
        if c.bfloat16:
            begin_tiles(own.table, own.saved, WORDS * own.me)
        run_slice(own)
        if c.bfloat16:
            end_tiles(own.table, own.saved, WORDS * own.me)
    restore_denormals(control)

