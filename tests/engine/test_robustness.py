"""Robustness of the engine: denormals, divergence, threads, forks, more workers than cores, memory."""

from __future__ import annotations

import ctypes
import gc
import platform
import statistics
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastbp.engine.planning import tuning
from fastbp.reference import RULES
from fastbp.reference import update as reference_update
from fastbp.spec import Report
from tests.engine.cases import (
    OPTIMIZERS,
    assert_same_bits,
    everything,
    make_data,
    make_engine,
    predict,
    run_python,
    run_threads,
    spec,
    train,
)

jit = pytest.mark.jit
X86_LINUX = platform.machine() in ("x86_64", "AMD64") and sys.platform == "linux"
DENORMAL = np.float32(5.6e-45)  # 0.9 times this rounds to itself, so Adam's first moment gets stuck


# -- denormals -----------------------------------------------------------------------------------------------------
def network(inputs: int = 256):
    return make_engine(inputs, [spec(128, "relu"), spec(10)], optimizer="adam"), *make_data(128, inputs, 10)


def with_denormal_states(engine) -> None:
    engine.set_state([[np.full_like(v, DENORMAL) for v in state] for state in engine.get_state()])


@pytest.mark.timing
@jit
def test_dead_units_cost_no_more_than_live_ones() -> None:
    """Denormals in Adam's states, inputs and weights: microcode takes some 150 cycles for each one not flushed."""
    live, X, y = network()
    dead, X_dead, _ = network()
    with_denormal_states(dead)
    X_dead[:, 128:] = 0
    X_dead[:, 64:128] = 1e-39
    weights = dead.get_weights()
    weights[0][128:] = 1e-39
    dead.set_weights(weights)
    seconds: dict[str, list[float]] = {"live": [], "dead": []}
    for _ in range(25):
        for name, engine, inputs in (("live", live, X), ("dead", dead, X_dead)):
            start = time.perf_counter()
            train(engine, inputs, y, "adam", [0, 128], n_threads=1)
            seconds[name].append(time.perf_counter() - start)
    # same work, same code: 1.5 allows for other load, microcode would take ten times as long
    assert statistics.median(seconds["dead"]) <= 1.5 * statistics.median(seconds["live"])


@jit
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"), reason="unknown control word")
def test_denormals_are_flushed() -> None:
    """Without gradients Adam's first moment decays to 0, never to a denormal number."""
    engine, X, y = network(32)
    with_denormal_states(engine)
    X[:, 16:] = 0
    train(engine, X, y, "adam", [0, 128])
    first, second = engine.get_state()
    np.testing.assert_array_equal(first[0][16:], 0)
    for state in (*first, *second):
        assert not ((state != 0) & (np.abs(state) < np.finfo("float32").smallest_normal)).any()


def control_word() -> int:
    """MXCSR without its exception flags, from the C library: rounding, traps, flush-to-zero, denormals-are-zero."""
    environment = (ctypes.c_uint32 * 8)()
    assert ctypes.CDLL("libm.so.6").fegetenv(environment) == 0
    return environment[7] & 0xFFC0


@jit
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.skipif(not X86_LINUX, reason="fegetenv's layout is that of x86-64 Linux")
def test_control_word_of_the_caller_is_unchanged(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "chosen", tuning.current()._replace(worth_sharing=1))
    before = control_word()
    tiny, tiny_32 = np.full(64, 1e-310), np.full(64, 1e-40, "float32")
    engine, X, y = network(32)
    X_bad = X.copy()
    X_bad[0] = np.inf
    for run in (
        lambda: train(engine, X, y, "adam", [0, 128], n_threads=workers),
        lambda: train(engine, X_bad, y, "adam", [0, 128], n_threads=workers),
        lambda: predict(engine, X, n_threads=workers),
        lambda: engine.evaluate(X, y, n_threads=workers),
        lambda: engine.gradients(X, y),
    ):
        run()
        assert control_word() == before
        np.testing.assert_array_equal(tiny * 1, tiny)
        np.testing.assert_array_equal(tiny_32 * np.float32(1), tiny_32)
        assert (tiny / 2 != 0).all()


