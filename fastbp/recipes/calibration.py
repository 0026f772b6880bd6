"""Temperature scaling: logits divided by one number, so that probabilities are as often right as they say."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from fastbp.model.sequential import Sequential
from fastbp.util.types import Array

LOWEST, HIGHEST = 0.05, 20.0  # temperatures


def calibrate(model: Sequential, X: Array, y: Array, weight: Array | None) -> float:
    """Divide the last layer's weights by the temperature of the lowest log-loss on rows held out; returns it.

    The most probable class of a row stays what it is. Guo et al. 2017.
    """
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(model.predict(X).astype(np.float64)), -700.0)
    rows = np.arange(len(y))

    def loss(logarithm: float) -> float:
        scaled = logits / np.exp(logarithm)
        largest = scaled.max(axis=1)
        losses = largest + np.log(np.exp(scaled - largest[:, np.newaxis]).sum(axis=1)) - scaled[rows, y]
        return float(np.average(losses, weights=weight))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    temperature = float(np.exp(found.x))
    *below, kernel, bias = model.get_weights()
    model.set_weights([*below, kernel / kernel.dtype.type(temperature), bias / bias.dtype.type(temperature)])
    return temperature
