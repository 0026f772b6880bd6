"""Checks of arguments other than arrays: counts, flags, types, callbacks. Messages name the value and the remedy."""

from __future__ import annotations

import inspect
import math
import numbers
import operator
import warnings
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from fastbp.util.foreign_names import known_as, never_called

HOOKS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_slice_end", "on_train_end")


def count(value: Any, name: str, minimum: int = 1) -> int:
    """Return value as an int >= minimum."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        fraction = isinstance(value, numbers.Real) and math.isfinite(value)
        remedy = f"round it, {name}={max(minimum, round(value))}" if fraction else "pass an int"
        got = f"{value!r} ({type(value).__name__})"
        raise TypeError(f"{name} must be an integer, got {got}: {remedy}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}: pass a larger number")
    return number


def suggestions(name: str, names: Iterable[str]) -> list[str]:
    """The valid names that others call so or that start with it, else the closest one.

    >>> suggestions("Linear", ["identity", "relu"]), suggestions("rprop", ["rmsprop"]), suggestions("Adma", ["adam"])
    (['identity'], [], ['adam'])
    """
    valid, low = list(names), name.lower()
    known = known_as(name, valid)
    if known:
        return known
    lower = {each.lower(): each for each in valid}
    begun = [each for each in valid if low and each.lower().startswith(low)]
    if begun or known is not None:  # what is known to mean something else is not a slip of the pen
        return begun
    return [lower[each] for each in get_close_matches(low, lower, n=1)]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of an error message about an unknown name.

    >>> did_you_mean("Adma", ["sgd", "adam"]), did_you_mean("he", ["he_uniform", "he_normal"])
    (": did you mean 'adam'?", ": did you mean 'he_uniform' or 'he_normal'?")
    """
    matches = suggestions(name, names)
    return f": did you mean {' or '.join(map(repr, matches))}?" if name and matches else ": pass one of these"


def remedy_for(value: Any) -> str:
    """The end of an error message about a wrong type: a class of fastbp should have been an instance.

    >>> remedy_for(3)
    'pass one of these'
    """
    is_ours = isinstance(value, type) and value.__module__.startswith("fastbp.")
    return f"write {value.__name__}(…)" if is_ours else "pass one of these"


def real(value: Any, name: str, rule: str, allowed: Callable[[float], bool], remedy: str) -> float:
    """Return value as a float if it is a number for which allowed(value) holds; rule says so in words."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, {rule}, got {value!r} ({type(value).__name__}): {remedy}")
    number = float(value)
    if not allowed(number):
        raise ValueError(f"{name} must be {rule}, got {value!r}: {remedy}")
    return number


def flag(value: Any, name: str) -> bool:
    """Return value as a bool; anything but a bool is a TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}: pass one of them")
    return bool(value)


def float_dtype(value: Any) -> np.dtype[Any]:
    """Return the native dtype float32 or float64."""
    try:
        name = "" if value is None else np.dtype(value).name
    except TypeError:
        name = ""
    if name in ("float32", "float64"):
        return np.dtype(name)  # NumPy's singleton, so that dtypes can be compared with `is`
    raise ValueError(f"dtype must be 'float32' or 'float64', got {value!r}: pass one of these")


def threads(value: Any) -> int | None:
    """Return a number of threads, or None for the default."""
    return None if value is None else count(value, "n_threads")


def seconds(value: Any, name: str) -> float | None:
    """Return a positive number of seconds, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number of seconds, got {value!r}: pass a number, or None for no limit")
    if not float(value) > 0:
        raise ValueError(f"{name} must be more than 0 seconds, got {value!r}: pass None for no limit")
    return float(value)


def batch_size(value: Any, rows: int | None, *, given: bool) -> int:
    """Return value, at most the number of rows where that is known; given: set by the user, who is warned."""
    number = count(value, "batch_size")
    if rows is None:
        return number
    if number > rows and given:
        warnings.warn(
            f"batch_size={number} is larger than the dataset: all {rows} rows form one batch", stacklevel=3
        )
    return min(number, rows)


def _check_hooks(callback: Any, name: str) -> None:
    """Refuse a callback with a hook that would never be called, and an odd period."""
    for hook in dir(callback):
        if not hook.startswith("on_") or hook in HOOKS:
            continue
        method = inspect.getattr_static(callback, hook)
        ours = str(getattr(method, "__module__", "")).split(".")[0] not in ("keras", "tf_keras")  # whose base has all
        if ours and callable(getattr(callback, hook)) and (remedy := never_called(hook)):
            raise TypeError(f"callbacks must have hooks that fit calls, got {name}.{hook}{remedy}")
    count(getattr(callback, "epoch_period", 1), f"{name}.epoch_period")


def callbacks(value: Any) -> tuple[Any, ...]:
    """Return value as a tuple of objects that have at least one hook each."""
    try:
        result = tuple(value)
    except TypeError:
        got = type(value).__name__
        raise TypeError(f"callbacks must be a list, got {got}: put it in a list") from None
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
        _check_hooks(callback, f"callbacks[{position}]")
    return result
