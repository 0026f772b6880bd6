"""The base class of sources of chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any

from fastbp.util.arguments import count, real
from fastbp.util.files import reading

CHUNK_BYTES = 1 << 22  # bytes of X in float32: large enough to read fast, small enough for many per window

Path_ = str | os.PathLike[str]
Chunk = tuple[Any, ...]
Located = tuple[str, Chunk]  # with a description of its position


class Source:
    """Rows in chunks: (X, y), (X, y, sample_weight), or (X,) without a target. Abstract; created by `open`.

    Iterating yields the chunks in order, any number of times.

    Parameters
    ----------
    files : sequence of Path
        The files that are read.
    scale : float or None
        Factor for X, if any.
    chunk_rows : int or None
        Rows per chunk; None for as many as 4 MiB of float32 hold.

    Attributes
    ----------
    rows : int or None
        Number of rows, None if unknown.
    pieces : int
        Number of parts that can be read in any order, each of one chunk or more.
    """

    rows: int | None = None
    pieces: int = 1

    def __init__(self, files: Sequence[Path], scale: float | None, chunk_rows: int | None) -> None:
        self.files = files
        remedy = "pass for example 1 / 255, or None"
        self.scale = None if scale is None else real(scale, "scale", "finite and not 0", _is_scale, remedy)
        self.chunk_rows = None if chunk_rows is None else count(chunk_rows, "chunk_rows")
        self.options: dict[str, Any] = {}

    def read_piece(self, piece: int) -> Iterator[tuple[str, Chunk]]:
        """The chunks of a piece, each with a description of its position."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Chunk]:
        for piece in range(self.pieces):
            for _, chunk in self.read_piece(piece):
                yield chunk

    def describe(self) -> dict[str, Any]:
        """What identifies this source, as far as known without reading all of it."""
        return {
            "files": [[path.name, path.stat().st_size] for path in self.files],
            "rows": self.rows,
            "scale": self.scale,
            "chunk_rows": self.chunk_rows,
            **self.options,
        }

    def chunk(self, X: Any, y: Any, weight: Any) -> Chunk:
        """Scale X and assemble the chunk."""
        if self.scale is not None:
            X = X * self.scale
        if y is None:
            return (X,)
        return (X, y) if weight is None else (X, y, weight)

    def fitting_rows(self, features: int) -> int:
        """Rows per chunk: as given, else as many as 4 MiB of float32 hold."""
        return self.chunk_rows or max(1, CHUNK_BYTES // (4 * max(1, features)))

    def __repr__(self) -> str:
        files = ", ".join(path.name for path in self.files[:3]) + (", …" if len(self.files) > 3 else "")
        return f"{type(self).__name__}({files}{' of ' if files else ''}{self.rows or 'an unknown number of'} rows)"


def naming_damage(read: Callable[[Any, int], Iterator[Located]]) -> Callable[[Any, int], Iterator[Located]]:
    """A read_piece whose errors for damaged contents name the file."""

    @wraps(read)
    def named(source: Any, piece: int) -> Iterator[Located]:
        files = source.files
        with reading(files[piece] if len(files) == source.pieces else files[0]) if files else nullcontext():
            yield from read(source, piece)

    return named


def _is_scale(value: float) -> bool:
    return value != 0 and abs(value) < float("inf")


def check_weight(target: Any, weight: Any) -> None:
    """ValueError for weights without a target."""
    if target is None and weight is not None:
        raise ValueError("weight needs a target, but target is None: rows to predict from have no weights")


def needs(package: str, extra: str, what: str) -> ImportError:
    """The error for a missing package."""
    return ImportError(f'{what} needs the package {package}: pip install "fastbp[{extra}]"')
