"""Forward and backward through the layers. Goodfellow et al. 2016, algorithms 6.3 and 6.4."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.reference.activations import ScalarFunctions, functions_of, softmax

Array = npt.NDArray[Any]


class LayerSpec(NamedTuple):
    """One node of a network: what it computes, from which nodes, and how its weights are to be trained.

    kind: "dense", "activation", "batch_norm", "layer_norm", "dropout", "noise" or "add". values: of batch_norm
    (momentum, epsilon), of layer_norm (epsilon,), of dropout (rate,), of noise (standard deviation,). below: the node
    whose output it reads, None for the one before, -1 for the network's input; skip: the node whose output "add" adds
    to that. multiplier: times the learning rate. l1, l2: penalties l1 sum |W| + l2 sum W^2 of a kernel; max_norm: no
    unit's incoming weights have a larger norm, 0 for any.
    """

    units: int
    activation: str | ScalarFunctions = "identity"
    alpha: float = 0.0
    use_bias: bool = True
    kind: str = "dense"
    values: tuple[float, ...] = ()
    below: int | None = None
    skip: int | None = None
    multiplier: float = 1.0
    trainable: bool = True
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float = 0.0

    @property
    def dense(self) -> bool:
        """Whether it has a kernel."""
        return self.kind == "dense"


class Treatment(NamedTuple):
    """What happens to gradients before the rule and to weights after it; 0 means nothing.

    clipvalue bounds every element, clipnorm the norm of every array, global_clipnorm that of all together;
    accumulation: the mean gradient of so many steps makes one update; ema_momentum: of the average of the weights.
    """

    clipvalue: float = 0.0
    clipnorm: float = 0.0
    global_clipnorm: float = 0.0
    accumulation: int = 1
    ema_momentum: float = 0.0
    decay_kernels_only: bool = False


class Layer:
    """A layer's weights and gradients, views of two flat arenas (None where it has none), and room for its results."""

    def __init__(self, spec: LayerSpec, W: Array | None, b: Array | None, dW: Array | None, db: Array | None) -> None:
        self.spec, self.W, self.b, self.dW, self.db = spec, W, b, dW, db

    def reserve(self, rows: int) -> None:
        """Allocate once what forward and backward would otherwise allocate every step."""
        if self.W is not None:
            self.Z = np.empty((rows, self.W.shape[1]), self.W.dtype)
            self.dA_below = np.empty((rows, self.W.shape[0]), self.W.dtype)

    def ending_in(self, activation: str) -> "Layer":
        """The same layer, sharing its weights and gradients, with another activation."""
        return Layer(self.spec._replace(activation=activation), self.W, self.b, self.dW, self.db)


def activate(Z: Array, spec: LayerSpec) -> Array:
    """A = f(Z)."""
    return softmax(Z) if spec.activation == "softmax" else functions_of(spec.activation).f(Z, spec.alpha)


def activation_delta(dA: Array, Z: Array, A: Array, spec: LayerSpec) -> Array:
    """dZ = dA f'(Z), written over dA; through softmax, which mixes a row, a (dA - sum_j a_j dA_j)."""
    if spec.activation == "softmax":
        dA -= (A * dA).sum(axis=1, keepdims=True)
        dA *= A
    elif spec.activation != "identity":
        dA *= functions_of(spec.activation).derivative(Z, A, spec.alpha)
    return dA


class Tape(NamedTuple):
    """What forward keeps of a layer for backward."""

    A_below: Array
    Z: Array
    A: Array


def forward(X: Array, layers: Sequence[Layer]) -> tuple[Array, list[Tape]]:
    """Outputs (rows, output_size) and the tape. Algorithm 6.3."""
    A, tape = X, []
    for layer in layers:
        A_below, Z = A, A
        if layer.W is not None:
            Z = np.matmul(A_below, layer.W, out=layer.Z[: len(X)])
            if layer.b is not None:
                Z += layer.b
        if layer.W is not None and layer.spec.activation == "relu":
            A = np.maximum(Z, 0, out=Z)  # in place: its derivative needs no Z
        else:
            A = activate(Z, layer.spec)
        tape.append(Tape(A_below, Z, A))
    return A, tape


def backward(dA: Array, layers: Sequence[Layer], tape: list[Tape]) -> None:
    """Fill dW and db of every layer, from the derivative by the outputs; dA is written over. Algorithm 6.4."""
    lowest = next((layer for layer in layers if layer.W is not None), None)
    for layer, (A_below, Z, A) in zip(reversed(layers), reversed(tape), strict=True):
        dZ = activation_delta(dA, Z, A, layer.spec)
        if layer.W is not None:
            np.matmul(A_below.T, dZ, out=layer.dW)
            if layer.db is not None:
                dZ.sum(axis=0, out=layer.db)
            if layer is lowest:
                return
            dA = np.matmul(dZ, layer.W.T, out=layer.dA_below[: len(dZ)])
