"""Model files: safetensors, written atomically and validated on reading.

Weights and optimizer states are tensors. The metadata holds, as JSON, the description of the model, the versions of the
software that wrote it, and a SHA-256 of everything, since safetensors alone does not detect a flipped bit. The file
contains no code. States are stored as the engine keeps them, which for Adam is m / (1 - beta_1) and v / (1 - beta_2).
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.storage import container
from fastbp.storage.container import DTYPES, LARGEST_HEADER, REMEDY
from fastbp.storage.errors import CheckpointError
from fastbp.util.atomic_write import atomic_write
from fastbp.util.types import Array

VERSION = 1
_FORMAT, _MODEL, _FIT, _DIGEST = "fastbp.format", "fastbp.model", "fastbp.fit", "fastbp.sha256"
_VERSIONS = "fastbp.versions"
_RESERVED = (_FORMAT, _MODEL, _FIT, _VERSIONS, _DIGEST)
FIT_TENSOR = "fit."  # prefix of arrays that belong to a running fit
MOST_OBJECTS = 10_000  # layers, schedules and so on of a model: 2 s to read
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Contents(NamedTuple):
    """Contents of a file: description of the model (JSON values), tensors by name, the user's metadata.

    For a running fit also its state, as encoded by `tree_serialization.encode`: a JSON value and arrays by name.
    """

    model: dict[str, Any]
    tensors: dict[str, Array]
    metadata: dict[str, str]
    fit: Any = None
    arrays: dict[str, Array] = {}  # noqa: RUF012


# ---------------------------------------------------------------- writing


def write(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write contents to path atomically."""
    container.check_depth(contents.model)
    metadata = _texts(contents.metadata)
    metadata[_FORMAT] = str(VERSION)
    metadata[_VERSIONS] = json.dumps(versions())
    metadata[_MODEL] = json.dumps(contents.model, allow_nan=False)
    if contents.fit is not None:
        metadata[_FIT] = json.dumps(contents.fit, allow_nan=False)
    tensors = contents.tensors | contents.arrays
    metadata[_DIGEST] = digest(metadata, tensors)
    header = _header(metadata, tensors)
    if len(header) > LARGEST_HEADER or metadata[_MODEL].count('"class"') > MOST_OBJECTS:
        raise ValueError(
            f"{os.fsdecode(path)} would have a header of {len(header)} bytes, more than can be read: save less"
        )
    with atomic_write(Path(os.fsdecode(path))) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors.values():
            file.write(tensor.reshape(-1).view(np.uint8).data)


@cache
def versions() -> dict[str, str]:
    """Versions of the software that determines the numbers in a file; informational only."""
    from importlib.metadata import version  # takes 20 ms, which `import fastbp` should not

    from fastbp.util.version import __version__

    return {"fastbp": __version__, "numpy": np.__version__, "numba": version("numba")}


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    """A copy of the user's metadata, checked to be strings under keys that are not reserved."""
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata must map strings to strings, but {key!r} maps to {value!r}: make both str")
        if key in _RESERVED:
            raise ValueError(f"metadata must not use the key {key!r}, which is reserved: choose another")
    return dict(metadata)


def _header(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    start = 0
    for name, tensor in tensors.items():
        end = start + tensor.nbytes
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)  # aligns the tensors


def digest(metadata: Mapping[str, str], tensors: Mapping[str, Array]) -> str:
    """SHA-256, in hexadecimal, of the metadata except itself and of every tensor with its name, dtype and shape."""
    sha = hashlib.sha256()
    sha.update(json.dumps({k: metadata[k] for k in sorted(metadata) if k != _DIGEST}).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(json.dumps([name, _NAMES[tensor.dtype], tensor.shape]).encode())
        sha.update(tensor.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


# ---------------------------------------------------------------- reading


def read(path: str | os.PathLike[str]) -> tuple[Contents, bool]:
    """Contents of a file, and whether it had a (matching) SHA-256.

    Raises CheckpointError for a file that is damaged, malicious or not fastbp's, OSError if it cannot be opened.
    """
    name = os.fsdecode(path)
    metadata, tensors = container.read(name)
    if _FORMAT not in metadata or _MODEL not in metadata:
        raise CheckpointError(f"{name} is not a fastbp model (no {_FORMAT}): use a file that Sequential.save wrote")
    if metadata[_FORMAT] != str(VERSION):
        raise CheckpointError(
            f"{name} has the format version {metadata[_FORMAT][:20]!r}, but this fastbp reads {VERSION}: "
            "upgrade fastbp, or save the model again"
        )
    signed = _DIGEST in metadata
    if any(_one_apart(key, _DIGEST) for key in metadata):  # or a flipped bit in the key would make the file unsigned
        raise CheckpointError(f"{name} is damaged: the name of its SHA-256 is misspelt; {REMEDY}")
    if signed and metadata[_DIGEST] != digest(metadata, tensors):
        raise CheckpointError(f"{name} is damaged: its SHA-256 does not match; {REMEDY}")
    model, fit = _json(name, metadata[_MODEL], "model"), None
    if not isinstance(model, dict):
        raise CheckpointError(f"{name} is damaged: its description of the model is not a JSON object")
    arrays = {}
    if _FIT in metadata:
        fit = _json(name, metadata[_FIT], "fit")
        arrays = {key: tensors.pop(key) for key in list(tensors) if key.startswith(FIT_TENSOR)}
    return Contents(model, tensors, {k: v for k, v in metadata.items() if k not in _RESERVED}, fit, arrays), signed


def _json(name: str, text: str, what: str) -> Any:
    n_objects = text.count('"class"')
    if n_objects > MOST_OBJECTS:
        raise CheckpointError(
            f"{name} describes {n_objects} layers and other objects, more than the {MOST_OBJECTS} that are read: "
            "save a smaller model"
        )
    try:
        value = container.parsed(text, most_brackets=20 * MOST_OBJECTS)
        container.check_depth(value)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} is damaged: its description of the {what} is not JSON ({error})") from error
    return value


def _one_apart(key: str, other: str) -> bool:
    return len(key) == len(other) and sum(a != b for a, b in zip(key, other, strict=True)) == 1
