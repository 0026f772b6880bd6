"""Validation of category codes for embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.data.csr import SparseRows
from fastbp.layers import ColumnEmbedding, Layer
from fastbp.util.types import Array


def check_codes(X: Any, first: Layer, name: str) -> None:
    """Raise ValueError unless the columns of X that a ColumnEmbedding reads hold valid codes."""
    if not isinstance(first, ColumnEmbedding):
        return
    first.units_of(X.shape[1])
    for column, codes, _ in first.tables:
        values = _sparse_column(X, column) if isinstance(X, SparseRows) else X[:, column]
        # a code that is not an integer differs from its integer part
        if values.min() < 0 or values.max() >= codes or (values != values.astype(np.int64)).any():
            row = int(((values < 0) | (values >= codes) | (values != np.floor(values))).argmax())
            raise ValueError(
                f"{name} must hold integer codes from 0 to {codes - 1} in column {column}, which a ColumnEmbedding "
                f"reads, got {values[row]:g} at row {row}: number its categories from 0, with one code for all "
                f"unseen ones, or give that column more codes"
            )


def _sparse_column(X: SparseRows, column: int) -> Array:
    """One column as a dense array."""
    own = slice(int(X.starts[0]), int(X.starts[-1]))
    rows = np.repeat(np.arange(len(X)), X.starts[1:] - X.starts[:-1])
    result, here = np.zeros(len(X), X.dtype), X.columns[own] == column
    np.add.at(result, rows[here], X.values[own][here])
    return result
