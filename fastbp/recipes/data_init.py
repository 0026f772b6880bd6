"""First weights from the training rows: pre-activations of deviation 1, and biases that spread units over the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastbp.layers import Dense, Layer
from fastbp.model.sequential import Sequential
from fastbp.util.types import Array

MOST_BYTES = 1 << 26  # of the pre-activations that are looked at
ROWS = 5  # that a bias is made of


def initialize(model: Sequential, X: Array, seed: int, n_threads: int | None = None) -> None:
    """Set the kernels and biases of a model's dense layers, from the first to the last, by what they make of X.

    Each column of a kernel is divided by the standard deviation of its pre-activations; its bias becomes minus a random
    convex combination of them in five rows, with exponential weights, so that the kinks of the units lie where rows
    are. Steinwart, "A sober look at neural network initializations", 2019; Holzmüller et al. 2024.
    """
    rng, weights = np.random.default_rng(seed), model.get_weights()
    for place, layer in enumerate(model.layers):
        if not isinstance(layer, Dense):
            continue
        part = _up_to(model, place, layer.units)
        at = len(part.get_weights()) - 2
        part.set_weights([*weights[: at + 1], np.zeros(layer.units, model.dtype)])
        Z = part.predict(_some(X, layer.units), n_threads=n_threads).astype(np.float64)
        deviation = Z.std(axis=0)
        deviation[deviation == 0] = 1.0
        weights[at] = (weights[at] / deviation).astype(model.dtype)
        weights[at + 1] = -_mixtures(Z / deviation, rng).astype(model.dtype)
    model.set_weights(weights)


def _up_to(model: Sequential, place: int, units: int) -> Sequential:
    """The layers below a dense layer, and its product alone."""
    layers: Sequence[Layer] = [*model.layers[:place], Dense(units)]
    return Sequential(layers, input_size=model.input_size, dtype=model.dtype)


def _some(X: Array, units: int) -> Array:
    """All rows, or as many, evenly spread, as memory should hold the outputs of."""
    step = -(-len(X) * units * 8 // MOST_BYTES)
    return np.ascontiguousarray(X[::step])


def _mixtures(Z: Array, rng: np.random.Generator) -> Array:
    """For each column a random convex combination of the values in some rows."""
    rows = rng.integers(0, len(Z), (ROWS, Z.shape[1]))
    shares = rng.exponential(1.0, (ROWS, Z.shape[1]))
    mixed: Array = (Z[rows, np.arange(Z.shape[1])] * shares / shares.sum(axis=0)).sum(axis=0)
    return mixed
