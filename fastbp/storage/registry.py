"""Stable names of fastbp's classes in files, independent of module paths.

A name consists of a family and a class, such as "layers.Dense". A renamed class keeps its old name in `RENAMED`, so
that older files still load.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

from fastbp import activations, constraints, initializers, layers, losses, metrics, optimizers, regularizers, schedules
from fastbp.storage.errors import CheckpointError

FAMILIES = {
    "activations": activations,
    "constraints": constraints,
    "initializers": initializers,
    "layers": layers,
    "losses": losses,
    "metrics": metrics,
    "optimizers": optimizers,
    "regularizers": regularizers,
    "schedules": schedules,
}
RENAMED: dict[str, str] = {}  # old name -> new name


@cache
def _classes() -> dict[str, type]:
    """Every class that a file may refer to."""
    return {
        f"{family}.{name}": item
        for family, module in FAMILIES.items()
        for name, item in vars(module).items()
        if isinstance(item, type)
        and dataclasses.is_dataclass(item)
        and f"{item.__module__}.".startswith(f"{module.__name__}.")
    }


@cache
def _names() -> dict[type, str]:
    return {item: name for name, item in _classes().items()}


def name_of(kind: type) -> str:
    """The registered name of a class; a user's class, which no file can hold, has only its own name."""
    return _names().get(kind, kind.__name__)


def class_of(name: Any) -> Any:
    """The class of a name; CheckpointError if this version has none."""
    found = _classes().get(RENAMED.get(str(name), str(name)))
    if found is None:
        raise CheckpointError(f"the file names {str(name)[:50]!r}, which this fastbp does not have: upgrade fastbp")
    return found
