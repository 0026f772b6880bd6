"""What all sources of chunks share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastbp.util.arguments import count, real

CHUNK_BYTES = 1 << 22  # of X in float32: large enough to read fast, small enough that a window holds many

Path_ = str | os.PathLike[str]
Chunk = tuple[Any, ...]


class Source:
    """Rows in chunks: (X, y), (X, y, sample_weight), or (X,) where there is no target. Abstract: see `open`.

    Iterating gives the chunks in their order, again and again. rows: how many in all, None where that is not known.
    pieces: parts that can be read in any order, of a chunk or more each.
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
        """The chunks of a piece, each with its place in words."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Chunk]:
        for piece in range(self.pieces):
            for _, chunk in self.read_piece(piece):
                yield chunk

    def describe(self) -> dict[str, Any]:
        """What tells this source from another, as far as it is known without reading all."""
        return {
            "files": [[path.name, path.stat().st_size] for path in self.files],
            "rows": self.rows,
            "scale": self.scale,
            "chunk_rows": self.chunk_rows,
            **self.options,
        }

    def chunk(self, X: Any, y: Any, weight: Any) -> Chunk:
        """What is given to those who read."""
        if self.scale is not None:
            X = X * self.scale
        if y is None:
            return (X,)
        return (X, y) if weight is None else (X, y, weight)

    def fitting_rows(self, features: int) -> int:
        """Rows of a chunk: so many as were given, else what 4 MiB of float32 hold."""
        return self.chunk_rows or max(1, CHUNK_BYTES // (4 * max(1, features)))

    def __repr__(self) -> str:
        files = ", ".join(path.name for path in self.files[:3]) + (", …" if len(self.files) > 3 else "")
        return f"{type(self).__name__}({files}{' of ' if files else ''}{self.rows or 'so far unknown'} rows)"


def _is_scale(value: float) -> bool:
    return value != 0 and abs(value) < float("inf")


def check_weight(target: Any, weight: Any) -> None:
    """ValueError for weights of rows that have no target."""
    if target is None and weight is not None:
        raise ValueError("weight needs a target, but target is None: rows to predict from have no weights")


def needs(package: str, extra: str, what: str) -> ImportError:
    """The error where a package is not installed."""
    return ImportError(f'{what} needs the package {package}: pip install "fastbp[{extra}]"')
