"""What all layers share. A layer is a frozen declaration of one operation of a network; it holds no weights."""

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
    """One array of a layer: its name, shape and initializer.

    statistic: a moving mean or variance, updated from batches instead of by gradients.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    statistic: bool = False


class Layer(ABC):
    """Base class of all layers: output width, weights, and the node that an engine runs."""

    has_weights: ClassVar[bool] = False
    takes_activation: ClassVar[bool] = False  # whether a following Activation is merged into it

    def units_of(self, inputs: int | None) -> int | None:
        """The number of outputs for so many inputs; None if unknown."""
        return inputs

    def weights(self, inputs: int, units: int) -> list[Weight]:
        """The arrays of the layer, in the order of `Sequential.get_weights`."""
        return []

    @abstractmethod
    def node(self, units: int) -> LayerSpec:
        """The engine's node, without its activation and its place in the graph."""

    def label(self, activation: str) -> str:
        """The name in summaries and warnings, such as ``Dense(10, softmax)``."""
        return type(self).__name__ if activation == "identity" else f"{type(self).__name__}({activation})"


def check_training(layer: Any) -> None:
    """Check `trainable` and `learning_rate_multiplier`, which all layers with weights have."""
    set_fields(layer, trainable=flag(layer.trainable, "trainable"))
    check_multiplier(layer, "learning_rate_multiplier")


def check_decay(layer: Any) -> None:
    """Check `weight_decay_multiplier`."""
    if layer.weight_decay_multiplier is not None:
        check_multiplier(layer, "weight_decay_multiplier", "pass 0 for no weight decay, or None")


def check_multiplier(
    layer: Any, name: str, remedy: str = "pass 1 for no change, or trainable=False to freeze the weights"
) -> None:
    """Check a factor of the learning rate."""
    value = real(getattr(layer, name), name, "at least 0 and finite", lambda v: 0 <= v < math.inf, remedy)
    set_fields(layer, **{name: value})


def as_layers(layers: Any, what: str) -> tuple[Layer, ...]:
    """Return layers as a tuple, or raise an error that says what a list of layers must be."""
    if isinstance(layers, Layer) or not isinstance(layers, Iterable):
        got = f"a single {type(layers).__name__}" if isinstance(layers, Layer) else repr(layers)
        raise TypeError(f"{what} must be a list of layers, got {got}: pass a list such as [Dense(10)]")
    result = tuple(layers)
    for position, layer in enumerate(result):
        if not isinstance(layer, Layer):
            remedy = f"write {layer.__name__}(…)" if isinstance(layer, type) else "use Dense(…) or another layer"
            raise TypeError(f"{what} must be objects such as Dense(10), but layers[{position}] is {layer!r}: {remedy}")
    return result
