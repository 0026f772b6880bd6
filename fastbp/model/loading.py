"""Loading models from files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from fastbp.model.sequential import Sequential
from fastbp.storage import checkpoint
from fastbp.storage.snapshot import from_contents


def load(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """Load a model that `Sequential.save` wrote; training continues bit for bit from where it was saved.

    Parameters
    ----------
    path : str or path-like
        The file.
    custom_objects : dict, optional
        {name: object} with the CustomLoss and CustomActivation objects of the model, of which the file holds only the
        names.

    Returns
    -------
    Sequential
        The model with its weights, optimizer state, counters and metadata.

    Raises
    ------
    CheckpointError
        If the file is damaged, not a fastbp model or from a later version, or if a custom object is missing.
    OSError
        If the file cannot be read.

    Warns
    -----
    UserWarning
        If the file has no SHA-256 checksum, because another program wrote it.

    See Also
    --------
    Sequential.save : Writes the file.

    Examples
    --------
    >>> import tempfile
    >>> model = Sequential([Dense(1)], input_size=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.safetensors")
    ...     load(f"{folder}/model.safetensors").input_size
    2
    """
    contents, signed = checkpoint.read(path)
    model = Sequential.from_snapshot(from_contents(contents, custom_objects))
    if not signed:
        warnings.warn(
            f"{os.fsdecode(path)} has no SHA-256, so damage would go unnoticed: save the model again", stacklevel=2
        )
    return model
