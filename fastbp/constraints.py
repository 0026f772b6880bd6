"""Bounds on kernels, kept after every update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from fastbp.util.arguments import real
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class MaxNorm:
    """A bound on the Euclidean norm of each unit's incoming weights, a column w of the kernel (in, units).

        w <- w min(1, max_value / |w|)        after every update

    max_value: a finite number above 0; else ValueError, or TypeError.
    Hinton et al. 2012; Goodfellow et al. 2016, section 7.2. As Keras's MaxNorm along axis 0.

    >>> MaxNorm(3)
    MaxNorm(max_value=3.0)
    """

    max_value: float = 2.0

    def __post_init__(self) -> None:
        rule, remedy = "above 0 and finite", "pass a bound such as 2"
        value = real(self.max_value, "max_value", rule, lambda v: 0 < v < math.inf, remedy)
        set_fields(self, max_value=value)


def get(constraint: Any) -> MaxNorm | None:
    """The constraint itself, or None for none; TypeError for anything else.

    >>> get(MaxNorm())
    MaxNorm(max_value=2.0)
    """
    if constraint is not None and not isinstance(constraint, MaxNorm):
        raise TypeError(f"kernel_constraint must be None or MaxNorm(…), but {constraint!r} came: pass one of these")
    return constraint
