"""Opening files to read, checks of what they claim, and messages of bounded length."""

from __future__ import annotations

import errno
import math
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

_LONGEST_MESSAGE = 1900  # bytes
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def check_regular(path: str | os.PathLike[str], error: type[ValueError] = ValueError) -> None:
    """Raise an error for a pipe, device or socket, from which reading could wait for ever or never end.

    A path that does not exist or is a folder is left to `open`, which says so.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise error(f"{os.fspath(path)} must be a file, got {kind}: write its contents to a file first")


def open_regular(path: str | os.PathLike[str], error: type[ValueError] = ValueError) -> BinaryIO:
    """Open a file in binary; the error for a pipe, device or socket."""
    check_regular(path, error)
    return open(path, "rb")


def of_system(error: BaseException) -> bool:
    """Whether an error is one of the machine rather than of a file's contents."""
    if isinstance(error, OSError):  # readers raise it for contents, too, or seek where a damaged file says
        return error.errno not in (None, errno.EINVAL)
    return isinstance(error, MemoryError)


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what a reader raises for damaged contents, of whatever type, into a ValueError that names the file.

    Errors of the system, such as a missing file, MemoryError, and errors that name the file pass.
    """
    try:
        yield
    except Exception as error:  # zlib, zipfile, HDF5 and Arrow each have errors of their own
        named = isinstance(error, ValueError | TypeError) and os.path.basename(path) in str(error)
        if named and type(error) in (ValueError, TypeError):
            error.args = (shortened(str(error)),)
        if named or of_system(error) or isinstance(error, ImportError):
            raise
        said = str(error).strip() or type(error).__name__
        message = f"{os.fspath(path)} is damaged or of another format ({said}): use another copy"
        raise ValueError(shortened(message)) from error


def check_member(archive: zipfile.ZipFile, name: str) -> None:
    """ValueError if an array of a .npz claims more bytes than the archive holds for it."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            return  # strings and structures in UTF-8
        shape, _, dtype = _HEADERS[version](file)
    size = archive.getinfo(name).file_size
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name} claims an array of shape {shape}, but has {size} bytes")


def shortened(message: str) -> str:
    """A message without its middle if it is longer than 1.9 kB, as where it quotes a damaged file."""
    raw = message.encode(errors="backslashreplace")
    if len(raw) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2 - 3
    return f"{raw[:half].decode(errors='ignore')} … {raw[-half:].decode(errors='ignore')}"
