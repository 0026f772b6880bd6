"""Keras layers that Keras does not have; imported only when needed."""

from __future__ import annotations

from collections.abc import Iterable
from math import pi
from typing import Any

import keras

from fastbp.exchange.activations import ACTIVATIONS
from fastbp.spec import Waves


@keras.saving.register_keras_serializable(package="fastbp")
class ParametricActivation(keras.layers.Layer):
    """A = X + alpha (f(X) - X); function: fastbp's name of f, parameter: its own alpha."""

    def __init__(self, function: str, parameter: float = 0.0, **options: Any):
        super().__init__(**options)
        self.function, self.parameter = function, parameter

    def build(self, input_shape: Any) -> None:
        """Make the weight."""
        self.alpha = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="alpha")

    def call(self, X: Any) -> Any:
        """Compute A."""
        return X + self.alpha * (self._f(X) - X)

    def _f(self, X: Any) -> Any:
        match self.function:
            case "leaky_relu":
                return keras.ops.leaky_relu(X, negative_slope=self.parameter)
            case "elu" | "celu":
                return getattr(keras.ops, self.function)(X, alpha=self.parameter)
            case "gelu_tanh":
                return keras.ops.gelu(X, approximate=True)
        return keras.activations.get(ACTIVATIONS[self.function].keras)(X)

    def get_config(self) -> dict[str, Any]:
        """For files."""
        return {**super().get_config(), "function": self.function, "parameter": self.parameter}


@keras.saving.register_keras_serializable(package="fastbp")
class PeriodicEmbedding(keras.layers.Layer):
    """A = [other columns, what the waves of each column become]; the arguments are those of `fastbp.spec.Waves`."""

    def __init__(self, columns: Iterable[int], frequencies: int, outputs: int, phases: bool, keeps: bool, relu: bool,
                 **options: Any):  # fmt: skip
        super().__init__(**options)
        self.waves = (tuple(columns), frequencies, outputs, phases, keeps, relu)

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.passing = [column for column in range(input_shape[-1]) if column not in self.waves[0]]
        for name, shape in Waves(*self.waves).shapes.items():
            setattr(self, name, self.add_weight(shape=shape, initializer="zeros", name=name))

    def call(self, X: Any) -> Any:
        """Compute A."""
        ops, (columns, _, outputs, phases, keeps, relu) = keras.ops, self.waves
        x = ops.expand_dims(ops.take(X, list(columns), axis=1), 2)
        turns = x * self.frequencies + (self.phases / (2 * pi) if phases else 0)
        angles = 2 * pi * (turns - ops.round(turns))
        waves = ops.cos(angles) if phases else ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=2)
        kernel = ops.reshape(self.kernel, (len(columns), -1, outputs))
        Z = ops.einsum("rch,cho->rco", waves, kernel) + self.bias
        Z = ops.relu(Z) if relu else Z
        Z = ops.concatenate([Z, x], axis=2) if keeps else Z
        Z = ops.reshape(Z, (-1, len(columns) * (outputs + keeps)))
        return ops.concatenate([ops.take(X, self.passing, axis=1), Z], axis=1) if self.passing else Z

    def get_config(self) -> dict[str, Any]:
        """For files."""
        names = ("columns", "frequencies", "outputs", "phases", "keeps", "relu")
        return {**super().get_config(), **dict(zip(names, self.waves, strict=True))}


@keras.saving.register_keras_serializable(package="fastbp")
class PiecewiseLinearEmbedding(keras.layers.Layer):
    """A = [other columns, x w + b + e V of each column]; its weights are w, b and V of each column, one row each."""

    def __init__(self, columns: Iterable[int], edges: Iterable[Iterable[float]], dimension: int, **options: Any):
        super().__init__(**options)
        self.columns, self.edges, self.dimension = tuple(columns), tuple(map(tuple, edges)), dimension

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        self.passing = [column for column in range(input_shape[-1]) if column not in self.columns]
        self.tables = [
            self.add_weight(shape=(len(own) + 1, self.dimension), initializer="zeros", name=f"table_{place}")
            for place, own in enumerate(self.edges)
        ]

    def call(self, X: Any) -> Any:
        """Compute A."""
        ops = keras.ops
        parts = [ops.take(X, self.passing, axis=1)] if self.passing else []
        for column, own, table in zip(self.columns, self.edges, self.tables, strict=True):
            x, bins = X[:, column : column + 1], len(own) - 1
            lower, upper = (ops.cast(ops.array(ends), X.dtype) for ends in (own[:-1], own[1:]))
            most = ops.cast(ops.array([1.0] * (bins - 1) + [float("inf")]), X.dtype)
            least = ops.cast(ops.array([float("-inf")] + [0.0] * (bins - 1)), X.dtype)
            share = ops.maximum(ops.minimum((x - lower) / (upper - lower), most), least)
            parts.append(x * table[0] + table[1] + ops.matmul(share, table[2:]))
        return ops.concatenate(parts, axis=1)

    def get_config(self) -> dict[str, Any]:
        """For files."""
        return {**super().get_config(), "columns": self.columns, "edges": self.edges, "dimension": self.dimension}
