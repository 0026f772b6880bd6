"""Callbacks that write files: the model, a checkpoint of the fit, a table of metrics."""

from __future__ import annotations

import csv
import io
import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastbp.callbacks.base import Callback, Logs, Monitor, log
from fastbp.util.arguments import count, flag, real
from fastbp.util.atomic_write import append_behind, atomic_write, remove_leftovers

__all__ = ["BackupAndRestore", "CSVLogger", "ModelCheckpoint"]

Path_ = str | os.PathLike[str]


class _Writer:
    """Writes files atomically; a disk that fills up after the first success does not stop training."""

    def __init__(self, written: str = "") -> None:
        self._written = written

    def write(self, path: Path, save: Callable[[Path], None]) -> bool:
        """Whether the file was written; otherwise it warns, or raises OSError if no file was written before."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path)
        except OSError as error:
            if not self._written:
                raise
            warnings.warn(
                f"{path} could not be written: {error}. Training goes on; the last file written is {self._written}: "
                "free disk space for the next", stacklevel=2
            )  # fmt: skip
            return False
        self._written = f"{path}, at {time.strftime('%H:%M:%S')}"
        return True


class BackupAndRestore(Callback):
    """Save a checkpoint of the fit regularly, and resume from it when the same program runs again.

    Parameters
    ----------
    path : path-like
        The checkpoint file.
    save_freq : "epoch" or int, optional
        Save after every epoch, or after this many steps.
    seconds : float, optional
        The least time between two saves; 0 for no limit.
    delete_checkpoint : bool, optional
        Whether to delete the file when training is complete.

    Raises
    ------
    CheckpointError
        By `fit`, if the file is damaged.
    ValueError
        By `fit`, if the data or arguments differ from those of the interrupted fit.

    See Also
    --------
    ModelCheckpoint : Save the model alone.

    Notes
    -----
    Files are written at the ends of slices (about 0.1 s of steps), also in the middle of an epoch, and when training
    stops. If the file exists, `fit` resumes from it and ends with the same weights, states and history, bit for bit, as
    a fit that was never interrupted; a completed fit returns at once. A model that has, in this process, already done
    all that the file contains starts its next fit. ``fit(resume_from=path)`` reads such a file without writing others.
    A program with several fits needs one file for each. The states of other callbacks are included if they have
    get_state and set_state, as those in `fastbp.callbacks` do. If the disk is full, a warning says so, the last good
    file stays, and training continues.

    Like Keras's BackupAndRestore, except that the file is kept by default: a program that is stopped between the end of
    training and model.save loses nothing.

    Examples
    --------
    >>> backup = BackupAndRestore("run.fit", seconds=60)
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
        """The file from which fit resumes."""
        return os.fsdecode(self.path)

    def on_train_begin(self, logs: Logs) -> None:
        assert self.fit is not None
        self._saved, self._time = self._done(), time.monotonic()
        self._writer = _Writer(str(self.path) if self.fit.step and self.path.exists() else "")
        remove_leftovers(self.path)

    def _done(self) -> int:
        """Completed epochs or steps, in units of save_freq."""
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
        raise ValueError(f"save_freq must be 'epoch' or a number of {unit}, got {value!r}: pass one of them")
    return count(value, "save_freq")


class ModelCheckpoint(Callback):
    """Save the model after every epoch, or after every epoch that improves on all before.

    Parameters
    ----------
    filepath : path-like
        May contain {epoch}, counted from 1, and names of metrics, as in "model-{epoch:03d}-{val_loss:.2f}.safetensors".
        Folders are created.
    monitor, mode : str, optional
        As in `EarlyStopping`.
    verbose : int, optional
        1 reports to standard error.
    save_best_only : bool, optional
        Whether to save only when the monitored metric improves.
    save_freq : "epoch" or int, optional
        Save after every epoch, or every so many epochs.
    initial_value_threshold : float, optional
        The value that the metric must first improve on.

    Raises
    ------
    ValueError
        If filepath contains an unknown name.

    See Also
    --------
    BackupAndRestore : Save the state of the fit as well, and resume it.
    fastbp.load : Read the files.

    Notes
    -----
    The files are those of `Sequential.save`. If the disk is full, a warning says so and training continues, except at
    the first file. Like Keras's ModelCheckpoint, whose save_freq counts batches.

    Examples
    --------
    >>> best = ModelCheckpoint("best.safetensors", save_best_only=True)
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
        self.save_freq = self.epoch_period = 1 if isinstance(frequency, str) else frequency
        self.best = self._monitor.worst if initial_value_threshold is None else float(initial_value_threshold)
        self._writer = _Writer()

    def on_train_begin(self, logs: Logs) -> None:
        if self.save_best_only:
            self._monitor.resolve(self.model)
            if not math.isfinite(self.best):  # no epoch yet
                self.best = self._monitor.worst

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if (epoch + 1) % self.save_freq:
            return
        if self.save_best_only:
            value = self._monitor.value(logs)
            if value is None or not self._monitor.better(value, self.best):
                return
            self.best = value
        path = self._path(epoch, logs)
        if self._writer.write(path, self.model.save):
            log(self.verbose, f"epoch {epoch + 1}: saved the model to {path}")

    def _path(self, epoch: int, logs: Logs) -> Path:
        try:
            return Path(self.filepath.format(epoch=epoch + 1, **logs))
        except (KeyError, IndexError) as error:
            raise ValueError(
                f"filepath may name epoch, {', '.join(logs)}, got {error} in {self.filepath!r}: use these names"
            ) from error

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best = state["best"]


def _whole_lines(path: Path) -> int:
    """Size of a file without a last line that a killed process left unfinished; all of what begins as no log does."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    return whole if whole or b"epoch".startswith(content[:5]) else len(content)


