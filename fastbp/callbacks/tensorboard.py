"""Figures and weights for TensorBoard to show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastbp.callbacks.base import Callback, Logs
from fastbp.layers.graph import parameters
from fastbp.util.arguments import count


class TensorBoard(Callback):
    """Write the figures of every epoch for TensorBoard, those on validation data as a run of their own.

    log_dir: the folder; its runs are train and validation, the tags epoch_loss, epoch_accuracy, …, and
    epoch_learning_rate, of the step to come. histogram_freq: after every so many epochs histograms of all weights, by
    the names of their arrays, such as weights/0.kernel; 0 for none.
    Needs the package tensorboardX; ImportError, with the command that installs it, where that is missing.

    >>> board = TensorBoard("logs", histogram_freq=5)

    As Keras's, without graphs and profiles. To look at: ``tensorboard --logdir logs``.
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0) -> None:
        self.log_dir, self.histogram_freq = Path(log_dir), count(histogram_freq, "histogram_freq", 0)
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        _writer_class()  # fails before the first epoch rather than after it

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        for name, value in {"learning_rate": self.model.learning_rate, **logs}.items():
            run = "validation" if name.startswith("val_") else "train"
            self._writer(run, epoch).add_scalar(f"epoch_{name.removeprefix('val_')}", value, epoch)
        if self.histogram_freq and (epoch + 1) % self.histogram_freq == 0:
            names = [parameter.name for parameter in parameters(self.model.blocks)]
            for name, W in zip(names, self.model.get_weights(), strict=True):
                self._writer("train", epoch).add_histogram(f"weights/{name}", W, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, run: str, epoch: int) -> Any:
        if run not in self._writers:  # what a run that was interrupted wrote of this epoch and later ones is void
            self._writers[run] = _writer_class()(str(self.log_dir / run), purge_step=epoch)
        return self._writers[run]

    def on_train_end(self, logs: Logs) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard needs the package tensorboardX: pip install fastbp[tensorboard]") from error
    return SummaryWriter
