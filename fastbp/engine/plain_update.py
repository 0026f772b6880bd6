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
from fastbp.kernels.passes.array_update import SCRATCH, pass_through
from fastbp.kernels.schema import bounds
from fastbp.util.arguments import count

Array = np.ndarray
REMEDY = "pass init_state(optimizer, W)"
MOST_STEPS = 1 << 53  # up to which a schedule can tell steps apart in float64


@dataclass
class State:
    """An optimizer's state for one array.

    Attributes
    ----------
    arrays : list of ndarray
        Arrays of its shape, as named in the optimizer's docstring, except that Adam's and NAdam's averages are divided
        by their factors, m / (1 - beta_1) and v / (1 - beta_2), as is AMSGrad's largest v.
    step : int
        Number of steps taken.
    """

    arrays: list[Array] = field(default_factory=list)
    step: int = 0


def init_state(optimizer: str | optimizers.Optimizer, W: Array) -> State:
    """The state before the first step: zeros.

    Parameters
    ----------
    optimizer : str or Optimizer
        A name such as "adam", or an object such as ``fastbp.SGD(0.1, momentum=0.9)``.
    W : ndarray
        The array to be updated, float32 or float64, C-contiguous, of any shape.

    Returns
    -------
    State
        The state for `update`.

    Raises
    ------
    TypeError, ValueError
        For an array that `update` does not accept, and an unknown optimizer.

    Examples
    --------
    >>> state = init_state("adam", np.zeros((3, 2)))
    >>> len(state.arrays), state.step
    (2, 0)
    """
    W = array("W", W)
    return State([np.zeros_like(W) for _ in range(optimizers.get(optimizer).n_states)])


def update(optimizer: str | optimizers.Optimizer, W: Array, grad: Array, state: State) -> bool:
    """One optimizer step, which changes W and the state in place.

    Parameters
    ----------
    optimizer : str or Optimizer
        The one passed to `init_state`; its docstring has the equations. A schedule is evaluated at ``state.step``,
        which starts at 0.
    W : ndarray
        Weights of any shape, C-contiguous, float32 or float64.
    grad : ndarray
        Derivative of the loss with respect to W, of the same shape and dtype.
    state : State
        The result of `init_state`.

    Returns
    -------
    bool
        False if the update of some weight was not finite: that weight and its state are unchanged.

    Raises
    ------
    TypeError, ValueError
        For arrays that do not match, are not C-contiguous, overlap or are read-only; for a state of another optimizer
        or array; for LAMB and Muon, which need whole layers. Nothing has changed then.

    Notes
    -----
    What an optimizer does around its update rule, such as clipnorm or use_ema, is up to the caller. Formulas as in
    PyTorch; a step differs from the exact one by a rounding or two per term.

    Examples
    --------
    >>> W = np.array([1.0, 2.0])
    >>> update("sgd", W, np.array([10.0, 0.0]), init_state("sgd", W)), W.tolist()
    (True, [0.9, 2.0])
    """
    rule = optimizers.get(optimizer)
    if rule.rule in ("lamb", "muon"):
        raise ValueError(f"optimizer must work weight by weight, got {rule.rule!r}, which needs whole layers: "
                         "train a fastbp.Sequential with it")
    W, grad, arrays = _checked(rule, W, grad, state)
    scalars = rule.scalars(np.array([state.step]))[0]
    name = "adam_decay" if rule.rule == "adam" and scalars[1] != 0 else rule.rule
    finite = _step(RULE_CODES[name], scalars, W, grad, arrays)
    state.step += 1
    return finite


def _step(rule: int, scalars: Array, W: Array, grad: Array, states: list[Array]) -> bool:
    """Whether the update of every weight was finite. All arrays are flat."""
    flag, dtype = np.zeros(1, np.int64), W.dtype.name
    arena = aligned(SCRATCH * LINE // W.itemsize, W.dtype)
    if bounds.CHECK:
        bounds.same_size({"grad": grad, **{f"state {i}": s for i, s in enumerate(states)}}, W.size)
    states = states + [np.zeros(0, W.dtype)] * (MOST_STATES - len(states))
    arrays = (entries.addresses(dtype), flag, scalars, W, grad, *states, arena)
    if jit.JIT:
        context = np.array([n for a in arrays for n in (address(a), a.size)] + [rule])
        entries.entry("plain update", dtype).ctypes(address(context))
    else:
        with np.errstate(all="ignore"):  # what is not finite is told by the flag
            pass_through(*arrays, rule)
    return not flag[0]


def _checked(rule: optimizers.Optimizer, W: Array, grad: Array, state: State) -> tuple[Array, Array, list[Array]]:
    """The arrays of `update`, flat."""
    W = array("W", W)
    grad = array("grad", grad, W.shape, like=("W", W))
    given: Any = state
    if not isinstance(given, State):
        raise TypeError(f"state must be what init_state gave, got {type(given).__name__}: {REMEDY}")
    if not isinstance(given.arrays, list | tuple):
        raise TypeError(f"state.arrays must be a list of arrays, got {type(given.arrays).__name__}: {REMEDY}")
    if len(given.arrays) != rule.n_states:
        raise ValueError(f"state must have {rule.n_states} arrays for {rule.rule}, got {len(given.arrays)}: {REMEDY}")
    if count(given.step, "state.step", 0) > MOST_STEPS:
        raise ValueError(f"state.step must be at most 2**53, got {given.step}: {REMEDY}")
    known = {"grad": grad}
    for name, value in [("W", W), *((f"state.arrays[{i}]", value) for i, value in enumerate(given.arrays))]:
        known[name] = array(name, value, W.shape, like=("W", W))
        writable(name, known[name], {other: there for other, there in known.items() if other != name})
    grad, W, *states = (value.reshape(-1) for value in known.values())
    return W, grad, states
