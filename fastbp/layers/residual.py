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

    ::

        A = X + F(X)          if F(X) has the width of X
        A = X P + F(X)        otherwise, with a learned projection P

    Parameters
    ----------
    layers : iterable of Layer
        The layers of F, lowest first, at least one; they may include residual blocks.

    Raises
    ------
    ValueError
        If there are no layers.
    TypeError
        If layers is not a list of layers.

    Notes
    -----
    Shapes: X (n, in), A (n, width of F), P (in, width of F). The projection is a Dense without bias, Glorot uniform,
    whose kernel follows the weights of F in `Sequential.get_weights`. For an activation after the sum, put an
    `Activation` above the block.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, equations 1 and 2.

    Examples
    --------
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
                "a Residual must hold at least one layer, got none: write, for example, Residual([Dense(64)])"
            )

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(units, kind="add")
