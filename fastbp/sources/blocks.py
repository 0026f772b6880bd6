"""Sources whose rows can be read from any place: arrays, memory maps, HDF5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.data.arrays import numeric
from fastbp.data.frames import is_table
from fastbp.data.tensors import is_tensor
from fastbp.sources.base import Chunk, Path_, Source, check_weight, needs


class ArraySource(Source):
    """Arrays of any real type, such as memory maps: what is read of them is converted, a chunk at a time.

    X: (n, …), of which each row is laid out flat; whatever has a shape and a dtype and can be sliced like an array will
    do, such as a dataset of zarr. y: (n,) or (n, outputs), or None. sample_weight: (n,).
    scale: a number that X is multiplied by, for example 1 / 255 for images. chunk_rows: by default so many that X has
    4 MiB in float32. Raises TypeError or ValueError for what is no array of numbers, or of another length.

    >>> images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    >>> source = ArraySource(images, [0, 1, 1], scale=0.5, chunk_rows=2)
    >>> [(X.shape, y.tolist()) for X, y in source]
    [((2, 4), [0, 1]), ((1, 4), [1])]

    An array of float32 given to `Sequential.fit` itself is shuffled as a whole, and needs no copy either.
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
        """Check the arrays and learn their lengths."""
        X = arrays[0]
        for name, array in zip(("X", "y", "sample_weight"), arrays, strict=True):
            if array is None and name != "X":
                continue
            if getattr(getattr(array, "dtype", None), "kind", "") not in ("b", "i", "u", "f"):
                came = getattr(array, "dtype", type(array).__name__)
                raise TypeError(f"{name} must be an array of real numbers, but its type is {came}: convert it")
            if not array.shape or array.shape[0] != X.shape[0]:
                raise ValueError(
                    f"{name} must have a row for each of the {X.shape[0] if X.shape else 0} of X, but its shape is "
                    f"{array.shape}: pass arrays of one length"
                )
        if len(X.shape) < 2 or 0 in X.shape:
            raise ValueError(f"X must have rows and columns, (rows, features), but its shape is {X.shape}: reshape it")
        self.rows = int(X.shape[0])
        self.features = int(np.prod(X.shape[1:]))
        self.options["types"] = [None if array is None else str(array.dtype) for array in arrays]
        self._step = self._rows_of_a_chunk(X)
        self.pieces = -(-self.rows // self._step)

    def _rows_of_a_chunk(self, X: Any) -> int:
        return self.fitting_rows(self.features)

    def _opened(self) -> AbstractContextManager[tuple[Any, ...]]:
        return nullcontext(self._arrays)

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
    """What can be sliced as it is; the rest as an array."""
    foreign = isinstance(values, list | tuple) or is_table(values) or is_tensor(values)
    return numeric(values, name) if foreign and not isinstance(values, np.ndarray) else values


def npy(
    path: Path_, target: Path_ | None, weight: Path_ | None, scale: float | None, chunk_rows: int | None
) -> ArraySource:
    """Files of an array each, mapped into memory rather than read."""
    check_weight(target, weight)
    files = [Path(file) for file in (path, target, weight) if file is not None]
    arrays = []
    for file in files:
        try:
            arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise ValueError(f"{file} must be a .npy file of numbers, but NumPy says: {error}. Save it anew") from error
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
        with self._opened() as arrays:
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
        """Whole chunks of the file, which are decompressed as a whole."""
        rows = self.fitting_rows(self.features)
        own = X.chunks[0] if X.chunks else 1
        return rows if self.chunk_rows else max(1, rows // own) * own
