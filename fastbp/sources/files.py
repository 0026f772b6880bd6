"""`open`: the source for a file, by its ending."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbp.sources.arrays import HDF5, npy
from fastbp.sources.base import Path_, Source
from fastbp.sources.csv_files import CSV
from fastbp.sources.npz import Npz
from fastbp.sources.parquet import Parquet

_ENDINGS = (".npy", ".npz", ".csv", ".csv.gz", ".parquet", ".pq", ".h5", ".hdf5")


def open(
    path: Path_ | Sequence[Path_],
    target: Any = None,
    *,
    features: Any = None,
    weight: Any = None,
    scale: float | None = None,
    chunk_rows: int | None = None,
) -> Source:
    """A source of chunks (X, y) from a file, or from several tables of the same columns, by the file's ending.

    .npy: X; target and weight are such files too, and rows of more than one axis are laid out flat.
    .npz, .h5, .hdf5: features, target and weight are names of members or datasets; features is by default "X".
    .csv, .csv.gz, .parquet, .pq: names of columns, where target and features may be lists; features are by default all
    the others. path may then be a list of files. A .csv file without a line of names has columns 0, 1, …
    target None: rows to predict from. scale: a number that X is multiplied by, as 1 / 255 for images. chunk_rows: rows
    of a chunk; by default so many that X has 4 MiB in float32.
    All must be numbers, also the target: class labels from 0. Parquet needs the extra `parquet`, HDF5 `hdf5`.
    Raises ValueError for another ending, for names that are not there and for what is no such file.

    >>> open("train.txt")
    Traceback (most recent call last):
    ...
    ValueError: the ending must be .npy, .npz, .csv, .csv.gz, .parquet, .pq, .h5 or .hdf5, got train.txt
    """
    several = not isinstance(path, str | Path) and isinstance(path, Sequence)
    paths = [Path(p) for p in path] if several else [Path(path)]  # type: ignore[arg-type, union-attr]
    if not paths:
        raise ValueError("path must name at least one file, got an empty list: pass the files")
    kinds = {_ending(p) for p in paths}
    if len(kinds) > 1:
        raise ValueError(f"files of a source must be of one kind, got {', '.join(sorted(kinds))}: open one kind")
    kind = kinds.pop()
    if kind.startswith(".csv") or kind in (".parquet", ".pq"):
        table = CSV if kind.startswith(".csv") else Parquet
        return table(paths, target, features, weight, scale, chunk_rows)
    if several and len(paths) > 1:
        raise ValueError(f"several files must be tables, .csv or .parquet, got {kind}: open them one by one")
    if kind == ".npy":
        if features is not None:
            raise ValueError(f"features must be left out for .npy, which holds X alone, got {features!r}")
        return npy(paths[0], target, weight, scale, chunk_rows)
    names = ("X" if features is None else features, target, weight)
    return (Npz if kind == ".npz" else HDF5)(paths[0], names, scale, chunk_rows)


def _ending(path: Path) -> str:
    name = path.name.lower()
    found = [ending for ending in _ENDINGS if name.endswith(ending)]
    if not found:
        raise ValueError(f"the ending must be {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}, got {path}")
    return found[0]
