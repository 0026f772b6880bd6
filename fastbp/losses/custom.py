"""User-defined losses."""

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
    """A user-defined loss: two functions of an output a and its target y, both scalars; mean over all elements.

    ::

        L = 1/(n k) sum_ij function(a_ij, y_ij)

    a: outputs (n, k) of any last activation. y: targets (n, k).

    Parameters
    ----------
    function : callable
        l(a, y), a float of two floats.
    derivative : callable
        The derivative of function with respect to a.
    name : str, optional
        The name used in saved files, by default the function's own. `fastbp.load` looks it up in `custom_objects`.
    check : bool, optional
        Whether to compare the derivative with central differences, at several hundred points. Nine in ten must agree,
        so kinks are allowed.

    Raises
    ------
    TypeError
        If an argument is not a function.
    ValueError
        If the derivative is not that of the function (the message gives the worst point), if a built-in loss has the
        name, or if a lambda is given without a name.

    See Also
    --------
    fastbp.CustomActivation : The same for activations.

    Notes
    -----
    Numba compiles both functions for float64 scalars unless they are compiled already: use plain arithmetic and the
    functions of `math`.

    Examples
    --------
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
            raise ValueError(f"name must differ from those of the built-in losses, got {label!r}: pass name=")
        set_fields(self, label=label, functions=functions)

    @property
    def rule(self) -> ScalarFunctions:
        return ScalarFunctions(*self.functions)
