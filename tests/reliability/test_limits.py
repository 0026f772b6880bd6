"""Promises not tested elsewhere: extreme sizes, memory, many threads, every way to start a process."""

import ast
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential

jit = pytest.mark.jit
PACKAGE = Path(fastbp.__file__).parent


def data(rows=64, columns=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns)).astype(np.float32)
    return X, X[:, :1] - 0.5


def regression(*units, **options):
    model = Sequential([*(Dense(n, "tanh") for n in units), Dense(1)], **options)
    model.compile("adam", "mse")
    return model


def weights_of(model):
    return np.concatenate([array.ravel() for array in model.get_weights()])


def trained_weights(seed):
    """The weights after a fit, as bytes."""
    model = regression(9, seed=seed)
    model.fit(*data(seed=seed), epochs=2, verbose=0)
    return weights_of(model).tobytes()


# ---------------------------------------------------------------- sizes


def test_one_row_and_one_column_train():
    model = regression(3)
    before = model.evaluate([[1.0]], [2.0])["loss"]
    model.fit([[1.0]], [2.0], epochs=50, verbose=0)
    assert model.evaluate([[1.0]], [2.0])["loss"] < before


def test_last_batch_may_have_any_size():
    X, y = data(rows=70)
    for rows in range(33, 66):
        once, twice = regression(7), regression(7)
        once.fit(X[:rows], y[:rows], batch_size=32, shuffle=False, verbose=0)
        for start in range(0, rows, 32):
            twice.train_on_batch(X[start : min(rows, start + 32)], y[start : min(rows, start + 32)])
        np.testing.assert_array_equal(weights_of(once), weights_of(twice))


def test_zero_learning_rate_changes_no_weight():
    X, y = data()
    for optimizer in (fastbp.SGD(0.0), fastbp.Adam(0.0), fastbp.RMSprop(0.0)):
        model = Sequential([Dense(3, "relu"), Dense(1)], input_size=5)
        model.compile(optimizer, "mse")
        before = weights_of(model)
        model.fit(X, y, epochs=2, verbose=0)
        np.testing.assert_array_equal(weights_of(model), before)


