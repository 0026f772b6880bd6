"""The progress of fit: a bar on a terminal or in a notebook, a line now and then in a log, or a line per epoch."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from fastbp.util.console import Tolerant, in_notebook, is_terminal, say, usable

_BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}"
# Narrower ones, for terminals on which the loss and the metrics leave less room.
_NARROWER = (
    "{desc} {percentage:3.0f}%|{bar}| {remaining} left{postfix}",
    "{desc} {percentage:3.0f}%, {remaining} left{postfix}",
)
_NARROWEST = "{desc}{postfix}"
_COUNT = "{desc} {n_fmt} rows, {rate_fmt}{postfix}"  # while the total is unknown
_NARROWEST_BAR = 6
LOG_SECONDS = 5.0  # between the lines in a log


class Display(NamedTuple):
    """How progress is shown: "none", "bar", "notebook", "log", or "epochs": a line after every so many epochs."""

    style: str
    every: int = 1


def wanted(verbose: Any) -> Display:
    """The display that an argument verbose asks for: "auto", 0, 1, or a number of epochs from 2 on (2: every epoch)."""
    if isinstance(verbose, str) and verbose == "auto":
        style = "notebook" if in_notebook() else "bar" if is_terminal(sys.stderr) else "log"
    elif isinstance(verbose, int | float | np.number) and verbose == int(verbose) and verbose >= 0:
        style = "none" if not verbose else "epochs" if verbose > 1 else "notebook" if in_notebook() else "bar"
    else:
        raise ValueError(
            f"verbose must be 'auto', 0, 1, 2 or a number of epochs, got {verbose!r}: pass 1 for a bar, 2 for a line "
            "per epoch, 100 for a line every 100 epochs"
        )
    if not usable(sys.stderr):
        return Display("none")
    return Display(style, 1 if verbose in ("auto", 2) else max(1, int(verbose)))


class Progress:
    """A progress display over all samples of a fit; does nothing if not shown.

    samples: the total, or None if unknown, in which case only a count is shown; done: samples from before a resume.
    """

    def __init__(self, samples: int | None, epochs: int, display: Display | bool, done: int = 0) -> None:
        self._epochs, self._display = epochs, display if isinstance(display, Display) else wanted(int(display))
        self._total, self._samples, self._first = samples, done, done
        self._began = self._told = time.monotonic()
        self._said, self._last = False, ""
        self._bar: Any = None
        if self._display.style in ("bar", "notebook"):
            self._bar = _bar_class(self._display.style == "notebook")(
                total=samples, initial=done, unit=" samples", unit_scale=True, dynamic_ncols=True,
                bar_format=_COUNT if samples is None else _BAR, file=Tolerant(sys.stderr),
            )  # fmt: skip

    @property
    def shown(self) -> bool:
        """Whether anything is shown."""
        return self._display.style != "none"

    def update(self, samples: int, epoch: int, logs: Mapping[str, float], total: int | None) -> None:
        """Advance by some samples in this epoch (from 0) and show these logs; total: all samples, if known."""
        self._samples, self._total = self._samples + samples, self._total if total is None else total
        if self._display.style == "log":
            self._log(epoch, logs)
        if self._bar is None:
            return
        self._bar.total = self._total
        self._bar.set_description_str(f"epoch {epoch + 1}/{self._epochs}", refresh=False)
        self._fit_postfix(logs)
        self._bar.update(samples)

    def epoch_end(self, past: int, logs: Mapping[str, float], last: bool) -> None:
        """Print the line of an epoch, if it is due; past: number of finished epochs."""
        if self._display.style == "epochs" and (last or past % self._display.every == 0):
            say(f"epoch {past}/{self._epochs}, {_seconds(time.monotonic() - self._began)}: {_text(logs)}")

    def _fit_postfix(self, logs: Mapping[str, float]) -> None:
        """Choose the widest bar whose metrics are still visible on this terminal."""
        formats = (_COUNT,) if self._total is None else (_BAR, *_NARROWER)
        width = None if self._display.style == "notebook" else self._bar.format_dict["ncols"]
        for some in _shorter(logs):
            self._bar.set_postfix(some, refresh=False)
            for form in formats:
                self._bar.bar_format = form
                if width is None or self._length(form) <= width:
                    return
        self._bar.bar_format = _NARROWEST

    def _length(self, form: str) -> int:
        facts = self._bar.format_dict | {"bar_format": form.replace("{bar}", " " * _NARROWEST_BAR), "ncols": None}
        return len(self._bar.format_meter(**facts))

    def _log(self, epoch: int, logs: Mapping[str, float]) -> None:
        """A line for a log every few seconds."""
        now = time.monotonic()
        seconds = max(now - self._began, 1e-9)
        rate = (self._samples - self._first) / seconds
        share, left = "", ""
        if self._total:
            share = f" {100 * self._samples / self._total:.0f} %"
            left = f", {_seconds((self._total - self._samples) / max(rate, 1e-9))} left"
        self._last = f"epoch {epoch + 1}/{self._epochs}{share}, {rate:,.0f} samples/s{left}: {_text(logs)}"
        if now - self._told >= LOG_SECONDS:
            say(self._last)
            self._told, self._said, self._last = now, True, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._said and self._last:  # a log that began ends with the last figures
            say(self._last)
        if self._bar is not None:
            self._bar.close()


def _bar_class(notebook: bool) -> Any:
    """tqdm's bar; in a notebook a widget, or text if ipywidgets is missing."""
    if notebook:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a missing ipywidgets: the bar of text does as well
            from tqdm.auto import tqdm
    else:
        from tqdm import tqdm  # takes 20 ms to import, and most fits show no bar

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no monitor thread: threads and fork do not mix

    return Bar


@contextmanager
def steps_bar(total: int, unit: str, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar over a few long steps, on standard error; yields a function that tells of one step done."""
    if not shown or not usable(sys.stderr):
        yield lambda: None
        return
    with _bar_class(in_notebook())(total=total, unit=f" {unit}", dynamic_ncols=True, file=Tolerant(sys.stderr)) as bar:
        yield lambda: bar.update() and None


def _shorter(logs: Mapping[str, float]) -> Iterator[dict[str, str]]:
    """The logs as text; without training metrics that validation has, too; then only those of validation."""
    text = {name: f"{value:.4g}" for name, value in logs.items()}
    yield text
    validation = {name: value for name, value in text.items() if name.startswith("val_")}
    yield {name: value for name, value in text.items() if name == "loss" or f"val_{name}" not in text}
    yield {"loss": text["loss"], **validation} if "loss" in text else validation
    yield validation or text


def _text(logs: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in logs.items())


def _seconds(seconds: float) -> str:
    """A duration: "0.3 s", "75 s", "1:02:05".

    >>> _seconds(0.31), _seconds(75.2), _seconds(3725)
    ('0.3 s', '75 s', '1:02:05')
    """
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
