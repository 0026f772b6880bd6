"""The classes that modules export."""

from __future__ import annotations

from types import ModuleType
from typing import Any


def public_classes(*modules: ModuleType) -> list[Any]:
    """The classes in `__all__` of each module, in the order of their definitions."""
    return [item for module in modules for name, item in vars(module).items() if name in module.__all__]
