"""Fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, final

from fastbp import activations, constraints, initializers, regularizers
from fastbp.layers.base import Layer, Weight, check_decay, check_multiplier, check_training
from fastbp.spec import LayerSpec
from fastbp.util.arguments import count, flag
from fastbp.util.fields import set_fields


@final
@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer.

    ::

        A = f(X W + b)

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    activation : str or fastbp.activations.Activation, optional
        The function f; "softmax" is for the last layer only.
    use_bias : bool, optional
        Whether there is a bias b.
    kernel_initializer, bias_initializer : str or callable, optional
        Initial values of W and b, see `fastbp.initializers`.
    kernel_regularizer : str or fastbp.L1L2, optional
        Penalty on W: "l1", "l2" or an object such as L2(1e-4).
    kernel_constraint : fastbp.MaxNorm, optional
        Bound on W, such as MaxNorm(2).
    trainable : bool, optional
        Whether updates change W and b.
    learning_rate_multiplier : float, optional
        Factor of the learning rate for W and b, finite and at least 0.
    bias_learning_rate_multiplier : float, optional
        The same for b alone; by default that of W.
    weight_decay_multiplier : float, optional
        Factor of the optimizer's weight decay of W; b is left as it is.

    Raises
    ------
    ValueError
        If units is less than 1, a name is unknown, or the multiplier is negative or not finite.
    TypeError
        If an argument has the wrong type.

    Notes
    -----
    Shapes: X (n, in), kernel W (in, units), bias b (units,), A (n, units). Like Keras's Dense and, except for the
    initial weights, PyTorch's Linear.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 6.1.

    Examples
    --------
    >>> model = Sequential([Dense(16, "tanh", kernel_regularizer="l2"), Dense(1)])
    >>> model.compile("adam", "mse")
    >>> history = model.fit([[0.0], [1.0]], [1.0, 3.0], epochs=2)
    >>> [W.shape for W in model.get_weights()]
    [(1, 16), (16,), (16, 1), (1,)]
    """

    has_weights: ClassVar[bool] = True
    takes_activation: ClassVar[bool] = True

    units: int
    activation: str | activations.Activation = "identity"
    use_bias: bool = field(default=True, kw_only=True)
    kernel_initializer: str | initializers.Initializer = field(default="glorot_uniform", kw_only=True)
    bias_initializer: str | initializers.Initializer = field(default="zeros", kw_only=True)
    kernel_regularizer: str | regularizers.L1L2 | None = field(default=None, kw_only=True)
    kernel_constraint: constraints.MaxNorm | None = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)
    bias_learning_rate_multiplier: float | None = field(default=None, kw_only=True)
    weight_decay_multiplier: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        set_fields(
            self,
            use_bias=flag(self.use_bias, "use_bias"),
            units=count(self.units, "units"),
            activation=activations.get(self.activation),
            kernel_initializer=initializers.get(self.kernel_initializer),
            bias_initializer=initializers.get(self.bias_initializer),
            kernel_regularizer=regularizers.get(self.kernel_regularizer),
            kernel_constraint=constraints.get(self.kernel_constraint),
        )
        check_training(self)
        if self.bias_learning_rate_multiplier is not None:
            check_multiplier(self, "bias_learning_rate_multiplier")
        check_decay(self)

    def units_of(self, inputs: int | None) -> int | None:
        return self.units

    def weights(self, inputs: int, units: int) -> list[Weight]:
        kernel = Weight("kernel", (inputs, units), initializers.get(self.kernel_initializer))
        bias = Weight("bias", (units,), initializers.get(self.bias_initializer))
        return [kernel, bias] if self.use_bias else [kernel]

    def node(self, units: int) -> LayerSpec:
        bound, penalty = self.kernel_constraint, regularizers.get(self.kernel_regularizer)
        return LayerSpec(
            units,
            use_bias=self.use_bias,
            max_norm=0.0 if bound is None else bound.max_value,
            l1=penalty.l1 if penalty else 0.0,
            l2=penalty.l2 if penalty else 0.0,
            multiplier=self.learning_rate_multiplier,
            bias_multiplier=self.bias_learning_rate_multiplier,
            decay=self.weight_decay_multiplier,
            trainable=self.trainable,
        )

    def label(self, activation: str) -> str:
        return f"Dense({self.units}, {activation})"
