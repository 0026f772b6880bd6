"""Scale: one weight per feature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from fastbp.initializers import Constant
from fastbp.layers.base import Layer, Weight, check_decay, check_training
from fastbp.spec import LayerSpec


@final
@dataclass(frozen=True)
class Scale(Layer):
    """Multiplies each feature by a weight of its own.

    ::

        A = X * s        dX = dA * s        ds = column sums of dA * X

    Parameters
    ----------
    trainable, learning_rate_multiplier : optional
        As in `Dense`.
    weight_decay_multiplier : float, optional
        Factor of the optimizer's weight decay; None: 1, or 0 where the optimizer decays kernels only.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    LayerNorm, BatchNorm : Also normalize, and shift.

    Notes
    -----
    Shapes: X and A (n, units); the weight scale (units,), initially 1. It is no kernel: penalties do not apply to it,
    nor does weight decay with weight_decay_on="kernels", unless it has a factor. Keras and PyTorch have no such layer;
    for Keras it is ``EinsumDense("ab,b->ab", units)``. Touvron et al. use it last in residual blocks, as LayerScale,
    started near 0.

    References
    ----------
    Touvron, Cord, Sablayrolles, Synnaeve and Jégou, "Going deeper with image transformers", 2021.

    Examples
    --------
    >>> model = Sequential([Scale(), Dense(2, "relu"), Dense(1)], input_size=3)
    >>> model.get_weights()[0]
    array([1., 1., 1.], dtype=float32)
    >>> model.compile("adam", "mse")
    >>> history = model.fit(np.eye(3), [1.0, 2.0, 3.0], epochs=2)
    """

    has_weights: ClassVar[bool] = True
    takes_activation: ClassVar[bool] = True

    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)
    weight_decay_multiplier: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_training(self)
        check_decay(self)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        return [Weight("scale", (units,), Constant(1.0))]

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(
            units,
            kind="scale",
            multiplier=self.learning_rate_multiplier,
            decay=self.weight_decay_multiplier,
            trainable=self.trainable,
        )
