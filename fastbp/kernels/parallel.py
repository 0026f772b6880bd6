"""Workers inside one long parallel region: a handshake, a barrier, and the sharing of work.

`sync` is an array of int64 words, a cache line for each. All of it is zero when a slice starts.
"""

from __future__ import annotations

from fastbp.isa.emitters.threads import CORE_WORDS
from fastbp.kernels.jit import called, inlined_part, part
from fastbp.kernels.microkernels import (
    allow_cores,
    allowed_cores,
    atomic_add,
    atomic_load,
    atomic_store,
    exchange_if,
    pause,
    this_core,
    yield_thread,
)

WORDS = 8  # int64 words in a cache line
ARRIVED, DECISION, STATUS, STEPS = (WORDS * i for i in range(4))
# In the line of STATUS, for steps of either parity: whether a label, a code or a column was out of range. They are the
# caller's, who has them checked but may change them afterwards, so whoever uses one compares it again.
OUTSIDE = STATUS + 2
REFUSED = -2  # STATUS of a step with such a value, which is not made
STOPPED = STATUS + 4  # whether some worker has found that training stops, where the others do not find it themselves
# A line per worker: whether an update was refused; then one: rounds of barriers or, of its part, phases done; one: of
# its part, phases that someone has taken; one: 1 + the core on which it was last seen waiting; two and two: sets of
# cores.
FLAGS = WORDS * 4
LINES = 8
UNDECIDED, TOGETHER, ALONE = 0, 1, 2
# Waits of about 40 ns each: as long as a worker may spin before it gives its core away, and as long as all may take to
# arrive before one of them does the slice alone.
SPINS, PATIENCE = 1200, 100_000
# As long as a worker leaves another one's part to it, whose caches hold what it needs.
COURTESY = 50


def words(n_operations: int, workers: int) -> int:
    """Length of `sync`: LINES lines per worker, and a counter per parity, operation and worker."""
    return FLAGS + (LINES + 2 * n_operations) * workers * WORDS


@inlined_part
def wait(sync, me, workers, turn, spins):
    """One turn of a waiting loop: a pause while it is short, another thread's turn afterwards."""
    if turn < spins:
        pause()
        return
    if turn == spins and spins > 0:
        leave_crowded_core(sync, me, workers)
    yield_thread()


@called
def leave_crowded_core(sync, me, workers):
    """Moves this worker to a core of its own if another one waited on the same core.

    Two threads that take turns in waiting for each other look busy, and so may stay on one core for seconds while
    another one has nothing to do.
    """
    seen, cores = FLAGS + 3 * workers * WORDS, FLAGS + (4 * workers + 4 * me) * WORDS
    here = this_core() + 1
    atomic_store(sync, seen + me * WORDS, here)
    if here == 0 or not is_seen(sync, seen, me, workers, here) or allowed_cores(sync, cores) < 0:
        return
    one = cores + CORE_WORDS
    for core in range(64 * CORE_WORDS):
        if sync[cores + core // 64] >> (core % 64) & 1 and not is_seen(sync, seen, me, workers, core + 1):
            for i in range(CORE_WORDS):
                sync[one + i] = 0
            sync[one + core // 64] = 1 << (core % 64)
            if allow_cores(sync, one) == 0:  # moves it there; afterwards it may run where it might before
                allow_cores(sync, cores)
                atomic_store(sync, seen + me * WORDS, core + 1)
            return


@part
def is_seen(sync, seen, me, workers, core):
    """Whether another worker was last seen on a core, which is told plus 1."""
    found = False
    for other in range(workers):
        if other != me and atomic_load(sync, seen + other * WORDS) == core:
            found = True
    return found


@inlined_part
def gather_workers(sync, me, workers, spins):
    """Whether all workers arrived (TOGETHER), or this one must do everything (ALONE); others get UNDECIDED.

    A threading layer may run the iterations of a region one after another; waiting for all would then never end.
    """
    if workers == 1:
        return TOGETHER
    if atomic_add(sync, ARRIVED, 1) == workers - 1:
        exchange_if(sync, DECISION, UNDECIDED, TOGETHER)
    turn = 0
    while atomic_load(sync, DECISION) == UNDECIDED and turn < PATIENCE:
        wait(sync, me, workers, turn, spins)
        turn += 1
    if exchange_if(sync, DECISION, UNDECIDED, ALONE) == UNDECIDED:
        return ALONE
    return TOGETHER if atomic_load(sync, DECISION) == TOGETHER else UNDECIDED


@inlined_part
def barrier(sync, me, workers, spins):
    """Returns when all workers have called it.

    In round r everyone has heard, through others, of the 2^r workers before it, so there are as many rounds as the
    number of workers has bits. A worker counts its rounds in a line of its own, which one other worker reads in each:
    what it writes reaches that one in one transfer between cores, where a common counter needs two and passes from hand
    to hand.
    """
    if workers == 1:
        return
    lines = FLAGS + workers * WORDS
    passed, distance, turn = sync[lines + me * WORDS], 1, 0
    while distance < workers:
        passed += 1
        atomic_store(sync, lines + me * WORDS, passed)
        before = lines + (me - distance + workers) % workers * WORDS
        while atomic_load(sync, before) < passed:
            wait(sync, me, workers, turn, spins)
            turn += 1
        distance *= 2


@inlined_part
def is_taken(sync, part, parts, phase):
    return atomic_load(sync, FLAGS + (2 * parts + part) * WORDS) > phase


@inlined_part
def claim(sync, part, parts, phase):
    """Whether this worker takes a part of a phase: nobody has, and the same part of the phase before is done."""
    if is_taken(sync, part, parts, phase) or not is_done(sync, part, parts, phase - 1):
        return False
    return exchange_if(sync, FLAGS + (2 * parts + part) * WORDS, phase, phase + 1) == phase


@inlined_part
def finish(sync, part, parts, phase):
    """Tells everyone that a part of a phase is done."""
    atomic_store(sync, FLAGS + (parts + part) * WORDS, phase + 1)


@inlined_part
def is_done(sync, part, parts, phase):
    return atomic_load(sync, FLAGS + (parts + part) * WORDS) > phase


@inlined_part
def counter(parity, operation, n_operations, victim, workers):
    return FLAGS + (LINES * workers + (parity * n_operations + operation) * workers + victim) * WORDS


@inlined_part
def take(sync, place, victim, workers, units):
    """The next unit of worker `victim`'s share, or -1. A worker empties its own share first, then helps the others."""
    first = victim * units // workers
    size = (victim + 1) * units // workers - first
    if atomic_load(sync, place) >= size:  # a look costs less than taking the line from its owner
        return -1
    taken = atomic_add(sync, place, 1)
    return first + taken if taken < size else -1
