"""Embeddings of categorical columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

from fastbp import initializers, regularizers
from fastbp.layers.base import Layer, Weight, check_training
from fastbp.spec import LayerSpec
from fastbp.util.arguments import count
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True, init=False)
class ColumnEmbedding(Layer):
    """Replaces columns of category codes by learned vectors; the first layer of a network on tabular data.

    ::

        A = [columns without codes, E1[X[:, c1]], E2[X[:, c2]], …]        in the order of the columns of X

    Parameters
    ----------
    cardinalities : dict of int to int, or iterable of int
        ``{column: number of codes}``, as `Preprocessor.cardinalities`; or the numbers of codes for columns 0, 1, …, or
        for `columns`.
    dimensions : int or iterable of int, optional
        Length of the vectors: one for all tables, or one each in the order of cardinalities. The default for n codes is
        ``min(600, round(1.6 n^0.56))``.
    columns : iterable of int, optional
        The embedded columns of X, counted from 0.
    embeddings_initializer : str or callable, optional
        Initial values of the tables, see `fastbp.initializers`.
    embeddings_regularizer : str or fastbp.L1L2, optional
        Penalty on the tables.
    trainable, learning_rate_multiplier : optional
        As in `Dense`.

    Raises
    ------
    ValueError
        If there are no columns, a column occurs twice, or a number is too small; if there are more than 2^24 codes,
        which float32 could not represent exactly.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    fastbp.Preprocessor : Encodes categories as codes (``encoding="codes"``).

    Notes
    -----
    Shapes: X (n, in), whose columns c1 < c2 < … hold integers from 0 to their number of codes - 1; weights E1, E2, …,
    each (codes, dimension); A (n, in - embedded columns + sum of dimensions). Data with invalid codes are rejected
    before training changes anything. Optimizers without state and weight decay update only the rows of codes that
    occur, all others update every row.

    Keras's and PyTorch's Embedding hold one table and take only integers. PyTorch initializes with N(0, 1), Keras with
    U(-0.05, 0.05), this layer with N(0, 0.05^2). The default dimension is fastai's (Howard and Gugger 2020).

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 12.4.2; Guo and Berkhahn, "Entity embeddings of
    categorical variables", 2016.

    Examples
    --------
    >>> ColumnEmbedding({3: 1000}).dimensions
    (77,)
    >>> Sequential([ColumnEmbedding([5, 9], [2, 4]), Dense(1)]).predict([[4, 8, 0.5]]).shape
    (1, 1)
    """

    has_weights: ClassVar[bool] = True

    cardinalities: tuple[int, ...]
    dimensions: tuple[int, ...]
    columns: tuple[int, ...]
    embeddings_initializer: initializers.Initializer
    embeddings_regularizer: regularizers.L1L2 | None
    trainable: bool
    learning_rate_multiplier: float

    def __init__(
        self,
        cardinalities: Mapping[int, int] | Iterable[int],
        dimensions: int | Iterable[int] | None = None,
        columns: Iterable[int] | None = None,
        *,
        embeddings_initializer: str | initializers.Initializer = "random_normal",
        embeddings_regularizer: str | regularizers.L1L2 | None = None,
        trainable: bool = True,
        learning_rate_multiplier: float = 1.0,
    ) -> None:
        if isinstance(cardinalities, Mapping):
            if columns is not None:
                raise TypeError(
                    "columns must not be given with a dict, whose keys are the columns: leave it out, or pass a list "
                    "of numbers of codes"
                )
            columns, cardinalities = list(cardinalities), cardinalities.values()
        sizes = [_at_most(count(n, "a number of codes"), 1 << 24, "a number of codes") for n in cardinalities]
        indices = [count(c, "a column", 0) for c in (range(len(sizes)) if columns is None else columns)]
        if not sizes or len(set(indices)) < len(indices) or len(indices) != len(sizes):
            raise ValueError(
                "a ColumnEmbedding must have a number of codes for each of one or more different columns, got "
                f"{sizes} for the columns {indices}: pass {{column: number of codes}}"
            )
        if dimensions is None:
            widths = [min(600, round(1.6 * n**0.56)) for n in sizes]
        else:
            several = dimensions if isinstance(dimensions, Iterable) else [dimensions] * len(sizes)
            widths = [count(width, "a dimension") for width in several]
        if len(widths) != len(sizes):
            raise ValueError(
                f"dimensions must be one for each of {len(sizes)} columns, got {len(widths)}: pass {len(sizes)} or 1"
            )
        order = sorted(range(len(indices)), key=indices.__getitem__)
        set_fields(
            self,
            columns=tuple(indices[i] for i in order),
            cardinalities=tuple(sizes[i] for i in order),
            dimensions=tuple(widths[i] for i in order),
            embeddings_initializer=initializers.get(embeddings_initializer),
            embeddings_regularizer=regularizers.get(embeddings_regularizer),
            trainable=trainable,
            learning_rate_multiplier=learning_rate_multiplier,
        )
        check_training(self)

    @property
    def tables(self) -> tuple[tuple[int, int, int], ...]:
        """(column, number of codes, dimension) of each table, by column."""
        return tuple(zip(self.columns, self.cardinalities, self.dimensions, strict=True))

    def units_of(self, inputs: int | None) -> int | None:
        """The number of outputs for so many inputs; ValueError if an embedded column is missing."""
        if inputs is None:
            return None
        if self.columns[-1] >= inputs:
            raise ValueError(
                f"a ColumnEmbedding of column {self.columns[-1]} needs at least {self.columns[-1] + 1} columns of X, "
                f"got {inputs}: count columns from 0"
            )
        return inputs - len(self.columns) + sum(self.dimensions)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        return [
            Weight(f"embedding_{column}", (codes, dimension), self.embeddings_initializer)
            for column, codes, dimension in self.tables
        ]

    def node(self, units: int) -> LayerSpec:
        penalty = self.embeddings_regularizer
        return LayerSpec(
            units,
            kind="embedding",
            use_bias=False,
            tables=self.tables,
            l1=penalty.l1 if penalty else 0.0,
            l2=penalty.l2 if penalty else 0.0,
            multiplier=self.learning_rate_multiplier,
            trainable=self.trainable,
        )

    def label(self, activation: str) -> str:
        return f"ColumnEmbedding({', '.join(map(str, self.dimensions))})"


def _at_most(value: int, most: int, what: str) -> int:
    if value > most:
        raise ValueError(f"{what} must be at most {most}, got {value}: merge rare categories")
    return value
