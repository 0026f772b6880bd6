"""One step of an optimizer on plain arrays: blocks of them pass through a small buffer in the first-level cache."""

from __future__ import annotations

import numpy as np
from numba import carray

from fastbp.isa.codes import MOST_STATES
from fastbp.kernels import jit
from fastbp.kernels.microkernels import flush_denormals, restore_denormals
from fastbp.kernels.microkernels import update as update_lines
from fastbp.kernels.passes.optimizer_scalars import fold
from fastbp.kernels.schema.pointers import pointer

# Lines of a block: five arrays of them and the rule's scalars take 10 KiB.
BLOCK = 32
SCRATCH = (MOST_STATES + 2) * BLOCK + 1


@jit.inlined
def copied(target, at, source, start, size):
    """target[at ...] = source[start ...], by slices: Numba's index tests would keep LLVM from vectorizing."""
    into, of = target[at : at + size], source[start : start + size]
    for i in range(size):
        into[i] = of[i]


@jit.inlined
def pass_through(table, flag, scalars, W, grad, m, v, u, M, rule):
    """W, its gradient and its states through the arena M: blocks of W, of states and gradient, then the scalars."""
    control = flush_denormals()
    L = 64 // M.itemsize
    B = BLOCK * L
    fold(M, 5 * B, rule, scalars, 0, 1.0, 1.0)
    for start in range(0, W.size, B):
        size = min(B, W.size - start)
        lines = (size + L - 1) // L
        for i in range(size, lines * L):  # what fills the last line up
            M[i], M[B + i], M[2 * B + i], M[3 * B + i], M[4 * B + i] = 0, 0, 0, 0, 0
        copied(M, 0, W, start, size)
        copied(M, 4 * B, grad, start, size)
        copied(M, B, m, start, min(m.size, size))
        copied(M, 2 * B, v, start, min(v.size, size))
        copied(M, 3 * B, u, start, min(u.size, size))
        update_lines(table, rule, lines, 1, M, 4 * B, 0, M, 0, 0, B, M, 5 * B, flag, 0)
        copied(W, start, M, 0, size)
        copied(m, start, M, B, min(m.size, size))
        copied(v, start, M, 2 * B, min(v.size, size))
        copied(u, start, M, 3 * B, min(u.size, size))
    restore_denormals(control)


@jit.inlined
def whole(context, i, dtype):
    return carray(pointer(context[2 * i]), context[2 * i + 1], dtype)


def update_float32(at):
    """The arrays of `pass_through` as addresses and sizes, then the rule."""
    c = carray(pointer(at), 19, np.int64)
    real = np.float32
    pass_through(whole(c, 0, np.int64), whole(c, 1, np.int64), whole(c, 2, np.float64), whole(c, 3, real),
                 whole(c, 4, real), whole(c, 5, real), whole(c, 6, real), whole(c, 7, real), whole(c, 8, real), c[18])


def update_float64(at):
    c = carray(pointer(at), 19, np.int64)
    real = np.float64
    pass_through(whole(c, 0, np.int64), whole(c, 1, np.int64), whole(c, 2, real), whole(c, 3, real),
                 whole(c, 4, real), whole(c, 5, real), whole(c, 6, real), whole(c, 7, real), whole(c, 8, real), c[18])
