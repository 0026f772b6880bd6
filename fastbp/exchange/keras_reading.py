"""Import from Keras 3; needs keras (extra `keras`) and one of its backends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastbp.exchange.inputs import scaling
from fastbp.exchange.inputs.scaling import shifted
from fastbp.exchange.layer_weights import ExchangeError, Part, model_of, need
from fastbp.exchange.layers import LAYERS, activation
from fastbp.exchange.residual_graphs import Sum, chain, joined, residual
from fastbp.exchange.translation import Found
from fastbp.model.sequential import Sequential

Node = tuple[Any, int]  # an operation, and the number of the call: a layer may be called more than once


def from_keras(model: Any, *, seed: int = 0) -> Sequential:
    """Convert a built Keras 3 model, with its weights; not compiled.

    Parameters
    ----------
    model : keras.Model
        A keras.Sequential or a functional model with one input and one output, of what `to_keras` writes, such as
        Dense and BatchNormalization, an initial Flatten, activations as layers, names or operations, and sums of a
        branch with its input, which become Residual. Nested models are flattened. kernel_regularizer, MaxNorm along
        axis 0 and trainable are kept, momentum becomes 1 - momentum; a warning lists other penalties and constraints.
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
    return model_of(shifted(joined(parts)), seed=seed)


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
    _check_complete(model, nodes)
    if len(shape) != 1 and not _flattens(items):
        raise ExchangeError(
            f"fastbp's networks take rows of features, but {model.name!r} takes shape {shape}: start with a Flatten"
        )
    width = math.prod(shape)
    return _parts(keras, items, width), width


def _check_complete(model: Any, nodes: list[Node]) -> None:
    """ExchangeError unless every weight of the model belongs to an operation between its input and its output."""
    found = {id(weight) for operation, _ in nodes for weight in getattr(operation, "weights", ())}
    if unread := [weight.path for weight in model.weights if id(weight) not in found]:
        raise ExchangeError(
            f"from_keras must find a use for every weight, but {unread[0]!r} of {model.name!r} has none between its "
            "input and its output: remove the layer"
        )


def _flattens(items: list[Any]) -> bool:
    """Whether a Flatten comes first, or after layers that do the same to every element."""
    for item in items:
        if isinstance(item, Sum):
            return False
        if type(item[0]).__name__ == "Flatten":
            return True
        if type(item[0]).__name__ not in scaling.KERAS_SCALARS or not scaling.is_scalar(item[0]):
            return False
    return False


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
            branches = [shifted(joined(_parts(keras, each, width))) for each in item.branches]
            found = [residual(operation.name, width, branches)]
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
    if kind not in READERS or not type(operation).__module__.startswith(("keras.", "fastbp.")):
        raise _unknown(operation)
    if len(operation._inbound_nodes) > 1 and getattr(operation, "weights", None):
        raise ExchangeError(
            f"fastbp has no shared weights, but {operation.name!r} is called more than once: use a copy"
        )
    parts = []
    for layer, weights in READERS[kind](operation, width):
        units = layer.units_of(width) or 0
        parts.append(Part(operation.name, layer, width, units, weights))
        width = units
    return parts


def _unknown(operation: Any) -> ExchangeError:
    return ExchangeError(
        f"from_keras reads {', '.join(READERS)} and sums, but {operation.name!r} is {type(operation).__name__}: use "
        "one of these instead, or remove it"
    )


READERS: dict[str, Callable[[Any, int], list[Found]]] = {
    **{kind: read for row in LAYERS.values() for kind, read in row.from_keras.items()},
    "Flatten": lambda layer, width: [],
    "Identity": lambda layer, width: [],
    "Activation": activation.from_keras_function,
    **dict.fromkeys(activation.KERAS_CLASSES, activation.from_keras),
    **scaling.KERAS_SCALARS,
}
