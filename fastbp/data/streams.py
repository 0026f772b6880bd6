"""Streams of chunks: sources read in a chosen order, validated, and regrouped into windows of rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from threading import Event
from typing import Any

import numpy as np

from fastbp.data.arrays import Rows
from fastbp.data.csr import SparseRows
from fastbp.util.random_streams import Purpose, Shuffler
from fastbp.util.types import Array

WINDOW_BYTES = 1 << 26  # bytes of X per window if its rows are not given; two or three windows are held at a time

_ARRAY_LIKE = ("__array__", "__array_interface__", "__dlpack__", "__arrow_c_stream__", "tocsr", "toarray")

Key = tuple[int, int]  # of a chunk: its piece of the source, and its position in that piece
Convert = Callable[[Any, str], Rows]


def is_source(value: Any) -> bool:
    """Whether value yields chunks, rather than being an array or a table.

    >>> is_source(iter([])), is_source(lambda: []), is_source([[1.0]]), is_source(np.eye(2))
    (True, True, False, False)
    """
    if hasattr(value, "read_piece"):
        return True
    if isinstance(value, type | Mapping | Sequence) or any(hasattr(value, name) for name in _ARRAY_LIKE):
        return False
    return callable(value) or hasattr(value, "__iter__") or by_number(value)


def is_list_of_chunks(value: Any) -> bool:
    """Whether value is a list of (X, y) or (X, y, weights), rather than a single one.

    >>> X, y = np.eye(2), np.ones(2)
    >>> is_list_of_chunks([(X, y), (X, y)]), is_list_of_chunks([X, y])
    (True, False)
    """
    return isinstance(value, list) and all(
        isinstance(chunk, tuple | list) and len(chunk) in (2, 3) and len(getattr(chunk[0], "shape", ())) == 2
        for chunk in value
    )


def unpacked(chunk: Any, where: str) -> tuple[Any, Any, Any]:
    """X, y and weights of a chunk; weights are None if not given."""
    if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
        got = f"a {type(chunk).__name__}" + (f" of {len(chunk)}" if isinstance(chunk, tuple | list) else "")
        raise ValueError(
            f"chunks must be (X, y) or (X, y, sample_weight), got {got}{where}: give such tuples; where "
            "X is an array or a table, pass y as well"
        )
    return chunk[0], chunk[1], chunk[2] if len(chunk) == 3 else None


def features_of(chunk: Any) -> Any:
    """X of a chunk that is X, (X,), (X, y) or (X, y, sample_weight)."""
    packed = isinstance(chunk, tuple) or (isinstance(chunk, list) and len(getattr(chunk[0], "shape", ())) == 2)
    return chunk[0] if packed else chunk


def by_number(source: Any) -> bool:
    """Whether chunks can be indexed."""
    return hasattr(source, "__getitem__") and hasattr(source, "__len__")


class Room:
    """Buffers for windows, reused once nothing refers to them: fresh pages cost as much as the copy into them.

    >>> room = Room()
    >>> first = room.take((2, 3), np.dtype("float32"))
    >>> second, address = room.take((2, 3), np.dtype("float32")), first.ctypes.data
    >>> del first
    >>> room.take((1, 3), np.dtype("float32")).ctypes.data == address != second.ctypes.data
    True
    """

    def __init__(self) -> None:
        self._kept: list[Array] = []

    def take(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
        """An uninitialized array of this shape."""
        kept, size = self._kept, shape[0] * shape[1]
        for place in range(len(kept)):
            # Every view holds a reference to its array, so the reference count shows whether any is left.
            if sys.getrefcount(kept[place]) <= _UNUSED and kept[place].size >= size and kept[place].dtype == dtype:
                return kept[place][:size].reshape(shape)
        kept[:] = [array for array in kept if sys.getrefcount(array) > _UNUSED + 1]  # the loop holds one as well
        kept.append(np.empty(size, dtype))
        return kept[-1][:size].reshape(shape)


def _unused() -> int:
    kept = [np.empty(1)]
    return sys.getrefcount(kept[0])


_UNUSED = _unused()


class Stream:
    """The chunks of a source, epoch after epoch, converted to rows by `convert(chunk, where)`.

    Sources: those of `fastbp.sources`; sequences of chunks such as a list, whose order can be shuffled; re-iterables; a
    function that returns one of these; an iterator, which can be read once.
    """

    def __init__(self, source: Any, convert: Convert, what: str = "the source") -> None:
        self.source, self.convert, self.what = source, convert, what
        self.rows: int | None = getattr(source, "rows", None) if hasattr(source, "read_piece") else None
        self._room = Room()
        self._begun: Iterator[tuple[Key, str, Any]] | None = None

    @property
    def once(self) -> bool:
        """Whether it can be read only once."""
        return isinstance(self.source, Iterator)

    @property
    def pieces(self) -> int | None:
        """Number of pieces that can be read in any order; None if the order is fixed."""
        if hasattr(self.source, "read_piece"):
            return int(self.source.pieces)
        return len(self.source) if by_number(self.source) else None

    @property
    def description(self) -> dict[str, Any]:
        """What identifies the source without reading it, to check that a resumed fit has the same one."""
        if hasattr(self.source, "describe"):
            return {"kind": type(self.source).__name__, **self.source.describe()}
        return {"kind": type(self.source).__name__, "pieces": self.pieces}

    def first(self) -> Rows:
        """Rows of the first non-empty chunk; kept for the first pass if the source cannot be read again."""
        chunks = self._raw(None)
        for key, where, chunk in chunks:
            rows = self._converted(chunk, where)
            if rows is not None:
                if self.pieces is None:
                    self._begun = chain([(key, where, chunk)], chunks)
                return rows
        raise ValueError(f"{self.what} must have at least one row, got none: pass a source with chunks")

    def chunks(
        self, order: Iterable[int] | None = None, stop: Event | None = None
    ) -> Generator[tuple[Key, Rows], None, None]:
        """All chunks as rows, with the pieces in this order, until stop is set."""
        begun, self._begun = self._begun, None
        for key, where, chunk in begun or self._raw(order):
            if stop is not None and stop.is_set():
                return
            rows = self._converted(chunk, where)
            if rows is not None:
                yield key, rows

    def _raw(self, order: Iterable[int] | None) -> Iterator[tuple[Key, str, Any]]:
        """Key, description of the position, and content of every chunk."""
        source = self.source
        if hasattr(source, "read_piece"):
            for piece in range(source.pieces) if order is None else order:
                for number, (where, chunk) in enumerate(source.read_piece(piece)):
                    yield (piece, number), f" of {where}", chunk
        elif self.pieces is not None:
            for piece in range(self.pieces) if order is None else order:
                yield (piece, 0), f" of chunk {piece}", source[piece]
        else:
            opened = source if hasattr(source, "__iter__") else source()
            for number, chunk in enumerate(opened):
                yield (number, 0), f" of chunk {number}", chunk

    def _converted(self, chunk: Any, where: str) -> Rows | None:
        """The chunk's rows; None if it is empty, as the last one of a file may be."""
        X = features_of(chunk) if chunk is not None else None
        shape: tuple[int, ...] = getattr(X, "shape", ())
        if len(shape) == 2 and shape[0] == 0:
            return None
        return self.convert(chunk, where)

    def windows(
        self, size: int, order: Iterable[int] | None = None, stop: Event | None = None
    ) -> Generator[tuple[Rows, bool], None, None]:
        """Windows of `size` rows, the last one of the remaining rows, each with whether it is the last.

        Rows of a window keep the order of the source, so that a window that holds everything equals the data as arrays.
        """
        parts: list[tuple[Key, Rows]] = []
        held = 0
        for key, rows in self.chunks(order, stop):
            parts.append((key, rows))
            held += len(rows.X)
            del rows
            while held > size:  # strictly more than a window, so that the last one is known to be the last
                yield joined(_taken(parts, size), self._room), False
                held -= size
        if not held:
            raise ValueError(
                f"{self.what} yielded no chunks when it was read again: pass a re-iterable object, or a function that "
                "returns a new iterator"
            )
        yield joined(parts, self._room), True

    def order(self, seed: int, epoch: int) -> list[int] | None:
        """The order of the pieces in an epoch; None if it is fixed."""
        pieces = self.pieces
        return None if pieces is None else Shuffler(seed, pieces, Purpose.CHUNKS).order(epoch).tolist()


