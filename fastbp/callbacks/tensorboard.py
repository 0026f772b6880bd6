"""Metrics and weight histograms for TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastbp.callbacks.base import Callback, Logs
from fastbp.layers.graph import parameters
from fastbp.util.arguments import count

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write the metrics of every epoch for TensorBoard; those on validation data form a separate run.

    Parameters
    ----------
    log_dir : path-like, optional
        The folder, with the runs train and validation.
    histogram_freq : int, optional
        Write histograms of all weights every so many epochs; 0 for none.

    Raises
    ------
    ImportError
        By `fit`, if tensorboardX is not installed; the message gives the command.

    Notes
    -----
    The tags are epoch_loss, epoch_accuracy and so on, epoch_learning_rate (of the next step), and the names of the
    arrays, such as weights/0.kernel. Like Keras's TensorBoard, without graphs and profiles. View with ``tensorboard
    --logdir logs``.

    Examples
    --------
    >>> board = TensorBoard("logs", histogram_freq=5)
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "logs", histogram_freq: int = 0) -> None:
        self.log_dir, self.histogram_freq = Path(log_dir), count(histogram_freq, "histogram_freq", 0)
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        _writer_class()  # fail before the first epoch rather than after it

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
        if run not in self._writers:  # purge what an interrupted run wrote from this epoch on
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
        remedy = 'install it with pip install "fastbp[tensorboard]"'
        raise ImportError(f"TensorBoard needs tensorboardX: {remedy}") from error
    return SummaryWriter
