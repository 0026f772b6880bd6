"""Import from Keras 3; needs keras (extra `keras`) and one of its backends."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastbp import activations, constraints, regularizers
from fastbp.exchange.layer_weights import ExchangeError, Part, as_floats, model_of, need
from fastbp.exchange.residual_graphs import Sum, chain, joined, residual
from fastbp.layers import Activation, BatchNorm, Dense, Dropout, GaussianNoise, Layer, LayerNorm
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array

Node = tuple[Any, int]  # an operation, and the number of the call: a layer may be called more than once
Found = tuple[Layer, dict[str, Array]]


def from_keras(model: Any, *, seed: int = 0) -> Sequential:
    """Convert a built Keras 3 model, with its weights; not compiled.

    Parameters
    ----------
    model : keras.Model
        A keras.Sequential or a functional model with one input and one output, of Dense, BatchNormalization,
        LayerNormalization, Dropout, GaussianNoise, an initial Flatten, activations as layers, names or operations, and
        sums of a branch with its input, which become Residual. Nested models are flattened. kernel_regularizer, MaxNorm
        along axis 0 and trainable are kept, momentum becomes 1 - momentum; a warning lists other penalties and
        constraints.
    seed : int, default 0
        Seed of shuffling, dropout and noise in training.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    TypeError
        If model is not a Keras model.
    ExchangeError
        For a model that is not built, and for what fastbp does not have, naming the layer.
    ImportError
        If keras is missing; with the command that installs it.

    Examples
    --------
    >>> import os
    >>> _ = os.environ.setdefault("KERAS_BACKEND", "torch")
    >>> import keras
    >>> theirs = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    >>> from_keras(theirs).layers[0].activation.name
    'softmax'
    """
    keras = need("keras", "keras")
    if not isinstance(model, keras.Model):
        raise TypeError(f"from_keras takes a keras.Model, got {type(model).__name__}: pass the model itself")
    parts, _ = _model_parts(keras, model, None)
    return model_of(joined(parts), seed=seed)


def _model_parts(keras: Any, model: Any, width: int | None) -> tuple[list[Part], int]:
    """The parts of a model, and the width of its input."""
    inputs, outputs = (list(getattr(model, name, None) or ()) for name in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ExchangeError(
            f"from_keras takes a built model with one input and one output, but {model.name!r} has {len(inputs)} and "
            f"{len(outputs)}: a Sequential is built if its first entry is a keras.Input, a subclass must be rewritten "
            "with the functional API"
        )
    shape = inputs[0].shape[1:]
    nodes, read = _graph(outputs[0])
    items = chain(nodes, read.__getitem__, _node(outputs[0]))
    if len(shape) != 1 and (not items or isinstance(items[0], Sum) or type(items[0][0]).__name__ != "Flatten"):
        raise ExchangeError(
            f"fastbp's networks take rows of features, but {model.name!r} takes shape {shape}: start with a Flatten"
        )
    width = math.prod(shape)
    return _parts(keras, items, width), width


def _node(tensor: Any) -> Node:
    history = tensor._keras_history
    return history.operation, history.node_index


def _graph(output: Any) -> tuple[list[Node], dict[Node, list[Node]]]:
    """All calls that an output depends on, in topological order, and the inputs of each."""
    read: dict[Node, list[Node]] = {}
    order: list[Node] = []
    to_do = [_node(output)]
    while to_do:
        node = to_do[-1]
        if node not in read:
            operation, call = node
            read[node] = [_node(tensor) for tensor in operation._inbound_nodes[call].input_tensors]
            to_do += read[node]
        else:
            to_do.pop()
            if node not in order:
                order.append(node)
    return order, read


def _parts(keras: Any, items: list[Any], width: int) -> list[Part]:
    """The parts for the items of a chain, applied to an input of this width."""
    result: list[Part] = []
    for item in items:
        if isinstance(item, Sum):
            operation = item.node[0]
            if type(operation).__name__ != "Add":
                raise _unknown(operation)
            found = [residual(operation.name, width, [joined(_parts(keras, each, width)) for each in item.branches])]
        elif isinstance(item[0], keras.Model):
            found, _ = _model_parts(keras, item[0], width)
        else:
            found = _part(item, width)
        result += found
        width = result[-1].units if result else width
    return result


def _part(node: Node, width: int) -> list[Part]:
    operation = node[0]
    kind = type(operation).__name__
    if kind not in READERS or not type(operation).__module__.startswith("keras."):
        raise _unknown(operation)
    if len(operation._inbound_nodes) > 1 and getattr(operation, "weights", None):
        raise ExchangeError(
            f"fastbp has no shared weights, but {operation.name!r} is called more than once: use a copy"
        )
    parts = []
    for layer, weights in READERS[kind](operation, width):
        units = layer.units if isinstance(layer, Dense) else width
        parts.append(Part(operation.name, layer, width, units, weights))
        width = units
    return parts


def _unknown(operation: Any) -> ExchangeError:
    return ExchangeError(
        f"from_keras reads {', '.join(READERS)} and sums, but {operation.name!r} is {type(operation).__name__}: use "
        "one of these instead, or remove it"
    )


def _wrong(operation: Any, what: str, remedy: str) -> ExchangeError:
    return ExchangeError(f"{operation.name!r} {what}, which fastbp does not have: {remedy}")


# ---------------------------------------------------------------- layers


def _arrays(layer: Any) -> Iterator[Array]:
    """The weights; get_weights would warn with PyTorch as the backend and NumPy 2."""
    return (as_floats(variable.value) for variable in layer.weights)


def _dense(layer: Any, width: int) -> list[Found]:
    weights = dict(zip(("kernel", "bias"), _arrays(layer), strict=False))
    for name in ("bias_regularizer", "activity_regularizer", "bias_constraint"):
        if getattr(layer, name, None) is not None:
            warnings.warn(
                f"{layer.name!r} has a {name}, which fastbp does not have: training would differ", stacklevel=6
            )
    dense = Dense(
        layer.units, use_bias=layer.use_bias, trainable=layer.trainable,
        kernel_regularizer=_regularizer(layer), kernel_constraint=_constraint(layer),
    )  # fmt: skip
    return [(dense, weights), *_activation(layer, width)]


def _regularizer(layer: Any) -> regularizers.L1L2 | None:
    given = layer.kernel_regularizer
    if given is None:
        return None
    if type(given).__name__ not in ("L1", "L2", "L1L2"):
        raise _wrong(layer, f"has the kernel_regularizer {type(given).__name__}", "use L1, L2 or L1L2")
    return regularizers.L1L2(float(getattr(given, "l1", 0.0)), float(getattr(given, "l2", 0.0)))


def _constraint(layer: Any) -> constraints.MaxNorm | None:
    given = layer.kernel_constraint
    if given is None:
        return None
    if type(given).__name__ != "MaxNorm" or given.axis != 0:
        raise _wrong(layer, f"has the kernel_constraint {type(given).__name__}", "use MaxNorm along axis 0")
    return constraints.MaxNorm(float(given.max_value))


def _activation(layer: Any, width: int) -> list[Found]:
    """The activation function of a Dense or an Activation."""
    name = getattr(layer.activation, "__name__", "")
    if name == "linear":
        return []
    own = getattr(layer.activation, "__module__", "").startswith("keras.")
    if name not in FUNCTIONS or not own:
        raise _wrong(layer, f"has the activation {name or layer.activation!r}", f"use one of {', '.join(FUNCTIONS)}")
    return [(Activation(FUNCTIONS[name]), {})]


def _affine(layer: Any, names: tuple[str, ...], width: int) -> dict[str, Array]:
    """gamma, beta and statistics; 1 and 0 if a layer has no gamma or beta."""
    if layer.axis not in (-1, 1, [-1], [1], (-1,), (1,)):
        raise _wrong(layer, f"normalises along the axis {layer.axis}", "pass axis=-1")
    weights = {"gamma": np.ones(width, np.float32), "beta": np.zeros(width, np.float32)}
    if not (layer.scale and layer.center) and layer.trainable:
        warnings.warn(
            f"{layer.name!r} has no gamma or no beta: fastbp's layer has both, and trains them", stacklevel=6
        )
    own = [name for name, has in (("gamma", layer.scale), ("beta", layer.center)) if has]
    return weights | dict(zip((*own, *names), _arrays(layer), strict=True))


def _batch_norm(layer: Any, width: int) -> list[Found]:
    weights = _affine(layer, ("moving_mean", "moving_variance"), width)
    return [(BatchNorm(round(1 - layer.momentum, 15), layer.epsilon, trainable=layer.trainable), weights)]


def _layer_norm(layer: Any, width: int) -> list[Found]:
    if getattr(layer, "rms_scaling", False):
        raise _wrong(layer, "divides by the root mean square", "pass rms_scaling=False")
    return [(LayerNorm(layer.epsilon, trainable=layer.trainable), _affine(layer, (), width))]


def _dropout(layer: Any, width: int) -> list[Found]:
    if layer.noise_shape is not None and any(size is not None for size in layer.noise_shape):
        raise _wrong(layer, f"has the noise_shape {layer.noise_shape}", "leave it out")
    return [(Dropout(layer.rate), {})]


def _relu(layer: Any, width: int) -> list[Found]:
    if layer.max_value is not None or layer.threshold:
        raise _wrong(layer, f"has max_value={layer.max_value} and threshold={layer.threshold}", "leave them out")
    return [(Activation(activations.LeakyReLU(float(layer.negative_slope)) if layer.negative_slope else "relu"), {})]


def _softmax(layer: Any, width: int) -> list[Found]:
    if layer.axis not in (-1, 1):
        raise _wrong(layer, f"is a softmax along the axis {layer.axis}", "pass axis=-1")
    return [(Activation("softmax"), {})]


def _of(make: Callable[[Any], str | activations.Activation]) -> Callable[[Any, int], list[Found]]:
    return lambda operation, width: [(Activation(make(operation)), {})]


FUNCTIONS: dict[str, str | activations.Activation] = {  # functions of keras.activations, with their parameters
    **{name: name for name in ("sigmoid", "tanh", "relu", "selu", "gelu", "silu", "mish", "softplus", "softmax")},
    "elu": activations.ELU(1.0),
    "leaky_relu": activations.LeakyReLU(0.2),
}
READERS: dict[str, Callable[[Any, int], list[Found]]] = {
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Dropout": _dropout,
    "GaussianNoise": lambda layer, width: [(GaussianNoise(layer.stddev), {})],
    "Flatten": lambda layer, width: [],
    "Identity": lambda layer, width: [],
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _of(lambda layer: activations.LeakyReLU(float(layer.negative_slope))),
    "ELU": _of(lambda layer: activations.ELU(float(layer.alpha))),
    "Softmax": _softmax,
    # operations, such as keras.ops.gelu(X, approximate=True)
    "Relu": _of(lambda operation: "relu"),
    "LeakyRelu": _of(lambda operation: activations.LeakyReLU(float(operation.negative_slope))),
    "Elu": _of(lambda operation: activations.ELU(float(operation.alpha))),
    "Selu": _of(lambda operation: "selu"),
    "Gelu": _of(lambda operation: "gelu_tanh" if operation.approximate else "gelu"),
    "Silu": _of(lambda operation: "silu"),
    "Mish": _of(lambda operation: "mish"),
    "Softplus": _of(lambda operation: "softplus"),
    "Sigmoid": _of(lambda operation: "sigmoid"),
    "Tanh": _of(lambda operation: "tanh"),
}
