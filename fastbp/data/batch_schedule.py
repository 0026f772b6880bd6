"""Steps grouped into slices of about 100 ms, between which Python handles Ctrl-C, progress and callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastbp.util.random_streams import Shuffler

Indices = npt.NDArray[np.int64]

_SECONDS = 0.1
# Tiny networks: 10 ms of steps, whose scalars (2 MiB) and order stay in L2; four times as many are 8 % slower.
_MOST_STEPS = 1 << 15
_MOST_ROWS = 1 << 20  # order of a slice: 8 MiB
# The first slice is meant to take 1 ms on a fast core, so that on one a hundred times slower (plain Python loops,
# NumPy) it still takes no longer than a slice should.
_FIRST_SECONDS, _FAST, _OVERHEAD = 1e-3, 5e10, 1e-6  # FLOP/s, seconds a step
_CHUNK_FLOPS, _CHUNK_ROWS = 2e9, 256  # per chunk of a prediction; a multiple of this many rows


class Pace:
    """Number of steps that take about 100 ms, updated after every slice.

    >>> pace = Pace(flops=1e6, most=1000)
    >>> pace.measured(10, seconds=0.01)
    >>> pace.count
    100
    """

    def __init__(self, flops: float, most: int = _MOST_STEPS) -> None:
        self._most = most
        self.count = min(max(1, int(_FIRST_SECONDS / (flops / _FAST + _OVERHEAD))), most)

    def measured(self, done: int, seconds: float) -> None:
        """Record the time of some steps; the count grows at most eightfold, so that one outlier does little harm."""
        fitting = int(done * _SECONDS / max(seconds, 1e-9))
        self.count = max(1, min(fitting, 8 * self.count, self._most))


class Slice(NamedTuple):
    """Steps first … first + len(bounds) - 2 of a fit; step s takes the rows order[bounds[s]:bounds[s + 1]].

    epochs: the epoch of every step, and of the step after the slice.
    """

    first: int
    order: Indices
    bounds: Indices
    epochs: Indices


class Schedule:
    """All steps over n rows in slices: epochs × batches, with a new order per epoch.

    pause: no slice crosses the end of every so many epochs (True: of any, 0: slices cross all). window: index of the
    window, if the rows are part of a longer epoch; each has its own order. drop_last: leave out what fills no batch.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        epochs: int,
        first_epoch: int,
        seed: int,
        *,
        shuffle: bool,
        pause: int,
        window: int = 0,
        drop_last: bool = False,
    ) -> None:
        used = used_rows(n, batch_size, drop_last)
        self._n, self._batch_size, self._first_epoch, self._pause = used, batch_size, first_epoch, pause
        self._window = window
        self.steps_per_epoch = -(-used // batch_size)
        self.steps = epochs * self.steps_per_epoch
        # One batch of all rows has the same gradient in any order.
        self._shuffler = Shuffler(seed, n) if shuffle and batch_size < n else None
        self._plain = np.arange(used, dtype=np.int64)
        self._kept = (-1, self._plain)

    def slices(self, pace: Pace, most_rows: int = _MOST_ROWS, step: int = 0) -> Iterator[Slice]:
        """Yield slices from a step on, each as long as pace.count says at that time."""
        most_steps = max(1, most_rows // self._batch_size)
        while step < self.steps:
            end = min(step + min(pace.count, most_steps), self.steps)
            if self._pause:
                between = self._pause * self.steps_per_epoch
                end = min(end, (step // between + 1) * between)
            yield self._slice(step, end)
            step = end

    def _slice(self, first: int, end: int) -> Slice:
        # Two epochs of 5 rows in batches of 2: steps begin at rows 0 2 4 | 5 7 9 | 10 of the concatenated epochs.
        step = np.arange(first, end + 1, dtype=np.int64)
        epochs = step // self.steps_per_epoch
        start = epochs * self._n + step % self.steps_per_epoch * self._batch_size
        epoch, past = int(epochs[0]), int(epochs[-2]) + 1
        begin = epoch * self._n
        order = self._orders(epoch, past)[start[0] - begin : start[-1] - begin]
        return Slice(first, order, start - start[0], epochs)

    def _orders(self, epoch: int, past: int) -> Indices:
        """The orders of epochs epoch … past - 1, concatenated."""
        if self._shuffler is None:
            return self._plain if past == epoch + 1 else np.tile(self._plain, past - epoch)
        if past == epoch + 1:
            return self._order(self._shuffler, epoch)
        return np.concatenate([self._order(self._shuffler, e) for e in range(epoch, past)])

    def _order(self, shuffler: Shuffler, epoch: int) -> Indices:
        if self._kept[0] != epoch:  # cached: the next slice often begins in the epoch where this one ends
            self._kept = (epoch, shuffler.order(self._first_epoch + epoch, self._window)[: self._n])
        return self._kept[1]


def used_rows(n: int, batch_size: int, drop_last: bool) -> int:
    """How many of n rows the batches of an epoch take: all, or those of full batches if there is one."""
    return n - n % batch_size if drop_last and n > batch_size else n


def chunks(rows: int, flops: float, most: int = _MOST_ROWS) -> Iterator[slice]:
    """Slices of the rows of about 10 to 100 ms each, given the FLOPs per row.

    Sizes are computed, not timed, because the last bits of a mean loss depend on where its rows are cut.
    """
    return parts(rows, chunk_rows(flops, most))


def chunk_rows(flops: float, most: int = _MOST_ROWS) -> int:
    """Rows per chunk."""
    return max(1, min(most, int(_CHUNK_FLOPS / flops) // _CHUNK_ROWS * _CHUNK_ROWS or _CHUNK_ROWS))


def parts(rows: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
