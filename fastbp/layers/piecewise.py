"""Embeddings of numbers: piecewise linear functions between quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from fastbp.layers.base import Layer, Weight, check_decay, check_training
from fastbp.spec import LayerSpec
from fastbp.util.arguments import count
from fastbp.util.fields import set_fields
from fastbp.util.types import Array

LINEAR = 2  # rows of a table before those of its bins: slopes and biases


@final
@dataclass(frozen=True)
class _Start:
    """Slopes and biases from U(±1 / sqrt(dimension)), 0 for the bins."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        table = np.zeros(shape, dtype)
        limit = 1 / math.sqrt(shape[1])
        table[:LINEAR] = rng.uniform(-limit, limit, (LINEAR, shape[1]))
        return table


@final
@dataclass(frozen=True, init=False)
class PiecewiseLinearEmbedding(Layer):
    """Replaces columns of numbers by vectors, piecewise linear functions of each column alone.

    ::

        e_t = (x - edge_t) / (edge_t+1 - edge_t), between 0 and 1, but unbounded beyond the first and last edge
        a = x w + b + sum_t e_t V_t
        A = [other columns, a of column c1, a of column c2, …]        columns in ascending order

    Parameters
    ----------
    edges : dict of int to sequence of float, or sequence of sequences
        ``{column: edges}``, as `quantile_edges` computes them, or edges for columns 0, 1, …; of each column two or
        more, in ascending order.
    dimension : int, optional
        Length of the vectors.
    columns : iterable of int, optional
        The embedded columns of the input, counted from 0, where edges are no dict.
    trainable, learning_rate_multiplier, weight_decay_multiplier : optional
        As in `Dense`; the decay is that of all weights.

    Raises
    ------
    ValueError
        If there are no columns, or edges are not in order or not finite.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    PeriodicEmbedding : Waves of a column.
    ColumnEmbedding : Of categories.

    Notes
    -----
    Shapes: X (n, in); with k columns, for each a table (2 + bins, dimension) of w, b and V; A (n, in - k + k ·
    dimension). w and b start from U(±1 / sqrt(dimension)), V from 0. Nothing of the size rows · columns · bins is ever
    computed: a step costs as much for a hundred bins as for ten. Neither Keras nor PyTorch has such a layer.

    References
    ----------
    Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning", 2022; version B of
    their package rtdl_num_embeddings.

    Examples
    --------
    >>> X = np.linspace(0, 1, 50)[:, None] ** 2
    >>> edges = PiecewiseLinearEmbedding.quantile_edges(X, bins=4)
    >>> model = Sequential([PiecewiseLinearEmbedding(edges, 3), Dense(1)], input_size=1)
    >>> [W.shape for W in model.get_weights()]
    [(6, 3), (3, 1), (1,)]
    """

    has_weights: ClassVar[bool] = True

    edges: tuple[tuple[float, ...], ...]
    columns: tuple[int, ...]
    dimension: int
    trainable: bool
    learning_rate_multiplier: float
    weight_decay_multiplier: float | None

    def __init__(
        self,
        edges: Mapping[int, Iterable[float]] | Iterable[Iterable[float]],
        dimension: int = 16,
        columns: Iterable[int] | None = None,
        *,
        trainable: bool = True,
        learning_rate_multiplier: float = 1.0,
        weight_decay_multiplier: float | None = None,
    ) -> None:
        if isinstance(edges, Mapping):
            if columns is not None:
                raise TypeError(
                    "columns must not be given with a dict, whose keys are the columns: leave it out, or pass a list "
                    "of edges"
                )
            columns, edges = list(edges), edges.values()
        given = [tuple(float(edge) for edge in own) for own in edges]
        places = [count(c, "a column", 0) for c in (range(len(given)) if columns is None else columns)]
        if not given or len(set(places)) < len(places) or len(places) != len(given):
            raise ValueError(
                "a PiecewiseLinearEmbedding must have edges for each of one or more different columns, got edges for "
                f"{len(given)} and the columns {places}: pass {{column: edges}}"
            )
        for column, own in zip(places, given, strict=True):
            ascending = all(low < high for low, high in pairwise(own))
            if len(own) < 2 or not ascending or not all(map(math.isfinite, own)):
                raise ValueError(
                    f"edges of column {column} must be two or more finite numbers in ascending order, got "
                    f"{list(own[:4])}{'…' * (len(own) > 4)}: use quantile_edges, and leave out constant columns"
                )
        order = sorted(range(len(places)), key=places.__getitem__)
        set_fields(
            self,
            edges=tuple(given[i] for i in order),
            columns=tuple(places[i] for i in order),
            dimension=count(dimension, "dimension"),
            trainable=trainable,
            learning_rate_multiplier=learning_rate_multiplier,
            weight_decay_multiplier=weight_decay_multiplier,
        )
        check_training(self)
        check_decay(self)

    @staticmethod
    def quantile_edges(
        X: npt.ArrayLike, bins: int = 48, columns: Iterable[int] | None = None
    ) -> dict[int, list[float]]:
        """Edges of the bins of a `PiecewiseLinearEmbedding`: the distinct ones among evenly spaced quantiles.

        Parameters
        ----------
        X : array-like (n, features)
            Training rows.
        bins : int, default 48
            Bins of a column, at most.
        columns : iterable of int, optional
            Which columns; all of them by default.

        Returns
        -------
        dict
            {column: edges}, without columns that are constant.

        Raises
        ------
        ValueError
            If bins is less than 1.

        Examples
        --------
        >>> PiecewiseLinearEmbedding.quantile_edges([[0.0], [1.0], [2.0], [4.0]], bins=2)
        {0: [0.0, 1.5, 4.0]}
        """
        values = np.asarray(X)
        shares = np.linspace(0, 1, count(bins, "bins") + 1)
        chosen = range(values.shape[1]) if columns is None else columns
        found = {int(column): np.unique(np.quantile(values[:, column], shares)).tolist() for column in chosen}
        return {column: edges for column, edges in found.items() if len(edges) > 1}

    @property
    def tables(self) -> tuple[tuple[int, int, int], ...]:
        """(column, rows, dimension) of each table, by column."""
        pairs = zip(self.columns, self.edges, strict=True)
        return tuple((column, LINEAR + len(own) - 1, self.dimension) for column, own in pairs)

    def units_of(self, inputs: int | None) -> int | None:
        """The number of outputs for so many inputs; ValueError if a column is missing."""
        if inputs is None:
            return None
        if self.columns[-1] >= inputs:
            raise ValueError(
                f"a PiecewiseLinearEmbedding of column {self.columns[-1]} needs at least {self.columns[-1] + 1} "
                f"inputs, got {inputs}: count columns from 0"
            )
        return inputs + len(self.columns) * (self.dimension - 1)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        return [Weight(f"embedding_{column}", (rows, width), _Start()) for column, rows, width in self.tables]

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(
            units,
            kind="piecewise",
            use_bias=False,
            tables=self.tables,
            edges=self.edges,
            multiplier=self.learning_rate_multiplier,
            decay=self.weight_decay_multiplier,
            trainable=self.trainable,
        )

    def label(self, activation: str) -> str:
        return f"PiecewiseLinearEmbedding({self.dimension})"
