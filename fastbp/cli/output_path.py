"""Files that a command will write, checked before any work."""

from __future__ import annotations

import os
from pathlib import Path


def check_output(path: Path) -> None:
    """Refuse before any work is done what could not be written after it."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: there is no folder {path.parent}; make it or choose another with --output"
        )
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; give a file in it with --output")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write into {path.parent.resolve()}: choose another place with --output")
