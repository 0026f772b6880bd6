"""Weight penalties, added to the loss so that weights stay small (L2) or become 0 (L1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from fastbp.util.arguments import real
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class L1L2:
    """L1 and L2 penalties on the weights W of a kernel.

    ::

        loss <- loss + l1 Σ |W| + l2 Σ W²

    Parameters
    ----------
    l1, l2 : float, optional
        Coefficients, finite and at least 0.

    Raises
    ------
    ValueError
        If a coefficient is negative or not finite.
    TypeError
        If a coefficient is not a number.

    Notes
    -----
    Same as Keras's L1L2. The derivative of l2 W² is 2 l2 W; an optimizer's weight_decay adds weight_decay W to the
    gradient, as in PyTorch, so it equals l2 = weight_decay / 2. The derivative of the absolute value at 0 is taken to
    be 0.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 7.1.

    Examples
    --------
    >>> L1L2(l1=0.001, l2=0.01)
    L1L2(l1=0.001, l2=0.01)
    >>> layer = Dense(64, "relu", kernel_regularizer=L1L2(l2=1e-4))
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
    """The penalty ``l1 Σ |W|``, which drives unimportant weights to 0.

    Parameters
    ----------
    l1 : float, optional
        Coefficient, finite and at least 0.

    Returns
    -------
    L1L2
        For the argument `kernel_regularizer` of a layer.

    See Also
    --------
    L1L2 : Both penalties.

    Notes
    -----
    Same as Keras's L1.

    Examples
    --------
    >>> L1(0.001)
    L1L2(l1=0.001, l2=0.0)
    """
    return L1L2(l1=l1)


def L2(l2: float = 0.01) -> L1L2:
    """The penalty ``l2 Σ W²``.

    Parameters
    ----------
    l2 : float, optional
        Coefficient, finite and at least 0.

    Returns
    -------
    L1L2
        For the argument `kernel_regularizer` of a layer.

    See Also
    --------
    L1L2 : Both penalties.

    Notes
    -----
    Same as Keras's L2.

    Examples
    --------
    >>> L2(0.001)
    L1L2(l1=0.0, l2=0.001)
    """
    return L1L2(l2=l2)


_REGULARIZERS = {"l1": L1, "l2": L2}
NAMES = tuple(_REGULARIZERS)


def get(regularizer: str | L1L2 | None) -> L1L2 | None:
    """Return the penalty of that name with coefficient 0.01, as in Keras; objects and None are returned unchanged.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("l2")
    L1L2(l1=0.0, l2=0.01)
    """
    if regularizer is None or isinstance(regularizer, L1L2):
        return regularizer
    if not isinstance(regularizer, str):
        raise TypeError(
            f"kernel_regularizer must be None, an object such as L2(1e-4), or one of {', '.join(NAMES)}, got "
            f"{regularizer!r}: pass one of these"
        )
    if regularizer not in _REGULARIZERS:
        rule = f"kernel_regularizer must be one of {', '.join(NAMES)}"
        raise ValueError(f"{rule}, got {regularizer!r}: pass one of these")
    return _REGULARIZERS[regularizer]()
