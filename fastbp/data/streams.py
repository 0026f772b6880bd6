"""Data that come in chunks: any source of them, read in an order of choice, checked, and cut into windows of rows."""

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

WINDOW_BYTES = 1 << 26  # of X in a window, where its rows were not given: two or three of them are held at a time

_ARRAY_LIKE = ("__array__", "__array_interface__", "__dlpack__", "__arrow_c_stream__", "tocsr", "toarray")

Key = tuple[int, int]  # of a chunk: the piece of the source that it is of, and its place there
Convert = Callable[[Any, str], Rows]


def is_source(value: Any) -> bool:
    """Whether value is a thing that gives chunks, rather than an array or a table.

    >>> is_source(iter([])), is_source(lambda: []), is_source([[1.0]]), is_source(np.eye(2))
    (True, True, False, False)
    """
    if hasattr(value, "read_piece"):
        return True
    if isinstance(value, type | Mapping | Sequence) or any(hasattr(value, name) for name in _ARRAY_LIKE):
        return False
    return callable(value) or hasattr(value, "__iter__") or by_number(value)


def is_list_of_chunks(value: Any) -> bool:
    """Whether value is a list of (X, y) or (X, y, weights), rather than a single one of these.

    >>> X, y = np.eye(2), np.ones(2)
    >>> is_list_of_chunks([(X, y), (X, y)]), is_list_of_chunks([X, y])
    (True, False)
    """
    return isinstance(value, list) and all(
        isinstance(chunk, tuple | list) and len(chunk) in (2, 3) and len(getattr(chunk[0], "shape", ())) == 2
        for chunk in value
    )


def unpacked(chunk: Any, where: str) -> tuple[Any, Any, Any]:
    """X, y and weights of a chunk, the last None where there are none."""
    if not isinstance(chunk, tuple | list) or len(chunk) not in (2, 3):
        came = f"a {type(chunk).__name__}" + (f" of {len(chunk)}" if isinstance(chunk, tuple | list) else "")
        raise ValueError(
            f"chunks must be (X, y) or (X, y, sample_weight), but what{where} came is {came}: give such tuples; where "
            "X is an array or a table, pass y as well"
        )
    return chunk[0], chunk[1], chunk[2] if len(chunk) == 3 else None


def features_of(chunk: Any) -> Any:
    """X of a chunk that is X, or (X,), (X, y) or (X, y, sample_weight)."""
    packed = isinstance(chunk, tuple) or (isinstance(chunk, list) and len(getattr(chunk[0], "shape", ())) == 2)
    return chunk[0] if packed else chunk


def by_number(source: Any) -> bool:
    """Whether chunks can be asked for by their number."""
    return hasattr(source, "__getitem__") and hasattr(source, "__len__")


class Room:
    """Memory for windows that is used again once nobody holds it: fresh pages cost as much as what is copied there.

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
        """An array of this shape, of any content."""
        kept, size = self._kept, shape[0] * shape[1]
        for place in range(len(kept)):
            # Every view of an array holds it, so the count tells whether any is left.
            if sys.getrefcount(kept[place]) <= _UNUSED and kept[place].size >= size and kept[place].dtype == dtype:
                return kept[place][:size].reshape(shape)
        kept[:] = [array for array in kept if sys.getrefcount(array) > _UNUSED + 1]  # held by the loop, too
        kept.append(np.empty(size, dtype))
        return kept[-1][:size].reshape(shape)


def _unused() -> int:
    kept = [np.empty(1)]
    return sys.getrefcount(kept[0])


_UNUSED = _unused()


class Stream:
    """The chunks of a source, epoch after epoch, made rows by `convert(chunk, where)`.

    Sources: those of `fastbp.sources`; what has a length and chunks by number, such as a list, in which the order of
    chunks can be chosen; what can be iterated over again and again; a function that returns such a thing; an iterator,
    which can be read once.
    """

    def __init__(self, source: Any, convert: Convert, what: str = "the source") -> None:
        self.source, self.convert, self.what = source, convert, what
        self.rows: int | None = getattr(source, "rows", None) if hasattr(source, "read_piece") else None
        self._room = Room()
        self._begun: Iterator[tuple[Key, str, Any]] | None = None

    @property
    def once(self) -> bool:
        """Whether it can be read once only."""
        return isinstance(self.source, Iterator)

    @property
    def pieces(self) -> int | None:
        """How many pieces it has that can be read in any order; None where there is one order only."""
        if hasattr(self.source, "read_piece"):
            return int(self.source.pieces)
        return len(self.source) if by_number(self.source) else None

    @property
    def description(self) -> dict[str, Any]:
        """What can be told of the source without reading it, for a fit that is to go on with the same."""
        if hasattr(self.source, "describe"):
            return {"kind": type(self.source).__name__, **self.source.describe()}
        return {"kind": type(self.source).__name__, "pieces": self.pieces}

    def first(self) -> Rows:
        """Rows of the first chunk that has any; kept for the first reading where it could not be read again."""
        chunks = self._raw(None)
        for key, where, chunk in chunks:
            rows = self._converted(chunk, where)
            if rows is not None:
                if self.pieces is None:
                    self._begun = chain([(key, where, chunk)], chunks)
                return rows
        raise ValueError(f"{self.what} must have a row at least, but it gave none: pass a source that has chunks")

    def chunks(
        self, order: Iterable[int] | None = None, stop: Event | None = None
    ) -> Generator[tuple[Key, Rows], None, None]:
        """All chunks as rows, their pieces in this order; or those that come before a stop."""
        begun, self._begun = self._begun, None
        for key, where, chunk in begun or self._raw(order):
            if stop is not None and stop.is_set():
                return
            rows = self._converted(chunk, where)
            if rows is not None:
                yield key, rows

    def _raw(self, order: Iterable[int] | None) -> Iterator[tuple[Key, str, Any]]:
        """Key, place in words and content of every chunk."""
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
        """The chunk's rows, None if it has none, as the last of a file may."""
        X = features_of(chunk) if chunk is not None else None
        shape: tuple[int, ...] = getattr(X, "shape", ())
        if len(shape) == 2 and shape[0] == 0:
            return None
        return self.convert(chunk, where)

    def windows(
        self, size: int, order: Iterable[int] | None = None, stop: Event | None = None
    ) -> Generator[tuple[Rows, bool], None, None]:
        """Windows of so many rows, the last of what is left; each with whether it is the last.

        Rows of a window lie in the order of the source, so that one which holds all is the data as they are.
        """
        parts: list[tuple[Key, Rows]] = []
        held = 0
        for key, rows in self.chunks(order, stop):
            parts.append((key, rows))
            held += len(rows.X)
            del rows
            while held > size:  # more than a window: so the last is known to be the last
                yield joined(_taken(parts, size), self._room), False
                held -= size
        if not held:
            raise ValueError(
                f"{self.what} gave no chunks when it was read again: pass a thing that can be iterated over again and "
                "again, or a function that returns a fresh iterator"
            )
        yield joined(parts, self._room), True

    def order(self, seed: int, epoch: int) -> list[int] | None:
        """The pieces in the order of an epoch; None where there is no choice."""
        pieces = self.pieces
        return None if pieces is None else Shuffler(seed, pieces, Purpose.CHUNKS).order(epoch).tolist()


