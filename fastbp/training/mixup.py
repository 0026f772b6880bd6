"""Mixup: train on convex combinations of pairs of rows and of their targets.

    x <- lambda x + (1 - lambda) x'        y <- lambda y + (1 - lambda) y'        lambda ~ Beta(alpha, alpha)

x' is another row of the same batch; lambda is drawn once per step, as in the code of Zhang, Cisse, Dauphin and
Lopez-Paz 2018. Class labels become rows of probabilities for cross-entropy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.data.arrays import Rows
from fastbp.data.csr import SparseRows
from fastbp.layers import ColumnEmbedding, Layer
from fastbp.util.arguments import real
from fastbp.util.random_streams import Purpose, Stream

Indices = npt.NDArray[np.int64]


class Mixup:
    """Blends the rows of steps; the result does not depend on how steps are grouped into slices."""

    def __init__(self, alpha: float, seed: int, classes: int) -> None:
        self._stream, self._alpha, self._classes = Stream(seed, Purpose.MIXUP), alpha, classes

    @staticmethod
    def most_rows(rows: Rows) -> int:
        """Rows to blend at a time: about 64 MiB."""
        row_bytes: int = rows.X.shape[1] * rows.X.dtype.itemsize
        return max(1, (1 << 26) // row_bytes)

    def __call__(self, rows: Rows, order: Indices, bounds: Indices, step: int) -> Rows:
        """The blended rows of steps step, step + 1, …, in training order."""
        partners, shares = np.empty_like(order), np.empty(len(order))
        for number, (begin, end) in enumerate(pairwise(bounds.tolist())):
            generator = self._stream.at(step + number)
            shares[begin:end] = generator.beta(self._alpha, self._alpha)
            partners[begin:end] = order[begin:end][generator.permutation(end - begin)]
        share = shares.astype(rows.X.dtype)[:, np.newaxis]
        y = rows.y
        if y.dtype == np.int64:
            y = np.eye(self._classes, dtype=rows.X.dtype)[y]
        weight = None if rows.weight is None else rows.weight[order]
        return Rows(_blend(rows.X, order, partners, share), _blend(y, order, partners, share), weight)


def _blend(values: Any, order: Indices, partners: Indices, share: Any) -> Any:
    mixed = values[order]
    mixed *= share
    other = values[partners]
    other *= 1 - share
    mixed += other
    return mixed


def check(alpha: Any, rows: Rows, loss: str, first: Layer) -> float:
    """Validate fit's argument mixup: 0 for none, else positive, for dense rows and targets that can be blended."""
    share = real(alpha, "mixup", "at least 0 and finite", lambda v: 0 <= v < np.inf, "pass 0 for none, or 0.2")
    if share and isinstance(rows.X, SparseRows):
        raise ValueError("mixup blends dense rows, but X is sparse: pass X.toarray(), or leave mixup out")
    if share and isinstance(first, ColumnEmbedding):
        raise ValueError("mixup blends numbers, but a ColumnEmbedding reads codes: encode one-hot, or leave mixup out")
    if share and loss in NOT_BLENDED:
        raise ValueError(f"mixup needs targets that can be blended, which those of {loss} cannot: leave mixup out")
    return share


NOT_BLENDED = ("hinge", "categorical_hinge")
