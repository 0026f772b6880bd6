"""Stochastic weight averaging."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.callbacks.base import Callback, Logs
from fastbp.util.arguments import count
from fastbp.util.types import Array


class StochasticWeightAveraging(Callback):
    """Give the model, at the end of training, the mean of its weights at the ends of epochs.

        W_swa = (W_s + W_{s+1} + … + W_{E-1}) / (E - s)        s = start_epoch, of E epochs

    start_epoch: the first epoch, from 0, whose weights count. The sum is kept in float64. Statistics of batch
    normalisation do not go with mean weights: where the model has any they are estimated anew, by one pass over the
    training data, as equal means over its batches. Without an epoch from start_epoch on the weights stay.
    Raises TypeError or ValueError for a start_epoch that is no whole number of at least 0.

    >>> swa = StochasticWeightAveraging(start_epoch=10)

    Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization". PyTorch has it as
    torch.optim.swa_utils.
    """

    def __init__(self, start_epoch: int = 0) -> None:
        self.start_epoch = count(start_epoch, "start_epoch", 0)
        self._reset()

    def _reset(self) -> None:
        self.n_averaged = 0
        self._sums: list[Array] = []

    def on_train_begin(self, logs: Logs) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if epoch < self.start_epoch:
            return
        weights = self.model.get_weights()
        if not self._sums:
            self._sums = [np.zeros(W.shape) for W in weights]
        for total, W in zip(self._sums, weights, strict=True):
            total += W
        self.n_averaged += 1

    def on_train_end(self, logs: Logs) -> None:
        if not self.n_averaged:
            return
        self.model.set_weights([total / self.n_averaged for total in self._sums])
        if self.fit is not None:
            self.fit.renew_statistics()

    def get_state(self) -> dict[str, Any]:
        return {"n_averaged": self.n_averaged, "sums": self._sums}

    def set_state(self, state: dict[str, Any]) -> None:
        self.n_averaged, self._sums = state["n_averaged"], list(state["sums"])
