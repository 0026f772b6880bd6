"""Modules that have moved, importable under the names that pickles of earlier versions contain.

A pickle refers to classes by module and cannot be rewritten on loading, so the old names stay importable; nothing in
fastbp uses them. Files written by `Sequential.save` contain no module names, see `fastbp.storage.registry`.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "fastbp.callbacks.rates": "fastbp.callbacks.learning_rate",
    "fastbp.checkpoint": "fastbp.storage.errors",
    "fastbp.exchange.parts": "fastbp.exchange.layer_weights",
    "fastbp.functions": "fastbp.util.derivative_check",
    "fastbp.gradient_check": "fastbp.diagnosis.gradient_check",
    "fastbp.history": "fastbp.training.history",
    "fastbp.kernels.plain_update": "fastbp.engine.plain_update",
    "fastbp.pickles": "fastbp.model.sequential",
    "fastbp.preprocessing.columns": "fastbp.tables.columns",
    "fastbp.rate_finder": "fastbp.diagnosis.lr_finder",
    "fastbp.snapshot": "fastbp.storage.snapshot",
    "fastbp.sources.archives": "fastbp.sources.npz",
    "fastbp.sources.blocks": "fastbp.sources.arrays",
    "fastbp.sources.texts": "fastbp.sources.csv_files",
}


class OldNames(MetaPathFinder, Loader):
    """Import hook: creates, for a module that has moved, an empty module that forwards to the new one."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Only names in MOVED are found."""
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """None: use the default module type."""

    def exec_module(self, module: ModuleType) -> None:
        """Forward attribute access to the new module."""
        target = MOVED[module.__name__]

        def forward(name: str) -> Any:
            return getattr(importlib.import_module(target), name)

        module.__dict__["__getattr__"] = forward


def install() -> None:
    """Add the import hook, once."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
