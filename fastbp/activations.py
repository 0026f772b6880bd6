"""The activation functions by name, each with its parameter where it has one.

`fastbp.reference.ACTIVATIONS` holds the equations and their derivatives.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Real
from typing import Any, final

from fastbp.spec import ScalarFunctions
from fastbp.util.derivative_check import Functions, checked_functions
from fastbp.util.fields import set_fields

DEFAULT_ALPHA = {
    "identity": 0.0,
    "sigmoid": 0.0,
    "tanh": 0.0,
    "relu": 0.0,
    "leaky_relu": 0.01,
    "elu": 1.0,
    "selu": 0.0,
    "gelu": 0.0,
    "gelu_tanh": 0.0,
    "silu": 0.0,
    "mish": 0.0,
    "softplus": 0.0,
    "softmax": 0.0,
}
NAMES = tuple(DEFAULT_ALPHA)
PARAMETRIC = ("leaky_relu", "elu")
NAMES_ELSEWHERE = {"linear": "identity", "none": "identity", "logistic": "sigmoid", "swish": "silu"}


@dataclass(frozen=True)
class Activation:
    """An activation function: its name, and its parameter alpha (0 for those that have none).

    Raises ValueError for an unknown name, an alpha that is not finite, or an alpha where the function has none;
    TypeError for an alpha that is no number.

    >>> Activation("elu", 0.5)
    Activation(name='elu', alpha=0.5)
    """

    name: str
    alpha: float

    def __post_init__(self) -> None:
        if self.name not in DEFAULT_ALPHA:
            raise ValueError(_unknown(self.name))
        alpha: Any = self.alpha
        if isinstance(alpha, bool) or not isinstance(alpha, Real):
            raise TypeError(f"alpha of {self.name!r} must be a number, but got {alpha!r}")
        if not math.isfinite(alpha):
            raise ValueError(f"alpha of {self.name!r} must be finite, but got {alpha!r}")
        if alpha != 0 and self.name not in PARAMETRIC:
            raise ValueError(
                f"activation {self.name!r} has no alpha, but got {alpha!r}; only {' and '.join(PARAMETRIC)} do"
            )
        set_fields(self, alpha=float(alpha))

    @property
    def rule(self) -> str | ScalarFunctions:
        """What an engine knows it by."""
        return self.name


@final
@dataclass(frozen=True, init=False)
class CustomActivation(Activation):
    """An activation function of your own: two functions of a number z.

        A = function(Z), elementwise

    derivative is that of function. Both are compiled by Numba, on float64 numbers, unless they are already: write plain
    arithmetic with the functions of `math`. name is what files and summaries call it, the function's own name by
    default: `fastbp.load` asks for it among custom_objects. Unless check is False, the derivative is compared with
    central differences at some fifty points, of which nine in ten must agree: kinks are allowed. Raises TypeError for
    what is no function, ValueError where the two do not belong together (naming the worst point), for a name that an
    activation of fastbp has, and for a lambda without a name.

    >>> def square(z):
    ...     return z * z
    >>> CustomActivation(square, lambda z: 2 * z).name
    'square'
    """

    functions: Functions = field(repr=False)

    def __init__(
        self,
        function: Callable[[float], float],
        derivative: Callable[[float], float],
        *,
        name: str | None = None,
        check: bool = True,
    ) -> None:
        label, functions = checked_functions(function, derivative, name, 1, check)
        if label in DEFAULT_ALPHA:
            raise ValueError(f"a custom activation needs a name of its own, but {label!r} is fastbp's: pass name=")
        set_fields(self, name=label, alpha=0.0, functions=functions)

    @property
    def rule(self) -> ScalarFunctions:
        return ScalarFunctions(*self.functions)

    @property
    def label(self) -> str:
        """Its name, as CustomLoss has it."""
        return self.name


def LeakyReLU(alpha: float = 0.01) -> Activation:
    """Leaky ReLU, max(z, 0) + alpha min(z, 0); elementwise. Source: Maas, Hannun and Ng 2013.

    Keras's default alpha is 0.3, PyTorch's and this one 0.01.

    >>> LeakyReLU(0.2)
    Activation(name='leaky_relu', alpha=0.2)
    """
    return Activation("leaky_relu", alpha)


def ELU(alpha: float = 1.0) -> Activation:
    """Exponential linear unit: z where z > 0, else alpha (exp(z) - 1); elementwise. Source: Clevert et al. 2016.

    >>> ELU()
    Activation(name='elu', alpha=1.0)
    """
    return Activation("elu", alpha)


def get(activation: str | Activation) -> Activation:
    """The activation of a name, with its default alpha; an Activation object is returned as it is.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("leaky_relu")
    Activation(name='leaky_relu', alpha=0.01)
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(f"activation must be an Activation object or one of {', '.join(NAMES)}, but got {activation!r}")
    if activation not in DEFAULT_ALPHA:
        raise ValueError(_unknown(activation))
    return Activation(activation, DEFAULT_ALPHA[activation])


def _unknown(name: object) -> str:
    close = get_close_matches(str(name).lower(), NAMES, n=1)
    suggestion = NAMES_ELSEWHERE.get(str(name).lower(), close[0] if close else None)
    hint = f"; did you mean {suggestion!r}?" if suggestion else ""
    return f"activation must be one of {', '.join(NAMES)}, but got {name!r}{hint}"
