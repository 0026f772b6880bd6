"""Training from chunks: same bits as arrays, full batches, errors that name the chunk, no leaked threads."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

import fastbp
from benchmarks import streaming
from fastbp import BackupAndRestore, BatchNorm, Dense, Sequential, StochasticWeightAveraging
from fastbp.data import prefetch, streams
from fastbp.data.feeds import Arrays, Chunks, Deal, Place
from fastbp.data.prefetch import ahead
from fastbp.training import fit as training
from fastbp.util.random_streams import Purpose, Shuffler

N, FEATURES, BATCH = 203, 5, 16
X = np.random.default_rng(3).normal(size=(N, FEATURES)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 1)
WEIGHT = np.random.default_rng(4).integers(0, 4, N).astype(np.float32)
SIZES = (40, 1, 0, 75, 60, 27)


@pytest.fixture(autouse=True)
def no_leaked_threads():
    before = threads()
    yield
    end = time.monotonic() + 60
    while threads() - before and time.monotonic() < end:  # after Ctrl-C nothing waits for the thread
        time.sleep(0.01)
    assert threads() <= before


def threads():
    """Identifiers of the threads that run Python code now."""
    return set(sys._current_frames())


def cut(*arrays, sizes=SIZES):
    """The arrays split into chunks of these sizes."""
    bounds = np.cumsum([0, *sizes])
    return [tuple(a[start:end] for a in arrays) for start, end in pairwise(bounds)]


CHUNKS = cut(X, LABELS)


def build(metrics=("accuracy",), layers=None, **options):
    model = Sequential(layers or [Dense(8, "tanh"), Dense(3, "softmax")], seed=8, **options)
    model.compile("adam", "cross_entropy", metrics)
    return model


def assert_same(first, second):
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first._trainer.step, first._trainer.epoch) == (second._trainer.step, second._trainer.epoch)


class Indexable:
    """Like Keras's PyDataset: a length, and chunks by index."""

    def __len__(self):
        return len(CHUNKS)

    def __getitem__(self, number):
        return CHUNKS[number]


class Loader:
    """Like torch's DataLoader: can be iterated over repeatedly, and yields lists."""

    def __iter__(self):
        return (list(chunk) for chunk in CHUNKS)


FORMS = {
    "list": lambda: CHUNKS,
    "tuple": lambda: tuple(CHUNKS),
    "one chunk": lambda: [(X, LABELS)],
    "indexable": Indexable,
    "iterable": Loader,
    "function": lambda: lambda: iter(CHUNKS),
    "generator function": lambda: lambda: (chunk for chunk in CHUNKS),
    "lists of lists": lambda: [(x.tolist(), y.tolist()) for x, y in CHUNKS if len(x)],
}


# ---------------------------------------------------------------- same bits as arrays


@pytest.mark.parametrize("batch_size", [1, BATCH, 128, 300])
@pytest.mark.parametrize("form", FORMS)
def test_one_window_trains_to_the_same_bits_as_arrays(form, batch_size):
    whole, streamed = build(), build()
    options = {"batch_size": batch_size, "epochs": 3}
    expected = whole.fit(X, LABELS, **{**options, "batch_size": min(batch_size, N)})
    assert streamed.fit(FORMS[form](), **options).history == expected.history
    assert_same(streamed, whole)


@pytest.mark.parametrize("window", [1, BATCH, 50, 10_000, None])
@pytest.mark.parametrize("form", ["list", "function"])
def test_unshuffled_windows_train_to_the_same_bits_as_arrays(form, window):
    whole, streamed = build(), build()
    options = {"batch_size": BATCH, "epochs": 2, "shuffle": False}
    expected = whole.fit(X, LABELS, **options)
    assert streamed.fit(FORMS[form](), shuffle_window=window, **options).history == expected.history
    assert_same(streamed, whole)