class CSVLogger(Callback):
    """Write the metrics of every epoch to a CSV file, line by line.

    Parameters
    ----------
    filename : path-like
        The file.
    separator : str, optional
        Separator of the values.
    append : bool, optional
        Whether to keep the existing contents of the file.

    Raises
    ------
    OSError
        By `fit`, if the file cannot be written.
    ValueError
        By `fit`, if the file to append to has another header.

    Notes
    -----
    The columns are epoch, counted from 0, and the names in the logs in alphabetical order; numbers have all their
    digits. A metric that is not there from the start, or that a file to append to lacks, gets a column at the end, with
    NA in the lines before. When a fit resumes, lines written after its checkpoint are replaced: the file is that of an
    uninterrupted fit. Same as Keras's CSVLogger, whose columns are those of the first epoch.

    Examples
    --------
    >>> logger = CSVLogger("training.csv")
    """

    def __init__(self, filename: Path_, separator: str = ",", append: bool = False) -> None:
        self.filename, self.separator = Path(filename), separator
        self.append = flag(append, "append")
        self._names: list[str] = []
        self._size = self._lines = 0  # of the file, without lines to be replaced; size in bytes

    def on_train_begin(self, logs: Logs) -> None:
        self._size = _whole_lines(self.filename) if self.append and self.filename.is_file() else 0
        self._lines = self._text().count("\n")
        self._names = self._header()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if added := sorted(logs.keys() - set(self._names)):
            self._names = self._names + added
            self._widen()
        self.filename.parent.mkdir(parents=True, exist_ok=True)
        with append_behind(self.filename, self._size) as (file, before):
            text = io.StringIO(newline="")
            writer = csv.writer(text, delimiter=self.separator, lineterminator="\n")
            if not before:
                writer.writerow(["epoch", *self._names])
            writer.writerow([epoch, *(logs.get(name, "NA") for name in self._names)])
            self._size = before + file.write(text.getvalue().encode())
            self._lines = self._lines + 1 if before else 2

    def _text(self) -> str:
        """The part of the file that is kept."""
        if not self._size or not self.filename.exists():
            return ""
        with self.filename.open("rb") as file:
            return file.read(self._size).decode(errors="replace")

    def _header(self) -> list[str]:
        """Names of the columns of the file, without epoch; ValueError if it is not ours."""
        text = self._text()
        first = next(csv.reader(text.splitlines()[:1], delimiter=self.separator), [])
        if text and first[:1] != ["epoch"]:
            raise ValueError(
                f"append=True needs a file of CSVLogger with the separator {self.separator!r}, but the first line of "
                f"{self.filename} is {text.splitlines()[0][:60]!r}: pass another filename, or append=False"
            )
        return first[1:]

    def _widen(self) -> None:
        """Give the lines that are kept the columns they lack."""
        header, *rows = csv.reader(self._text().splitlines(), delimiter=self.separator) if self._size else [[]]
        if not header:
            return
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self.separator, lineterminator="\n")
        width = 1 + len(self._names)
        writer.writerows([["epoch", *self._names], *(row + ["NA"] * (width - len(row)) for row in rows)])
        with atomic_write(self.filename) as file:
            self._size = file.write(text.getvalue().encode())

    def get_state(self) -> dict[str, Any]:
        return {"names": self._names or None, "size": self._size, "lines": self._lines}

    def set_state(self, state: dict[str, Any]) -> None:
        self._size = state["size"]
        if "lines" in state and self.filename.exists():  # lines may have got columns after the checkpoint
            lines = self.filename.read_bytes().split(b"\n")[: state["lines"]]
            self._size = sum(len(line) + 1 for line in lines)
        self._lines = self._text().count("\n")
        self._names = self._header() or list(state["names"] or ())
