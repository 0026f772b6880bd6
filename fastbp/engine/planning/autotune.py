"""Measures candidates for the sizes of `tuning` on this machine, in turns with those that it derives.

A network is trained with one and the other, A B B A, a few hundredths of a second each; the ratio of a pair is what
counts, so that slow spells of the machine meet both. A candidate replaces the derived size where the median ratio says
that it is faster by more than NOTICEABLE, and says so again of new networks made in the other order, which lie
elsewhere in memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastbp import optimizers
from fastbp.engine.engine import Engine
from fastbp.engine.planning import tuning
from fastbp.engine.planning.straight import WORTH_MAKING
from fastbp.engine.planning.tuning import Tuning
from fastbp.isa.targets import detect
from fastbp.spec import LayerSpec

NOTICEABLE = 0.03
PAYS = 0.85  # the time of two workers, as a share of one's, from which the second core is not wasted
ROUNDS, TURN = 6, 0.025  # pairs, and seconds of a turn
OPTIMIZER = optimizers.Adam(1e-6)  # weights that hardly move
# Layers and batches: small networks around the size from which a second worker pays; those whose deltas fit into the
# second-level cache or do not; and large layers, whose products are cut into units.
SHARED = (
    ((32, 64, 64, 10), 32), ((64, 100, 10), 64), ((64, 128, 10), 64), ((64, 128, 128, 10), 64), ((64, 192, 10), 128),
)  # fmt: skip
KEPT = (((128,) * 9, 256), ((256, 256, 256, 10), 128))
LARGE = (((1024, 1024, 1024), 512),)


class Trial(NamedTuple):
    """A size, a candidate for it, and how its time compares with that of the derived size, by network."""

    size: str
    candidate: int
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return statistics.geometric_mean(self.ratios)


class Measurement(NamedTuple):
    """The sizes that were derived and chosen, and what was tried."""

    derived: Tuning
    chosen: Tuning
    trials: list[Trial]


def measure(seconds: float = 20.0, tell: Callable[[int, int], None] = lambda done, of: None) -> Measurement:
    """Try candidates one size at a time for so many seconds at most; tell: how many are done."""
    end, derived = time.monotonic() + seconds, tuning.derived()
    best, trials = derived, list[Trial]()
    tries = candidates(derived)
    if detect.usable_cores() > 1:
        best = best._replace(worth_sharing=sharing(derived, end, trials))
    for done, (size, candidate, networks) in enumerate(tries, start=1):
        if time.monotonic() > end:
            break
        other = best._replace(**{size: candidate})
        trials.append(Trial(size, candidate, tuple(compare(net, batch, best, other) for net, batch in networks)))
        if trials[-1].ratio < 1 - NOTICEABLE:
            again = Trial(size, candidate, tuple(1 / compare(net, batch, other, best) for net, batch in networks))
            trials[-1] = Trial(size, candidate, (trials[-1].ratio, again.ratio))
            best = other if again.ratio < 1 - NOTICEABLE else best
        tell(done, len(tries))
    return Measurement(derived, best, trials)


def candidates(derived: Tuning) -> list[tuple[str, int, tuple[tuple[tuple[int, ...], int], ...]]]:
    """Sizes, other values for them, and the networks that tell."""
    panels = derived.batch_panels
    return [
        *(("kept_bytes", derived.kept_bytes * part // 4, KEPT) for part in (1, 2, 8)),
        *(("batch_panels", n, LARGE) for n in (max(3, panels // 2 // 3 * 3), panels * 4 // 3 // 3 * 3, 2 * panels)),
        *(("most_panels", n, LARGE) for n in (derived.most_panels // 2, 2 * derived.most_panels)),
    ]


def sharing(derived: Tuning, end: float, trials: list[Trial]) -> int:
    """Multiply-adds per layer and worker from which two workers are faster on all networks that have as many."""
    alone, together = derived._replace(worth_sharing=1 << 60), derived._replace(worth_sharing=1)
    found = []
    for net, batch in SHARED:
        if time.monotonic() > end:
            return derived.worth_sharing
        work = batch * sum(a * b for a, b in pairwise(net)) // (2 * (len(net) - 1))
        ratio = compare(net, batch, alone, together, workers=2)
        trials.append(Trial("worth_sharing", work, (ratio,)))
        found.append((work, ratio))
    enough = derived.worth_sharing
    for work, ratio in sorted(found, reverse=True):
        if ratio > PAYS:
            break
        enough = work
    return enough


def compare(net: tuple[int, ...], batch: int, one: Tuning, other: Tuning, workers: int | None = None) -> float:
    """The median ratio of the times of the other to those of the one."""
    runs = [training(net, batch, sizes, workers) for sizes in (one, other)]
    ratios = []
    for turn in range(ROUNDS):
        times = [0.0, 0.0]
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            times[side] = runs[side]()
        ratios.append(times[1] / times[0])
    return statistics.median(ratios)


def training(net: tuple[int, ...], batch: int, sizes: Tuning, workers: int | None) -> Callable[[], float]:
    """What trains a network by these sizes for a turn, and returns seconds a step."""
    rng = np.random.default_rng(0)
    specs = [LayerSpec(units, "relu") for units in net[1:-1]] + [LayerSpec(net[-1])]
    engine = Engine(net[0], specs)
    engine.set_weights([rng.normal(0, a.shape[0] ** -0.5, a.shape).astype(np.float32) for a in engine.get_weights()])
    engine.configure("mse", OPTIMIZER.rule)
    engine.reset_state(OPTIMIZER.n_states)
    X, y = (rng.normal(size=(4 * batch, width)).astype(np.float32) for width in (net[0], net[-1]))

    def run(steps: int) -> float:
        order, bounds = np.resize(np.arange(4 * batch), steps * batch), np.arange(steps + 1) * batch
        scalars, losses = OPTIMIZER.scalars(np.arange(steps)), np.zeros(steps)
        start = time.perf_counter()
        with using(sizes):
            engine.train(X, y, order, bounds, scalars, losses, n_threads=workers)
        return (time.perf_counter() - start) / steps

    run(2)
    space = engine._training
    assert space is not None
    space.straight.seconds = WORTH_MAKING  # one worker has its straight code in long trainings
    run(2)
    steps = max(4, round(TURN / run(8)))
    return lambda: run(steps)


@contextmanager
def using(sizes: Tuning) -> Iterator[None]:
    """Plans that are made meanwhile are made by these sizes."""
    before, tuning.chosen = tuning.chosen, sizes
    try:
        yield
    finally:
        tuning.chosen = before
