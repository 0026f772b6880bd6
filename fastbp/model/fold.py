"""Batch normalization folded into the neighbouring Dense layers, for inference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastbp import activations
from fastbp.data.arrays import finite
from fastbp.layers import BatchNorm, Dense, Layer, Residual
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array


class _Weighted(NamedTuple):
    """A layer with its weights; of a residual block also its inner layers. Its own weight is the projection, if any."""

    layer: Layer
    weights: list[Array]
    within: list[_Weighted]

    def flat(self) -> list[Array]:
        """All arrays, in the order of `Sequential.get_weights`."""
        return [*(array for part in self.within for array in part.flat()), *self.weights]


def fold(model: Sequential) -> Sequential:
    """Fold BatchNorm layers into Dense layers: a copy for inference with fewer passes and the same predictions.

    ::

        s = γ / sqrt(moving_variance + epsilon)        t = β - s moving_mean
        after a Dense:    (X W + b) s + t = X (W diag(s)) + (b s + t)
        before a Dense:   (X s + t) W + b = X (diag(s) W) + (b + t W)

    A BatchNorm is folded if it directly follows a Dense without an activation in between, or directly precedes one.
    Others stay, as does one whose folded weights would not be finite.

    Parameters
    ----------
    model : Sequential
        The model to fold, whose input size is known. It is not changed.

    Returns
    -------
    Sequential
        The folded copy. Its predictions differ by rounding only. Each Dense gets a bias and loses its regularizer and
        constraint, which applied to other weights. It is compiled as the model is, with a fresh optimizer state.

    Raises
    ------
    TypeError
        If model is not a Sequential.
    ValueError
        If its input size is not known yet.

    Notes
    -----
    As PyTorch's ``torch.nn.utils.fusion.fuse_linear_bn_eval``.

    References
    ----------
    Jacob et al. 2018, section 3.2.

    Examples
    --------
    >>> model = Sequential([Dense(3), BatchNorm(), Dense(1)], input_size=2)
    >>> [type(layer).__name__ for layer in fold(model).layers]
    ['Dense', 'Dense']
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"fold takes a Sequential, got {type(model).__name__}: pass the model")
    size = model.require_engine("fold").input_size
    arrays = iter(model.get_weights())
    network = _folded(_with_weights(model.layers, size, arrays)[0])
    result = Sequential([part.layer for part in network], input_size=size, seed=model.seed, dtype=model.dtype,
                        compute=model.compute)
    result.set_weights([array for part in network for array in part.flat()])
    result.metadata = dict(model.metadata)
    result.name_features(model.feature_names)
    if model.compiled:
        result.compile(model.optimizer, model.loss, model.metrics)
    return result


def _with_weights(layers: Sequence[Layer], width: int, arrays: Iterator[Array]) -> tuple[list[_Weighted], int]:
    """Each layer with its own share of the arrays, and the width of the last output."""
    result = []
    for layer in layers:
        within: list[_Weighted] = []
        if isinstance(layer, Residual):
            within, units = _with_weights(layer.layers, width, arrays)
            n, width = int(units != width), units
        else:
            units = layer.units_of(width) or 0
            n, width = len(layer.weights(width, units)), units
        result.append(_Weighted(layer, [next(arrays) for _ in range(n)], within))
    return result, width


def _folded(parts: list[_Weighted]) -> list[_Weighted]:
    """The same function with fewer layers: pairs are merged until no pair is left that can be."""
    parts = [_folded_within(part) if part.within else part for part in parts]
    place = 0
    while place < len(parts) - 1:
        pair = _pair(parts[place], parts[place + 1])
        if pair is None:
            place += 1
        else:
            parts[place : place + 2] = [pair]
            place = max(place - 1, 0)  # it may now merge with the layer before it
    return parts


def _folded_within(part: _Weighted) -> _Weighted:
    within = _folded(part.within)
    return _Weighted(Residual(each.layer for each in within), part.weights, within)


def _pair(first: _Weighted, second: _Weighted) -> _Weighted | None:
    """The Dense that computes the same as two neighbouring layers, or None."""
    if isinstance(first.layer, Dense) and isinstance(second.layer, BatchNorm):
        if activations.get(first.layer.activation).name != "identity":
            return None
        dense, (W, b) = first.layer, _kernel_and_bias(first)
        s, t = _scale_and_shift(second)
        with np.errstate(all="ignore"):
            W, b = W * s, b * s + t
    elif isinstance(first.layer, BatchNorm) and isinstance(second.layer, Dense):
        dense, (W, b) = second.layer, _kernel_and_bias(second)
        s, t = _scale_and_shift(first)
        with np.errstate(all="ignore"):
            W, b = s[:, np.newaxis] * W, b + t @ W
    else:
        return None
    with np.errstate(over="ignore"):
        arrays = [array.astype(first.weights[0].dtype) for array in (W, b)]
    if not all(finite(array) for array in arrays):
        return None
    dense = dataclasses.replace(dense, use_bias=True, kernel_regularizer=None, kernel_constraint=None)
    return _Weighted(dense, arrays, [])


def _kernel_and_bias(part: _Weighted) -> tuple[Array, Array]:
    """In float64, so that the products are rounded only once at the end."""
    W, *b = (array.astype(np.float64) for array in part.weights)
    return W, b[0] if b else np.zeros(W.shape[1])


def _scale_and_shift(part: _Weighted) -> tuple[Array, Array]:
    assert isinstance(part.layer, BatchNorm)
    gamma, beta, mean, variance = (array.astype(np.float64) for array in part.weights)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + part.layer.epsilon)
        return scale, beta - scale * mean
