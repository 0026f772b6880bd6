"""What is read of a file, and what it becomes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from fastbp.tables.columns import Columns
from fastbp.tables.values import MISSING, Coded
from fastbp.util.types import Array


class Wanted(NamedTuple):
    """What to read of a file: the target, features in their order (all others if empty), and those to read as texts."""

    target: str | None = None
    columns: Sequence[str] = ()
    texts: Collection[str] = ()
    missing: Collection[str] = MISSING
    progress: bool = False


class FileTable(NamedTuple):
    """Features and target of a file."""

    features: Columns
    target: Array | Coded | None


def chosen(names: Sequence[str], wanted: Wanted, path: Path) -> tuple[str, ...]:
    """The names of the features; ValueError for names that are not there."""
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    if wanted.target is not None and wanted.target not in names and not wanted.columns:
        raise ValueError(f"--target {wanted.target!r} is not a column of {path}: its columns are {shown}")
    lacking = [name for name in wanted.columns if name not in names]
    if lacking:
        trained = ", ".join(wanted.columns[:20]) + (", …" if len(wanted.columns) > 20 else "")
        raise ValueError(
            f"{path} has no column {', '.join(lacking[:20])}: the model was trained on {trained}; the file has {shown}"
        )
    features = tuple(wanted.columns) or tuple(name for name in names if name != wanted.target)
    if not features:
        raise ValueError(f"{path} has no column besides the target {wanted.target!r}: add features")
    return features
