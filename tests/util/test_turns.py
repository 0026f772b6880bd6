"""Threads that train one model take turns, none waits forever, and a fork gets a consistent model."""

import copy
import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential
from fastbp.util import turns as turns_module
from fastbp.util.turns import Turns

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 12)).astype(np.float32)
Y = RNG.integers(0, 3, 2000)
SECONDS = 120  # before a thread counts as hanging


def build():
    model = Sequential([Dense(16, "tanh"), Dense(3, "softmax")], input_size=12, seed=1)
    model.compile("adam", "cross_entropy")
    return model


def run_all(*functions):
    """Run the functions concurrently, each in a thread, and return their errors."""
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), "a thread hangs"
    return errors


def assert_same(one, two):
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def in_child(work):
    """The exit status of a forked child that runs work(); 9 for an exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about forks with running threads, which are tested here
        child = os.fork()
    if child == 0:
        try:
            status = int(work() or 0)
        except BaseException as error:
            print(repr(error), file=sys.__stderr__, flush=True)
            status = 9
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


# -- turns -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [2, 8, 32])
def test_fits_of_one_model_run_one_after_another(n):
    model, expected = build(), build()
    for _ in range(n):
        expected.fit(X, Y, epochs=2, batch_size=100, verbose=0)
    assert not run_all(*[lambda: model.fit(X, Y, epochs=2, batch_size=100, verbose=0)] * n)
    assert_same(model, expected)


def test_steps_of_many_threads_all_count():
    model, expected = build(), build()
    for _ in range(8 * 50):
        expected.train_on_batch(X[:64], Y[:64])
    assert not run_all(*[lambda: [model.train_on_batch(X[:64], Y[:64]) for _ in range(50)]] * 8)
    assert_same(model, expected)


CALLS = {
    "fit with another batch size": lambda m, p: m.fit(X, Y, batch_size=500, verbose=0),
    "train_on_batch": lambda m, p: m.train_on_batch(X[:64], Y[:64]),
    "evaluate": lambda m, p: m.evaluate(X, Y),
    "predict": lambda m, p: m.predict(X),
    "gradients": lambda m, p: m.gradients(X[:300], Y[:300]),
    "set_weights": lambda m, p: m.set_weights(m.get_weights()),
    "compile": lambda m, p: m.compile("sgd", "cross_entropy") or m.compile("adam", "cross_entropy"),
    "compile with another loss": lambda m, p: m.compile("sgd", "mse") or m.compile("adam", "cross_entropy"),
    "save": lambda m, p: m.save(p / "model.safetensors"),
    "pickle": lambda m, p: pickle.loads(pickle.dumps(m)),
    "deepcopy": lambda m, p: copy.deepcopy(m),
    "learning rate": lambda m, p: setattr(m, "learning_rate", 1e-3),
}


@pytest.mark.parametrize("what", CALLS)
def test_calls_during_a_fit(what, tmp_path):
    model = build()
    errors = run_all(
        lambda: model.fit(X, Y, epochs=20, batch_size=32, verbose=0),
        *[lambda: [CALLS[what](model, tmp_path) for _ in range(10)]] * 2,
    )
    assert not errors
    assert all(np.isfinite(W).all() for W in model.get_weights())


@pytest.mark.parametrize("what", ["train_on_batch", "evaluate", "gradients"])
def test_calls_during_compile(what, tmp_path):
    """Labels that were converted for one loss are never used with another."""
    model = build()

    def compile_often():
        for _ in range(100):
            model.compile("sgd", "mse")
            model.compile("adam", "cross_entropy")

    def work():
        for _ in range(50):
            try:
                CALLS[what](model, tmp_path)
            except (ValueError, RuntimeError) as error:
                messages.append(str(error))

    messages = []
    assert not run_all(compile_often, work, work)
    # labels are not targets for mse; or the model was compiled between the conversion and the use of targets
    assert all("must have" in text or "compiled again" in text for text in messages), messages


def test_copies_have_their_own_turns():
    model = build()
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.turns is not model.turns


def test_fit_knows_its_thread():
    model, seen = build(), []

    class Look(fastbp.Callback):
        def on_epoch_end(self, epoch, logs):
            run_all(lambda: seen.append(model.turns.mine))
            seen.append(model.turns.mine)

    model.fit(X, Y, callbacks=[Look()], verbose=0)
    assert seen == [False, True]
    assert not model.turns.mine


def test_threads_awaited_by_a_callback_may_read(tmp_path):
    model = build()

    class Ask(fastbp.Callback):
        def on_epoch_end(self, epoch, logs):
            reads = ("evaluate", "predict", "gradients", "save", "pickle")
            assert not run_all(*[lambda what=what: CALLS[what](model, tmp_path) for what in reads])

    model.fit(X, Y, callbacks=[Ask()], verbose=0)


def test_deadlock_of_two_fits_raises():
    one, two = build(), build()
    both = threading.Barrier(2)

    class Change(fastbp.Callback):
        def __init__(self, other):
            self.other = other

        def on_epoch_end(self, epoch, logs):
            both.wait(SECONDS)
            self.other.set_weights(self.other.get_weights())

    errors = run_all(
        lambda: one.fit(X, Y, callbacks=[Change(two)], verbose=0),
        lambda: two.fit(X, Y, callbacks=[Change(one)], verbose=0),
    )
    assert 1 <= len(errors) <= 2
    assert all("two threads each wait" in str(error) for error in errors)


def test_turn_of_an_ended_thread_is_released():
    model = build()
    model.turns.owner = -1  # a thread that has ended
    assert not run_all(lambda: model.train_on_batch(X[:8], Y[:8]))
    assert model.turns.owner is None


WAITS = """
import os, signal, sys, threading, time
from tests.util.test_turns import X, Y, build
import fastbp
model, began = build(), threading.Event()

