"""Stochastic weight averaging."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.callbacks.base import Callback, Logs
from fastbp.util.arguments import count
from fastbp.util.types import Array

__all__ = ["StochasticWeightAveraging"]


class StochasticWeightAveraging(Callback):
    """Stochastic weight averaging: the model ends with the mean of its weights at the ends of epochs.

    ::

        W_swa = (W_s + W_{s+1} + … + W_{E-1}) / (E - s)        s = start_epoch, of E epochs

    Parameters
    ----------
    start_epoch : int, optional
        The first epoch, counted from 0, whose weights are averaged.

    Raises
    ------
    ValueError
        If start_epoch is negative.
    TypeError
        If start_epoch is not an integer.

    Notes
    -----
    The sum is kept in float64. The statistics of batch normalization do not fit averaged weights: if there are any,
    they are re-estimated in one pass over the training data, as equal means over its batches. If training ends before
    start_epoch, the weights stay unchanged. PyTorch has it as torch.optim.swa_utils.

    References
    ----------
    Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.

    Examples
    --------
    >>> swa = StochasticWeightAveraging(start_epoch=10)
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
