"""Export to Keras 3; needs keras (extra `keras`) and one of its backends."""

from __future__ import annotations

from typing import Any

from fastbp.exchange.inputs.raw_tables import in_units, raw_table
from fastbp.exchange.layer_weights import need, parts_of
from fastbp.exchange.layers import LAYERS
from fastbp.exchange.translation import KerasLayers
from fastbp.model.sequential import Sequential


def to_keras(model: Sequential, *, raw: bool = False) -> Any:
    """Convert the model to a keras.Model of the functional API, with the same weights and dtype; not compiled.

    Parameters
    ----------
    model : Sequential
        The model, whose input size is known.
    raw : bool, default False
        For a model with a `fastbp.Preprocessor` in its metadata: whether the result begins with a Normalization, which
        scales raw rows without missing values, and returns quantities in their own units. If there is more to do than
        to scale numbers, as for categories, it takes what `Preprocessor.transform` returns.

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
    parts = list(parts_of(model, "to_keras"))
    table = raw_table(model) if raw else None
    A = X = keras.Input((parts[0].inputs,), name="input", dtype=model.dtype.name)
    if table is not None:
        parts = in_units(parts, table)
    if table is not None and table.scaling is not None:
        mean, variance = table.scaling.shift, table.scaling.scale**2
        A = keras.layers.Normalization(mean=mean, variance=variance, name="scaling", dtype=model.dtype.name)(X)
    build = KerasLayers(keras, model.dtype.name, LAYERS)
    result = keras.Model(X, build.layers(parts, A))
    for layer, weights in build.weights:
        layer.set_weights(weights)
    return result