class Wait(fastbp.Callback):
    def on_epoch_end(self, epoch, logs):
        began.set()
        time.sleep(1000)

threading.Thread(target=model.fit, args=(X, Y), kwargs={{"callbacks": [Wait()], "verbose": 0}}, daemon=True).start()
began.wait()
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    {what}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(0)
"""
WAITING = {
    "fit": "model.fit(X, Y, verbose=0)",
    "train_on_batch": "model.train_on_batch(X, Y)",
    "compile": "model.compile('sgd', 'mse')",
    "set_weights": "model.set_weights(model.get_weights())",
}


@pytest.mark.parametrize("what", WAITING)
def test_ctrl_c_interrupts_waiting(what):
    done = subprocess.run(
        [sys.executable, "-c", WAITS.format(what=WAITING[what])], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout == "interrupted\n", done.stderr


# -- estimators ------------------------------------------------------------------------------------------------------
def estimators(n):
    from fastbp import MLPClassifier

    return [MLPClassifier((20,), random_state=0).partial_fit(X, Y, classes=[0, 1, 2]) for _ in range(n)]


def test_threads_that_train_one_estimator_take_turns():
    one, expected = estimators(2)
    for _ in range(4 * 5):
        expected.partial_fit(X, Y)
    assert not run_all(*[lambda: [one.partial_fit(X, Y) for _ in range(5)]] * 4)
    assert_same(one.model_, expected.model_)
    assert one.t_ == expected.t_


def test_reading_an_estimator_during_training_changes_nothing():
    one, expected = estimators(2)
    for _ in range(30):
        expected.partial_fit(X, Y)
    done = threading.Event()

    def look():
        while not done.is_set():
            assert len(one.coefs_) == 2
            one.predict(X[:10])
            pickle.dumps(one)

    def train():
        try:
            for _ in range(30):
                one.partial_fit(X, Y)
        finally:
            done.set()

    assert not run_all(train, look, look)
    assert_same(one.model_, expected.model_)


# -- forks -----------------------------------------------------------------------------------------------------------
class TrainingThread:
    """A thread that trains continuously."""

    def __init__(self, model):
        self.model, self.stop = model, threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.stop.is_set():
            self.model.fit(X, Y, batch_size=50, verbose=0)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *error):
        self.stop.set()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


@needs_fork
def test_process_forked_during_a_fit_has_a_consistent_model(tmp_path):
    model = build()

    def use():
        model.train_on_batch(X[:64], Y[:64])
        model.fit(X, Y, verbose=0)
        model.evaluate(X, Y)
        model.save(tmp_path / f"{os.getpid()}.safetensors")
        fastbp.load(tmp_path / f"{os.getpid()}.safetensors")

    with TrainingThread(model):
        assert [in_child(use) for _ in range(10)] == [0] * 10


@needs_fork
def test_threads_may_fork_concurrently():
    model = build()
    model.train_on_batch(X[:64], Y[:64])
    found = []
    with TrainingThread(model):
        forks = [lambda: found.extend(in_child(lambda: model.train_on_batch(X[:9], Y[:9]) and 0) for _ in range(3))] * 4
        assert not run_all(*forks)
    assert found == [0] * 12


@needs_fork
def test_fork_goes_before_the_next_of_many_steps():
    """A thread that takes the state again at once would keep it from a fork, which waits in vain in the end."""
    model, stop = build(), threading.Event()

    def step():
        while not stop.is_set():
            turns_module.give_way()
            with model.turns.state:
                pass

    thread = threading.Thread(target=step)
    thread.start()
    try:
        assert [in_child(lambda: model.train_on_batch(X[:9], Y[:9]) and 0) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        thread.join()
    assert not turns_module._waiting.is_set()


@needs_fork
def test_fork_in_the_middle_of_a_step_raises(monkeypatch):
    """When a step takes longer than a fork waits for it."""
    model, taken, stop = build(), threading.Event(), threading.Event()
    monkeypatch.setattr(turns_module, "PATIENCE", 0.01)

    def step():
        with model.turns.state:
            taken.set()
            stop.wait(SECONDS)

    thread = threading.Thread(target=step)
    thread.start()
    taken.wait(SECONDS)

    def use():
        for call in (model.get_weights, lambda: model.predict(X), lambda: model.train_on_batch(X, Y),
                     lambda: model.fit(X, Y), lambda: model.evaluate(X, Y), lambda: pickle.dumps(model)):  # fmt: skip
            with pytest.raises(RuntimeError, match="in the middle of a step"):
                call()

    try:
        assert in_child(use) == 0
    finally:
        stop.set()
        thread.join()
    model.train_on_batch(X, Y)  # the parent is not affected


@needs_fork
def test_child_forked_by_a_callback_continues():
    model, expected = build(), build()
    expected.fit(X, Y, epochs=3, verbose=0)

    class Fork(fastbp.Callback):
        child = None

        def on_epoch_end(self, epoch, logs):
            if epoch == 0:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    Fork.child = os.fork()

    status = 1
    try:
        model.fit(X, Y, epochs=3, callbacks=[Fork()], verbose=0)
        assert_same(model, expected)
        status = 0
    finally:
        if Fork.child == 0:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(Fork.child, 0)[1]) == 0


def test_locks_of_deleted_models_are_released():
    before = len(turns_module._all)
    turns = Turns()
    assert len(turns_module._all) == before + 1
    del turns
    assert len(turns_module._all) == before


FORKS_IN_COMPILER = """
import os, sys, threading, warnings
import numba, numpy as np
from numba import types
from fastbp.kernels import forks, jit
warnings.simplefilter("ignore")

