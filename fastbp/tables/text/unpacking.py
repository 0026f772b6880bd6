"""Compressed text files, by the ending of the name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)  # bz2 and ours for .zst raise OSError and EOFError
_BLOCK = 1 << 17


def unpacked(path: Path, raw: BinaryIO) -> BinaryIO:
    """The contents of an open file; ImportError for .zst where nothing that reads it is installed."""
    ending = path.suffix.lower()
    if ending == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if ending == ".bz2":
        return cast(BinaryIO, bz2.BZ2File(raw))
    if ending == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    return cast(BinaryIO, _zstandard(path, raw)) if ending == ".zst" else raw


def _zstandard(path: Path, raw: BinaryIO) -> Any:
    """A .zst file through whatever reads it: Python from 3.14 on, pyarrow, or the package zstandard."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]

        return _Guarded(zstd.ZstdFile(raw), zstd.ZstdError)
    except ImportError:
        pass
    try:
        import pyarrow as pa

        return _Guarded(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"), pa.ArrowException)
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError as error:
        raise ImportError(
            f'reading {path} needs Python 3.14, pyarrow or the package zstandard: pip install "fastbp[csv]" or pip '
            "install zstandard, or decompress it (zstd -d)"
        ) from error
    return _Guarded(_Frames(raw, zstandard.ZstdDecompressor), zstandard.ZstdError)


class _Guarded:
    """A reader whose library's own error becomes an OSError, as the others raise."""

    def __init__(self, stream: Any, error: type[Exception]) -> None:
        self._stream, self._error = stream, error

    def read(self, size: int) -> bytes:
        """At most so many bytes."""
        try:
            found: bytes = self._stream.read(size)
        except self._error as error:
            raise OSError(str(error)) from error
        return found


class _Frames:
    """The frames of a .zst file one after another; zstandard's own reader takes a file that ends early for a whole one.

    new: makes what decompresses one frame.
    """

    def __init__(self, raw: BinaryIO, new: Any) -> None:
        self._raw, self._new = raw, new
        self._frame: Any = None
        self._packed = self._held = b""

    def read(self, size: int) -> bytes:
        """At most so many bytes; EOFError within a frame."""
        while not self._held:
            self._packed = self._packed or self._raw.read(_BLOCK)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends within a frame")
                return b""
            self._frame = self._frame or self._new().decompressobj()
            self._held = self._frame.decompress(self._packed)
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        found, self._held = self._held[:size], self._held[size:]
        return found
