"""One step of an optimizer on plain arrays, in place.

The update rules of the engine work on whole cache lines of an arena; here blocks of the caller's arrays pass through
such an arena of a few KiB, which stays in the first-level cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbp import optimizers
from fastbp.engine.arguments import array, writable
from fastbp.engine.memory import address, aligned
from fastbp.isa import LINE
from fastbp.isa.codes import MOST_STATES, RULE_CODES
from fastbp.kernels import entries, jit
from fastbp.kernels.array_update import SCRATCH, pass_through

Array = np.ndarray


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
    arrays = (entries.addresses(dtype), flag, scalars, W.reshape(-1), grad.reshape(-1), *states, arena)
    if jit.JIT:
        context = np.array([n for a in arrays for n in (address(a), a.size)] + [RULE_CODES[name]])
        entries.entry("plain update", dtype).ctypes(address(context))
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
