"""Constraints on kernels, enforced after every update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from fastbp.util.arguments import real
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class MaxNorm:
    """An upper bound on the Euclidean norm of each unit's incoming weights, a column w of the kernel (in, units).

    ::

        w <- w min(1, max_value / |w|)        after every update

    Parameters
    ----------
    max_value : float, optional
        The bound, finite and above 0.

    Raises
    ------
    ValueError
        If max_value is not finite or not positive.
    TypeError
        If max_value is not a number.

    Notes
    -----
    Same as Keras's MaxNorm along axis 0.

    References
    ----------
    Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors", 2012; Goodfellow,
    Bengio and Courville, *Deep Learning*, 2016, section 7.2.

    Examples
    --------
    >>> MaxNorm(3)
    MaxNorm(max_value=3.0)
    >>> layer = Dense(64, "relu", kernel_constraint=MaxNorm(3))
    """

    max_value: float = 2.0

    def __post_init__(self) -> None:
        rule, remedy = "above 0 and finite", "pass a bound such as 2"
        value = real(self.max_value, "max_value", rule, lambda v: 0 < v < math.inf, remedy)
        set_fields(self, max_value=value)


def get(constraint: Any) -> MaxNorm | None:
    """Return the constraint, or None for none; anything else is a TypeError.

    >>> get(MaxNorm())
    MaxNorm(max_value=2.0)
    """
    if constraint is not None and not isinstance(constraint, MaxNorm):
        raise TypeError(f"kernel_constraint must be None or MaxNorm(…), got {constraint!r}: pass one of these")
    return constraint
