"""Several networks of one recipe over the same rows: their splits, seeds and threads.

Members are independent, so each one is bitwise what it would be if it were trained alone. As many are trained side by
side as there are threads, each by one, which needs no barriers; a single last one gets all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event, Lock
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from fastbp.isa.targets.detect import usable_cores
from fastbp.util.types import Array

T = TypeVar("T")


class Split(NamedTuple):
    """The rows that are trained on, and those held out; these are None if there are none."""

    train: Array
    held: Array | None


class Shared(Generic[T]):
    """What several members need, made by the first one that asks and kept until the last one has."""

    def __init__(self, make: Callable[[], T], users: int) -> None:
        self._make, self._users, self._lock = make, users, Lock()
        self._made: T | None = None

    def take(self) -> T:
        """The value, for one of the users."""
        with self._lock:
            made = self._make() if self._made is None else self._made
            self._users -= 1
            self._made = made if self._users else None
            return made


def splits(rows: int, fraction: float, folds: int, strata: Array | None, seed: int) -> list[Split]:
    """One split, or one for each fold; classes keep their shares where each has enough rows."""
    everything = np.arange(rows)
    if folds > rows:
        raise ValueError(f"n_folds must be at most the number of rows, got {folds} for n_samples={rows}: pass fewer")
    if folds > 1:
        fewest = 0 if strata is None else int(np.bincount(strata)[np.unique(strata)].min())
        kind = StratifiedKFold if fewest >= folds else KFold
        folded = kind(folds, shuffle=True, random_state=seed).split(everything, strata)
        return [Split(train, held) for train, held in folded]
    held = round(rows * fraction)
    if held >= rows:
        raise ValueError(
            f"validation_fraction={fraction:g} of {rows} rows leaves none to train on: pass a smaller one, or more rows"
        )
    if held < 1:
        return [Split(everything, None)]
    if strata is not None:
        counts = np.bincount(strata)
        classes = np.count_nonzero(counts)
        if counts[counts > 0].min() < 2 or held < classes or rows - held < classes:
            strata = None
    train, test = train_test_split(everything, test_size=held, random_state=seed, stratify=strata)
    return [Split(train, test)]


def train_all(
    jobs: Sequence[Callable[[int | None, Event], T]], n_threads: int | None, done: Callable[[], None]
) -> list[T]:
    """The results of all jobs, in their order; a job gets its number of threads, and an event that tells it to stop.

    done is called after each. An error in one of them, or Ctrl-C, stops the others.
    """
    threads, stop = min(n_threads or usable_cores(), usable_cores()), Event()
    alone = 1 if len(jobs) % threads == 1 % threads else 0  # it would leave the other threads idle
    results: list[T] = []
    if len(jobs) > alone:
        with ThreadPoolExecutor(threads, thread_name_prefix="fastbp-member") as pool:
            try:
                futures = [pool.submit(job, 1, stop) for job in jobs[: len(jobs) - alone]]
                for future in as_completed(futures):
                    future.result()
                    done()
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
            results = [future.result() for future in futures]
    for job in jobs[len(results) :]:
        results.append(job(n_threads, stop))
        done()
    return results
