"""One step of an optimizer on plain arrays, in place.

The update rules of the engine work on whole cache lines of an arena; here blocks of the caller's arrays pass through
such an arena of a few KiB, which stays in the first-level cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from fastbp import optimizers
from fastbp.isa import LINE
from fastbp.isa.codes import MOST_STATES, RULE_CODES
from fastbp.kernels import jit, microkernels
from fastbp.kernels.arguments import array, writable
from fastbp.kernels.interpreter import pointer
from fastbp.kernels.microkernels import flush_denormals, restore_denormals
from fastbp.kernels.microkernels import update as update_lines
from fastbp.kernels.updates import fold
from fastbp.kernels.workspace import address, aligned

Array = np.ndarray
# Lines of a block: five arrays of them and the rule's scalars take 10 KiB.
BLOCK = 32
SCRATCH = (MOST_STATES + 2) * BLOCK + 1


@dataclass
class State:
    """What an optimizer remembers of one array: a few arrays of its shape, and the steps taken.

    Adam's and NAdam's averages are divided by their factors, m / (1 - beta_1) and v / (1 - beta_2), and so is AMSGrad's
    largest v; all others are as the optimizer's docstring names them.
    """

    arrays: list[Array] = field(default_factory=list)
    step: int = 0


def init_state(optimizer: str | optimizers.Optimizer, W: Array) -> State:
    """The state before the first step: zeros.

    Args:
        optimizer: a name such as "adam", or an object such as fastbp.SGD(0.1, momentum=0.9).
        W: the array to be updated, float32 or float64, C-contiguous, of any shape.

    Raises:
        TypeError, ValueError: an array that `update` would not take, or an unknown optimizer.

    Example:
        >>> state = init_state("adam", np.zeros((3, 2)))
        >>> len(state.arrays), state.step
        (2, 0)
    """
    array("W", W)
    return State([np.zeros_like(W) for _ in range(optimizers.get(optimizer).n_states)])


def update(optimizer: str | optimizers.Optimizer, W: Array, grad: Array, state: State) -> bool:
    """One step of an optimizer: changes W and the state in place.

    Args:
        optimizer: the one `init_state` was called with; its docstring has the equations. A schedule is asked for the
            rate at `state.step`, which counts from 0.
        W: weights of any shape, C-contiguous, float32 or float64.
        grad: the derivative of the loss by W; same shape and dtype.
        state: of `init_state`.

    Returns:
        True; False where some weight's update was not finite: that weight and its states stay as they were.

    Raises:
        TypeError, ValueError: arrays that do not fit together, are not C-contiguous, overlap or are read-only; a state
        made for another optimizer or array; LAMB and Muon, which need whole layers. Nothing is changed then.

    Example:
        >>> W = np.array([1.0, 2.0])
        >>> update("sgd", W, np.array([10.0, 0.0]), init_state("sgd", W)), W.tolist()
        (True, [0.9, 2.0])

    What an optimizer has around its rule, such as clipnorm or use_ema, is left to the caller. Formulas as PyTorch's;
    within them a step is one rounding or two a term from the exact one.
    """
    rule = optimizers.get(optimizer)
    if rule.rule in ("lamb", "muon"):
        raise ValueError(f"optimizer must work weight by weight, but {rule.rule!r}, which needs whole layers, came: "
                         "train a fastbp.Sequential with it")
    _check(rule, W, grad, state)
    scalars = rule.scalars(np.array([state.step]))[0]
    name = "adam_decay" if rule.rule == "adam" and scalars[1] != 0 else rule.rule
    flag, dtype = np.zeros(1, np.int64), W.dtype.name
    arena = aligned(SCRATCH * LINE // W.itemsize, W.dtype)
    states = [s.reshape(-1) for s in state.arrays]
    states += [np.zeros(0, W.dtype)] * (MOST_STATES - len(states))
    arrays = (microkernels.addresses(dtype), flag, scalars, W.reshape(-1), grad.reshape(-1), *states, arena)
    if jit.JIT:
        context = np.array([n for a in arrays for n in (address(a), a.size)] + [RULE_CODES[name]])
        entry(dtype)(address(context))
    else:
        with np.errstate(all="ignore"):  # what is not finite is told by the flag
            pass_through(*arrays, RULE_CODES[name])
    state.step += 1
    return not flag[0]


def _check(rule: optimizers.Optimizer, W: Array, grad: Array, state: State) -> None:
    array("W", W)
    array("grad", grad, W.shape, like=("W", W))
    given: Any = state
    if not isinstance(given, State):
        came = type(given).__name__
        raise TypeError(f"state must be what init_state gave, but {came} came: pass init_state(optimizer, W)")
    if len(state.arrays) != rule.n_states:
        raise ValueError(f"state must have {rule.n_states} arrays for {rule.rule}, but has {len(state.arrays)}: "
                         "pass init_state(optimizer, W)")
    written = {"W": W, **{f"state.arrays[{i}]": s for i, s in enumerate(state.arrays)}}
    for i, (name, value) in enumerate(written.items()):
        array(name, value, W.shape, like=("W", W))
        writable(name, value, {"grad": grad, **dict(list(written.items())[:i])})


@jit.inlined
def copied(target, at, source, start, size):
    """target[at ...] = source[start ...], by slices: Numba's index tests would keep LLVM from vectorising."""
    into, of = target[at : at + size], source[start : start + size]
    for i in range(size):
        into[i] = of[i]


@jit.inlined
def pass_through(table, flag, scalars, W, grad, m, v, u, M, rule):
    """W, its gradient and its states through the arena M: blocks of W, of states and gradient, then the scalars."""
    control = flush_denormals()
    L = 64 // M.itemsize
    B = BLOCK * L
    fold(M, 5 * B, rule, scalars, 1.0, 1.0)
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


@cache
def entry(dtype: str) -> Any:
    return jit.callback(update_float32 if dtype == "float32" else update_float64, types.void(types.int64)).ctypes
