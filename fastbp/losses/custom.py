"""Losses of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, final

from fastbp.losses.base import CUSTOM, Loss
from fastbp.losses.by_name import NAMES
from fastbp.spec import ScalarFunctions
from fastbp.util.derivative_check import Functions, checked_functions
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True, init=False)
class CustomLoss(Loss):
    """A loss of your own: two functions of an output a and its target y, both numbers; mean over all elements.

        L = 1/(n k) sum_ij function(a_ij, y_ij)

    derivative is that of function by a. Both are compiled by Numba, on float64 numbers, unless they are already: write
    plain arithmetic with the functions of `math`. a: outputs (n, k) of any last activation; y: targets (n, k). name is
    what files call it, the function's own name by default: `fastbp.load` asks for it among custom_objects. Unless check
    is False, the derivative is compared with central differences at some hundred points, of which nine in ten must
    agree: kinks are allowed. Raises TypeError for what is no function, ValueError where the two do not belong together
    (naming the worst point), for a name that a loss of fastbp has, and for a lambda without a name.

    >>> def squared(a, y):
    ...     return (a - y) ** 2
    >>> CustomLoss(squared, lambda a, y: 2 * (a - y)).label
    'squared'
    """

    name: ClassVar[str] = CUSTOM
    label: str
    functions: Functions = field(repr=False)

    def __init__(
        self,
        function: Callable[[float, float], float],
        derivative: Callable[[float, float], float],
        *,
        name: str | None = None,
        check: bool = True,
    ) -> None:
        label, functions = checked_functions(function, derivative, name, 2, check)
        if label in NAMES:
            raise ValueError(f"a custom loss needs a name of its own, but {label!r} is fastbp's: pass name=")
        set_fields(self, label=label, functions=functions)

    @property
    def rule(self) -> ScalarFunctions:
        return ScalarFunctions(*self.functions)
