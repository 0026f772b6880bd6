"""Files that are written whole or not at all: a crash or a full disk leaves the old one, or the new one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The path of a new file in the same folder, which takes the place of path once it is written and on the disk.

    Where the block raises, the new file is gone and the old one as it was. A link stays one.
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
    _sync(target.parent)  # have the renaming itself reach the disk


def temporary_name(name: str, token: str) -> str:
    """What a file is called while it is written."""
    return f".{name}.{token}.tmp"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
