"""The layers a network is composed of: declarations, frozen and without weights.

`fastbp.network` turns a list of them into the graph that an engine runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

from fastbp import activations, constraints, initializers, regularizers
from fastbp.arguments import count, flag, real
from fastbp.parameters import set_fields


@final
@dataclass(frozen=True)
class Dense:
    """A fully connected layer.

        A = f(X W + b)

    X: (n, in). W: kernel (in, units). b: bias (units,), unless use_bias is False. A: (n, units), f the activation.
    activation, kernel_initializer and bias_initializer are names or objects; "softmax" is for the last layer only.
    kernel_regularizer: a penalty on W, "l1", "l2" or an object such as L2(1e-4). kernel_constraint: such as MaxNorm(2).
    trainable: whether updates change W and b. learning_rate_multiplier: times the learning rate, for W and b.
    Raises TypeError or ValueError for units that are no whole number of at least 1, for unknown names, and for a
    multiplier that is negative or not finite.
    Goodfellow et al. 2016, section 6.1. As Keras's Dense and, but for its initial weights, PyTorch's Linear.

    >>> Dense(128, "relu", kernel_regularizer="l2").units
    128
    """

    units: int
    activation: str | activations.Activation = "identity"
    use_bias: bool = field(default=True, kw_only=True)
    kernel_initializer: str | initializers.Initializer = field(default="glorot_uniform", kw_only=True)
    bias_initializer: str | initializers.Initializer = field(default="zeros", kw_only=True)
    kernel_regularizer: str | regularizers.L1L2 | None = field(default=None, kw_only=True)
    kernel_constraint: constraints.MaxNorm | None = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

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
        _check_training(self)


@final
@dataclass(frozen=True)
class Activation:
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


@final
@dataclass(frozen=True)
class BatchNorm:
    """Normalises each unit over the batch, then scales and shifts it.

        Z = γ (X - mean) / sqrt(variance + epsilon) + β

    X, Z: (n, units). In training, mean and variance are the batch's; elsewhere they are moving statistics, to which
    every step of training adds its own (the variance times n / (n - 1)), as moving <- (1 - momentum) moving +
    momentum new. Weights: gamma (starts at 1), beta (0), moving_mean (0), moving_variance (1), each (units,).
    Before an activation, give the Dense below it use_bias=False: beta does what its bias would.
    trainable=False holds gamma and beta; the statistics go on as they do in PyTorch (in Keras they stop, too).
    Raises TypeError or ValueError unless 0 <= momentum <= 1 and epsilon >= 1e-30.
    Ioffe and Szegedy 2015; Goodfellow et al. 2016, section 8.7.1. As PyTorch's BatchNorm1d; Keras's momentum is
    1 - ours, its epsilon 1e-3, and its moving variance is not corrected. A batch of one row has the variance 0, and
    leaves the moving variance as it is; PyTorch refuses it.

    >>> BatchNorm().momentum
    0.1
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        remedy = "pass the weight of the newest batch, such as 0.1 (where Keras has 0.9)"
        momentum = real(self.momentum, "momentum", "at least 0 and at most 1", lambda v: 0 <= v <= 1, remedy)
        set_fields(self, momentum=momentum)
        _check_epsilon(self)
        _check_training(self)


@final
@dataclass(frozen=True)
class LayerNorm:
    """Normalises each row over its units, then scales and shifts every unit.

        Z = γ (X - mean) / sqrt(variance + epsilon) + β

    X, Z: (n, units); mean and variance are those of the row, in training as elsewhere. Weights: gamma (starts at 1) and
    beta (0), each (units,). trainable, learning_rate_multiplier: as in Dense.
    Raises TypeError or ValueError unless epsilon >= 1e-30.
    Ba, Kiros and Hinton 2016. As PyTorch's LayerNorm; Keras's epsilon is 1e-3.

    >>> LayerNorm().epsilon
    1e-05
    """

    epsilon: float = 1e-5
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        _check_epsilon(self)
        _check_training(self)


@final
@dataclass(frozen=True)
class Dropout:
    """Sets each output of the layer below to 0 with probability rate; in training only.

        A = X / (1 - rate) where it is kept, else 0

    X, A: (n, units). Which are kept depends on the model's seed, the step, the row in the batch and the unit alone, so
    that training is the same on any number of threads.
    Raises TypeError or ValueError unless 0 <= rate < 1.
    Srivastava et al. 2014; Goodfellow et al. 2016, section 7.12. As in Keras and PyTorch.

    >>> Dropout(0.5).rate
    0.5
    """

    rate: float

    def __post_init__(self) -> None:
        remedy = "pass the share of outputs to drop, such as 0.5"
        set_fields(self, rate=real(self.rate, "rate", "at least 0 and below 1", lambda v: 0 <= v < 1, remedy))


