"""IDX files, the format of MNIST."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from fastbp.util.files import check_regular
from fastbp.util.types import Array

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> Array:
    """Read one array from an IDX file (the format of MNIST), gzipped or not, in the shape and dtype its header states.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    ndarray
        The array.

    Raises
    ------
    ValueError
        If it is not an IDX file, or if header and size disagree.
    """
    data = _read_bytes(Path(path))
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        raise ValueError(f"{path} is not an IDX file: it must start with two zero bytes, a type and the number of axes")
    start = 4 + 4 * data[3]
    shape = tuple(int(n) for n in np.frombuffer(data[4 : min(start, len(data) // 4 * 4)], ">i4"))
    dtype = np.dtype(IDX_TYPES[data[2]])
    n_bytes = math.prod(shape) * dtype.itemsize
    if len(shape) != data[3] or min(shape, default=0) < 0 or len(data) - start != n_bytes:
        raise ValueError(f"{path} is damaged: its header states {data[3]} axes of {shape}, got {len(data)} bytes")
    return np.frombuffer(data, dtype, offset=start).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    check_regular(path)
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): download it again") from error