def test_sample_and_class_weights_match_arrays():
    whole, streamed = build(), build()
    table = {0: 0.5, 2: 3.0}
    expected = whole.fit(X, LABELS, sample_weight=WEIGHT, class_weight=table, batch_size=BATCH, epochs=2)
    history = streamed.fit(cut(X, LABELS, WEIGHT), class_weight=table, batch_size=BATCH, epochs=2)
    assert history.history == expected.history
    assert_same(streamed, whole)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_chunks_match_sparse_rows(dtype):
    rows = np.where(np.random.default_rng(1).random((N, 30)) < 0.1, 1.5, 0)
    whole, streamed = (build(dtype=dtype) for _ in range(2))
    chunks = [(scipy.sparse.csr_array(x), y) for x, y in cut(rows, LABELS) if len(x)]
    whole.fit(scipy.sparse.csr_array(rows), LABELS, batch_size=BATCH, epochs=2)
    streamed.fit(chunks, batch_size=BATCH, epochs=2)
    assert_same(streamed, whole)


@pytest.mark.parametrize(
    "options", [{"mixup": 0.3}, {"callbacks": [StochasticWeightAveraging()]}, {"drop_last": True}],
    ids=["mixup", "averages", "drop last"],
)
def test_mixup_and_averaging_match_arrays(options):
    whole, streamed = (build(layers=[Dense(8), BatchNorm(), Dense(3, "softmax")]) for _ in range(2))
    whole.fit(X, LABELS, batch_size=BATCH, epochs=2, **options)
    streamed.fit(CHUNKS, batch_size=BATCH, epochs=2, **options)
    assert_same(streamed, whole)


def test_statistics_use_full_batches_for_any_window(monkeypatch):
    whole, streamed = (build(layers=[Dense(8), BatchNorm(), Dense(3, "softmax")]) for _ in range(2))
    whole.fit(X, LABELS, batch_size=BATCH, shuffle=False, callbacks=[StochasticWeightAveraging()])
    monkeypatch.setattr(streams, "WINDOW_BYTES", 4 * FEATURES * 30)
    monkeypatch.setattr(training, "_STATISTICS_ROWS", 100)
    streamed.fit(CHUNKS, batch_size=BATCH, shuffle=False, callbacks=[StochasticWeightAveraging()])
    assert_same(streamed, whole)


def test_one_hot_and_soft_label_chunks_may_be_mixed():
    soft = np.eye(3, dtype=np.float32)[LABELS]
    soft[-20:] = 0.25, 0.25, 0.5
    whole, streamed = build(()), build(())
    whole.fit(X, soft, batch_size=BATCH)
    streamed.fit(cut(X, soft), batch_size=BATCH)
    assert_same(streamed, whole)


def test_fit_twice_equals_fit_for_two_epochs():
    once, twice = build(), build()
    once.fit(CHUNKS, batch_size=BATCH, epochs=2, shuffle_window=64)
    for _ in range(2):
        twice.fit(CHUNKS, batch_size=BATCH, shuffle_window=64)
    assert_same(once, twice)


@pytest.mark.parametrize("shuffle", [True, False])
def test_threads_and_prefetching_change_no_bit(monkeypatch, shuffle):
    def train(**options):
        model = build()
        history = model.fit(
            CHUNKS, batch_size=BATCH, epochs=3, shuffle=shuffle, shuffle_window=64, validation_data=Loader(), **options
        )
        return model, history.history

    expected, history = train()
    for options in ({"n_threads": 1}, {"n_threads": 2}):
        model, other = train(**options)
        assert other == history
        assert_same(model, expected)
    monkeypatch.setattr(prefetch, "ENABLED", False)
    monkeypatch.setattr(training, "Pace", lambda flops: ConstantPace())
    model, other = train()
    assert other == history
    assert_same(model, expected)


class ConstantPace:
    """A pace of three steps per slice."""

    count = 3

    def measured(self, done, seconds):
        pass


# ---------------------------------------------------------------- windows and batches

NUMBERS = np.arange(N, dtype=np.float32)[:, None]


def feed_of(chunks, window):
    model = Sequential([Dense(1)], input_size=1)
    model.compile("sgd", "mse")
    return model.inputs.chunks(chunks, window=window)


