"""Export to Keras 3; needs keras (extra `keras`) and one of its backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastbp import regularizers
from fastbp.exchange.layer_weights import Part, activation, activation_of, need, parts_of, translation
from fastbp.layers import Activation, BatchNorm, ColumnEmbedding, Dense, Dropout, GaussianNoise, LayerNorm, Residual
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array


def to_keras(model: Sequential) -> Any:
    """Convert the model to a keras.Model of the functional API, with the same weights and dtype; not compiled.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known.

    Returns
    -------
    keras.Model
        A Residual becomes an Add of two branches, BatchNorm's momentum becomes 1 - momentum. Regularizers, MaxNorm and
        trainable are kept; learning-rate multipliers, loss and optimizer are not.

    Raises
    ------
    ExchangeError
        For a CustomActivation and for layers that Keras does not have.
    ValueError
        If the input size is not known yet.
    ImportError
        If keras is missing; with the command that installs it.

    Notes
    -----
    Keras updates the moving variance with the batch variance divided by n, fastbp with that divided by n - 1; training
    on differs accordingly.

    Examples
    --------
    >>> import os
    >>> _ = os.environ.setdefault("KERAS_BACKEND", "torch")
    >>> [layer.name for layer in to_keras(Sequential([Dense(3, "tanh"), Dense(1)], input_size=2)).layers]
    ['input', 'layer_0', 'layer_1']
    """
    keras = need("keras", "keras")
    parts = parts_of(model, "to_keras")
    X = keras.Input((parts[0].inputs,), name="input", dtype=model.dtype.name)
    build = _Building(keras, model.dtype.name)
    result = keras.Model(X, build.layers(parts, X))
    for layer, weights in build.weights:
        layer.set_weights(weights)
    return result


class _Building:
    """Keras layers on symbolic tensors, and the weights to set afterwards."""

    def __init__(self, keras: Any, dtype: str):
        self.keras, self.dtype = keras, dtype
        self.weights: list[tuple[Any, list[Array]]] = []

    def layers(self, parts: Iterable[Part], X: Any) -> Any:
        """Apply layers to X."""
        for part in parts:
            X = translation(LAYERS, part, "Keras")(self, part, X)
        return X

    def layer(self, kind: str, part: Part, suffix: str = "", weights: Iterable[Array] = (), **options: Any) -> Any:
        """A layer of keras.layers, named by its position."""
        name = f"layer_{part.name.replace('.', '_')}{suffix}"
        made = getattr(self.keras.layers, kind)(name=name, dtype=self.dtype, **options)
        made.trainable = getattr(part.layer, "trainable", True)
        self.weights.append((made, list(weights)))
        return made


def _dense(build: _Building, part: Part, X: Any) -> Any:
    layer = part.layer
    assert isinstance(layer, Dense)
    penalty, bound = regularizers.get(layer.kernel_regularizer), layer.kernel_constraint
    keras, rule = build.keras, activation(ACTIVATIONS, part, "Keras")
    dense = build.layer(
        "Dense", part, weights=part.weights.values(), units=part.units, use_bias=layer.use_bias,
        activation=rule if isinstance(rule, str) else None,
        kernel_regularizer=None if penalty is None else keras.regularizers.L1L2(penalty.l1, penalty.l2),
        kernel_constraint=None if bound is None else keras.constraints.MaxNorm(bound.max_value, axis=0),
    )  # fmt: skip
    return dense(X) if isinstance(rule, str) else rule(build, part, dense(X))


def _activation(build: _Building, part: Part, X: Any) -> Any:
    rule = activation(ACTIVATIONS, part, "Keras")
    return build.layer("Activation", part, activation=rule)(X) if isinstance(rule, str) else rule(build, part, X)


def _batch_norm(build: _Building, part: Part, X: Any) -> Any:
    layer = part.layer
    assert isinstance(layer, BatchNorm)
    momentum = round(1 - layer.momentum, 15)
    weights = part.weights.values()
    return build.layer("BatchNormalization", part, "", weights, momentum=momentum, epsilon=layer.epsilon)(X)


def _layer_norm(build: _Building, part: Part, X: Any) -> Any:
    assert isinstance(part.layer, LayerNorm)
    return build.layer("LayerNormalization", part, "", part.weights.values(), epsilon=part.layer.epsilon)(X)


def _dropout(build: _Building, part: Part, X: Any) -> Any:
    assert isinstance(part.layer, Dropout)
    return build.layer("Dropout", part, rate=part.layer.rate)(X)


def _noise(build: _Building, part: Part, X: Any) -> Any:
    assert isinstance(part.layer, GaussianNoise)
    return build.layer("GaussianNoise", part, stddev=part.layer.stddev)(X)


def _residual(build: _Building, part: Part, X: Any) -> Any:
    below = X
    if part.weights:
        projection = build.layer("Dense", part, "_projection", part.weights.values(), units=part.units, use_bias=False)
        below = projection(X)
    return build.layer("Add", part)([below, build.layers(part.within, X)])


def _embedding(build: _Building, part: Part, X: Any) -> Any:
    layer, ops = part.layer, build.keras.ops
    assert isinstance(layer, ColumnEmbedding)
    passing = [column for column in range(part.inputs) if column not in layer.columns]
    found = [ops.take(X, passing, axis=1)] if passing else []
    for (column, codes, dimension), E in zip(layer.tables, part.weights.values(), strict=True):
        table = build.layer("Embedding", part, f"_{column}", [E], input_dim=codes, output_dim=dimension)
        found.append(table(ops.cast(X[:, column], "int32")))
    return ops.concatenate(found, axis=1) if len(found) > 1 else found[0]


LAYERS: dict[type, Callable[[_Building, Part, Any], Any]] = {
    Dense: _dense,
    Activation: _activation,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    Dropout: _dropout,
    GaussianNoise: _noise,
    Residual: _residual,
    ColumnEmbedding: _embedding,
}


def _leaky_relu(build: _Building, part: Part, X: Any) -> Any:
    alpha = activation_of(part).alpha
    return build.layer("LeakyReLU", part, "_activation", negative_slope=alpha)(X)


def _elu(build: _Building, part: Part, X: Any) -> Any:
    return build.layer("ELU", part, "_activation", alpha=activation_of(part).alpha)(X)


def _gelu_tanh(build: _Building, part: Part, X: Any) -> Any:
    """An operation, as no Keras layer has the approximation."""
    return build.keras.ops.gelu(X, approximate=True)


ACTIVATIONS: dict[str, str | Callable[[_Building, Part, Any], Any]] = {
    "identity": "linear",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": "selu",
    "gelu": "gelu",
    "gelu_tanh": _gelu_tanh,
    "silu": "silu",
    "mish": "mish",
    "softplus": "softplus",
    "softmax": "softmax",
}
