"""Parquet files, read in parts of row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastbp.data import frames as tables
from fastbp.sources.base import Chunk, Source, check_weight, naming_damage, needs
from fastbp.sources.csv_files import Columns
from fastbp.util.files import reading


class Parquet(Source):
    """Numeric columns of Parquet files; each row group is a piece."""

    def __init__(
        self,
        paths: Sequence[Path],
        target: Any,
        features: Sequence[str] | None,
        weight: str | None,
        scale: float | None,
        chunk_rows: int | None,
    ) -> None:
        try:
            import narwhals  # noqa: F401  used to convert tables
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise needs("pyarrow", "parquet", "reading Parquet") from error
        super().__init__(paths, scale, chunk_rows)
        check_weight(target, weight)
        self._file_class = ParquetFile
        self._groups: list[tuple[Path, int, int]] = []  # file, row group, and the file's row with which it begins
        self.rows = 0
        for path in paths:
            with reading(path), ParquetFile(path) as file:
                names, start = file.schema_arrow.names, 0
                chosen = Columns(names, target, features, weight, str(path))
                for group in range(file.metadata.num_row_groups):
                    self._groups.append((path, group, start))
                    start += file.metadata.row_group(group).num_rows
                self.rows += start
            if path == paths[0]:
                self.columns = chosen
        self.pieces = len(self._groups)
        self.options["columns"] = self.columns.chosen

    @naming_damage
    def read_piece(self, piece: int) -> Iterator[tuple[str, Chunk]]:
        path, group, start = self._groups[piece]
        chosen = self.columns
        step = self.fitting_rows(len(chosen.features))
        with reading(path), self._file_class(path) as file:
            # a single thread: the others are training
            for batch in file.iter_batches(step, row_groups=[group], columns=chosen.all, use_threads=False):
                place = f"{path.name} from row {start}"
                X = tables.array_of(batch.select(chosen.features), f"X of {place}")
                y = None
                if chosen.targets:
                    only = batch.column(chosen.targets[0]) if chosen.single else batch.select(chosen.targets)
                    y = tables.array_of(only, f"y of {place}")
                w = tables.array_of(batch.column(chosen.weights[0]), f"weights of {place}") if chosen.weights else None
                yield place, self.chunk(X, y, w)
                start += len(batch)