def epoch_of(feed, number, *, shuffle=True, batch_size=BATCH):
    """The windows of an epoch, each as a list of batches of row numbers."""
    deal = Deal(batch_size, number + 1, 0, 5, shuffle, True)
    pace = ConstantPace()
    with contextlib.closing(feed.windows(deal, Place(0, number, 0))) as windows:
        return [
            [w.rows.X[p.order[a:b], 0] for p in w.slices(pace, 10**6) for a, b in pairwise(p.bounds)]
            for w in windows
        ]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("window", [1, 32, 50, 100, 1000])
@pytest.mark.parametrize("sizes", [SIZES, (N,), (1,) * N, (16,) * 12 + (11,)], ids=lambda sizes: f"{len(sizes)} chunks")
def test_every_row_occurs_once_and_only_the_last_batch_is_short(sizes, window, shuffle):
    feed = feed_of(cut(NUMBERS, NUMBERS, sizes=sizes), window)
    orders = []
    for epoch in range(2):
        windows = epoch_of(feed, epoch, shuffle=shuffle)
        batches = [batch for window in windows for batch in window]
        assert [len(batch) for batch in batches] == [BATCH] * (N // BATCH) + [N % BATCH]
        order = np.concatenate(batches)
        assert sorted(order.tolist()) == list(range(N))
        orders.append(order.tolist())
        rows = -(-window // BATCH) * BATCH
        whole = (N - 1) // rows
        assert [sum(map(len, window)) for window in windows] == [rows] * whole + [N - whole * rows]
    if shuffle and (window > BATCH or len(sizes) > 1):  # otherwise there is nothing to shuffle
        assert orders[0] != orders[1]
        assert orders[0] != list(range(N))
    elif not shuffle:
        assert orders[0] == orders[1] == list(range(N))


def test_indexable_chunks_are_shuffled():
    def firsts(feed):
        return [sorted(np.concatenate(window).tolist())[0] for window in epoch_of(feed, 0)]

    chunks = cut(NUMBERS[:160], NUMBERS[:160], sizes=(16,) * 10)
    by_number = firsts(feed_of(chunks, 16))
    assert sorted(by_number) == list(range(0, 160, 16))
    assert by_number != sorted(by_number)
    assert firsts(feed_of(lambda: iter(chunks), 16)) == sorted(by_number)


def test_window_memory_is_reused_only_once_released():
    stream = feed_of(cut(NUMBERS, NUMBERS, sizes=(10,) * 20), None).stream
    kept = [rows for rows, _ in stream.windows(16)]
    np.testing.assert_array_equal(np.concatenate([rows.X for rows in kept]), NUMBERS[:200])
    parts = [rows.X[:3] for rows in kept]
    del kept
    list(stream.windows(16))
    for start, part in zip(range(0, 200, 16), parts, strict=True):
        np.testing.assert_array_equal(part, NUMBERS[start : start + 3])
    del part, parts
    addresses = {rows.X.ctypes.data for rows, _ in stream.windows(16)}
    assert len(addresses) == 3  # one is filled while the caller holds another; the last, of 8 rows, is a view


def test_orders_differ_by_window_epoch_and_purpose():
    orders = {
        (epoch, window, purpose): tuple(Shuffler(1, 30, purpose).order(epoch, window))
        for epoch in (0, 1, 2) for window in (0, 1, 2) for purpose in (Purpose.SHUFFLE, Purpose.CHUNKS)
    }  # fmt: skip
    assert len(set(orders.values())) == len(orders)
    assert all(sorted(order) == list(range(30)) for order in orders.values())


def test_default_windows_fill_the_memory_limit(monkeypatch):
    monkeypatch.setattr(streams, "WINDOW_BYTES", 4 * 40)
    windows = epoch_of(feed_of(cut(NUMBERS, NUMBERS), None), 0)
    assert [sum(map(len, window)) for window in windows] == [48] * 4 + [11]


def test_arrays_are_one_window():
    rows = fastbp.data.arrays.Rows(NUMBERS, NUMBERS, None)
    (window,) = Arrays(rows).windows(Deal(BATCH, 4, 0, 5, True, False), Place(0, 0, 0))
    assert window.rows.X is NUMBERS


# ---------------------------------------------------------------- evaluating, predicting, validating


@pytest.mark.parametrize("form", FORMS)
def test_evaluate_and_predict_match_arrays(form):
    model = build(("accuracy", "auc"))
    model.fit(X, LABELS)
    assert model.evaluate(FORMS[form]()) == model.evaluate(X, LABELS)
    if form not in ("list", "tuple", "one chunk", "lists of lists"):  # predict takes lists as arrays
        np.testing.assert_array_equal(model.predict(FORMS[form]()), model.predict(X))


def test_evaluate_in_smaller_windows_differs_only_by_rounding(monkeypatch):
    model = build(("accuracy",))
    model.fit(X, LABELS)
    whole = model.evaluate(np.tile(X, (10, 1)), np.tile(LABELS, 10))
    monkeypatch.setattr(streams, "WINDOW_BYTES", 4 * FEATURES * 30)
    parts = model.evaluate(CHUNKS * 10)
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-12)  # the same terms, added in float64 in another order
    assert parts["accuracy"] == whole["accuracy"]


@pytest.mark.parametrize("chunks", [[x for x, _ in CHUNKS], [(x,) for x, _ in CHUNKS], cut(X, LABELS, WEIGHT)])
def test_predict_accepts_chunks_with_and_without_targets(chunks):
    model = build(input_size=FEATURES)
    np.testing.assert_array_equal(model.predict(iter(chunks)), model.predict(X))


def test_predict_of_empty_source_is_empty():
    assert build(input_size=FEATURES).predict(iter([])).shape == (0, 3)


@pytest.mark.parametrize("form", FORMS)
def test_validation_data_may_be_chunks(form):
    if form == "tuple":
        return  # means (X, y) or (X, y, weights)
    whole, streamed = build(), build()
    expected = whole.fit(X, LABELS, validation_data=(X, LABELS), batch_size=BATCH, epochs=2)
    chunks = FORMS[form]()
    if form == "lists of lists":
        chunks = iter(chunks)
        with pytest.raises(ValueError, match="validation source must be iterable again"):
            streamed.fit(X, LABELS, validation_data=chunks, batch_size=BATCH, epochs=2)
        return
    assert streamed.fit(X, LABELS, validation_data=chunks, batch_size=BATCH, epochs=2).history == expected.history
    assert_same(streamed, whole)


def test_epoch_begins_before_its_data_are_read():
    events = []

    class Watcher(fastbp.Callback):
        def on_epoch_begin(self, epoch, logs):
            events.append(f"begin {epoch}")

        def on_epoch_end(self, epoch, logs):
            events.append(f"end {epoch}")

    def source():
        for place, chunk in enumerate(CHUNKS):
            events.append(f"chunk {place}")
            yield chunk

    build().fit(source, batch_size=BATCH, epochs=3, callbacks=[Watcher()])
    every = [f"chunk {place}" for place in range(len(CHUNKS))]
    expected = [every[0], "begin 0", *every[1:], "end 0", "begin 1", *every, "end 1", "begin 2", *every, "end 2"]
    assert events == expected  # the first chunk is inspected before anything else


@pytest.mark.parametrize("known", [False, True])
def test_progress_bar_counts_rows_until_their_number_is_known(capsys, known, tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    source = fastbp.sources.open(tmp_path / "X.npy", tmp_path / "y.npy") if known else Loader()
    build().fit(source, batch_size=BATCH, epochs=2, shuffle_window=64, verbose=1)
    first, *_, last = capsys.readouterr().err.strip("\r\n").split("\r")
    assert ("rows" in first) == (not known)
    assert ("%" in first) == known
    assert "100%" in last
    assert "epoch 2/2" in last


# ---------------------------------------------------------------- errors


def with_bad(place, chunk):
    chunks = cut(X, LABELS)
    return [*chunks[:place], chunk, *chunks[place:]]


NAN = X[:9].copy()
NAN[7, 2] = np.nan
BAD = {
    "NaN": ((NAN, LABELS[:9]), ValueError, r"X of chunk 4 must be finite, got nan at row 7, column 2"),
    "label too large": ((X[:3], [0, 1, 3]), ValueError, r"y of chunk 4 must hold class labels from 0 to 2.*row 2"),
    "width": ((X[:3, :2], [0, 1, 2]), ValueError, r"X of chunk 4 must have 5 columns"),
    "length": ((X[:3], [0, 1]), ValueError, r"y of chunk 4 must have one entry for each of the 3 rows"),
    "strings": ((X[:3], ["a", "b", "c"]), TypeError, r"y of chunk 4 must hold real numbers.*encode"),
    "X alone": (X[:3], ValueError, r"chunks must be \(X, y\).*got a ndarray of chunk 4"),
    "dict": ({"X": X[:3]}, ValueError, r"chunks must be \(X, y\).* a dict"),
    "None": (None, ValueError, r"chunks must be \(X, y\).* a NoneType"),
    "weights": ((X[:3], [0, 1, 2], [1, 1, 1]), ValueError, "either all chunks or none must have weights"),
    "negative weights": ((X[:3], [0, 1, 2], [1, -1, 1]), ValueError, "sample_weight of chunk 4 must not be negative"),
    "sparse": ((scipy.sparse.csr_array(X[:3]), [0, 1, 2]), ValueError, "either all chunks or none must be sparse"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_chunk_is_named_and_the_last_step_kept(case):
    chunk, error, message = BAD[case]
    model, expected = build(), build()
    with pytest.raises(error, match=message):
        model.fit(lambda: iter(with_bad(4, chunk)), batch_size=BATCH, shuffle=False, shuffle_window=BATCH)
    done = model._trainer.step * BATCH
    assert done == 112  # of the 116 rows before it
    expected.fit(X[:done], LABELS[:done], batch_size=BATCH, shuffle=False)
    for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model._trainer.epoch == 0


def test_bad_first_chunk_changes_nothing():
    model = build()
    with pytest.raises(ValueError, match="of chunk 0"):
        model.fit([(NAN, LABELS[:9])])
    assert model._engine is None


INVALID = {
    "y": (lambda m: m.fit(CHUNKS, LABELS), r"X must be an array"),
    "y with a source": (lambda m: m.fit(Loader(), LABELS), "y must be left out where X is a source"),
    "weights": (lambda m: m.fit(CHUNKS, sample_weight=WEIGHT), "sample_weight must be left out"),
    "split": (lambda m: m.fit(CHUNKS, validation_split=0.1), "validation_split=0.1 needs arrays.*pass validation_data"),
    "window of arrays": (lambda m: m.fit(X, LABELS, shuffle_window=5), "shuffle_window=5 is for sources"),
    "window 0": (lambda m: m.fit(CHUNKS, shuffle_window=0), "shuffle_window must be at least 1"),
    "read once": (lambda m: m.fit(iter(CHUNKS), epochs=2), "each of the 2 epochs, but list_iterator can be read once"),
    "no chunk": (lambda m: m.fit([]), "source must have at least one row"),
    "no row": (lambda m: m.fit([(X[:0], LABELS[:0])]), "source must have at least one row"),
    "numbers": (lambda m: m.fit([[0.0, 1.0], [1.0, 2.0]]), "X of chunk 0 must have two dimensions"),
    "rows": (lambda m: m.fit(X.tolist()), r"chunks must be \(X, y\).* a list of 5.*pass y as well"),
    "validation": (lambda m: m.fit(CHUNKS, validation_data=[(X[:, :2], LABELS)]), "validation X of chunk 0 must have"),
    "weights of 0": (lambda m: m.evaluate(cut(X, LABELS, 0 * WEIGHT)), "sample_weight must have a positive entry"),
}  # fmt: skip


@pytest.mark.parametrize("case", INVALID)
def test_invalid_arguments_are_rejected(case):
    call, message = INVALID[case]
    with pytest.raises(ValueError, match=message):
        call(build())


def test_arrays_need_y():
    with pytest.raises(TypeError, match="y must be an array of numbers, got None"):
        build().fit(X)


def test_function_must_return_a_fresh_iterator():
    chunks = iter(CHUNKS)
    with pytest.raises(ValueError, match="no chunks when it was read again"):
        build().fit(lambda: chunks, epochs=2)


def test_exception_of_a_source_reaches_the_caller():
    def source():
        yield CHUNKS[0]
        yield CHUNKS[3]
        raise OSError("the disk is gone")

    model = build()
    with pytest.raises(OSError, match="the disk is gone") as caught:
        model.fit(source, batch_size=BATCH, shuffle_window=BATCH)
    assert model._trainer.step > 0
    assert any(entry.name == "source" for entry in caught.traceback)


def test_divergence_ends_the_stream():
    model = Sequential([Dense(3)])
    model.compile(fastbp.SGD(1e30), "mse")
    with pytest.warns(fastbp.DivergenceWarning):
        history = model.fit(lambda: ((X, X[:, :3]) for _ in range(10**6)), batch_size=BATCH, shuffle_window=64)
    assert history.stopped == "diverged"


# ---------------------------------------------------------------- the prefetching thread


def test_items_arrive_in_order_and_one_ahead():
    made = []

    def items():
        for number in range(5):
            made.append(number)
            yield number

    with contextlib.closing(ahead(lambda stop: items())) as coming:
        for number in coming:
            assert len(made) <= number + 2
    assert made == list(range(5))


def endless():
    while True:
        yield CHUNKS[0]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_error_in_a_callback_ends_the_thread(stop):
    def raise_it():
        raise stop

    watcher = fastbp.Callback()
    watcher.on_slice_end = raise_it
    model = build()
    with pytest.raises(stop):  # the fixture above checks that no thread is left
        model.fit(endless, shuffle_window=4000, callbacks=[watcher])


def test_thread_out_of_memory_ends_the_fit():
    def starved():
        yield CHUNKS[0]
        raise MemoryError("no memory for a chunk")

    with pytest.raises(MemoryError, match="no memory for a chunk"):
        build().fit(starved, shuffle_window=64)


def test_thread_that_never_starts_ends_the_fit(monkeypatch):
    monkeypatch.setattr(prefetch._thread, "start_new_thread", lambda function, arguments: 0)
    monkeypatch.setattr(prefetch, "START", 0.0)
    with pytest.raises(MemoryError, match="did not begin"):
        build().fit(lambda: iter(CHUNKS))


def test_chunks_are_read_on_demand_without_a_thread(monkeypatch):
    def refused(function, arguments):
        raise RuntimeError("can't start new thread")

    expected = build()
    expected.fit(CHUNKS, shuffle_window=64, epochs=2)
    model = build()
    with monkeypatch.context() as patched:
        patched.setattr(prefetch._thread, "start_new_thread", refused)
        model.fit(CHUNKS, shuffle_window=64, epochs=2)
    assert_same(model, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_fit_continued_in_a_forked_child_reports_its_missing_thread():
    class Fork(fastbp.Callback):
        child = None

        def on_slice_end(self):
            if self.child is None:
                self.child = os.fork()

    callback, reported = Fork(), False
    try:
        build().fit(lambda: (CHUNKS[0] for _ in range(40)), shuffle_window=len(CHUNKS[0][0]), callbacks=[callback])
    except RuntimeError as error:
        reported = "forked" in str(error)
    finally:
        if callback.child == 0:
            os._exit(0 if reported else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(callback.child, 0)[1]) == 0


class Endless(Sequence):
    """Has a length, but indexing never raises IndexError."""

    def __init__(self, item, length=6):
        self.item, self.length = item, length

    def __len__(self):
        return self.length

    def __getitem__(self, place):
        return self.item


def test_sequence_is_read_up_to_its_length():
    X = np.linspace(0, 1, 6 * CHUNKS[0][0].shape[1]).reshape(6, -1)
    row = X[0].tolist()
    model = build()
    np.testing.assert_array_equal(model.predict(Endless(row)), model.predict(np.array([row] * 6)))
    np.testing.assert_array_equal(model.predict([Endless(0.5, len(row))]), model.predict([[0.5] * len(row)]))
    other = build()
    one = model.fit(Endless(CHUNKS[0]), shuffle_window=10**6).history
    assert one == other.fit([CHUNKS[0]] * 6, shuffle_window=10**6).history


@pytest.mark.timing
@pytest.mark.jit
def test_ctrl_c_keeps_the_last_step_and_leaves_no_thread():
    model, replay = build(input_size=FEATURES), build()
    model.predict(X)
    timer = threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        model.fit(endless, batch_size=40, shuffle=False, shuffle_window=400)
    assert time.perf_counter() - began < 2  # 0.2 s are promised; the machine may be busy
    timer.join()
    steps = model._trainer.step
    assert steps > 0
    replay.fit([CHUNKS[0]] * steps, batch_size=40, shuffle=False)
    for a, b in zip(model.get_weights(), replay.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_time_limit_ends_an_endless_stream():
    assert build().fit(endless, shuffle_window=4000, time_limit=0.2).stopped == "time_limit"


@pytest.mark.jit
def test_process_forked_during_fit_trains_on_streams():
    code = """
import os, warnings, numpy as np, fastbp
warnings.simplefilter("ignore", DeprecationWarning)  # about forking with threads
X = np.ones((64, 3), np.float32)
def build():
    model = fastbp.Sequential([fastbp.Dense(1)])
    model.compile("sgd", "mse")
    return model
def fork():
    if not pids:
        pids.append(os.fork())
        if not pids[0]:
            build().fit([(X, X[:, 0])] * 3, shuffle_window=32, batch_size=16)
            os._exit(7)
pids = []
watcher = fastbp.Callback()
watcher.on_slice_end = fork
build().fit([(X, X[:, 0])] * 9, shuffle_window=32, batch_size=16, callbacks=[watcher])
print(os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("7\n", "")


# ---------------------------------------------------------------- resuming


class Crash(Exception):
    pass


class CrashAfter:
    def __init__(self, slices):
        self.left = slices

    def on_slice_end(self):
        self.left -= 1
        if not self.left:
            raise Crash


@pytest.mark.parametrize("slices", [1, 4, 9, 14])
@pytest.mark.parametrize("form", ["list", "iterable", "function"])
def test_interrupted_fit_resumes(monkeypatch, tmp_path, form, slices):
    monkeypatch.setattr(training, "Pace", lambda flops: ConstantPace())
    options = {"batch_size": BATCH, "epochs": 4, "shuffle_window": 64, "validation_data": Loader()}
    whole = build()
    expected = whole.fit(FORMS[form](), **options)
    path = tmp_path / "fit"
    with pytest.raises(Crash):
        build().fit(FORMS[form](), **options, callbacks=[BackupAndRestore(path, save_freq=1), CrashAfter(slices)])
    resumed = build()
    history = resumed.fit(FORMS[form](), **options, callbacks=[BackupAndRestore(path, save_freq=1)])
    assert history.history == expected.history
    assert_same(resumed, whole)


def test_resuming_another_fit_is_rejected(tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    path, options = tmp_path / "fit", {"batch_size": BATCH, "shuffle_window": 64}
    source = fastbp.sources.open(tmp_path / "X.npy", tmp_path / "y.npy", chunk_rows=20)
    build().fit(source, epochs=3, callbacks=[BackupAndRestore(path)], **options)
    others = {
        "source was .*20.* and is now .*30": fastbp.sources.open(tmp_path / "X.npy", tmp_path / "y.npy", chunk_rows=30),
        "source was .*and is now .*list": CHUNKS,
    }
    for message, other in others.items():
        with pytest.raises(ValueError, match=message):
            build().fit(other, epochs=3, resume_from=path, **options)
    with pytest.raises(ValueError, match="shuffle_window was 64 and is now 32"):
        build().fit(source, epochs=3, resume_from=path, batch_size=BATCH, shuffle_window=32)
    with pytest.raises(ValueError, match="X was not given before"):
        build().fit(X, LABELS, epochs=3, batch_size=BATCH, resume_from=path)
    with pytest.raises(ValueError, match=r"epochs=2 was requested, but the fit .* 3 epochs are done"):
        build().fit(source, epochs=2, resume_from=path, **options)


# ---------------------------------------------------------------- memory

MEMORY = """
import sys, numpy as np, fastbp
from benchmarks.streaming import anonymous_memory, sampled_memory
rows = int(sys.argv[2])
X = np.lib.format.open_memmap(sys.argv[1] + "/X.npy", "w+", np.float32, (rows, 784))
rng = np.random.default_rng(0)
for start in range(0, rows, 1024):
    X[start : start + 1024] = rng.random((len(X[start : start + 1024]), 784), np.float32)
X.flush()
np.save(sys.argv[1] + "/y.npy", rng.integers(0, 10, rows))
del X
model = fastbp.Sequential([fastbp.Dense(64, "relu"), fastbp.Dense(10, "softmax")], input_size=784)
model.compile("adam", "cross_entropy", ["accuracy"])
fastbp.data.streams.WINDOW_BYTES = 1 << 20
zeros = np.zeros((1024, 784), np.float32), np.zeros(1024)
model.fit(*zeros), model.evaluate(*zeros), model.predict(zeros[0])  # what the network itself needs
source = fastbp.sources.open(sys.argv[1] + "/X.npy", sys.argv[1] + "/y.npy", chunk_rows=128)
for data in ((source, None), (np.load(sys.argv[1] + "/X.npy", mmap_mode="r"), np.load(sys.argv[1] + "/y.npy"))):
    before = anonymous_memory()
    with sampled_memory() as most:
        model.fit(*data)
        model.evaluate(*data)
        model.predict(data[0])
    print(most[0] - before)
"""


@pytest.mark.jit
def test_64_mb_of_data_train_within_8_mb(tmp_path):
    rows = 21_000
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), str(rows)],
        capture_output=True, text=True,
        # glibc keeps an arena per thread: another 4 MB that nothing uses
        env={**os.environ, "PYTHONPATH": path, "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    by_source, by_map = map(int, done.stdout.split())
    bound = 500e6 / 4e9 * 4 * 784 * rows  # as 500 MB are to 4 GB
    assert by_source < bound
    assert by_map < bound


# ---------------------------------------------------------------- the benchmark


@pytest.mark.jit
def test_benchmark_measures_and_prints_a_table(tmp_path):
    rows, forms = 1000, streaming.LARGE[::3]
    streaming.make_arrays(tmp_path, rows)
    turns = streaming.measure(forms, tmp_path, 1, 1)
    assert [len(taken) for taken in turns] == [1, 1]
    assert all(turn.wall > 0 and turn.cpu > 0 and 10e6 < turn.anonymous < 1e9 for taken in turns for turn in taken)
    lines = streaming.table(forms, turns, rows).splitlines()
    assert len(lines) == 4
    assert "| 100% | 100% |" in lines[2]


def test_all_forms_of_the_benchmark_have_the_same_rows(tmp_path):
    streaming.make_arrays(tmp_path, 300)
    streaming.make_tables(tmp_path)
    images, labels = np.load(tmp_path / "X.npy"), np.load(tmp_path / "y.npy")
    for form in (*streaming.LARGE[2:3], *streaming.SMALL[1:]):
        x, y = (np.concatenate(column) for column in zip(*form.load(tmp_path)[0], strict=True))
        np.testing.assert_array_equal(y, labels)
        np.testing.assert_allclose(x, images, atol=1 / 255 if "uint8" in form.title else 0)


def test_benchmark_goals():
    fast, slow = (streaming.Turn(seconds, 1.0, 400_000_000) for seconds in (1.0, 1.2))
    large = fast._replace(anonymous=600_000_000)
    assert streaming.met([[large], [fast], [fast], [slow]])
    assert not streaming.met([[large], [fast], [slow], [fast]])
    assert not streaming.met([[fast], [large], [fast], [fast]])


# ---------------------------------------------------------------- recognizing sources


def test_sources_are_recognized():
    assert isinstance(build().inputs.chunks(CHUNKS), Chunks)
    assert streams.is_source(io.StringIO("a"))
    assert not streams.is_source(io.StringIO)  # a class yields nothing
