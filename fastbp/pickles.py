"""The name that pickles of version 0.1.0 hold: it stays."""

from __future__ import annotations

from typing import Any

from fastbp.model.sequential import Sequential
from fastbp.storage.pickles import snapshot_of


def restored(state: dict[str, Any]) -> Sequential:
    """The model of a pickle of version 0.1.0."""
    return Sequential.from_snapshot(snapshot_of(state))
