"""Columns of category codes, checked before an embedding reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.data.csr import SparseRows
from fastbp.layers import ColumnEmbedding, Layer
from fastbp.util.types import Array


def check_codes(X: Any, first: Layer, name: str) -> None:
    """Raise ValueError unless the columns of X, rows as the engine takes them, hold codes the first layer knows."""
    if not isinstance(first, ColumnEmbedding):
        return
    first.units_of(X.shape[1])
    for column, codes, _ in first.tables:
        values = _sparse_column(X, column) if isinstance(X, SparseRows) else X[:, column]
        # a code that is not whole differs from its own integer part
        if values.min() < 0 or values.max() >= codes or (values != values.astype(np.int64)).any():
            row = int(((values < 0) | (values >= codes) | (values != np.floor(values))).argmax())
            raise ValueError(
                f"{name} must hold whole codes from 0 to {codes - 1} in column {column}, which a ColumnEmbedding "
                f"reads, but holds {values[row]:g} at row {row}: number its categories from 0, with one number for "
                f"all that are new, or give that column more codes"
            )


def _sparse_column(X: SparseRows, column: int) -> Array:
    """One column with its zeros."""
    own = slice(int(X.starts[0]), int(X.starts[-1]))
    rows = np.repeat(np.arange(len(X)), X.starts[1:] - X.starts[:-1])
    result, here = np.zeros(len(X), X.dtype), X.columns[own] == column
    np.add.at(result, rows[here], X.values[own][here])
    return result
