"""Activation functions as separate layers."""

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
    """An activation function as a separate layer, ``A = f(Z)``.

    Parameters
    ----------
    activation : str or fastbp.activations.Activation
        Name or object.

    Raises
    ------
    ValueError
        If the name is unknown.

    Notes
    -----
    Z and A have the shape (n, units of the layer below). After a Dense, BatchNorm, LayerNorm or Residual it costs
    nothing: the two are merged.

    Examples
    --------
    >>> Activation("relu").activation.name
    'relu'
    >>> model = Sequential([Dense(64, use_bias=False), BatchNorm(), Activation("relu"), Dense(1)])
    """

    activation: str | activations.Activation

    def __post_init__(self) -> None:
        set_fields(self, activation=activations.get(self.activation))

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(units, kind="activation", use_bias=False)

    def label(self, activation: str) -> str:
        return f"Activation({activation})"
