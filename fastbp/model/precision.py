"""A model's `compute`: how the products of its dense layers are computed."""

from __future__ import annotations

import warnings

from fastbp.spec import AUTO, COMPUTE
from fastbp.util.arguments import did_you_mean

NAMES = (*COMPUTE, AUTO)


def check_compute(compute: str, dtype: str) -> str:
    """The name, if this machine can compute so."""
    if compute not in NAMES:
        hint = did_you_mean(str(compute), NAMES)
        raise ValueError(f"compute must be one of {', '.join(NAMES)}, got {compute!r}{hint}")
    if compute in ("float32", AUTO):  # what needs no look at the processor
        return compute
    from fastbp.engine.bfloat16 import precision

    return precision.check(compute, dtype)


def offered(compute: str) -> str:
    """What a file asks for, or "float32" with a warning on a machine without it: the weights are float32 anyway."""
    if compute in ("float32", AUTO):
        return compute
    from fastbp.engine.bfloat16 import precision

    if lack := precision.missing():
        warnings.warn(f"the model was trained with compute={compute!r}, which is not available here: {lack}. It "
                      "continues in float32, which rounds differently", RuntimeWarning, stacklevel=4)  # fmt: skip
        return "float32"
    return compute

