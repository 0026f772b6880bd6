"""NumPy archives (.npz), read as streams: compressed members need not fit into memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from fastbp.sources.base import Chunk, Path_, Source, check_weight, naming_damage
from fastbp.util.files import reading

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Member:
    """An array in an archive, read sequentially."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"{name} has version {version} of NumPy's format, which is not for plain numbers")
        self.shape, fortran, self.dtype = _HEADERS[version](file)
        if self.dtype.kind not in "biuf":
            raise ValueError(f"{name} must hold real numbers, got {self.dtype}: save numbers")
        if fortran and len(self.shape) > 1:
            raise ValueError(f"{name} is in Fortran order: save np.ascontiguousarray of it, so that rows can be read")

    def read(self, rows: int) -> npt.NDArray[Any]:
        """The next rows."""
        row = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        data = self._file.read(rows * row)
        if len(data) != rows * row:
            raise ValueError(f"{self._name} has fewer rows than its header says: the file is truncated")
        return np.frombuffer(data, self.dtype).reshape(-1, *self.shape[1:])


class Npz(Source):
    """Members of a .npz archive."""

    def __init__(
        self,
        path: Path_,
        names: tuple[str, str | None, str | None],
        scale: float | None,
        chunk_rows: int | None,
    ) -> None:
        super().__init__([Path(path)], scale, chunk_rows)
        check_weight(*names[1:])
        self._names = names
        self.options["names"] = list(names)
        with reading(self.files[0]), ExitStack() as stack:
            members = self._open(stack)
            lengths = [member.shape[:1] for member in members if member is not None]
            if len(set(lengths)) > 1 or not lengths[0]:
                raise ValueError(f"the members {names} of {path} must have equal lengths, got {lengths}: save others")
            self.rows = int(lengths[0][0])

    def _open(self, stack: ExitStack) -> list[Member | None]:
        path = self.files[0]
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(f"{path} must be a .npz archive ({error}): save it again") from error
        members: list[Member | None] = []
        for name in self._names:
            if name is not None and f"{name}.npy" not in archive.namelist():
                there = ", ".join(member.removesuffix(".npy") for member in archive.namelist())
                raise ValueError(
                    f"{path} must have a member {name!r}, but it has {there}: name those to read by features=, target= "
                    "and weight="
                )
            file = None if name is None else stack.enter_context(archive.open(f"{name}.npy"))
            members.append(None if file is None else Member(file, f"{name} of {path}"))
        return members

    @naming_damage
    def read_piece(self, piece: int) -> Iterator[tuple[str, Chunk]]:
        with ExitStack() as stack:
            members = self._open(stack)
            assert members[0] is not None
            step = self.fitting_rows(int(np.prod(members[0].shape[1:])))
            for start in range(0, self.rows or 0, step):
                rows = min(step, (self.rows or 0) - start)
                X, y, weight = (None if member is None else member.read(rows) for member in members)
                assert X is not None
                yield f"{self.files[0].name} from row {start}", self.chunk(X.reshape(len(X), -1), y, weight)
