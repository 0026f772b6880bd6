"""Columns of category codes as learned vectors."""

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
    """The first layer of a network on a table: columns of category codes become learned vectors.

        A = [columns without codes, E1[X[:, c1]], E2[X[:, c2]], …]        in the order of the columns in X

    X: (n, in), of which the columns c1 < c2 < … hold whole numbers from 0 to their number of codes - 1. Ei: (codes,
    dimension). A: (n, in - embedded columns + sum of dimensions).
    cardinalities: {column: number of codes}, as `Preprocessor.cardinalities`, or a list of numbers for the columns
    0, 1, …, or for `columns`. dimensions: one for all, or one for each in the order of the cardinalities; None takes
    min(600, round(1.6 n^0.56)) of n codes. embeddings_initializer: a name or object; embeddings_regularizer, trainable,
    learning_rate_multiplier: as Dense's. Weights: E1, E2, …. Data with another code, or half of one, are refused before
    anything changes. An optimizer without memory or decay moves the rows of codes that occur, any other all of them.
    Raises TypeError or ValueError for no columns, a column named twice, and numbers that are no whole ones of at least
    1; codes past 2^24 - 1 would not be exact in float32, so there may be as many at most.
    Goodfellow et al. 2016, section 12.4.2; Guo and Berkhahn 2016. The default dimension is fastai's (Howard and Gugger
    2020). Keras's and PyTorch's Embedding hold one table and take integers alone; PyTorch starts from N(0, 1),
    Keras from U(-0.05, 0.05), this layer from N(0, 0.05^2).

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
                raise TypeError("columns came beside a dict that names them: leave it out, or pass a list of numbers")
            columns, cardinalities = list(cardinalities), cardinalities.values()
        sizes = [_at_most(count(n, "a number of codes"), 1 << 24, "a number of codes") for n in cardinalities]
        places = [count(c, "a column", 0) for c in (range(len(sizes)) if columns is None else columns)]
        if not sizes or len(set(places)) < len(places) or len(places) != len(sizes):
            raise ValueError(
                "a ColumnEmbedding must have a number of codes for each of one or more different columns, but "
                f"{sizes} came for the columns {places}: pass {{column: number of codes}}"
            )
        if dimensions is None:
            widths = [min(600, round(1.6 * n**0.56)) for n in sizes]
        else:
            several = dimensions if isinstance(dimensions, Iterable) else [dimensions] * len(sizes)
            widths = [count(width, "a dimension") for width in several]
        if len(widths) != len(sizes):
            raise ValueError(
                f"dimensions must be one for each of {len(sizes)} columns, but {len(widths)} came: pass as many, or one"
            )
        order = sorted(range(len(places)), key=places.__getitem__)
        set_fields(
            self,
            columns=tuple(places[i] for i in order),
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
        """(column, number of codes, dimension) of every table, by column."""
        return tuple(zip(self.columns, self.cardinalities, self.dimensions, strict=True))

    def units_of(self, inputs: int | None) -> int | None:
        """Outputs for so many inputs; ValueError where a column is not among these."""
        if inputs is None:
            return None
        if self.columns[-1] >= inputs:
            raise ValueError(
                f"a ColumnEmbedding of the column {self.columns[-1]} needs {self.columns[-1] + 1} columns of X at "
                f"least, but there are {inputs}: count columns from 0"
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
        raise ValueError(f"{what} must be at most {most}, but {value} came: put rare categories together")
    return value
