"""Checks of NumPy archives (.npz) before memory is taken for their arrays."""

from __future__ import annotations

import math
import zipfile

import numpy as np

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def check_member(archive: zipfile.ZipFile, name: str) -> None:
    """ValueError if an array claims more bytes than the archive holds for it."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            return  # strings and structures in UTF-8
        shape, _, dtype = _HEADERS[version](file)
    size = archive.getinfo(name).file_size
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name} claims an array of shape {shape}, but has {size} bytes")
