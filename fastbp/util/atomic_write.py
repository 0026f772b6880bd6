"""Atomic file writes: after a crash or on a full disk either the old file or the complete new one is there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

Path_ = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_ENDING = ".fastbp.tmp"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.fastbp\.tmp", re.DOTALL)
_LONGEST_NAME = 255  # bytes, on all common file systems
_THROUGH_LINKS = ("/proc/", "/dev/fd/", "/dev/std")  # links to open files, whose targets are no paths to replace


@contextmanager
def atomic_write(path: Path_) -> Iterator[BinaryIO]:
    """Yield a file to write, opened in the folder of `path`, which replaces `path` once it is flushed to disk.

    If the block raises, the old file stays. The mode and, where permitted, the owner of a replaced file are kept.
    Symbolic links are followed, also dangling ones. A character device or a FIFO is written to, never replaced;
    directories, block devices and sockets are refused. Every OSError names `path`.
    """
    name = os.fsdecode(path)
    try:
        special = _special(name)
        with _to_special(name) if special else _replacing(Path(_resolved(name))) as file:
            yield file
    except OSError as error:
        if _names_another(error, name):
            raise OSError(error.errno, error.strerror, name) from error
        raise


def _names_another(error: OSError, name: str) -> bool:
    """Whether an error of the system names no file, or a temporary or resolved one that nobody asked for."""
    found = "" if error.filename is None else os.fspath(error.filename)
    return bool(error.strerror) and (not found or str(found).endswith(_ENDING) or found == os.path.realpath(name))


def _refused(code: int, message: str) -> OSError:
    """An OSError of the subclass that belongs to the code, with nothing but this message."""
    error = type(OSError(code, ""))(message)
    error.errno = code
    return error


def _resolved(name: str) -> str:
    """The file that is written: links are kept. OSError for what cannot be one."""
    target = os.path.realpath(name)
    if os.path.islink(target):
        raise _refused(errno.ELOOP, f"cannot write {name}: its symbolic links lead in a circle: remove them")
    if os.path.isdir(target) or name.endswith(os.sep):
        raise _refused(errno.EISDIR, f"cannot write {name}: it is a folder: choose a file in it")
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        shown = os.path.dirname(name) if folder == os.path.realpath(os.path.dirname(name) or ".") else folder
        raise _refused(errno.ENOENT, f"cannot write {name}: there is no folder {shown}: create it first")
    return target


@contextmanager
def append_behind(path: Path_, size: int) -> Iterator[tuple[BinaryIO, int]]:
    """Yield a file to write behind the first `size` bytes of `path`, and how many of these there are.

    A device or a FIFO keeps nothing that could be replaced: it is written to as it is.
    """
    name = os.fsdecode(path)
    special = _special(name) and not os.path.isfile(name)
    with open(_opened(name) if special else os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb") as file:
        if not special:
            size = file.truncate(min(size, os.fstat(file.fileno()).st_size))
            file.seek(size)
        yield file, size


# ---------------------------------------------------------------- ordinary files


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    remove_leftovers(target)
    before = target.stat() if target.exists() else None
    temporary, handle = _create(target, 0o666 if before is None else 0o600)
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            if before is not None:
                _take_over(handle, before)
            os.fsync(handle)
            temporary.replace(target)  # before the file is closed: its lock tells others that it is in use
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)  # flush the rename itself


def _create(target: Path, mode: int) -> tuple[Path, int]:
    """A new locked file beside the target."""
    while True:
        temporary = target.with_name(temporary_name(target.name))
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, handle
        os.close(handle)  # another process took it for a leftover, between its creation and its lock


def _take_over(handle: int, before: os.stat_result) -> None:
    """Give a file the owner, where permitted, and the permissions of the one that it replaces."""
    now = os.fstat(handle)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(handle, before.st_uid, before.st_gid)
    with contextlib.suppress(PermissionError):  # a file system without modes
        os.fchmod(handle, before.st_mode & 0o777)


def temporary_name(name: str) -> str:
    """A new name of a temporary file; shortened if a file system could not hold it."""
    tail = f".{secrets.token_hex(8)}{_ENDING}"
    raw = os.fsencode(name)
    if 1 + len(raw) + len(tail) > _LONGEST_NAME:
        name = hashlib.sha256(raw).hexdigest()[:32]
    return f".{name}{tail}"


def remove_leftovers(target: Path) -> None:
    """Remove temporary files that killed processes left in the target's folder; those in use are locked."""
    old = re.compile(re.escape(f".{target.name}.") + "[0-9a-f]{16}[.]tmp")  # the names of version 0.1.0
    try:
        with os.scandir(target.parent) as entries:
            found = [entry.path for entry in entries if _TEMPORARY.fullmatch(entry.name) or old.fullmatch(entry.name)]
    except OSError:
        return  # a folder that can be written to but not listed
    for path in found:
        with contextlib.suppress(OSError):
            _remove_unlocked(path)


def _remove_unlocked(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.lstat(path)):  # no one has renamed it meanwhile
                os.unlink(path)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(PermissionError):  # a folder that can be written to but not listed
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ---------------------------------------------------------------- devices and pipes


def _special(name: str) -> bool:
    """Whether a path leads to something that is written to rather than replaced."""
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return False
    if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        kind = "socket" if stat.S_ISSOCK(mode) else "block device"
        raise _refused(errno.EINVAL, f"cannot write {name}: it is a {kind}: choose a file")
    ordinary = stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return not ordinary or (stat.S_ISREG(mode) and os.path.abspath(name).startswith(_THROUGH_LINKS))


@contextmanager
def _to_special(name: str) -> Iterator[BinaryIO]:
    """A temporary file that is copied once it is complete: what writes it may need to seek."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        with open(_opened(name), "wb", buffering=0) as sink:
            shutil.copyfileobj(file, sink, 1 << 20)


def _opened(name: str) -> int:
    """A descriptor to write to; a FIFO that nobody reads is an error rather than a wait."""
    try:
        handle = os.open(name, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _refused(errno.ENXIO, f"cannot write {name}: no process reads this pipe: start one first") from error
        raise
    os.set_blocking(handle, True)
    return handle
