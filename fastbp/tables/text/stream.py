"""Bytes and lines of a text file, which may be compressed and in any encoding."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.tables.text.dialect import encoding_at
from fastbp.tables.text.unpacking import DAMAGED, unpacked
from fastbp.util.files import open_regular

_HEAD = 1 << 18
_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*("?)')


class TextFile:
    """An open text file; `position` and `size` in bytes on the disk."""

    def __init__(self, path: Path, encoding: str | None) -> None:
        self.path = path
        self._raw = open_regular(path)
        self.size = path.stat().st_size
        try:
            self._bytes = unpacked(path, self._raw)
        except ImportError:
            self.close()
            raise
        try:
            self._head = _read_full(self._bytes, _HEAD)
        except (*DAMAGED, OSError) as error:
            self.close()
            raise damaged(path, error) from error
        self.codec, self._mark = encoding_at(self._head, encoding)

    @property
    def position(self) -> int:
        """Bytes read so far, compressed as they are."""
        return self._raw.tell()

    @property
    def head(self) -> tuple[str, bool]:
        """The first part of the text, and whether it is all of it; damaged characters are replaced."""
        return self._head[self._mark :].decode(self.codec, "replace"), len(self._head) < _HEAD

    def blocks(self, size: int) -> Iterator[bytes]:
        """The file's bytes after a byte order mark."""
        if block := self._head[self._mark :]:
            yield block
        while block := self._bytes.read(size):
            yield block

    def text(self) -> Iterator[str]:
        """The text, part by part; UnicodeDecodeError, DAMAGED or OSError where it ends early."""
        decoder = codecs.getincrementaldecoder(self.codec)()
        for block in self.blocks(1 << 16):
            yield decoder.decode(block)
        yield decoder.decode(b"", True)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Unreadable(Exception):
    """A text that cannot be read, whose reason and line a slower reader finds."""


def record_blocks(file: TextFile, separator: str, size: int) -> Iterator[bytes]:
    """The text in UTF-8, in blocks of about `size` bytes that end where records do; Unreadable for open quotes."""
    before = b"\r\n" + separator.encode()
    waiting, held, wanted = [b""], 0, size
    for block in _utf8(file, size):
        waiting.append(block)
        held += len(block)
        if held < wanted:
            continue
        data = b"".join(waiting)
        end = _last_end(data, before)
        if end:
            yield data[:end]
        waiting, held = [data[end:]], len(data) - end
        wanted = size if end else 2 * held  # a record longer than a block is not searched again for each one
    data = b"".join(waiting)
    if not _quoted(data, before).closed:
        raise Unreadable
    yield data


def _utf8(file: TextFile, size: int) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(file.codec)()
    for block in file.blocks(size):
        if file.codec != "utf-8":
            block = decoder.decode(block).encode()
        elif not block.isascii() or decoder.getstate()[0]:
            decoder.decode(block)  # only to check it
        if b"\0" in block:
            raise Unreadable
        yield block
    decoder.decode(b"", True)


class _Quoted(NamedTuple):
    """Where quoted values begin and end, and whether the last one is closed."""

    starts: list[int]
    ends: list[int]
    closed: bool


def _quoted(data: bytes, before: bytes) -> _Quoted:
    """The quoted values in data, which begins with a record.

    A quote opens one only at the beginning of a value: after a byte of `before`.
    """
    letters = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(letters == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    doubled = np.zeros(len(opening) + 1, bool)  # opening again where a value has just been closed
    doubled[1 : len(opening)] = opening[1:] == closing[: len(opening) - 1] + 1
    at_start = (opening == 0) | np.isin(letters[opening - 1], np.frombuffer(before, np.uint8))
    if not (doubled[:-1] | at_start).all():
        return _quoted_among_others(data, before)
    starts, ends = opening[~doubled[:-1]].tolist(), (closing[~doubled[1 : len(closing) + 1]] + 1).tolist()
    closed = len(opening) == len(closing)
    return _Quoted(starts, ends if closed else [*ends, len(data)], closed)


def _quoted_among_others(data: bytes, before: bytes) -> _Quoted:
    """The same, one by one, where quotes also stand within values: 5" pipe."""
    found = _Quoted([], [], True)
    at = data.find(b'"')
    while at >= 0:
        if at and data[at - 1] not in before:
            at = data.find(b'"', at + 1)
            continue
        value = _QUOTED.match(data, at)
        assert value is not None
        found.starts.append(at)
        found.ends.append(value.end())
        found = found._replace(closed=bool(value[1]))
        at = data.find(b'"', value.end())
    return found


def _last_end(data: bytes, before: bytes) -> int:
    """Where the last record that ends in data ends; 0 if none does."""
    quoted = _quoted(data, before)
    starts, ends = [*quoted.starts, len(data)], [0, *quoted.ends]
    for start, stop in zip(reversed(ends), reversed(starts), strict=True):  # stretches without quoted values
        end = data.rfind(b"\n", start, stop)
        if end < 0 and b"\n" not in data:
            end = data.rfind(b"\r", start, min(stop, len(data) - 1))  # a final one may be half of \r\n
        if end >= 0:
            return end + 1
    return 0


def damaged(path: Path, error: BaseException) -> ValueError:
    """The error for a compressed file that ends early or is none."""
    return ValueError(f"cannot read {path}: it is damaged, or not compressed as its name says ({error}): copy it again")


def undecodable(path: Path, encoding: str | None) -> ValueError | None:
    """The error that names the first line that cannot be decoded; None if there is none."""
    lines, newlines = 1, io.IncrementalNewlineDecoder(None, True)
    with TextFile(path, encoding) as file:
        decoder = codecs.getincrementaldecoder(file.codec)()
        blocks = file.blocks(1 << 16)
        while True:
            block = next(blocks, b"")
            try:
                lines += newlines.decode(decoder.decode(block, not block)).count("\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(file.codec, "ignore")
                lines += newlines.decode(before, True).count("\n")
                codec = file.codec.upper()
                remedy = (
                    "name its encoding, as in encoding='latin-1' (--encoding latin-1)"
                    if encoding is None and codec == "UTF-8"
                    else "name another one, or save the file as UTF-8"
                )
                found = " ".join(
                    f"0x{byte:02x}" for byte in error.object[error.start : max(error.end, error.start + 1)]
                )
                return ValueError(f"{path} is not {codec}: line {lines} has the byte {found}: {remedy}")
            if not block:
                return None


def _read_full(file: Any, size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
