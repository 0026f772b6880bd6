"""Keras's Rescaling and Normalization as a Scale that is not trained, and a shift in the bias of the Dense after it.

    (X s + t) W + b = (X s) W + (b + t W)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastbp.exchange.layer_weights import ExchangeError, Part, as_floats
from fastbp.exchange.translation import Found, wrong
from fastbp.layers import Dense, Layer, Scale
from fastbp.spec import LayerSpec
from fastbp.util.types import Array


@dataclass(frozen=True)
class Shift(Layer):
    """Stands between layers that were read for a shift, until `shifted` merges it into the next Dense."""

    def node(self, units: int) -> LayerSpec:
        raise NotImplementedError


def shifted(parts: Iterable[Part]) -> list[Part]:
    """The parts, with each Shift in the bias of the Dense that follows it."""
    result: list[Part] = []
    for part in parts:
        before = result[-1] if result else None
        if before is not None and isinstance(before.layer, Shift):
            if not isinstance(part.layer, Dense):
                raise _alone(before.name)
            kernel = part.weights["kernel"]
            moved = before.weights["shift"] @ kernel.astype(np.float64)
            bias = (part.weights.get("bias", np.zeros(part.units)) + moved).astype(kernel.dtype)
            layer = replace(part.layer, use_bias=True)
            result[-1] = part._replace(layer=layer, weights={"kernel": kernel, "bias": bias})
        else:
            result.append(part)
    if result and isinstance(result[-1].layer, Shift):
        raise _alone(result[-1].name)
    return result


def _alone(name: str) -> ExchangeError:
    return wrong(name, "subtracts a mean or adds an offset with no Dense behind it", "put it before a Dense")


def is_scalar(layer: Any) -> bool:
    """Whether a layer treats all elements alike."""
    scale, shift = _numbers(layer)
    return scale.size == shift.size == 1


def _numbers(layer: Any) -> tuple[Array, Array]:
    """scale and shift of X scale + shift, of one element or one for each feature."""
    if type(layer).__name__ == "Rescaling":
        return np.ravel(np.asarray(layer.scale, np.float64)), np.ravel(np.asarray(layer.offset, np.float64))
    if layer.mean is None or layer.variance is None:
        raise wrong(layer.name, "has no mean and variance yet", "call adapt, or pass both")
    mean, variance = (np.ravel(as_floats(each)).astype(np.float64) for each in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), 1e-7)  # keras.config.epsilon()
    return (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)


def from_keras(layer: Any, width: int) -> list[Found]:
    """Read a Rescaling or a Normalization."""
    numbers = _numbers(layer)
    if any(each.size not in (1, width) for each in numbers):
        raise wrong(layer.name, f"scales {numbers[0].size} of {width} features", "put it behind a Flatten")
    scale, shift = (np.array(np.broadcast_to(each, width)) for each in numbers)
    found: list[Found] = [(Scale(trainable=False), {"scale": scale})]
    return [*found, (Shift(), {"shift": shift})] if shift.any() else found


KERAS_SCALARS: dict[str, Callable[[Any, int], list[Found]]] = {"Rescaling": from_keras, "Normalization": from_keras}
