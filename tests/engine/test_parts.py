"""Parts of a phase that workers claim: whoever comes late finds them done, with the same bits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import numpy as np
import pytest

from fastbp.engine.planning import tuning
from fastbp.engine.threads import THREADS
from fastbp.kernels import entries, jit, parallel
from fastbp.kernels.schema.context import OWN
from tests.engine.cases import assert_same_bits, everything, make_data, make_engine, spec, train

pytestmark = pytest.mark.jit
NETWORKS = {
    "by outputs": (64, [spec(96, "relu"), spec(64, "tanh"), spec(10)], "cross_entropy", "adam", 64),
    "by rows": (20, [spec(33, "gelu"), spec(17, "sigmoid"), spec(1)], "mse", "momentum", 128),
    "activations": (40, [spec(40, "tanh", kind="activation"), spec(64, "relu"), spec(3)], "mse", "adamw", 50),
}


def one_by_one(order: list[int]) -> Callable[[str, int, int], None]:
    """Workers that run after each other, each of them sure that all are there."""

    def run(dtype: str, own: int, workers: int) -> None:
        if workers == 1:
            entries.entry("worker", dtype).ctypes(own)
            return
        sync = np.ctypeslib.as_array(pointer_to(own), (parallel.WORDS * 2,))
        sync[parallel.DECISION] = parallel.TOGETHER
        for me in order:
            entries.entry("worker", dtype).ctypes(own + 8 * OWN * me)

    return run


def pointer_to(own: int):
    """The words of `sync`, whose address is the first of the shared words."""
    import ctypes

    shared = ctypes.cast(own, ctypes.POINTER(ctypes.c_int64))[0]
    return ctypes.cast(ctypes.cast(shared, ctypes.POINTER(ctypes.c_int64))[0], ctypes.POINTER(ctypes.c_int64))


def trained(name: str, workers: int, spoil: float = 0.0):
    inputs, layers, loss, optimizer, rows = NETWORKS[name]
    engine = make_engine(inputs, layers, loss=loss, optimizer=optimizer)
    X, y = make_data(6 * rows, inputs, layers[-1].units, loss=loss)
    if spoil:
        X[3 * rows + 5] = spoil
    bounds = np.cumsum([0, rows, rows, 1 + rows // 2, rows, rows, 1]).tolist()
    report, losses = train(engine, X, y, optimizer, bounds, n_threads=workers)
    return engine, report, losses


@pytest.mark.parametrize("spoil", [0.0, np.nan], ids=["finite", "not a number"])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_worker_that_comes_late_finds_its_parts_done(name, order, spoil, monkeypatch):
    expected, report, losses = trained(name, 1, spoil)
    monkeypatch.setattr(tuning, "chosen", tuning.current()._replace(worth_sharing=1))
    monkeypatch.setattr(THREADS, "limit", lambda wanted: wanted or 1)
    monkeypatch.setattr(THREADS, "startable", lambda wanted: wanted)
    monkeypatch.setattr(THREADS, "run", one_by_one(order))
    found, found_report, found_losses = trained(name, 3, spoil)
    assert found._training.workers == 3
    assert found_report == report
    assert report.status == (1 if spoil else 0)
    np.testing.assert_array_equal(found_losses, losses)
    assert_same_bits(everything(found), everything(expected))


@jit.kernel
def leave(sync, me, workers):
    parallel.leave_crowded_core(sync, me, workers)


@pytest.mark.skipif(sys.platform != "linux", reason="moves threads as Linux does")
def test_a_worker_leaves_a_core_on_which_another_one_waits():
    sync, before = np.zeros(parallel.words(1, 2), np.int64), os.sched_getaffinity(0)
    seen = parallel.FLAGS + 3 * 2 * parallel.WORDS
    try:
        os.sched_setaffinity(0, {min(before)})
        leave(sync, 0, 2)  # alone there, it tells where it is
        assert sync[seen] == min(before) + 1
        sync[seen + parallel.WORDS] = sync[seen]
        leave(sync, 0, 2)  # it may not go anywhere else
        assert sync[seen] == min(before) + 1
        os.sched_setaffinity(0, before)
        sync[seen + parallel.WORDS] = 0
        leave(sync, 0, 2)
        sync[seen + parallel.WORDS] = sync[seen]
        leave(sync, 0, 2)
        assert len(before) == 1 or sync[seen] != sync[seen + parallel.WORDS]
        assert os.sched_getaffinity(0) == before
    finally:
        os.sched_setaffinity(0, before)
