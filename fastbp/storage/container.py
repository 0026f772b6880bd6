"""The safetensors container: a JSON header and the bytes of the tensors, read without trusting either.

The package safetensors reads the same files, but ends the process where memory is short, and takes the last of two
entries with one name. Format: https://huggingface.co/docs/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fastbp.storage.errors import CheckpointError
from fastbp.util.files import open_regular
from fastbp.util.types import Array

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}
LARGEST_HEADER = 1 << 24  # bytes; of 100,000 tensors
MOST_BRACKETS = 1 << 20  # lists and objects of a JSON text, which take 100 bytes each and more once they are read
MOST_NESTED = 400  # lists and objects within one another: 200 schedules, 130 residual blocks
REMEDY = "use another copy of the file"
_TOO_DEEP = f"lists and objects may be nested {MOST_NESTED} deep, got more: nest fewer layers or schedules"
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[][{}]', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


class Entry(NamedTuple):
    """What a header says of a tensor; start and end count bytes from the end of the header."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    end: int


def read(name: str, with_tensors: bool = True) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata and tensors of a file; CheckpointError if it is damaged, OSError if it cannot be opened."""
    with open_regular(name, CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        if len(start) < 8:
            raise CheckpointError(f"{name} is not a fastbp model: it has {size} bytes, too few; {REMEDY}")
        length = struct.unpack("<Q", start)[0]
        if length > min(size - 8, LARGEST_HEADER):
            raise CheckpointError(
                f"{name} is damaged or not a fastbp model: its header claims {length} of {size} bytes; {REMEDY}"
            )
        try:
            header = parsed(file.read(length).decode())
            metadata, entries = _metadata(header), _entries(header, size - 8 - length)
            return metadata, _tensors(file, entries, size - 8 - length) if with_tensors else {}
        except CheckpointError as error:
            raise CheckpointError(f"{name} is not a fastbp model: {error}; {REMEDY}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise CheckpointError(f"{name} is damaged or not a fastbp model: {error}; {REMEDY}") from error


def parsed(text: str, most_brackets: int = MOST_BRACKETS) -> Any:
    """A JSON value; ValueError for doubled keys, and for more or deeper lists and objects than any file of fastbp has.

    Before they are made: Python 3.14 makes tens of thousands within one another where earlier ones stop at a thousand.
    """
    n_brackets = text.count("[") + text.count("{")
    if n_brackets > most_brackets:
        raise ValueError(f"it has {n_brackets} lists and objects, more than the {most_brackets} allowed")
    if n_brackets > MOST_NESTED:
        _check_text(text)
    return json.loads(text, object_pairs_hook=_object)


def _check_text(text: str) -> None:
    """check_depth of a JSON text, up to the first that is too deep; the innermost may be empty, so one more passes."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += _STEPS.get(match[0], 0)
        if depth > MOST_NESTED + 1:
            raise ValueError(_TOO_DEEP)


def check_depth(value: Any) -> None:
    """ValueError for lists and objects nested deeper than MOST_NESTED."""
    level, depth = [value], 0
    while level := [child for item in level for child in _children(item)]:
        depth += 1
        if depth > MOST_NESTED:
            raise ValueError(_TOO_DEEP)


def _children(item: Any) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"the key {doubled[:50]!r} occurs twice in one object")
    return result


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata do not map strings to strings")
    return metadata


def _entries(header: dict[str, Any], n_bytes: int) -> list[Entry]:
    """Every tensor of the header; together they are all the bytes of the file, without gaps or overlaps."""
    entries = [_entry(name, value) for name, value in header.items()]
    place = 0
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.end)):
        if entry.start != place or entry.end - entry.start != math.prod(entry.shape) * entry.dtype.itemsize:
            raise ValueError(
                f"the tensor {entry.name[:50]!r} of shape {str(entry.shape)[:50]} has the bytes "
                f"{entry.start} to {entry.end}"
            )
        place = entry.end
    if place != n_bytes:
        raise ValueError(f"its tensors have {place} bytes, but the file has {n_bytes}")
    return entries


def _entry(name: str, value: dict[str, Any]) -> Entry:
    if value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor {name[:50]!r} must have dtype, shape and data_offsets, and nothing else")
    start, end = map(int, value["data_offsets"])
    numbers = [*value["shape"], *value["data_offsets"]]
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise ValueError(f"the tensor {name[:50]!r} has sizes or offsets that are not counts")
    if value["dtype"] not in DTYPES:
        raise CheckpointError(f"it holds tensors of type {str(value['dtype'])[:20]}")
    return Entry(name, DTYPES[value["dtype"]], tuple(value["shape"]), start, end)


def _tensors(file: BinaryIO, entries: list[Entry], n_bytes: int) -> dict[str, Array]:
    return {entry.name: _array(file, entry.dtype, entry.shape, entry.start - n_bytes) for entry in entries}


def _array(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...], before_end: int) -> Array:
    array: Array = np.empty(shape, dtype)
    file.seek(before_end, os.SEEK_END)
    if array.size and file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
        raise ValueError("it became shorter while it was read")
    return array
