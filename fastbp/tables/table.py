"""`Table`: the contents of one file, as a tuple of arrays, and as columns without one array of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from fastbp.tables.columns import Columns, joined
from fastbp.util.types import Array


class _Elements(NamedTuple):
    X: Array
    y: Array | None
    columns: tuple[str, ...] = ()


class Table(_Elements):
    """The contents of one file: a tuple (X, y, columns).

    Parameters
    ----------
    X : array, shape (n, features)
        Numbers, with NaN for missing values; dtype object if there are strings, which a `Preprocessor` encodes. An
        array of objects is several times as large as its file, and made when it is first asked for.
    y : array, shape (n,), or None
        Targets, if there are any.
    columns : tuple of str, optional
        Names of the features, where the file has them.
    lines : array-like, shape (n,), optional
        The line of the file on which each row begins, as an editor counts, or its row in an Excel sheet; looked up
        when it is asked for. Not an element of the tuple.
    """

    lines: Any = None

    def __new__(cls, X: Array, y: Array | None, columns: tuple[str, ...] = (), lines: Any = None) -> Table:
        """A tuple of three, with lines as an attribute."""
        self = super().__new__(cls, X, y, columns)
        self.lines = lines
        return self

    @staticmethod
    def of(features: Columns, y: Array | None) -> Table:
        """Columns of a file and their targets."""
        if features.matrix is None:
            return _TableOfColumns(features, y)
        return Table(features.matrix, y, features.names, features.lines)

    @property
    def features(self) -> Columns:
        """The columns with their names, for a `Preprocessor`: it takes them in place of X, in less memory."""
        return table_of(self.X, self.columns, self.lines)

    def _replace(self, **changes: Any) -> Table:
        return Table(**(self._asdict() | changes), lines=self.lines)


class _TableOfColumns(Table):
    """A table whose X is made when it is first asked for; until then the tuple has None in its place."""

    _features: Columns

    def __new__(cls, features: Columns, y: Array | None) -> _TableOfColumns:
        self: _TableOfColumns = _Elements.__new__(cls, None, y, features.names)  # type: ignore[arg-type]
        self.lines, self._features = features.lines, features
        return self

    @property
    def features(self) -> Columns:
        return self._features

    @cached_property
    def X(self) -> Array:
        return joined(self._features)

    def _replace(self, **changes: Any) -> Table:  # type: ignore[override]
        if changes.keys() == {"y"}:
            return _TableOfColumns(self._features, changes["y"])
        return super()._replace(**changes)

    # What reads the tuple's elements without asking for their names:

    _make = Table._make  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.X, self.y, self.columns))

    def __getitem__(self, places: Any) -> Any:
        return tuple(self)[places]

    def __add__(self, other: Any) -> Any:
        return tuple(self) + other

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, tuple) else other)

    __hash__ = None  # type: ignore[assignment]  # as of any tuple with arrays

    def __repr__(self) -> str:
        return repr(Table(*self))

    def __reduce__(self) -> Any:
        return Table, (*self, self.lines)


def table_of(X: Array, columns: tuple[str, ...], lines: Any = None) -> Columns:
    """The columns of an array, with their names."""
    return Columns(columns, list(X.T), X if X.dtype.kind in "iuf" else None, lines)