def window_rows(bytes_a_row: int, given: int | None, batch_size: int) -> int:
    """Rows per window: as given, else as many as 64 MiB hold, rounded up to whole batches."""
    if given is None:
        given = max(1, WINDOW_BYTES // bytes_a_row)
    return -(-given // batch_size) * batch_size


def row_bytes(X: Any) -> int:
    """Bytes per row of X."""
    if isinstance(X, SparseRows):  # estimated from the first chunk
        return max(1, int(X.starts[-1] - X.starts[0]) * (X.dtype.itemsize + 4) // len(X)) + 8
    return int(X.shape[1]) * int(X.dtype.itemsize)


def _taken(parts: list[tuple[Key, Rows]], size: int) -> list[tuple[Key, Rows]]:
    """Remove the first `size` rows from the parts and return them."""
    n_complete = 0
    while len(parts[n_complete][1].X) <= size:
        size -= len(parts[n_complete][1].X)
        n_complete += 1
        if not size:
            break
    taken = parts[:n_complete]
    del parts[:n_complete]
    if size:
        key, rows = parts[0]
        taken.append((key, rows.part(slice(0, size))))
        parts[0] = key, rows.part(slice(size, None))
    return taken


def joined(parts: list[tuple[Key, Rows]], room: Room) -> Rows:
    """Concatenate parts in the order of their keys; a single one is not copied. The list is emptied."""
    parts.sort(key=lambda part: part[0])
    if len(parts) == 1:
        return parts.pop()[1]
    weighted = [rows.weight is not None for _, rows in parts]
    if any(weighted) and not all(weighted):
        raise ValueError(
            "either all chunks or none must have weights, got both: give (X, y, sample_weight) for all of them"
        )
    y = _joined_targets([rows.y for _, rows in parts])
    weight = np.concatenate([rows.weight for _, rows in parts]) if any(weighted) else None
    return Rows(_joined_features(parts, room), y, weight)


def _joined_features(parts: list[tuple[Key, Rows]], room: Room) -> Any:
    sparse = [isinstance(rows.X, SparseRows) for _, rows in parts]
    if any(sparse) and not all(sparse):
        raise ValueError("either all chunks or none must be sparse, got both: use .toarray() on the sparse ones")
    if all(sparse):
        return SparseRows.concatenate([rows.X for _, rows in parts])
    n, (_, first) = sum(len(rows.X) for _, rows in parts), parts[0]
    X, at = room.take((n, first.X.shape[1]), first.X.dtype), 0
    parts.reverse()
    while parts:  # each is freed once copied, so that there are never two copies of everything
        _, rows = parts.pop()
        X[at : at + len(rows.X)] = rows.X
        at += len(rows.X)
    return X


def _joined_targets(parts: list[Array]) -> Array:
    """Concatenate targets; if only some chunks were one-hot, and so became labels, all become rows of probabilities."""
    soft = next((y for y in parts if y.ndim == 2), None)
    if soft is not None:
        parts = [y if y.ndim == 2 else np.eye(soft.shape[1], dtype=soft.dtype)[y] for y in parts]
    return np.concatenate(parts)
