"""Workers inside one long parallel region: a handshake, a barrier, and the sharing of work.

`sync` is an array of int64 words, a cache line for each. All of it is zero when a slice starts.
"""

from __future__ import annotations

from fastbp.kernels.jit import inlined_part
from fastbp.kernels.microkernels import (
    atomic_add,
    atomic_load,
    atomic_store,
    exchange_if,
    pause,
    yield_thread,
)

WORDS = 8  # int64 words in a cache line
ARRIVED, DECISION, STATUS, STEPS = (WORDS * i for i in range(4))
# In the line of STATUS, for steps of either parity: whether a label, a code or a column was out of range. They are the
# caller's, who has them checked but may change them afterwards, so whoever uses one compares it again.
OUTSIDE = STATUS + 2
REFUSED = -2  # STATUS of a step with such a value, which is not made
FLAGS = WORDS * 4  # a line per worker: whether an update was refused; then a line per worker: barriers passed
UNDECIDED, TOGETHER, ALONE = 0, 1, 2
# Waits of about 40 ns each: as long as a worker may spin before it gives its core away, and as long as all may take to
# arrive before one of them does the slice alone.
SPINS, PATIENCE = 1200, 100_000


def words(n_operations: int, workers: int) -> int:
    """Length of `sync`: two lines per worker, and a counter per parity, operation and worker."""
    return FLAGS + (2 + 2 * n_operations) * workers * WORDS


@inlined_part
def wait(turn, spins):
    """One turn of a waiting loop: a pause while it is short, another thread's turn afterwards."""
    if turn < spins:
        pause()
    else:
        yield_thread()


@inlined_part
def gather_workers(sync, workers, spins):
    """Whether all workers arrived (TOGETHER), or this one must do everything (ALONE); others get UNDECIDED.

    A threading layer may run the iterations of a region one after another; waiting for all would then never end.
    """
    if workers == 1:
        return TOGETHER
    if atomic_add(sync, ARRIVED, 1) == workers - 1:
        exchange_if(sync, DECISION, UNDECIDED, TOGETHER)
    turn = 0
    while atomic_load(sync, DECISION) == UNDECIDED and turn < PATIENCE:
        wait(turn, spins)
        turn += 1
    if exchange_if(sync, DECISION, UNDECIDED, ALONE) == UNDECIDED:
        return ALONE
    return TOGETHER if atomic_load(sync, DECISION) == TOGETHER else UNDECIDED


@inlined_part
def barrier(sync, me, workers, spins):
    """Returns when all workers have called it.

    Everyone counts its barriers in a line of its own and waits for the others' lines: what one worker writes reaches
    another in one transfer between cores, where a common counter needs two and passes from hand to hand.
    """
    if workers == 1:
        return
    lines = FLAGS + workers * WORDS
    passed = sync[lines + me * WORDS] + 1
    atomic_store(sync, lines + me * WORDS, passed)
    turn = 0
    for other in range(workers):
        while atomic_load(sync, lines + other * WORDS) < passed:
            wait(turn, spins)
            turn += 1


@inlined_part
def counter(parity, operation, n_operations, victim, workers):
    return FLAGS + (2 * workers + (parity * n_operations + operation) * workers + victim) * WORDS


@inlined_part
def take(sync, place, victim, workers, units):
    """The next unit of worker `victim`'s share, or -1. A worker empties its own share first, then helps the others."""
    first = victim * units // workers
    size = (victim + 1) * units // workers - first
    if atomic_load(sync, place) >= size:  # a look costs less than taking the line from its owner
        return -1
    taken = atomic_add(sync, place, 1)
    return first + taken if taken < size else -1
