"""Atomic file writes: after a crash or on a full disk either the old file or the complete new one is there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file in the same folder, which replaces `path` once written and flushed to disk.

    If the block raises, the temporary file is removed and the old file kept. Symbolic links are followed.
    """
    target = Path(os.path.realpath(os.fsdecode(path)))
    temporary = target.with_name(temporary_name(target.name, secrets.token_hex(8)))
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(target.parent)  # flush the rename itself


def temporary_name(name: str, token: str) -> str:
    """The name of the temporary file."""
    return f".{name}.{token}.tmp"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