def make(n):
    def tiny(x):
        total = x
        for i in range(x):
            total += i * n
        return total
    return tiny

def compile_one(n):
    assert numba.cfunc(types.int64(types.int64))(make(n)).ctypes(4) == 4 + 6 * n

stop = threading.Event()
def keep_compiling():
    n = 0
    while not stop.is_set():
        with jit._cached():
            compile_one(n)
        n += 1
thread = threading.Thread(target=keep_compiling)
thread.start()
for n in range(10):
    child = os.fork()
    if child == 0:
        with jit._cached():
            compile_one(1000 + n)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, n
stop.set()
thread.join()
print("all")
"""


@needs_fork
@pytest.mark.jit
def test_process_forked_during_compilation_can_compile():
    done = subprocess.run(
        [sys.executable, "-c", FORKS_IN_COMPILER], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout == "all\n", done.stderr


IMPORTS_IN_COMPILER = """
import os, sys, threading, warnings
from fastbp.kernels import forks, jit
warnings.simplefilter("ignore")
threading.imports = threading.Event()  # where the module finds it

def load():
    with jit._cached():
        import slow

thread = threading.Thread(target=load)
thread.start()
threading.imports.wait()
child = os.fork()
if child == 0:
    import slow
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
print("all")
"""


@needs_fork
def test_process_forked_while_the_compiler_imports_can_import(tmp_path):
    """Numba imports much of itself when it first compiles, and a module's lock has no owner in a child."""
    (tmp_path / "slow.py").write_text("import threading, time\nthreading.imports.set()\ntime.sleep(1)\n")
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_IN_COMPILER], capture_output=True, text=True, timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert done.stdout == "all\n", done.stderr
