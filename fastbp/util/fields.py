"""Parameters of losses and their like: numbers within bounds, on frozen dataclasses. As in `arguments`, errors say what
came and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def set_fields(item: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass, in its __init__ or __post_init__."""
    for name, value in values.items():
        object.__setattr__(item, name, value)


def any_number(value: Any, name: str) -> float:
    """value as a float, if it is a number."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, but {value!r} came: pass a float")
    return float(value)


def number(
    value: Any, name: str, *, above: float = -math.inf, below: float = math.inf, least: float = -math.inf,
    most: float = math.inf,
) -> float:  # fmt: skip
    """value as a float within these bounds."""
    result = any_number(value, name)
    if not (math.isfinite(result) and above < result < below and least <= result <= most):
        bounds = (
            f"above {above:g}" * (above > -math.inf), f"below {below:g}" * (below < math.inf),
            f"at least {least:g}" * (least > -math.inf), f"at most {most:g}" * (most < math.inf),
        )  # fmt: skip
        wanted = " and ".join(["finite", *filter(None, bounds)])
        raise ValueError(f"{name} must be {wanted}, but {value!r} came: choose another")
    return result


def numbers(value: Any, name: str, **bounds: float) -> float | tuple[float, ...]:
    """A number, or a tuple of at least one."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return number(value, name, **bounds)
    several = tuple(number(each, name, **bounds) for each in value)
    if not several:
        raise ValueError(f"{name} must be a number or several, but none came: pass one at least")
    return several


def smoothing(value: Any) -> float:
    """A label_smoothing."""
    return number(value, "label_smoothing", least=0, below=1)
