"""A user's own activation or loss: scalar functions, wrapped so that they are called as the emitted microkernels are.

An activation becomes `activate` of a run of lines, a loss `loss` of a panel, compiled apart from the engine; their
addresses stand in the workspace's table of microkernels behind those of fastbp, and their codes in the plan say where.
So the engine on disk serves every function. With the JIT off the table holds the Python functions themselves.

    table    [SLOTS]  [own loss]  [own activation 0 ... D-1]  [slopes of these]  [own activation D ... 2D-1] ...

A family's code counts from its first slot, and D slots lie between the first of `activate` and of `slope`, where an own
activation finds that of the activations whose slopes forward has kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.isa.codes import KEEPS_SLOPES
from fastbp.isa.microkernels import SLOTS
from fastbp.kernels import custom, entries, jit
from fastbp.spec import ScalarFunctions

FIRST_ACTIVATE, FIRST_SLOPE = SLOTS["activate_identity"], SLOTS["slope_identity"]
FIRST_LOSS = min(slot for name, slot in SLOTS.items() if name.startswith("loss_"))
D = FIRST_SLOPE - FIRST_ACTIVATE
OWN_LOSS = len(SLOTS) - FIRST_LOSS  # the code of an own loss


def keeps_slopes(activation: str | ScalarFunctions) -> bool:
    """Whether f' is no function of the output, or not known to be."""
    return not isinstance(activation, str) or activation in KEEPS_SLOPES


def _slot(index: int) -> int:
    return len(SLOTS) + 1 + index // D * 2 * D + index % D


def activation_code(index: int) -> int:
    """The code of a network's own activation number `index`, from 0."""
    return _slot(index) - FIRST_ACTIVATE


def table(dtype: str, activations: Sequence[ScalarFunctions], loss: ScalarFunctions | None,
          bfloat16: bool = False) -> np.ndarray:
    """The table of microkernels with these behind; compiles what was not compiled before."""
    known = entries.addresses_with_bfloat16() if bfloat16 else entries.addresses(dtype)
    if not activations and loss is None:
        return known
    words = np.zeros(_slot(len(activations)) + D, np.int64 if jit.JIT else object)
    words[: len(known)] = known
    if loss is not None:
        words[len(SLOTS)] = _address(custom.loss, loss, dtype)
    for index, functions in enumerate(activations):
        words[_slot(index)] = _address(custom.activation, functions, dtype)
        words[_slot(index) + D] = known[SLOTS["slope_gelu"]]
    return words


def _address(wrap: Any, functions: ScalarFunctions, dtype: str) -> Any:
    entry = wrap(functions, dtype)
    return entry.address if jit.JIT else entry
