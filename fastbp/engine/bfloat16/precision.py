"""How the products of dense layers are computed: what a processor and the operating system offer."""

from __future__ import annotations

import warnings

from fastbp import isa
from fastbp.isa.targets import amx

COMPUTE = ("float32", "bfloat16", "bfloat16x3")
_warned = False


def resolve(compute: str, dtype: str) -> str:
    """The computation itself or, where the operating system does not let this process use tiles, "float32" with a
    warning, the first time.

    Raises ValueError for an unknown one, for a dtype other than float32, and where the instruction set has none.
    """
    global _warned
    if compute not in COMPUTE:
        raise ValueError(f"compute must be one of {', '.join(COMPUTE)}; got {compute!r}")
    if compute == "float32":
        return compute
    if dtype != "float32":
        raise ValueError(f'compute="{compute}" needs dtype="float32", but the dtype is {dtype!r}')
    offered = isa.table().bfloat16
    if not offered:
        raise ValueError(f'compute="{compute}" needs AMX (amx_tile and amx_bf16) or AVX-512, but the instruction set '
                         f'is {isa.NAME}, which multiplies no bfloat16: pass compute="float32"')
    if offered == "tiles" and not amx.permitted():
        if not _warned:
            _warned = True
            warnings.warn(f'the operating system does not permit this process to use AMX tiles, so compute="{compute}" '
                          'is "float32"', RuntimeWarning, stacklevel=4)
        return "float32"
    return compute
