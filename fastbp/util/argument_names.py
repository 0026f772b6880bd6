"""Constructors that suggest the argument that was meant: `Adam(lr=0.1)` and `Dense(n_units=3)`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from fastbp.util.arguments import did_you_mean, suggestions
from fastbp.util.foreign_names import never_called


def explain_arguments(classes: Iterable[type]) -> None:
    """Let the constructors of these classes, and `compile`, name the argument that was meant by an unknown one."""
    for kind in classes:
        for name in ("__init__", "compile"):
            if name in vars(kind):
                setattr(kind, name, _explained(getattr(kind, name)))


def _explained(init: Any) -> Any:
    known = list(inspect.signature(init).parameters.values())[1:]
    names = [each.name for each in known if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if any(each.kind is each.VAR_KEYWORD for each in known):
        return init

    @functools.wraps(init)
    def explained(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return init(self, *args, **options)
        except TypeError:
            for name in options.keys() - set(names):
                what = type(self).__name__ if init.__name__ == "__init__" else init.__name__
                raise TypeError(f"{what} has no argument {name!r}{_remedy(name, names)}") from None
            raise

    return explained


def _remedy(name: str, names: Sequence[str]) -> str:
    hook = never_called(name)
    return hook or (did_you_mean(name, names) if suggestions(name, names) else f", only {', '.join(names)}")
