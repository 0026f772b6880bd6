"""Activation functions by name, with the parameter alpha where they have one.

`fastbp.reference.ACTIVATIONS` holds the equations and their derivatives.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, final

from fastbp.spec import ScalarFunctions
from fastbp.util.arguments import did_you_mean, remedy_for
from fastbp.util.derivative_check import Functions, checked_functions
from fastbp.util.fields import set_fields

__all__ = ["CELU", "ELU", "CustomActivation", "LeakyReLU"]

NAMES = (
    *("identity", "sigmoid", "tanh", "softsign", "relu", "relu6", "leaky_relu", "elu", "celu", "selu"),
    *("gelu", "gelu_tanh", "silu", "hard_swish", "mish", "softplus", "softmax"),
)
_ALPHAS = {"leaky_relu": 0.01, "elu": 1.0, "celu": 1.0}  # the defaults of those that have the parameter
PARAMETRIC = tuple(_ALPHAS)
DEFAULT_ALPHA = dict.fromkeys(NAMES, 0.0) | _ALPHAS
# The largest derivative of those that are flat on both sides: their units saturate, those of others at most die.
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "softsign": 1.0}


@dataclass(frozen=True)
class Activation:
    """An activation function: its name and its parameter alpha.

    Parameters
    ----------
    name : str
        One of `fastbp.activations.NAMES`.
    alpha : float
        Parameter of "leaky_relu" and "elu"; 0 for all others.

    Raises
    ------
    ValueError
        If the name is unknown, alpha is not finite, or the function has no alpha.
    TypeError
        If alpha is not a number.

    See Also
    --------
    LeakyReLU, ELU, CELU, CustomActivation

    Examples
    --------
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
            raise TypeError(f"alpha of {self.name!r} must be a number, got {alpha!r}: pass a float")
        if not math.isfinite(alpha):
            raise ValueError(f"alpha of {self.name!r} must be finite, got {alpha!r}: pass such a number")
        if alpha != 0 and self.name not in PARAMETRIC:
            raise ValueError(
                f"activation {self.name!r} has no alpha, got {alpha!r}: leave it out, only {', '.join(PARAMETRIC)} "
                "have one"
            )
        if self.name == "celu" and alpha < 1e-37:  # float32 has no smaller one, and z is divided by it
            raise ValueError(f"alpha of 'celu' must be at least 1e-37, got {alpha!r}: pass such a number")
        set_fields(self, alpha=float(alpha))

    @property
    def rule(self) -> str | ScalarFunctions:
        """The name or functions by which an engine knows the activation."""
        return self.name


@final
@dataclass(frozen=True, init=False)
class CustomActivation(Activation):
    """A user-defined activation function: two functions of a scalar z, applied elementwise, ``A = function(Z)``.

    Parameters
    ----------
    function : callable
        f(z), a float of a float.
    derivative : callable
        f'(z), a float of a float.
    name : str, optional
        The name used in saved files and summaries, by default the function's own. `fastbp.load` looks it up in
        `custom_objects`.
    check : bool, optional
        Whether to compare the derivative with central differences, at about fifty points. Nine in ten must agree, so
        kinks are allowed.

    Raises
    ------
    TypeError
        If an argument is not a function.
    ValueError
        If the derivative is not that of the function (the message gives the worst point), if a built-in activation has
        the name, or if a lambda is given without a name.

    See Also
    --------
    fastbp.CustomLoss : The same for losses.

    Notes
    -----
    Numba compiles both functions for float64 scalars unless they are compiled already: use plain arithmetic and the
    functions of `math`.

    Examples
    --------
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
            raise ValueError(f"name must differ from those of the built-in activations, got {label!r}: pass name=")
        set_fields(self, name=label, alpha=0.0, functions=functions)

    @property
    def rule(self) -> ScalarFunctions:
        return ScalarFunctions(*self.functions)

    @property
    def label(self) -> str:
        """The name, as in CustomLoss."""
        return self.name


def LeakyReLU(alpha: float = 0.01) -> Activation:
    """Leaky ReLU, ``max(z, 0) + alpha min(z, 0)``, elementwise.

    Parameters
    ----------
    alpha : float, optional
        Slope for negative z.

    Returns
    -------
    Activation
        For the argument `activation` of a layer.

    Notes
    -----
    PyTorch has the same default; Keras's is 0.3.

    References
    ----------
    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.

    Examples
    --------
    >>> LeakyReLU(0.2)
    Activation(name='leaky_relu', alpha=0.2)
    """
    return Activation("leaky_relu", alpha)


def ELU(alpha: float = 1.0) -> Activation:
    """Exponential linear unit, elementwise: ``z`` where z > 0, else ``alpha (exp(z) - 1)``.

    Parameters
    ----------
    alpha : float, optional
        Minus the limit for z to minus infinity.

    Returns
    -------
    Activation
        For the argument `activation` of a layer.

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2016.

    Examples
    --------
    >>> ELU()
    Activation(name='elu', alpha=1.0)
    """
    return Activation("elu", alpha)


def CELU(alpha: float = 1.0) -> Activation:
    """Continuously differentiable exponential linear unit, elementwise: ``z`` where z > 0, else
    ``alpha (exp(z / alpha) - 1)``.

    Parameters
    ----------
    alpha : float, optional
        Minus the limit for z to minus infinity, above 0.

    Returns
    -------
    Activation
        For the argument `activation` of a layer.

    See Also
    --------
    ELU : The same for alpha = 1; elsewhere its derivative jumps at 0.

    References
    ----------
    Barron, "Continuously differentiable exponential linear units", 2017.

    Examples
    --------
    >>> CELU(0.5)
    Activation(name='celu', alpha=0.5)
    """
    return Activation("celu", alpha)


def get(activation: str | Activation) -> Activation:
    """Return the activation of that name with its default alpha; Activation objects are returned unchanged.

    Raises ValueError for an unknown name (the message lists the valid ones) and TypeError for anything else.

    >>> get("leaky_relu")
    Activation(name='leaky_relu', alpha=0.01)
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(
            f"activation must be an Activation object or one of {', '.join(NAMES)}, got {activation!r}: "
            f"{remedy_for(activation)}"
        )
    if activation not in DEFAULT_ALPHA:
        raise ValueError(_unknown(activation))
    return Activation(activation, DEFAULT_ALPHA[activation])


def _unknown(name: object) -> str:
    hint = did_you_mean(str(name), NAMES)
    return f"activation must be one of {', '.join(NAMES)}, got {name!r}{hint}"