def test_network_without_hidden_layer_trains():
    X, y = data(rows=200)
    model = regression()
    model.compile(fastbp.SGD(0.1), "mse")
    model.fit(X, y, epochs=100, verbose=0)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(kernel[:, 0], [1, 0, 0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(bias, [-0.5], atol=1e-4)


@pytest.mark.parametrize("units", [4095, 4096, 4097])
@jit
def test_widths_near_4096_train(units):
    X, y = data(rows=32)
    model = regression(units)
    losses = model.fit(X, y, batch_size=16, epochs=5, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    kernel, bias, out, last = model.get_weights()
    expected = np.tanh(X.astype(float) @ kernel.astype(float) + bias) @ out.astype(float) + last
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-4)  # 4,097 products of about 0.01, each within 1e-7


@jit
def test_a_million_features_train():
    features = 10**6
    X = np.zeros((4, features), np.float32)
    X[np.arange(4), [0, 1, features // 2, features - 1]] = 1
    y = np.float32([[1], [2], [3], [4]])
    model = regression(input_size=features)
    model.compile(fastbp.SGD(0.5), "mse")
    model.fit(X, y, epochs=100, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-3)


@jit
@pytest.mark.slow
def test_array_larger_than_2_31_bytes():
    """Zero pages take no memory until they are written, and only the last rows are."""
    rows, columns = (1 << 20) + 64, 512
    X = np.zeros((rows, columns), np.float32)
    X[-3:] = np.random.default_rng(0).normal(size=(3, columns))
    assert X.nbytes > 1 << 31
    model = regression(input_size=columns)
    predicted = model.predict(X)
    assert not predicted[: rows - 3].any()
    np.testing.assert_array_equal(predicted[-3:], model.predict(X[-3:].copy()))
    assert model.evaluate(X, predicted)["loss"] == 0


# ---------------------------------------------------------------- refused data and memory


@pytest.mark.timing
def test_refusing_data_takes_one_pass():
    X, y = np.zeros((200_000, 100), np.float32), np.zeros(200_000)
    X[-1, -1] = np.nan
    model = regression(3, input_size=100)
    start = time.perf_counter()
    np.isfinite(X).all()
    one_pass = time.perf_counter() - start
    for call in (lambda: model.fit(X, y, verbose=0), lambda: model.predict(X), lambda: model.evaluate(X, y)):
        start = time.perf_counter()
        with pytest.raises(ValueError, match="row 199999, column 99"):
            call()
        assert time.perf_counter() - start < 0.1 + 3 * one_pass  # a refused X is read again to locate the element


MEMORY = """
import numpy as np, fastbp, sys
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10
def fit(hidden, inputs, rows, batch, update):
    model = fastbp.Sequential([fastbp.Dense(hidden, "relu"), fastbp.Dense(1)], input_size=inputs)
    model.compile(fastbp.Adam(**update), "mse")
    model.fit(np.zeros((rows, inputs), np.float32), np.zeros((rows, 1), np.float32), batch_size=batch, verbose=0)
update = eval(sys.argv[1])
fit(2, 2, 8, 4, update)
before = peak()
fit(4000, 4000, 256, 256, update)
print(peak() - before)
"""


@jit
@pytest.mark.parametrize(
    ("update", "arrays"), [({}, 3), ({"global_clipnorm": 1.0}, 4), ({"ema_momentum": 0.9}, 4)], ids=str
)
def test_memory_of_a_fit(update, arrays):
    """Weights and Adam's two states; gradients where they are kept for clipping; the average."""
    done = subprocess.run([sys.executable, "-c", MEMORY, repr(update)], capture_output=True, text=True, check=True)
    parameters, batch, rows = 4000 * 4001 + 4001, 256 * (4000 + 4000 + 1), 256 * 4001
    assert int(done.stdout) < 4 * (parameters * arrays + 2 * batch + rows) + (64 << 20)


# ---------------------------------------------------------------- threads and processes


@jit
def test_32_threads_fit_concurrently():
    alone = [trained_weights(seed) for seed in range(4)]
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(trained_weights, [k % 4 for k in range(64)]))
    assert together == [alone[k % 4] for k in range(64)]


RACE = """
import threading, numpy as np, fastbp
def fit(seed):
    model = fastbp.Sequential([fastbp.Dense(4, "tanh"), fastbp.Dense(1)], seed=0)
    model.compile("adam", "mse")
    start.wait()
    model.fit(np.ones((8, 2)), np.ones(8), verbose=0)
    found.append(tuple(w.tobytes() for w in model.get_weights()))
start, found = threading.Barrier(8), []
threads = [threading.Thread(target=fit, args=(k,)) for k in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(found), len(set(found)))
"""


@jit
@pytest.mark.slow
def test_eight_threads_race_for_the_first_compilation(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    environment = {**os.environ, "FASTBP_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", RACE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["8", "1"]


@jit
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*")  # Python 3.12 and JAX warn about forks with running threads
def test_every_process_start_method(method):
    expected = [trained_weights(seed) for seed in range(2)]
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        assert list(pool.map(trained_weights, range(2))) == expected


@jit
@pytest.mark.slow
def test_ctrl_c_during_the_first_compilation(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    code = (
        "import numpy as np, fastbp\n"
        "model = fastbp.Sequential([fastbp.Dense(4), fastbp.Dense(1)]); model.compile('adam', 'mse')\n"
        "print('ready', flush=True)\n"
        "model.fit(np.ones((8, 2)), np.ones(8), verbose=0)\n"
        "print('fitted')\n"
    )
    environment = {**os.environ, "FASTBP_CACHE_DIR": str(cache)}
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], **options)
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.5)  # into the compilation
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "fitted" not in out
    assert "KeyboardInterrupt" in err
    again = subprocess.run([sys.executable, "-c", code], check=True, **options)
    assert again.stdout.split() == ["ready", "fitted"]


# ---------------------------------------------------------------- files


UNPICKLING = {"pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "joblib.load"}


def test_no_reader_unpickles():
    """Nothing in the package unpickles or executes a file's content; `torch.load` and `numpy.load` are restricted."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name, options = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert name not in UNPICKLING | {"eval", "exec"}, f"{path}:{node.lineno}"
            if name in ("np.load", "numpy.load"):
                assert options.get("allow_pickle", "False") == "False", f"{path}:{node.lineno}"
            if name == "torch.load":
                assert options.get("weights_only") == "True", f"{path}:{node.lineno}"


def test_threads_end_with_the_fit():
    before = threading.active_count()
    regression(3).fit(*data(), verbose=0)
    assert threading.active_count() == before
