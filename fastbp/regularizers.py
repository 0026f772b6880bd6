"""Penalties on kernels, added to the loss so that weights stay small (L2) or become 0 (L1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from fastbp.util.arguments import real
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class L1L2:
    """A penalty on the weights W of a kernel.

        loss <- loss + l1 Σ |W| + l2 Σ W²

    l1, l2: finite numbers of at least 0; else ValueError, or TypeError. Where a weight is 0, |W| has the derivative 0.
    Goodfellow et al. 2016, section 7.1. As Keras's L1L2: l2 W² has the derivative 2 l2 W, so an optimizer's
    weight_decay, which adds weight_decay W to the gradient as in PyTorch, is the same as l2 = weight_decay / 2.

    >>> L1L2(l1=0.001, l2=0.01)
    L1L2(l1=0.001, l2=0.01)
    """

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name in ("l1", "l2"):
            value = real(
                getattr(self, name),
                name,
                "at least 0 and finite",
                lambda v: 0 <= v < math.inf,
                "pass a small number such as 1e-4",
            )
            set_fields(self, **{name: value})


def L1(l1: float = 0.01) -> L1L2:
    """The penalty l1 Σ |W|, under which weights that help little become 0. As Keras's L1.

    >>> L1(0.001)
    L1L2(l1=0.001, l2=0.0)
    """
    return L1L2(l1=l1)


def L2(l2: float = 0.01) -> L1L2:
    """The penalty l2 Σ W². As Keras's L2.

    >>> L2(0.001)
    L1L2(l1=0.0, l2=0.001)
    """
    return L1L2(l2=l2)


_REGULARIZERS = {"l1": L1, "l2": L2}
NAMES = tuple(_REGULARIZERS)


def get(regularizer: str | L1L2 | None) -> L1L2 | None:
    """The penalty of a name, with 0.01 as in Keras; an object, and None for no penalty, are returned as they are.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("l2")
    L1L2(l1=0.0, l2=0.01)
    """
    if regularizer is None or isinstance(regularizer, L1L2):
        return regularizer
    if not isinstance(regularizer, str):
        raise TypeError(
            f"kernel_regularizer must be None, an object such as L2(1e-4), or one of {', '.join(NAMES)}, but "
            f"{regularizer!r} came: pass one of these"
        )
    if regularizer not in _REGULARIZERS:
        raise ValueError(f"kernel_regularizer must be one of {', '.join(NAMES)}, but {regularizer!r} came: pass one")
    return _REGULARIZERS[regularizer]()
