"""Models from files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from fastbp.model.sequential import Sequential
from fastbp.storage import checkpoint
from fastbp.storage.snapshot import from_contents


def load(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """The model in a file that `Sequential.save` wrote; its training goes on, bit for bit, as if it had not been away.

    custom_objects: {name: object} of the CustomLoss and CustomActivation objects that the model was made with, of which
    a file holds the names alone; CheckpointError where one is missing, naming it.
    Raises CheckpointError for a file that is damaged, not a model of fastbp, or of a later version, and OSError where
    it cannot be read. Warns where the file has no SHA-256 to check it by: another program wrote it.
    """
    contents, signed = checkpoint.read(path)
    model = Sequential.from_snapshot(from_contents(contents, custom_objects))
    if not signed:
        warnings.warn(
            f"{os.fsdecode(path)} has no SHA-256, so damage to it would go unnoticed: save the model anew", stacklevel=2
        )
    return model
