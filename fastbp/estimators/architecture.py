"""From an estimator's parameters to a network: its layers, output layer and loss, and the scale of that loss.

The engine's losses are means over rows and outputs. scikit-learn's are not always, nor is the gradient it uses for the
squared error that of the squared error it reports. With L the engine's loss,

    the gradient is  grad (gradient_scale L + alpha / 2 sum W^2 / rows)      reported is  loss_scale L + that penalty
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp import activations, losses
from fastbp.layers import Activation, BatchNorm, Dense, Dropout, Layer
from fastbp.regularizers import L2
from fastbp.util.arguments import count
from fastbp.util.types import Array

ALIASES = {"absolute_error": "mae", "log_loss": "cross_entropy"}  # scikit-learn's names
NOT_OF_CLASSES = ("poisson", "quantile", "gaussian_nll")


class OutputDesign(NamedTuple):
    """The output layer: its loss, activation and units, and the scales of the loss.

    link: whether outputs are logarithms of the predictions; out_activation: scikit-learn's name of the activation.
    """

    loss: losses.Loss
    activation: str
    units: int
    gradient_scale: float = 1.0
    loss_scale: float = 1.0
    link: bool = False
    deviance: bool = False

    @property
    def out_activation(self) -> str:
        """scikit-learn's name of the last activation."""
        return "exp" if self.link else {"sigmoid": "logistic"}.get(self.activation, self.activation)


def classification(loss: str | losses.Loss, n_classes: int, multilabel: bool) -> OutputDesign:
    """The output layer of a classifier; ValueError for a loss not made for classification."""
    k = n_classes if multilabel or n_classes > 2 else 1
    if loss == "log_loss":
        if multilabel or k == 1:
            return OutputDesign(losses.BinaryCrossEntropy(), "sigmoid", k, float(k), float(k))
        return OutputDesign(losses.CrossEntropy(), "softmax", k)
    chosen = losses.get(loss)
    if chosen.name in NOT_OF_CLASSES:
        raise ValueError(f"loss {chosen.name!r} is for MLPRegressor: pass 'log_loss', or another classification loss")
    allowed = chosen.last_activations
    if chosen.targets == "classes":
        if multilabel:
            raise ValueError(
                f"loss {chosen.name!r} needs exactly one class per row, but y is multilabel: pass "
                "'log_loss', 'binary_cross_entropy' or 'binary_focal'"
            )
        return OutputDesign(chosen, "softmax" if allowed else "identity", max(2, n_classes))
    if chosen.targets == "signs":
        return OutputDesign(chosen, "identity", k)
    sigmoid = multilabel or k == 1 or allowed is not None
    return OutputDesign(chosen, "sigmoid" if sigmoid else "softmax", k)


def regression(loss: str | losses.Loss, columns: int) -> OutputDesign:
    """The output layer of a regressor; ValueError for a classification loss."""
    k = float(columns)
    if loss == "squared_error":
        return OutputDesign(losses.MSE(), "identity", columns, k / 2, 0.5)
    if loss == "poisson":
        return OutputDesign(losses.Poisson(log_input=True), "identity", columns, k, k, link=True, deviance=True)
    chosen = losses.get(ALIASES.get(loss, loss) if isinstance(loss, str) else loss)
    match chosen:
        case losses.Poisson(log_input=True):
            return OutputDesign(chosen, "identity", columns, link=True)
        case losses.Poisson():
            return OutputDesign(chosen, "softplus", columns)
        case losses.Quantile():
            return OutputDesign(chosen, "identity", columns * len(chosen.parameters))
        case losses.GaussianNLL():
            return OutputDesign(chosen, "identity", columns * 2)
    if chosen.targets in ("classes", "signs"):
        raise ValueError(f"loss {chosen.name!r} is for MLPClassifier: pass 'squared_error', or another regression loss")
    return OutputDesign(chosen, "sigmoid" if chosen.targets == "probabilities" else "identity", columns)


# ---------------------------------------------------------------- layers


def hidden_sizes(sizes: Any) -> list[int]:
    """Units of the hidden layers; ValueError, in scikit-learn's words, unless all are positive; no fractions.

    >>> hidden_sizes(np.array([64, 32])), hidden_sizes(8)
    ([64, 32], [8])
    """
    result = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if any(isinstance(size, numbers.Real) and size <= 0 for size in result):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {result}.")
    return [count(size, "hidden_layer_sizes") for size in result]


def each(value: Any, hidden: int, name: str) -> list[Any]:
    """A parameter that is either one value for all hidden layers or a sequence with one for each, as a list."""
    if isinstance(value, str | activations.Activation) or not hasattr(value, "__len__"):
        return [value] * hidden
    if len(value) != hidden:
        raise ValueError(
            f"{name} must be one for all hidden layers or one for each of them, got {len(value)} for {hidden} "
            "hidden layers: pass as many as hidden_layer_sizes has"
        )
    return list(value)


def activation_of(given: str | activations.Activation) -> activations.Activation:
    """An activation by scikit-learn's or fastbp's name, or as an object."""
    return activations.get("sigmoid" if given == "logistic" else given)


def layers_of(
    sizes: Sequence[int],
    functions: Iterable[activations.Activation],
    rates: Iterable[float | None],
    batch_norm: bool,
    design: OutputDesign,
    l2: float,
) -> list[Layer]:
    """Dense, batch normalization, activation and dropout for each hidden layer, then the output layer."""
    penalty = L2(l2) if l2 else None
    layers: list[Layer] = []
    for units, function, rate in zip(sizes, functions, rates, strict=True):
        if batch_norm:
            layers += [Dense(units, kernel_regularizer=penalty), BatchNorm(), Activation(function)]
        else:
            layers.append(Dense(units, function, kernel_regularizer=penalty))
        if rate:
            layers.append(Dropout(rate))
    return [*layers, Dense(design.units, design.activation, kernel_regularizer=penalty)]


def places(layers: Iterable[Layer]) -> list[int]:
    """Positions of the kernels in the model's weights; each bias follows its kernel."""
    found, at = [], 0
    for layer in layers:
        if isinstance(layer, Dense):
            found.append(at)
        at += {Dense: 2, BatchNorm: 4}.get(type(layer), 0)
    return found


def initial_weights(
    random_state: np.random.RandomState,
    sizes: Sequence[int],
    functions: Iterable[str],
    dtype: np.dtype[Any],
) -> tuple[list[Array], list[Array]]:
    """Kernels and biases from U(-b, b), b = sqrt(6 / (in + out)), or sqrt(2 / (in + out)) for the logistic function.

    Drawn as scikit-learn does, so that a random_state gives the same weights. sizes: from inputs to outputs; functions:
    the activations of the hidden layers, and for the outputs that of the last hidden layer.
    """
    kernels, biases = [], []
    for inputs, units, function in zip(sizes[:-1], sizes[1:], functions, strict=True):
        bound = np.sqrt((2.0 if function == "sigmoid" else 6.0) / (inputs + units))
        kernels.append(random_state.uniform(-bound, bound, (inputs, units)).astype(dtype, copy=False))
        biases.append(random_state.uniform(-bound, bound, units).astype(dtype, copy=False))
    return kernels, biases
