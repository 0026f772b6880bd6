"""Names of output files, and early checks that they can be written without losing another file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fastbp.storage import container
from fastbp.storage.errors import CheckpointError

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
DATA_KEY = "fastbp.data"  # in a model's metadata: the data that it was trained on


def stem(name: str) -> str:
    """A file's name without folder, extension and compression; dots within the name stay.

    >>> stem("2024/sales.2024.csv.gz"), stem("digits"), stem(".hidden.csv")
    ('sales.2024', 'digits', '.hidden')
    """
    path = Path(name)
    if path.suffix.lower() in _COMPRESSED and Path(path.stem).suffix:
        path = path.with_suffix("")
    return path.stem


def check_output(path: Path, inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Fail before any work is done if the file cannot be written, or is one of the files to read."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: no folder {path.parent}: create it or choose another with --output"
        )
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder: choose a file in it with --output")
    if not os.access(path if path.exists() and not path.is_file() else path.parent, os.W_OK):  # a device, a pipe
        raise PermissionError(f"cannot write into {path.parent.resolve()}: choose another folder with --output")
    for source in inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise ValueError(f"cannot write {path}: it is the file to read: choose another with --output")


def check_model_output(path: Path, data: str, given: bool) -> None:
    """Fail if saving a model would destroy a file that is no model, or by default one of other data.

    given: whether the user named the file.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    metadata = _model_metadata(path)
    if metadata is None:
        raise FileExistsError(f"cannot write {path}: it exists and is no model of fastbp: choose another with --output")
    before = metadata.get(DATA_KEY)
    if not given and not _same_data(before, data):
        of = "not written by fastbp train" if before is None else f"a model trained on {before}"
        raise FileExistsError(f"cannot write {path}: it is {of}: remove it or choose another with --output")


def _same_data(before: str | None, now: str) -> bool:
    """Whether two names of data mean the same, as far as can be known: the first may be relative to another folder."""
    if before is None or Path(before).name != Path(now).name:
        return False
    first, second = Path(before), Path(now)
    return first.samefile(second) if first.exists() and second.exists() else True


def _model_metadata(path: Path) -> dict[str, str] | None:
    """The metadata of a model's file, read without its weights; None if it is another kind of file."""
    try:
        metadata, _ = container.read(os.fspath(path), with_tensors=False)
    except (CheckpointError, OSError):
        return None
    return metadata if any(key.startswith("fastbp") for key in metadata) else None
