"""The host side of the compiled engine: networks become plans and buffers, which the worker of `kernels` interprets.

Nothing here is compiled, so an edit leaves the cache of compiled code valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastbp.kernels.warm_up import Entry


def warm_up(dtypes: Sequence[str] = ("float32", "float64")) -> list[Entry]:
    """Compile, or load from the cache, everything that networks of these types may run.

    Returns:
        a row for each entry of compiled code: name, dtype, whether it was compiled, seconds. Entries are compiled side
        by side, so the sum is more than what passes. With the JIT off nothing is compiled, and the list is empty.
    """
    from fastbp import isa
    from fastbp.kernels import entries, jit, warm_up

    without = {"launcher", *([] if isa.table().bfloat16 else entries.NEEDED_FOR_BFLOAT16)}
    without |= set() if isa.table().bfloat16 == "tiles" else {"tile peak"}
    names = [(name, dtype) for dtype in dtypes for name in entries.FUNCTIONS
             if name not in without and dtype in entries.FUNCTIONS[name]]
    return warm_up.prepare([*names, ("launcher", "float32")]) if jit.JIT else []