@final
@dataclass(frozen=True)
class GaussianNoise:
    """Adds normal noise to the outputs of the layer below, or to the network's inputs; in training only.

        A = X + stddev N,        N standard normal, independent in each row and unit

    X, A: (n, units). Drawn as Dropout's masks are.
    Raises TypeError or ValueError unless stddev is finite and at least 0.
    Goodfellow et al. 2016, section 7.5; Giles 2010 for the normal numbers. As Keras's GaussianNoise.

    >>> GaussianNoise(0.1).stddev
    0.1
    """

    stddev: float

    def __post_init__(self) -> None:
        remedy = "pass the noise's standard deviation, such as 0.1"
        rule = "at least 0 and finite"
        set_fields(self, stddev=real(self.stddev, "stddev", rule, lambda v: 0 <= v < math.inf, remedy))


@final
@dataclass(frozen=True)
class Residual:
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

    layers: tuple[Layer, ...]

    def __init__(self, layers: Iterable[Layer]) -> None:
        set_fields(self, layers=_sequence(layers, "the layers of a Residual"))
        if not self.layers:
            raise ValueError(
                "a Residual must hold at least one layer, but none came: write, for example, Residual([Dense(64)])"
            )


Layer = Dense | Activation | BatchNorm | LayerNorm | Dropout | GaussianNoise | Residual


class Block(NamedTuple):
    """One operation of a network: a layer with the activation above it, what it reads, and its place.

    name: its number among its neighbours, below a dot within a residual block, such as "2.0"; the block itself, whose
    operation is the sum, is "2", its projection "2.projection". units, inputs: outputs and inputs a row, None where not
    known yet. below, skip: as in `fastbp.reference.LayerSpec`.
    """

    name: str
    layer: Layer
    activation: activations.Activation
    inputs: int | None
    units: int | None
    below: int | None = None
    skip: int | None = None

    @property
    def label(self) -> str:
        """What summaries and warnings call it, such as ``Dense(10, softmax)``."""
        kind, activation = type(self.layer).__name__, self.activation.name
        match self.layer:
            case Dense(units=units):
                return f"Projection({units})" if self.name.endswith(PROJECTION) else f"Dense({units}, {activation})"
            case Activation():
                return f"Activation({activation})"
            case Dropout(rate=value) | GaussianNoise(stddev=value):
                return f"{kind}({value:g})"
        return kind if activation == "identity" else f"{kind}({activation})"


PROJECTION = ".projection"


def _check_training(layer: Any) -> None:
    """The arguments of all layers that have weights."""
    trainable = flag(layer.trainable, "trainable")
    name, remedy = "learning_rate_multiplier", "pass 1 for no change, or trainable=False to hold the weights"
    multiplier = real(getattr(layer, name), name, "at least 0 and finite", lambda v: 0 <= v < math.inf, remedy)
    set_fields(layer, trainable=trainable, learning_rate_multiplier=multiplier)


def _check_epsilon(layer: Any) -> None:
    # A float32 of the square root of less than 1e-38 would be 0, and a unit that never varies would be divided by it.
    remedy = "pass a small number such as 1e-5"
    rule = "at least 1e-30 and finite"
    set_fields(layer, epsilon=real(layer.epsilon, "epsilon", rule, lambda v: 1e-30 <= v < math.inf, remedy))


def checked(layers: Any) -> tuple[Layer, ...]:
    """layers as a tuple, or an error that says what a list of layers must be."""
    result = _sequence(layers, "layers")
    if not any(isinstance(layer, Dense) for layer in flattened(result)):
        raise ValueError(f"layers must hold at least one Dense, but {list(result)!r} came: add one")
    return result


def flattened(layers: Iterable[Layer]) -> Iterable[Layer]:
    """All layers, those of residual blocks after the block."""
    for layer in layers:
        yield layer
        if isinstance(layer, Residual):
            yield from flattened(layer.layers)


def _sequence(layers: Any, what: str) -> tuple[Layer, ...]:
    if isinstance(layers, Layer) or not isinstance(layers, Iterable):
        came = f"a single {type(layers).__name__}" if isinstance(layers, Layer) else repr(layers)
        raise TypeError(f"{what} must be a list of layers, but {came} came: pass a list such as [Dense(10)]")
    result = tuple(layers)
    for position, layer in enumerate(result):
        if not isinstance(layer, Layer):
            remedy = f"write {layer.__name__}(…)" if isinstance(layer, type) else "use Dense(…) or another layer"
            raise TypeError(f"{what} must be objects such as Dense(10), but layers[{position}] is {layer!r}: {remedy}")
    return result
