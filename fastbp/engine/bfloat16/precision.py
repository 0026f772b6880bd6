"""Whether this machine multiplies operands of bfloat16, and whether that pays for a network."""

from __future__ import annotations

import warnings

from fastbp import isa
from fastbp.isa.targets import amx
from fastbp.spec import AUTO, COMPUTE

_warned = False


def missing() -> str:
    """What the instruction set lacks for operands of bfloat16; empty if nothing."""
    if isa.table().bfloat16:
        return ""
    return (f"it needs a processor with AMX (amx_tile and amx_bf16) or AVX-512, but the instruction set in use is "
            f"{isa.NAME}")  # fmt: skip


def permitted() -> bool:
    """Whether the operating system lets this process use what the instruction set has; warns once if not."""
    global _warned
    if isa.table().bfloat16 != "tiles" or amx.permitted():
        return True
    if not _warned:
        _warned = True
        warnings.warn("the operating system does not permit this process to use AMX tiles, so products are computed in "
                      'float32: pass compute="float32", or allow the system call arch_prctl', RuntimeWarning,
                      stacklevel=5)  # fmt: skip
    return False


def check(compute: str, dtype: str) -> str:
    """The name itself; ValueError for an unknown one, for another dtype than float32, and where nothing offers it."""
    if compute not in COMPUTE:
        raise ValueError(f"compute must be one of {', '.join(COMPUTE)}, got {compute!r}: pass one of these")
    if compute != "float32" and dtype != "float32":
        raise ValueError(f"compute={compute!r} rounds operands of float32, but dtype is {dtype!r}: "
                         'pass dtype="float32"')  # fmt: skip
    if compute != "float32" and missing():
        raise ValueError(f'compute={compute!r} is not available: {missing()}; pass compute="float32" or "auto"')
    return compute


def resolve(compute: str, dtype: str) -> str:
    """The same, but "float32" where tiles are not permitted; "auto" stays to be chosen."""
    if compute == AUTO or check(compute, dtype) == "float32":
        return compute
    return compute if permitted() else "float32"
