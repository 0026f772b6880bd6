"""Keras layers that Keras does not have; imported only when needed."""

from __future__ import annotations

from typing import Any

import keras

from fastbp.exchange.activations import ACTIVATIONS


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
