"""Activation functions as layers of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fastbp import activations
from fastbp.layers.base import Layer
from fastbp.spec import LayerSpec
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class Activation(Layer):
    """An activation function as a layer of its own.

        A = f(Z)

    Z, A: (n, units of the layer below). After a Dense, BatchNorm, LayerNorm or Residual it costs nothing: the two
    become one. Raises ValueError for an unknown name.

    >>> Activation("relu").activation.name
    'relu'
    """

    activation: str | activations.Activation

    def __post_init__(self) -> None:
        set_fields(self, activation=activations.get(self.activation))

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(units, kind="activation", use_bias=False)

    def label(self, activation: str) -> str:
        return f"Activation({activation})"
