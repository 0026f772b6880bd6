"""Training data for the fit loop: rows in memory, or windows of rows from a stream.

Both yield windows, so that one loop serves both: arrays are a single window that lasts for all epochs.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np

from fastbp.data.arrays import Rows
from fastbp.data.batch_schedule import Pace, Schedule, Slice, parts, used_rows
from fastbp.data.prefetch import ahead
from fastbp.data.streams import Stream, row_bytes, window_rows

_PASS = 512  # rows per pass in evaluation; the loss is rounded once per pass


class Deal(NamedTuple):
    """How rows are assigned to steps; see `Schedule`."""

    batch_size: int
    epochs: int
    first_epoch: int
    seed: int
    shuffle: bool
    pause: int
    drop_last: bool = False


class Place(NamedTuple):
    """Position of a fit: steps and epochs done, and the first step of the current epoch."""

    step: int
    epoch: int
    began: int


class Window(NamedTuple):
    """Rows and the steps on them, from step `start` of their schedule on.

    first, epoch: step and epoch of the fit at which the schedule begins; ends: whether an epoch ends with it.
    """

    rows: Rows
    schedule: Schedule
    start: int
    first: int = 0
    epoch: int = 0
    ends: bool = True

    def slices(self, pace: Pace, most_rows: int) -> Iterator[Slice]:
        """The schedule's slices, with steps and epochs counted from the start of the fit."""
        if self.ends and not self.first and not self.epoch:  # arrays, or a source that fits into one window
            yield from self.schedule.slices(pace, most_rows, self.start)
            return
        for piece in self.schedule.slices(pace, most_rows, self.start):
            epochs = self.epoch + (piece.epochs if self.ends else np.zeros_like(piece.epochs))
            yield piece._replace(first=self.first + piece.first, epochs=epochs)


class Arrays:
    """Rows in memory."""

    def __init__(self, rows: Rows, names: tuple[str, ...] | None = None) -> None:
        self.first, self.names = rows, names

    @property
    def rows(self) -> int | None:
        """Rows per epoch, None if unknown."""
        return len(self.first.X)

    def rows_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        """Rows that an epoch trains on."""
        return used_rows(len(self.first.X), batch_size, drop_last)

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int | None:
        """Steps per epoch, None if unknown."""
        return -(-self.rows_per_epoch(batch_size, drop_last) // batch_size)

    def windows(self, deal: Deal, place: Place) -> Generator[Window, None, None]:
        """Yield windows from a position on."""
        schedule = Schedule(
            len(self.first.X), *deal[:4], shuffle=deal.shuffle, pause=deal.pause, drop_last=deal.drop_last
        )
        yield Window(self.first, schedule, place.step)

    def parts(self, size: int, multiple: int = _PASS) -> Generator[Rows, None, None]:
        """All rows in order, at most `size` at a time."""
        if size >= len(self.first.X):
            yield self.first
            return
        for part in parts(len(self.first.X), size):
            yield self.first.part(part)


class Chunks:
    """Rows of a stream, a few windows of which are held at a time. first: its first row."""

    def __init__(self, stream: Stream, window: int | None = None) -> None:
        self.stream, self.window = stream, window
        self.names: tuple[str, ...] | None = None  # of the columns
        first = stream.first()
        self._row_bytes = row_bytes(first.X)
        row = np.zeros(1, np.int64)  # a copy, so that the chunk can be freed
        self.first = Rows(first.X[row], first.y[row], None if first.weight is None else first.weight[row])
        self.rows = stream.rows

    def rows_per_epoch(self, batch_size: int, drop_last: bool) -> int | None:
        """As far as the stream knows, or is known from an epoch that has ended."""
        return self.rows

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int | None:
        """Unknown: a stream may end anywhere."""
        return None

    def windows(self, deal: Deal, place: Place) -> Generator[Window, None, None]:
        """Yield windows from a position on; those before it are read and dropped."""
        first = place.began
        for epoch in range(place.epoch, deal.epochs):
            with closing(self._epoch(deal, epoch, first)) as windows:  # opened when the previous epoch has ended
                rows = 0
                for window in windows:
                    first += window.schedule.steps
                    rows += len(window.rows.X)
                    if first > place.step:
                        yield window._replace(start=max(0, place.step - window.first))
            self.rows = rows

    def _epoch(self, deal: Deal, epoch: int, first: int) -> Generator[Window, None, None]:
        size, number = window_rows(self._row_bytes, self.window, deal.batch_size), deal.first_epoch + epoch
        order = self.stream.order(deal.seed, number) if deal.shuffle else None
        with closing(ahead(lambda stop: self.stream.windows(size, order, stop))) as windows:
            for place, (rows, last) in enumerate(windows):
                schedule = Schedule(
                    len(rows.X), deal.batch_size, 1, number, deal.seed, shuffle=deal.shuffle, pause=True, window=place,
                    drop_last=deal.drop_last and last,
                )  # fmt: skip
                yield Window(rows, schedule, 0, first, epoch, last)
                first += schedule.steps

    def parts(self, size: int, multiple: int = _PASS) -> Generator[Rows, None, None]:
        """All rows in order, at most `size` at a time; if memory is short, fewer, in multiples of `multiple`."""
        size = min(size, window_rows(self._row_bytes, None, multiple))
        with closing(ahead(lambda stop: self.stream.windows(size, stop=stop))) as windows:
            for rows, _ in windows:
                yield rows


Feed = Arrays | Chunks
