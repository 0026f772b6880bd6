"""`open`: the source for a file, by its extension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbp.sources.arrays import HDF5, npy
from fastbp.sources.base import Path_, Source
from fastbp.sources.csv_files import CSV
from fastbp.sources.npz import Npz
from fastbp.sources.parquet import Parquet
from fastbp.tables.table_files import PARQUET, TEXT, ending_of
from fastbp.tables.text.dialect import dialect_of
from fastbp.util.files import check_regular

_ENDINGS = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".pq", ".h5", ".hdf5")


def open(
    path: Path_ | Sequence[Path_],
    target: Any = None,
    *,
    features: Any = None,
    weight: Any = None,
    scale: float | None = None,
    chunk_rows: int | None = None,
    separator: str | None = None,
    decimal: str = ".",
    encoding: str | None = None,
) -> Source:
    """Open a file, or several tables with the same columns, as a source of chunks (X, y).

    Parameters
    ----------
    path : str, path-like or sequence of these
        The extension determines the format: .npy; .npz, .h5, .hdf5; .csv, .tsv (also .gz, .bz2, .xz, .zst), .parquet,
        .pq. Only tables may be a list of files. A .csv file without a header row has columns 0, 1, …
    target : str, int, list or path-like, optional
        Targets, all numbers, class labels from 0: for tables a column or a list of columns; for .npz and HDF5 a member
        or dataset; for .npy another file. None for rows to predict.
    features : str or list, optional
        Tables: columns, by default all others. .npz and HDF5: member or dataset, by default "X".
    weight : str, int or path-like, optional
        Sample weights, given like target.
    scale : float, optional
        Factor for X, for example 1 / 255 for images.
    chunk_rows : int, optional
        Rows per chunk, by default as many as 4 MiB of float32 hold.
    separator, decimal, encoding : str, optional
        Of text files, as in `fastbp.datasets.read_csv`.

    Returns
    -------
    Source
        Rows of more than one axis are flattened.

    Raises
    ------
    ValueError
        For other extensions, missing names and invalid files.

    Notes
    -----
    Parquet needs the extra ``parquet``, HDF5 the extra ``hdf5``. With pyarrow (extra ``csv``) text is read about ten
    times as fast, with the same result. A chunk has the same rows, whatever reads it.

    Examples
    --------
    >>> open("train.txt")
    Traceback (most recent call last):
    ...
    ValueError: the file extension must be .npy, .npz, .csv, .tsv, .parquet, .pq, .h5 or .hdf5, got train.txt
    """
    several = not isinstance(path, str | Path) and isinstance(path, Sequence)
    paths = [Path(p) for p in path] if several else [Path(path)]  # type: ignore[arg-type, union-attr]
    if not paths:
        raise ValueError("path must name at least one file, got an empty list: pass the files")
    kinds = {_ending(p) for p in paths}
    for each in paths:
        check_regular(each)
    if len(kinds) > 1:
        raise ValueError(f"files of a source must be of one kind, got {', '.join(sorted(kinds))}: open one kind")
    kind = kinds.pop()
    if kind in TEXT:
        dialect = dialect_of(separator, decimal, encoding)
        return CSV(paths, target, features, weight, scale, chunk_rows, dialect)
    if kind in PARQUET:
        return Parquet(paths, target, features, weight, scale, chunk_rows)
    if several and len(paths) > 1:
        raise ValueError(f"several files must be tables, .csv or .parquet, got {kind}: open them one by one")
    if kind == ".npy":
        if features is not None:
            raise ValueError(f"features must be left out for .npy, which holds only X, got {features!r}")
        return npy(paths[0], target, weight, scale, chunk_rows)
    names = ("X" if features is None else features, target, weight)
    return (Npz if kind == ".npz" else HDF5)(paths[0], names, scale, chunk_rows)


def _ending(path: Path) -> str:
    found = ending_of(path) or path.suffix.lower()
    if found not in _ENDINGS and found not in TEXT:
        raise ValueError(f"the file extension must be {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}, got {path}")
    return found
