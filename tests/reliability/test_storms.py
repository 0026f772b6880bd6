"""Stress tests: threads on one model, and forks alongside them, for a minute each."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import random
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import fastbp
from tests.util.test_turns import CALLS, TrainingThread, X, Y, build, in_child, needs_fork, run_all

pytestmark = [pytest.mark.soak, pytest.mark.jit]
SECONDS = 60


def repeat(work) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        work()


@pytest.mark.parametrize("n", [2, 8, 32])
def test_threads_call_everything_on_one_model(n, tmp_path):
    model, names = build(), [name for name in CALLS if not name.startswith("compile")]

    def work(seed):
        rng = random.Random(seed)
        repeat(lambda: CALLS[rng.choice(names)](model, tmp_path))

    assert not run_all(*[lambda seed=seed: work(seed) for seed in range(n)])
    assert all(np.isfinite(W).all() for W in model.get_weights())


@needs_fork
def test_forks_while_threads_train_and_copy():
    model, other, stop = build(), build(), threading.Event()

    def keep_copying():
        while not stop.is_set():
            copy.deepcopy(other)
            other.train_on_batch(X[:64], Y[:64])

    def use():
        for each in (model, other):
            each.fit(X, Y, verbose=0)
            pickle.dumps(each)

    thread = threading.Thread(target=keep_copying, daemon=True)
    thread.start()
    try:
        with TrainingThread(model):
            repeat(lambda: assert_child_succeeds(use))
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def assert_child_succeeds(use) -> None:
    assert in_child(use) == 0


def fitted(seed: int) -> list:
    model = fastbp.Sequential([fastbp.Dense(16, "tanh"), fastbp.Dense(3, "softmax")], input_size=12, seed=seed)
    model.compile("adam", "cross_entropy")
    model.fit(X, Y, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_process_pools_during_training(method):
    expected, model = [fitted(seed) for seed in range(4)], build()
    with TrainingThread(model):
        for _ in range(5):
            with ProcessPoolExecutor(4, multiprocessing.get_context(method)) as pool:
                for one, two in zip(pool.map(fitted, range(4)), expected, strict=True):
                    for a, b in zip(one, two, strict=True):
                        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_during_training(backend):
    joblib = pytest.importorskip("joblib")
    expected, model = [fitted(seed) for seed in range(4)], build()
    with TrainingThread(model):
        for _ in range(5):
            found = joblib.Parallel(4, backend=backend)(joblib.delayed(fitted)(seed) for seed in range(4))
            for one, two in zip(found, expected, strict=True):
                for a, b in zip(one, two, strict=True):
                    np.testing.assert_array_equal(a, b)
