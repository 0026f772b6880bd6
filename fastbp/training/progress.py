"""The progress bar of fit: loss, metrics, samples per second, time left."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

_BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}"
_COUNT = "{desc} {n_fmt} rows, {rate_fmt}{postfix}"  # while the total is unknown


def wanted(verbose: Any) -> bool:
    """Whether to show a bar: verbose is "auto" (if standard error is a terminal), 0 or 1."""
    if isinstance(verbose, str) and verbose == "auto":
        return sys.stderr is not None and sys.stderr.isatty()
    if not isinstance(verbose, str) and verbose in (0, 1):
        return bool(verbose)
    raise ValueError(f"verbose must be 'auto', 0 or 1, got {verbose!r}: pass one of these")


class Progress:
    """A progress bar over all samples of a fit; does nothing if not shown.

    samples: the total, or None if unknown, in which case only a count is shown; done: samples from before a resume.
    """

    def __init__(self, samples: int | None, epochs: int, shown: bool, done: int = 0) -> None:
        self._epochs = epochs
        self._bar: Any = None
        if shown:
            from tqdm import tqdm  # takes 20 ms to import, and most fits show no bar

            class Bar(tqdm):  # type: ignore[misc]
                monitor_interval = 0  # no monitor thread: threads and fork do not mix

            self._bar = Bar(
                total=samples, initial=done, unit=" samples", unit_scale=True, dynamic_ncols=True,
                bar_format=_COUNT if samples is None else _BAR,
            )  # fmt: skip

    def update(self, samples: int, epoch: int, logs: dict[str, float], total: int | None) -> None:
        """Advance by some samples in this epoch (from 0) and show these logs; total: all samples, if known."""
        if self._bar is None:
            return
        if total is not None:
            self._bar.total, self._bar.bar_format = total, _BAR
        self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}", refresh=False)
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in logs.items()}, refresh=False)
        self._bar.update(samples)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
