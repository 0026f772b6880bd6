"""Callbacks that write files: models, a fit that can go on, a table of figures."""

from __future__ import annotations

import csv
import glob
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastbp.callbacks.base import Callback, Logs, Monitor, say
from fastbp.util.arguments import count, flag, real
from fastbp.util.atomic_write import temporary_name

Path_ = str | os.PathLike[str]


class _Writer:
    """Writes files whole or not at all; a disk that fills up after a first success stops no training."""

    def __init__(self, written: str = "") -> None:
        self._written = written

    def write(self, path: Path, save: Callable[[Path], None]) -> bool:
        """Whether the file was written; else a warning, or where none was yet the OSError itself."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
        except OSError as error:
            if not self._written:
                raise
            warnings.warn(
                f"{path} could not be written: {error}. Training goes on; the last file written is {self._written}: "
                "make room for the next", stacklevel=2
            )  # fmt: skip
            return False
        self._written = f"{path}, at {time.strftime('%H:%M:%S')}"
        return True


class BackupAndRestore(Callback):
    """Save the fit under way again and again, and go on from there when the same program is run once more.

    path: the file. save_freq: "epoch", or after so many steps. seconds: at most one file in so many seconds; 0 for all.
    delete_checkpoint: whether to remove the file when all is done.
    Files are written at the ends of slices, some 0.1 s of steps, in the middle of epochs too, and when training stops.
    `fit` with this callback first looks whether the file is there, and if so goes on to the weights, the states and the
    history, bit for bit, of a fit that was never interrupted, by whatever means; what was complete is there at once. (A
    model that in this process has done all that the file holds begins its next fit. ``fit(resume_from=path)`` reads
    such a file without writing others.) A program of several fits needs a file for each. What other callbacks know is
    in it if they have get_state and set_state, as those of `fastbp.callbacks` do.
    Where the disk is full a warning says so, the last good file stays, and training goes on.
    Raises, by `fit`, CheckpointError for a damaged file, ValueError for other data or arguments than before.

    >>> backup = BackupAndRestore("run.fit", seconds=60)

    As Keras's, but that the file stays by default: whoever stops the program between the end of training and
    model.save has lost nothing.
    """

    def __init__(
        self, path: Path_, save_freq: str | int = "epoch", *, seconds: float = 0.0, delete_checkpoint: bool = False
    ) -> None:
        self.path, self.save_freq = Path(path), _frequency(save_freq, "steps")
        self.seconds = _pause(seconds)
        self.delete_checkpoint = flag(delete_checkpoint, "delete_checkpoint")
        self._writer, self._saved, self._time = _Writer(), 0, -float("inf")

    @property
    def resume_from(self) -> str:
        """The file that fit goes on from."""
        return os.fsdecode(self.path)

    def on_train_begin(self, logs: Logs) -> None:
        assert self.fit is not None
        self._saved, self._time = self._done(), time.monotonic()
        self._writer = _Writer(str(self.path) if self.fit.step and self.path.exists() else "")
        for left in self.path.parent.glob(temporary_name(glob.escape(self.path.name), "*")):
            left.unlink(missing_ok=True)  # half a file, of a process that was killed while it wrote

    def _done(self) -> int:
        """Epochs or steps done, in units of save_freq."""
        assert self.fit is not None
        return self.fit.epoch if self.save_freq == "epoch" else self.fit.step // int(self.save_freq)

    def on_slice_end(self) -> None:
        assert self.fit is not None
        due = self._done() > self._saved and time.monotonic() - self._time >= self.seconds
        if (due or self.fit.last) and self._writer.write(self.path, self.fit.save):
            self._saved, self._time = self._done(), time.monotonic()

    def on_train_end(self, logs: Logs) -> None:
        if self.delete_checkpoint and self.fit is not None and self.fit.complete:
            self.path.unlink(missing_ok=True)


def _pause(value: float) -> float:
    return real(value, "seconds", "at least 0", lambda v: v >= 0, "pass 0 to write every time")


def _frequency(value: str | int, unit: str) -> str | int:
    if value == "epoch":
        return value
    if isinstance(value, str):
        raise ValueError(f"save_freq must be 'epoch' or a number of {unit}, but {value!r} came: pass one of these")
    return count(value, "save_freq")


class ModelCheckpoint(Callback):
    """Save the model after every epoch, or after those that were better than all before.

    filepath: may hold {epoch}, from 1, and names of the history, as in "model-{epoch:03d}-{val_loss:.2f}.safetensors";
    folders are made. monitor, mode: see EarlyStopping. save_best_only: only where the figure became better.
    save_freq: "epoch", or every so many epochs. initial_value_threshold: the figure must be better than this at first.
    verbose: 1 tells on standard error. The files are `Sequential.save`'s, for fastbp.load. Where the disk is full a
    warning says so and training goes on, but for the first file. Raises ValueError for an unknown name in filepath.

    >>> best = ModelCheckpoint("best.safetensors", save_best_only=True)

    As Keras's, whose save_freq counts batches.
    """

    def __init__(
        self,
        filepath: Path_,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        self._monitor, self.filepath, self.verbose = Monitor(monitor, mode), os.fsdecode(filepath), verbose
        self.save_best_only = flag(save_best_only, "save_best_only")
        frequency = _frequency(save_freq, "epochs")
        self.save_freq = 1 if isinstance(frequency, str) else frequency
        self.best = self._monitor.worst if initial_value_threshold is None else float(initial_value_threshold)
        self._writer = _Writer()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if (epoch + 1) % self.save_freq:
            return
        if self.save_best_only:
            value = self._monitor.of(logs)
            if value is None or not self._monitor.better(value, self.best):
                return
            self.best = value
        path = self._path(epoch, logs)
        if self._writer.write(path, self.model.save):
            say(self.verbose, f"epoch {epoch + 1}: saved the model to {path}")

    def _path(self, epoch: int, logs: Logs) -> Path:
        try:
            return Path(self.filepath.format(epoch=epoch + 1, **logs))
        except (KeyError, IndexError) as error:
            raise ValueError(
                f"filepath {self.filepath!r} names {error}, but there are epoch, {', '.join(logs)}: use these"
            ) from error

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best = state["best"]


class CSVLogger(Callback):
    """Write the figures of every epoch to a table of comma-separated values, a line as soon as it is known.

    filename: the file. separator: between two values. append: whether to keep what the file holds. The columns are
    epoch, from 0, and the names of the first epoch's logs in alphabetical order; numbers have all their digits. Where a
    fit is resumed, lines written after its backup are replaced: the table is that of an uninterrupted fit.
    Raises, by `fit`, OSError where the file cannot be written. As Keras's.

    >>> table = CSVLogger("training.csv")
    """

    def __init__(self, filename: Path_, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator = Path(filename), separator
        self.append = flag(append, "append")
        self._names: list[str] | None = None
        self._size = 0  # of the file, in bytes, as it should be

    def on_train_begin(self, logs: Logs) -> None:
        self._names = None
        self._size = self.filename.stat().st_size if self.append and self.filename.exists() else 0

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self._names is None:
            self._names = sorted(logs)
        self.filename.parent.mkdir(parents=True, exist_ok=True)
        with self.filename.open("a", newline="", encoding="utf-8") as file:
            before = file.truncate(min(file.tell(), self._size))
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            if not before:
                writer.writerow(["epoch", *self._names])
            writer.writerow([epoch, *(logs.get(name, "NA") for name in self._names)])
            self._size = file.tell()

    def get_state(self) -> dict[str, Any]:
        return {"names": self._names, "size": self._size}

    def set_state(self, state: dict[str, Any]) -> None:
        self._names, self._size = state["names"], state["size"]
