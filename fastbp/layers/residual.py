"""Residual blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

from fastbp.layers.base import Layer, as_layers
from fastbp.spec import LayerSpec
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class Residual(Layer):
    """A residual block: layers whose output is added to their input.

        A = X + F(X)        or, where F's width differs from X's,        A = X P + F(X)

    X: (n, in). F: the layers, lowest first, residual blocks among them if wanted. A: (n, width of F). P: a projection
    (in, width of F), made where it is needed: a Dense without bias, Glorot uniform, whose kernel follows the weights of
    F in `Sequential.get_weights`. For an activation of the sum, put an Activation above the block.
    Raises TypeError or ValueError for what is no list of at least one layer.
    He et al. 2016, equations 1 and 2.

    >>> block = Residual([LayerNorm(), Dense(64, "gelu"), Dense(16)])
    >>> Sequential([Dense(16), block, Activation("relu")]).output_size
    16
    """

    takes_activation: ClassVar[bool] = True

    layers: tuple[Layer, ...]

    def __init__(self, layers: Iterable[Layer]) -> None:
        set_fields(self, layers=as_layers(layers, "the layers of a Residual"))
        if not self.layers:
            raise ValueError(
                "a Residual must hold at least one layer, but none came: write, for example, Residual([Dense(64)])"
            )

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(units, kind="add")
