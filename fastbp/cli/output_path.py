"""Early checks of output paths."""

from __future__ import annotations

import os
from pathlib import Path


def check_output(path: Path) -> None:
    """Fail before any work is done if the file cannot be written."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: no folder {path.parent}: create it or choose another with --output"
        )
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder: choose a file in it with --output")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write into {path.parent.resolve()}: choose another folder with --output")
