"""The progress bar of a fit: loss, metrics, samples a second, time left."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

_BAR = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}"
_COUNT = "{desc} {n_fmt} rows, {rate_fmt}{postfix}"  # while nobody knows how many there are


def wanted(verbose: Any) -> bool:
    """Whether to show a bar: verbose is "auto" (where standard error is a terminal), or true, or false."""
    if isinstance(verbose, str) and verbose == "auto":
        return sys.stderr is not None and sys.stderr.isatty()
    if not isinstance(verbose, str) and verbose in (0, 1):
        return bool(verbose)
    raise ValueError(f"verbose must be 'auto', 0 or 1, but {verbose!r} came: pass one of these")


class Progress:
    """A bar over all samples of a fit, some of them done before, or nothing where it is not shown.

    samples: how many; None where that is not known yet: then it shows how many are done.
    """

    def __init__(self, samples: int | None, epochs: int, shown: bool, done: int = 0) -> None:
        self._epochs = epochs
        self._bar: Any = None
        if shown:
            from tqdm import tqdm  # 20 ms, and most fits in programs show none

            class Bar(tqdm):  # type: ignore[misc]
                monitor_interval = 0  # no thread of its own: threads and fork do not mix

            self._bar = Bar(
                total=samples, initial=done, unit=" samples", unit_scale=True, dynamic_ncols=True,
                bar_format=_COUNT if samples is None else _BAR,
            )  # fmt: skip

    def update(self, samples: int, epoch: int, logs: dict[str, float], total: int | None) -> None:
        """Show that so many more samples are done, in this epoch (from 0), with these figures, of so many in all."""
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
