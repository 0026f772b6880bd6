"""Arguments that are no data: counts, flags, types, callbacks. As in `data`, errors say what came and the remedy."""

from __future__ import annotations

import math
import numbers
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

HOOKS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_slice_end", "on_train_end")


def count(value: Any, name: str, minimum: int = 1) -> int:
    """value as an int of at least minimum."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        fraction = isinstance(value, numbers.Real) and math.isfinite(value)
        remedy = f"round it, {name}={max(minimum, round(value))}" if fraction else "pass an int"
        came = f"{value!r} ({type(value).__name__})"
        raise TypeError(f"{name} must be a whole number, but {came} came: {remedy}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, but {number} came: pass a larger number")
    return number


def meant(name: str, names: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """The end of a message about an unknown name: the valid ones that begin so, or else one that is like it, if any.

    elsewhere: the valid ones for names that other libraries have.

    >>> meant("Adma", ["sgd", "adam"]), meant("he", ["he_uniform", "he_normal"])
    (": did you mean 'adam'?", ": did you mean 'he_uniform' or 'he_normal'?")
    """
    known, name = list(names), name.lower()
    like = [valid for valid in known if valid.startswith(name)] or get_close_matches(name, known, n=1)
    if elsewhere and name in elsewhere:
        like = [elsewhere[name]]
    return f": did you mean {' or '.join(map(repr, like))}?" if name and like else ": pass one of these"


def instead(value: Any) -> str:
    """The remedy for a thing of a wrong type: of a class of fastbp's an object is wanted.

    >>> instead(3)
    'pass one of these'
    """
    known = isinstance(value, type) and value.__module__.startswith("fastbp.")
    return f"write {value.__name__}(…)" if known else "pass one of these"


def real(value: Any, name: str, rule: str, allowed: Callable[[float], bool], remedy: str) -> float:
    """value as a float, if it is a number that the rule allows."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, {rule}, but {value!r} ({type(value).__name__}) came: {remedy}")
    number = float(value)
    if not allowed(number):
        raise ValueError(f"{name} must be {rule}, but {value!r} came: {remedy}")
    return number


def flag(value: Any, name: str) -> bool:
    """value as a bool, if it is one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, but {value!r} came: pass one of them")
    return bool(value)


def float_dtype(value: Any) -> np.dtype[Any]:
    """The native dtype float32 or float64."""
    try:
        name = "" if value is None else np.dtype(value).name
    except TypeError:
        name = ""
    if name in ("float32", "float64"):
        return np.dtype(name)  # the one object of this dtype, so that `is` can compare
    raise ValueError(f"dtype must be 'float32' or 'float64', but {value!r} came: pass one of these")


def threads(value: Any) -> int | None:
    """A number of threads, or None for the engine's own choice."""
    return None if value is None else count(value, "n_threads")


def seconds(value: Any, name: str) -> float | None:
    """A time of more than 0 seconds, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number of seconds, but {value!r} came: pass a number, or None for no limit")
    if not float(value) > 0:
        raise ValueError(f"{name} must be more than 0 seconds, but {value!r} came: pass None for no limit")
    return float(value)


def batch_size(value: Any, rows: int | None, *, given: bool) -> int:
    """value, or all rows where they are known and fewer: with a warning if the user gave it."""
    number = count(value, "batch_size")
    if rows is None:
        return number
    if number > rows and given:
        warnings.warn(
            f"batch_size={number} is more than the {rows} rows there are: all of them make one batch", stacklevel=3
        )
    return min(number, rows)


def callbacks(value: Any) -> tuple[Any, ...]:
    """value as a tuple of objects with at least one hook each."""
    try:
        result = tuple(value)
    except TypeError:
        came = type(value).__name__
        raise TypeError(f"callbacks must be a list, but {came} came: put it in a list") from None
    for position, callback in enumerate(result):
        if isinstance(callback, type):
            raise TypeError(
                f"callbacks must be objects, but callbacks[{position}] is the class {callback.__name__}: write "
                f"{callback.__name__}(…)"
            )
        if not any(callable(getattr(callback, name, None)) for name in HOOKS):
            raise TypeError(
                f"callbacks must have a method {', '.join(HOOKS[:-1])} or {HOOKS[-1]}, but callbacks[{position}] is "
                f"{callback!r}: give it one"
            )
    return result
