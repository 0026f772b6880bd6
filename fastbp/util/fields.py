"""Checks of the parameters of losses, layers and schedules: numbers within bounds, on frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def set_fields(item: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass from its __init__ or __post_init__."""
    for name, value in values.items():
        object.__setattr__(item, name, value)


def any_number(value: Any, name: str) -> float:
    """Return value as a float, if it is a number."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}: pass a float")
    return float(value)


def number(
    value: Any, name: str, *, above: float = -math.inf, below: float = math.inf, least: float = -math.inf,
    most: float = math.inf,
) -> float:  # fmt: skip
    """Return value as a finite float within the bounds."""
    result = any_number(value, name)
    if not (math.isfinite(result) and above < result < below and least <= result <= most):
        bounds = (
            f"above {above:g}" * (above > -math.inf), f"below {below:g}" * (below < math.inf),
            f"at least {least:g}" * (least > -math.inf), f"at most {most:g}" * (most < math.inf),
        )  # fmt: skip
        rule = " and ".join(["finite", *filter(None, bounds)])
        raise ValueError(f"{name} must be {rule}, got {value!r}: pass such a number")
    return result


def numbers(value: Any, name: str, **bounds: float) -> float | tuple[float, ...]:
    """Return a number, or a tuple of at least one number, within the bounds."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return number(value, name, **bounds)
    several = tuple(number(each, name, **bounds) for each in value)
    if not several:
        raise ValueError(f"{name} must be one number or several, got none: pass at least one")
    return several


def smoothing(value: Any) -> float:
    """Return a valid label_smoothing."""
    return number(value, "label_smoothing", least=0, below=1)