# -- divergence ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [1e30, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_step_with_non_finite_loss_is_dropped_entirely(optimizer: str, bad: float) -> None:
    engine, twin = (make_engine(4, [spec(17, "relu"), spec(3)], optimizer=optimizer) for _ in range(2))
    X, y = make_data(12, 4, 3)
    train(twin, X, y, optimizer, [0, 3, 6])
    X[7] = bad  # 1e30: its squared error overflows
    report, losses = train(engine, X, y, optimizer, [0, 3, 6, 9, 12])
    assert report == Report(2, 1, -1)
    assert np.isfinite(losses[:2]).all()
    assert not np.isfinite(losses[2])
    assert losses[3] == -1
    assert_same_bits(everything(engine), everything(twin))
    # and the engine can train on other data
    assert train(engine, X, y, optimizer, [0, 3])[0] == Report(1, 0, -1)


MOMENTA = ("sgd", "momentum", "nesterov")  # whose steps are multiples of the gradient


def overflowing(optimizer: str):
    """A network, its data, and scalars for tests to set so that updates overflow."""
    engine = make_engine(6, [spec(20, "tanh"), spec(5)], optimizer=optimizer)
    X, y = make_data(9, 6, 5)
    scalars = OPTIMIZERS[optimizer].scalars(np.arange(1))
    return engine, X, y, scalars


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name.split()[0] in MOMENTA])
def test_elements_whose_update_would_overflow_are_kept(optimizer: str) -> None:
    engine, X, y, scalars = overflowing(optimizer)
    y *= np.float32(1e4)  # gradients above 1, so that the learning rate fits in float32
    _, gradients = engine.gradients(X, y)
    before = [W.astype(float) for W in engine.get_weights()]
    old_states = everything(engine)[len(before) :]
    sizes = np.concatenate([np.abs(dW).ravel() for dW in gradients]).astype(float)
    rate = float(np.finfo("float32").max) / (1.01 * np.median(sizes))
    scalars[0, 0], scalars[0, 1] = rate, 0.0  # about half of the elements overflow
    losses = np.zeros(1)
    report = engine.train(X, y, np.arange(9), np.array([0, 9]), scalars, losses)
    assert report.steps == 1
    assert report.status == 2
    assert report.layer in (0, 1)
    kept = 0
    for index, (W, old, dW) in enumerate(zip(engine.get_weights(), before, gradients, strict=True)):
        factor = 1.9 if OPTIMIZERS[optimizer].rule == "nesterov" else 1.0  # g + 0.9 v, v = g
        wide = old - rate * factor * dW.astype(float)
        overflows = np.abs(wide) > np.finfo("float32").max
        np.testing.assert_array_equal(W[overflows], old[overflows])
        np.testing.assert_allclose(W[~overflows], wide[~overflows], rtol=1e-6)  # three roundings
        if old_states:
            np.testing.assert_array_equal(everything(engine)[len(before) + index][overflows], 0)
        kept += int(overflows.sum())
    assert 0 < kept < engine.n_parameters


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_infinite_learning_rate_changes_no_weights(optimizer: str) -> None:
    engine, X, y, scalars = overflowing(optimizer)
    scalars[0, 0] = np.inf
    before = engine.get_weights()
    report = engine.train(X, y, np.arange(9), np.array([0, 9]), scalars, np.zeros(1))
    assert report.status == 2
    assert_same_bits(engine.get_weights(), before)
    assert all(np.isfinite(v).all() for v in everything(engine))


