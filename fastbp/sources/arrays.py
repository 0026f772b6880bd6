"""Sources with random access to rows: arrays, memory maps, HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.data.arrays import numeric
from fastbp.data.frames import is_table
from fastbp.data.tensors import is_tensor
from fastbp.sources.base import Chunk, Path_, Source, check_weight, naming_damage, needs
from fastbp.util.files import check_regular, of_system, reading


class ArraySource(Source):
    """A source from arrays of any real dtype, such as memory maps, converted one chunk at a time.

    Parameters
    ----------
    X : array-like (n, …)
        Features; rows of several axes are flattened. Anything with a shape and a dtype that can be sliced like an array
        works, such as a zarr dataset.
    y : array-like (n,) or (n, outputs), optional
        Targets.
    sample_weight : array-like (n,), optional
        Weights of the rows.
    scale : float, optional
        Factor for X, for example 1 / 255 for images.
    chunk_rows : int, optional
        Rows per chunk, by default as many as 4 MiB of float32 hold.
    files : sequence of Path, optional
        The files the arrays belong to, for messages and to identify the source.

    Raises
    ------
    TypeError, ValueError
        For anything but arrays of numbers of equal length.

    Notes
    -----
    A float32 array passed to `Sequential.fit` directly is shuffled as a whole and needs no copy either.

    Examples
    --------
    >>> images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    >>> source = ArraySource(images, [0, 1, 1], scale=0.5, chunk_rows=2)
    >>> [(X.shape, y.tolist()) for X, y in source]
    [((2, 4), [0, 1]), ((1, 4), [1])]
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        scale: float | None = None,
        chunk_rows: int | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        super().__init__(files, scale, chunk_rows)
        check_weight(y, sample_weight)
        given = {"X": X, "y": y, "sample_weight": sample_weight}
        self._arrays = tuple(_array(values, name) for name, values in given.items())
        self._measure(self._arrays)

    def _measure(self, arrays: tuple[Any, ...]) -> None:
        """Check the arrays and record their lengths."""
        X = arrays[0]
        for name, array in zip(("X", "y", "sample_weight"), arrays, strict=True):
            if array is None and name != "X":
                continue
            if getattr(getattr(array, "dtype", None), "kind", "") not in ("b", "i", "u", "f"):
                got = getattr(array, "dtype", type(array).__name__)
                raise TypeError(f"{name} must be an array of real numbers, got {got}: convert it")
            if not array.shape or array.shape[0] != X.shape[0]:
                raise ValueError(
                    f"{name} must have a row for each of the {X.shape[0] if X.shape else 0} of X, got shape "
                    f"{array.shape}: pass arrays of equal length"
                )
        if len(X.shape) < 2 or 0 in X.shape:
            raise ValueError(f"X must have rows and columns, (rows, features), got shape {X.shape}: reshape it")
        self.rows = int(X.shape[0])
        self.features = int(np.prod(X.shape[1:]))
        self.options["types"] = [None if array is None else str(array.dtype) for array in arrays]
        self._step = self._rows_of_a_chunk(X)
        self.pieces = -(-self.rows // self._step)

    def _rows_of_a_chunk(self, X: Any) -> int:
        return self.fitting_rows(self.features)

    def _opened(self) -> AbstractContextManager[tuple[Any, ...]]:
        return nullcontext(self._arrays)

    @naming_damage
    def read_piece(self, piece: int) -> Iterator[tuple[str, Chunk]]:
        start = piece * self._step
        part = slice(start, min(start + self._step, self.rows or 0))
        with self._opened() as arrays:
            X, *others = (array if array is None else array[part] for array in arrays)
        assert X is not None
        yield f"{self._name} from row {start}", self.chunk(X.reshape(len(X), -1), *others)

    @property
    def _name(self) -> str:
        return self.files[0].name if self.files else "the arrays"


def _array(values: Any, name: str) -> Any:
    """Anything that can be sliced as it is; the rest as an array."""
    foreign = isinstance(values, list | tuple) or is_table(values) or is_tensor(values)
    return numeric(values, name) if foreign and not isinstance(values, np.ndarray) else values


def npy(
    path: Path_, target: Path_ | None, weight: Path_ | None, scale: float | None, chunk_rows: int | None
) -> ArraySource:
    """One file per array, memory-mapped."""
    check_weight(target, weight)
    files = [Path(file) for file in (path, target, weight) if file is not None]
    arrays = []
    for file in files:
        check_regular(file)
        try:
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # NumPy parses the header as Python, with errors of many types
            if of_system(error):
                raise
            raise ValueError(f"{file} must be a .npy file of numbers ({error}): save it again") from error
    return ArraySource(*arrays, scale=scale, chunk_rows=chunk_rows, files=files)


class HDF5(ArraySource):
    """Datasets of an HDF5 file, which is open only while a chunk is read."""

    def __init__(
        self,
        path: Path_,
        names: tuple[str, str | None, str | None],
        scale: float | None,
        chunk_rows: int | None,
    ) -> None:
        try:
            import h5py
        except ImportError as error:
            raise needs("h5py", "hdf5", "reading HDF5") from error
        self._h5py, self._path, self._names = h5py, Path(path), names
        Source.__init__(self, [self._path], scale, chunk_rows)
        check_weight(*names[1:])
        self.options["names"] = list(names)
        with reading(self._path), self._opened() as arrays:
            self._measure(arrays)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, ...]]:
        with self._h5py.File(self._path, "r") as file:
            for name in self._names:
                if name is not None and not isinstance(file.get(name), self._h5py.Dataset):
                    found: list[str] = []
                    file.visit(found.append)
                    there = ", ".join(found) or "none"
                    raise ValueError(
                        f"{self._path} must have a dataset {name!r}, but it has {there}: name those to read by "
                        "features=, target= and weight="
                    )
            yield tuple(None if name is None else file[name] for name in self._names)

    def _rows_of_a_chunk(self, X: Any) -> int:
        """A multiple of the chunk size of the file, which is decompressed chunk by chunk."""
        rows = self.fitting_rows(self.features)
        own = X.chunks[0] if X.chunks else 1
        return rows if self.chunk_rows else max(1, rows // own) * own