def window_rows(bytes_a_row: int, given: int | None, batch_size: int) -> int:
    """Rows of a window: so many as were given, else what 64 MiB hold, rounded up to whole batches."""
    if given is None:
        given = max(1, WINDOW_BYTES // bytes_a_row)
    return -(-given // batch_size) * batch_size


def row_bytes(X: Any) -> int:
    """The bytes that a row of X takes."""
    if isinstance(X, SparseRows):  # those of the first chunk stand for all
        return max(1, int(X.starts[-1] - X.starts[0]) * (X.dtype.itemsize + 4) // len(X)) + 8
    return int(X.shape[1]) * int(X.dtype.itemsize)


def _taken(parts: list[tuple[Key, Rows]], size: int) -> list[tuple[Key, Rows]]:
    """The first `size` rows of the parts, which are taken away from them."""
    whole = 0
    while len(parts[whole][1].X) <= size:
        size -= len(parts[whole][1].X)
        whole += 1
        if not size:
            break
    taken = parts[:whole]
    del parts[:whole]
    if size:
        key, rows = parts[0]
        taken.append((key, rows.part(slice(0, size))))
        parts[0] = key, rows.part(slice(size, None))
    return taken


def joined(parts: list[tuple[Key, Rows]], room: Room) -> Rows:
    """The parts in the order of their keys as one; a single one is not copied. The list is empty afterwards."""
    parts.sort(key=lambda part: part[0])
    if len(parts) == 1:
        return parts.pop()[1]
    weighted = [rows.weight is not None for _, rows in parts]
    if any(weighted) and not all(weighted):
        raise ValueError(
            "all chunks must have weights, or none, but (X, y) and (X, y, sample_weight) came: give all of them some"
        )
    y = _joined_targets([rows.y for _, rows in parts])
    weight = np.concatenate([rows.weight for _, rows in parts]) if any(weighted) else None
    return Rows(_joined_features(parts, room), y, weight)


def _joined_features(parts: list[tuple[Key, Rows]], room: Room) -> Any:
    sparse = [isinstance(rows.X, SparseRows) for _, rows in parts]
    if any(sparse) and not all(sparse):
        raise ValueError("all chunks must be sparse, or none, but both came: use .toarray() on those that are sparse")
    if all(sparse):
        return SparseRows.concatenate([rows.X for _, rows in parts])
    n, (_, first) = sum(len(rows.X) for _, rows in parts), parts[0]
    X, at = room.take((n, first.X.shape[1]), first.X.dtype), 0
    parts.reverse()
    while parts:  # each is let go when it is copied, so that no two copies of all are there
        _, rows = parts.pop()
        X[at : at + len(rows.X)] = rows.X
        at += len(rows.X)
    return X


def _joined_targets(parts: list[Array]) -> Array:
    """All targets; where some chunks are exactly one-hot, and so became labels, and others not: as rows."""
    soft = next((y for y in parts if y.ndim == 2), None)
    if soft is not None:
        parts = [y if y.ndim == 2 else np.eye(soft.shape[1], dtype=soft.dtype)[y] for y in parts]
    return np.concatenate(parts)
