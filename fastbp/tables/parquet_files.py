"""Parquet files as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastbp.tables.columns import Columns
from fastbp.tables.values import Coded
from fastbp.tables.wanted import FileTable, Wanted, chosen
from fastbp.util.types import Array


def read_parquet(path: Path, wanted: Wanted) -> FileTable:
    """Read a Parquet file; ImportError without pyarrow."""
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            'reading Parquet needs the package pyarrow: pip install "fastbp[parquet]", or save the table as .csv'
        ) from error
    try:
        with ParquetFile(path) as file:
            names = file.schema_arrow.names
            features = chosen(names, wanted, path)
            target = wanted.target if wanted.target in names else None
            table = file.read(columns=sorted({*features, *([] if target is None else [target])}))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ValueError(f"cannot read {path}: it is no Parquet file, or damaged ({error})") from error
    if not table.num_rows:
        raise ValueError(f"{path} holds no rows: add some")
    arrays = [_column(table[name], name, path, name in wanted.texts) for name in features]
    y = None if target is None else _column(table[target], target, path, False)
    return FileTable(Columns(features, arrays), y)


def _column(column: Any, name: str, path: Path, as_texts: bool) -> Array | Coded:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        if not column.null_count and not as_texts:
            return np.asarray(column.to_numpy())
        if pa.types.is_floating(kind):
            return np.asarray(pc.cast(column, pa.float64()).to_numpy(), np.float64)
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
        return numbers if not as_texts else _coded(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        return _coded(column)
    raise TypeError(
        f"column {name!r} of {path} must hold numbers, strings or booleans, got {kind}: convert it, or leave it "
        "out"
    )


def _coded(column: Any) -> Coded:
    import pyarrow.compute as pc

    encoded = column.combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return Coded(codes, encoded.dictionary.to_pylist())