@pytest.mark.parametrize("layer", [0, 1])
def test_report_names_the_diverging_layer(layer: int) -> None:
    engine = make_engine(6, [spec(20, "tanh"), spec(5)])
    X, y = make_data(9, 6, 5)
    W0, b0, W1, b1 = engine.get_weights()
    if layer == 0:  # hidden units of 0: gradients of 0 in the upper layer, of the order of X in the lower
        W0[:], b0[:], b1[:], X = 0, 0, 0, X * np.float32(1e20)
        rate = 1e25
    else:  # weights of 0 propagate no gradient
        W1[:], rate = 0, 1e39
    engine.set_weights([W0, b0, W1, b1])
    scalars = np.zeros((2, 8))
    scalars[:, 0] = rate
    report = engine.train(X, y, np.arange(18) % 9, np.array([0, 9, 18]), scalars, np.zeros(2))
    assert report == Report(1, 2, layer)
    assert all(np.isfinite(W).all() for W in engine.get_weights())


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if "decay" in name or name == "adamw"])
def test_excessive_decay_leaves_weights_finite(optimizer: str) -> None:
    """|1 - learning rate x decay| > 1 multiplies weights with small or zero gradients until they overflow."""
    engine = make_engine(6, [spec(20, "tanh"), spec(5, "softmax")], loss="cross_entropy", optimizer=optimizer)
    X, y = make_data(9, 6, 5, loss="cross_entropy")
    X[:, 0] = 0
    scalars = np.array(OPTIMIZERS[optimizer].scalars(np.arange(40)), order="C")
    scalars[:, 0], scalars[:, 1] = 1e-3, 1e7
    for step in range(40):
        engine.train(X, y, np.arange(9), np.array([0, 9]), scalars[step : step + 1], np.zeros(1))
    assert all(np.isfinite(v).all() for v in everything(engine))


@pytest.mark.parametrize("rule", RULES)
def test_steps_on_huge_gradients_follow_the_rule(rule: str) -> None:
    """Squares above the limit below which nothing can overflow take the checked path, with the same results."""
    optimizer = next(name for name, each in OPTIMIZERS.items() if each.rule == rule)
    engine = make_engine(6, [spec(20, "tanh"), spec(5)], optimizer=optimizer)
    X, y = make_data(9, 6, 5)
    y *= np.float32(1e17)
    flat = np.concatenate([W.ravel() for W in engine.get_weights()])
    gradient = np.concatenate([dW.ravel() for dW in engine.gradients(X, y)[1]])
    report, _ = train(engine, X, y, optimizer, [0, 9])
    assert report == Report(1, 0, -1)
    states = [np.zeros_like(flat) for _ in engine.get_state()]
    row = OPTIMIZERS[optimizer].scalars(np.arange(1))[0].tolist()
    reference_update(rule, flat, gradient, states, row, np.empty_like(flat))
    got = np.concatenate([W.ravel() for W in engine.get_weights()])
    np.testing.assert_allclose(got, flat, rtol=1e-6, atol=1e-6)  # a dozen roundings


# -- threads and processes -----------------------------------------------------------------------------------------
@jit
def test_predictions_from_eight_threads_while_another_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "chosen", tuning.current()._replace(worth_sharing=1))
    engine = make_engine(30, [spec(64, "gelu"), spec(7, "softmax")])
    X, _ = make_data(600, 30, 1)
    expected, stop, steps = predict(engine, X, n_threads=1), threading.Event(), [0]

    def keep_training() -> None:
        other, X_other, y_other = network()
        while not stop.is_set():
            train(other, X_other, y_other, "adam", [0, 64, 128])
            steps[0] += 2

    def predict_often(seed: int) -> bool:
        rng, correct = np.random.default_rng(seed), True
        for _ in range(20):
            start = int(rng.integers(0, 590))
            rows = slice(start, start + int(rng.integers(1, 600 - start)))
            workers = int(rng.integers(1, 3))
            correct &= bool((predict(engine, X[rows], n_threads=workers) == expected[rows]).all())
        return correct

    trainer = threading.Thread(target=keep_training)
    trainer.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            correct = list(pool.map(predict_often, range(8)))
    finally:
        stop.set()
        trainer.join(60)
    assert correct == [True] * 8
    assert steps[0] > 0


@jit
def test_engines_train_concurrently_in_2_and_8_threads() -> None:
    found = run_threads("trainers")
    assert found["2"] == [found["expected"]] * 4
    assert found["8"] == [found["expected"]] * 16


