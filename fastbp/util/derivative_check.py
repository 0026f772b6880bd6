"""Checks that a user's derivative belongs to the user's function, by central differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

from fastbp.util.arguments import flag

# Points off the usual kinks; targets that cover the ranges of the activations.
_POINTS = tuple(round(0.0371 + 0.15 * i, 4) for i in range(-27, 27))
_TARGETS = (0.0, 1.0, -1.0, 0.3, 2.0)
_STEP = 1e-5  # of central differences: both their errors are about 1e-10
_CLOSE = 1e-4
_LAMBDA = (lambda: None).__name__
_AGREE = 0.9  # share of the points: at kinks and near poles the differences are meaningless


class Functions(NamedTuple):
    """A function of one or two numbers, and its derivative with respect to the first."""

    function: Callable[..., float]
    derivative: Callable[..., float]


def checked_functions(
    function: Any, derivative: Any, name: Any, arguments: int, check: Any
) -> tuple[str, Functions]:
    """Return the name and the two functions, after checking the derivative against central differences."""
    for what, given in (("function", function), ("derivative", derivative)):
        if not callable(given):
            plural = "s" * (arguments > 1)
            raise TypeError(
                f"{what} must be a function of {arguments} number{plural}, got {given!r}: pass a def or a lambda"
            )
    label = getattr(function, "__name__", None) if name is None else name
    if not isinstance(label, str) or not label:
        raise TypeError(f"name must be a string, got {label!r}: pass name= for a function that has none")
    functions = Functions(function, derivative)
    if flag(check, "check"):
        _compare(functions, arguments, label)
    if name is None and label == _LAMBDA:
        raise ValueError(f"a custom function must have a name, which saved files use, got {label!r}: pass name=")
    return label, functions


def _compare(functions: Functions, arguments: int, label: str) -> None:
    """Raise ValueError unless the derivative agrees with central differences at most points where both are finite."""
    errors = []
    for point in product(_POINTS, *[_TARGETS] * (arguments - 1)):
        for given, expected in _pair(functions, point):
            errors.append((abs(given - expected) / (1 + abs(expected)), point, given, expected))
    if not errors:
        raise ValueError(
            f"{label!r} must be finite somewhere between -4 and 4, but is nowhere: correct it, or pass check=False if "
            "its domain lies elsewhere"
        )
    good = sum(error <= _CLOSE for error, *_ in errors)
    if good < _AGREE * len(errors):
        _, point, given, expected = max(errors)
        where = ", ".join(f"{value:g}" for value in point)
        raise ValueError(
            f"derivative must be that of {label!r}, but at ({where}) it is {given:g}, where central differences give "
            f"{expected:g}, and it differs at {len(errors) - good} of {len(errors)} points: correct it, or pass "
            "check=False if this is intended"
        )


def _pair(functions: Functions, point: tuple[float, ...]) -> Iterator[tuple[float, float]]:
    """Yield the derivative at a point and the difference quotient, where both exist."""
    z, *rest = point
    try:
        given = float(functions.derivative(z, *rest))
        above, below = (float(functions.function(z + step, *rest)) for step in (_STEP, -_STEP))
    except (ArithmeticError, ValueError):
        return
    quotient = (above - below) / (2 * _STEP)
    if math.isfinite(given) and math.isfinite(quotient):
        yield given, quotient
