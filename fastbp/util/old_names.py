"""Modules that have moved, under the names that pickles of earlier versions hold.

A pickle names modules and cannot be rewritten when it is read, so their old names stay importable; nothing in fastbp
uses them. Files of `Sequential.save` name no module, see `fastbp.storage.registry`.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "fastbp.checkpoint": "fastbp.storage.errors",
    "fastbp.callbacks.rates": "fastbp.callbacks.learning_rate",
    "fastbp.functions": "fastbp.util.derivative_check",
    "fastbp.gradient_check": "fastbp.diagnosis.gradient_check",
    "fastbp.history": "fastbp.training.history",
    "fastbp.kernels.plain_update": "fastbp.engine.plain_update",
    "fastbp.pickles": "fastbp.model.sequential",
    "fastbp.rate_finder": "fastbp.diagnosis.lr_finder",
    "fastbp.snapshot": "fastbp.storage.snapshot",
}


class OldNames(MetaPathFinder, Loader):
    """Finds a module that has moved: an empty one, which looks up everything in the new one."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Only the names in MOVED."""
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual one."""

    def exec_module(self, module: ModuleType) -> None:
        """Let it forward."""
        there = MOVED[module.__name__]

        def forward(name: str) -> Any:
            return getattr(importlib.import_module(there), name)

        module.__dict__["__getattr__"] = forward


def install() -> None:
    """Make the old names importable, once."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