FORK = """
import os, sys, warnings
import numpy as np
from tests.engine.cases import everything, make_data, make_engine, predict, spec, train
from fastbp.engine.planning import tuning

tuning.chosen = tuning.derived()._replace(worth_sharing=1)
engine = make_engine(40, [spec(70, "relu"), spec(10, "softmax")], loss="cross_entropy", optimizer="adam")
X, y = make_data(128, 40, 10, loss="cross_entropy")
train(engine, X, y, "adam", [0, 64], n_threads=2)
assert engine._training.workers == 2
{before}
pid = os.fork()
train(engine, X, y, "adam", [64, 96, 128], n_threads=2, first=1)
result = b"".join(a.tobytes() for a in [*everything(engine), predict(engine, X, n_threads=2)])
if pid == 0:
    assert engine._training.workers == 1, "a forked child starts no threads"
    open(sys.argv[1], "wb").write(result)
    os._exit(0)
{after}
assert os.waitpid(pid, 0)[1] == 0
assert open(sys.argv[1], "rb").read() == result
"""
TRAIN_IN_BACKGROUND = """
import threading
stop = threading.Event()
def keep_training():
    other = make_engine(40, [spec(70, "relu"), spec(10)])
    X, y = make_data(512, 40, 10)
    while not stop.is_set():
        train(other, X, y, "sgd", [0, 128, 256, 384, 512], n_threads=2)
thread = threading.Thread(target=keep_training)
thread.start()
"""


@jit
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "during training"])
def test_forked_child_trains_on_one_thread_with_identical_bits(busy: bool, tmp_path) -> None:
    script = FORK.format(before=TRAIN_IN_BACKGROUND if busy else "", after="stop.set(); thread.join()" if busy else "")
    # Python 3.12 and later warn about forking while threads run; OpenMP's always do
    run_python("-W", "error", "-W", "ignore:.*fork.*:DeprecationWarning", "-c", script, str(tmp_path / "bits"),
               NUMBA_NUM_THREADS="2")  # fmt: skip


@pytest.mark.timing
@jit
def test_16_workers_on_fewer_cores_are_at_most_three_times_slower_than_2() -> None:
    ratios: list[float] = []
    while not ratios or (ratios[-1] > 3 and len(ratios) < 3):  # other load on the machine may spoil a run
        seconds = run_threads("oversubscribed")
        ratios.append(statistics.median(seconds["16"]) / statistics.median(seconds["2"]))
    assert min(ratios) <= 3, ratios


@jit
def test_threads_beyond_the_numba_limit_are_capped_with_a_warning() -> None:
    script = """
import numpy as np, pytest
from tests.engine.cases import make_data, make_engine, spec, train
engine = make_engine(400, [spec(400)])
X, y = make_data(500, 400, 400)
with pytest.warns(RuntimeWarning, match=r"n_threads=5 .* using 2.* NUMBA_NUM_THREADS=5"):
    train(engine, X, y, "sgd", [0, 500], n_threads=5)
assert engine._training.workers == 2
"""
    run_python("-W", "error", "-c", script, NUMBA_NUM_THREADS="2")


# -- memory --------------------------------------------------------------------------------------------------------
@jit
def test_contiguous_X_is_not_copied() -> None:
    """Training on, predicting from and evaluating an X of 200 MB allocates less than 8 MB."""
    X = np.zeros((500_000, 100), "float32")
    y = np.zeros((500_000, 1), "float32")
    engine, out = make_engine(100, [spec(8, "relu"), spec(1)]), np.empty((500_000, 1), "float32")
    order = np.arange(499_000, 500_000)
    runs = {
        "train": lambda: train(engine, X, y, "sgd", [0, 500, 1000], order=order),
        "predict": lambda: engine.predict(X, out),
        "evaluate": lambda: engine.evaluate(X[:50_000], y[:50_000]),
        "gradients": lambda: engine.gradients(X[1000:1500], y[1000:1500]),
    }
    for name, run in runs.items():
        tracemalloc.start()
        try:
            run()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # predict allocates row indices, 8 bytes each, and bounds of chunks
        assert peak < 8e6, name


@jit
def test_a_thousand_calls_do_not_leak_memory() -> None:
    engine, X, y = network(32)

    def calls(count: int) -> None:
        for i in range(count):
            train(engine, X, y, "adam", [0, 128])
            predict(engine, X[: 1 + i % 100])
            engine.evaluate(X, y)
            engine.gradients(X, y)

    calls(50)
    tracemalloc.start()
    try:
        sizes = []
        for count in (10, 125, 125):
            calls(count)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    grown = min(np.diff(sizes))  # the interpreter's table of strings, some 4 MB, may double in one
    assert grown < 200_000, grown  # the largest workspace of all calls is kept: 32 + 128 + 10 lines for 128 rows, 90 kB
