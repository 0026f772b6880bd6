"""How a fit calls its callbacks, which may be objects of any class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Hook = TypeVar("Hook", bound=Callable[..., None])


def does_nothing(hook: Hook) -> Hook:
    """Mark a hook of a base class as empty: fit need not pause between steps for it."""
    hook.__dict__["does_nothing"] = True
    return hook


def hook(callbacks: Iterable[Any], name: str, *arguments: Any) -> None:
    """Call a method on every callback that has it."""
    for callback in callbacks:
        method = getattr(callback, name, None)
        if method is not None:
            method(*arguments)


def epoch_period(callback: Any) -> int:
    """After how many epochs a callback is called: its attribute `epoch_period`, or 1."""
    return int(getattr(callback, "epoch_period", 1))


def epoch_hook(callbacks: Iterable[Any], name: str, number: int, *arguments: Any) -> None:
    """Call a method on the callbacks that are due at this number of finished epochs."""
    hook([callback for callback in callbacks if number % epoch_period(callback) == 0], name, *arguments)


def overrides(callback: Any, name: str) -> bool:
    """Whether a callback implements this method itself."""
    method = getattr(callback, name, None)
    return method is not None and not getattr(method, "does_nothing", False)
