"""What all layers share: a declaration, frozen and without weights, of one operation of a network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from fastbp.initializers import Initializer
from fastbp.spec import LayerSpec
from fastbp.util.arguments import flag, real
from fastbp.util.fields import set_fields


class Weight(NamedTuple):
    """One array of a layer's weights: its name, shape and initial values.

    statistic: a moving mean or variance, which follows the batches instead of a gradient.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    statistic: bool = False


class Layer(ABC):
    """One layer: its output width, its weights, and the node that an engine makes of it."""

    has_weights: ClassVar[bool] = False
    takes_activation: ClassVar[bool] = False  # an Activation above it is merged into it

    def units_of(self, inputs: int | None) -> int | None:
        """Outputs for so many inputs; None where these are not known yet."""
        return inputs

    def weights(self, inputs: int, units: int) -> list[Weight]:
        """Its arrays, in the order of `Sequential.get_weights`."""
        return []

    @abstractmethod
    def node(self, units: int) -> LayerSpec:
        """The node an engine makes of it, without its activation and its place in the graph."""

    def label(self, activation: str) -> str:
        """What summaries and warnings call it, such as ``Dense(10, softmax)``."""
        return type(self).__name__ if activation == "identity" else f"{type(self).__name__}({activation})"


def check_training(layer: Any) -> None:
    """Check the arguments of all layers that have weights."""
    trainable = flag(layer.trainable, "trainable")
    name, remedy = "learning_rate_multiplier", "pass 1 for no change, or trainable=False to hold the weights"
    multiplier = real(getattr(layer, name), name, "at least 0 and finite", lambda v: 0 <= v < math.inf, remedy)
    set_fields(layer, trainable=trainable, learning_rate_multiplier=multiplier)


def as_layers(layers: Any, what: str) -> tuple[Layer, ...]:
    """layers as a tuple, or an error that says what a list of layers must be."""
    if isinstance(layers, Layer) or not isinstance(layers, Iterable):
        came = f"a single {type(layers).__name__}" if isinstance(layers, Layer) else repr(layers)
        raise TypeError(f"{what} must be a list of layers, but {came} came: pass a list such as [Dense(10)]")
    result = tuple(layers)
    for position, layer in enumerate(result):
        if not isinstance(layer, Layer):
            remedy = f"write {layer.__name__}(…)" if isinstance(layer, type) else "use Dense(…) or another layer"
            raise TypeError(f"{what} must be objects such as Dense(10), but layers[{position}] is {layer!r}: {remedy}")
    return result
