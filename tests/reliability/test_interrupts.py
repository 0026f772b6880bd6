"""Ctrl-C and kill -9 at random moments, many times, leave the weights of a finished step and intact files."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential
from fastbp.data.batch_schedule import Shuffler

pytestmark = [pytest.mark.jit, pytest.mark.soak]

ROWS, BATCH = 50, 8
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
Y = np.sin(X[:, :1])


def make():
    model = Sequential([Dense(6, "tanh"), Dense(1)], input_size=4, seed=2)
    model.compile("adam", "mse")
    return model


def weights_of(model):
    return [array.tobytes() for array in model.get_weights()]


def replayed(model, steps):
    """A second model after the same number of steps, one batch at a time in the interrupted epoch."""
    epochs, rest = divmod(steps, -(-ROWS // BATCH))
    if epochs:
        model.fit(X, Y, batch_size=BATCH, epochs=epochs, verbose=0)
    order = Shuffler(2, ROWS).order(model._trainer.epoch)
    for start in range(0, BATCH * rest, BATCH):
        batch = order[start : start + BATCH]
        model.train_on_batch(X[batch], Y[batch])
    return model


def test_120_interrupts_leave_the_weights_of_a_finished_step():
    draws = random.Random(0)
    replayed(make(), 8)  # imports and loads compiled code
    for _ in range(120):
        model = make()
        timer = threading.Timer(draws.random() * 0.25, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y, batch_size=BATCH, epochs=10**9, verbose=0)
        timer.join()
        steps = model._trainer.step
        assert weights_of(model) == weights_of(replayed(make(), steps)), steps


SAVES = """
import sys, fastbp
model = fastbp.load(sys.argv[1])
print("ready", flush=True)
for k in range(10**9):
    model.save(sys.argv[1], metadata={"round": str(k)})
"""


def test_200_kills_during_save_leave_an_intact_file(tmp_path):
    draws, path, model = random.Random(0), tmp_path / "model.safetensors", make()
    model.fit(X, Y, verbose=0)
    model.save(path)
    for _ in range(200):
        process = subprocess.Popen([sys.executable, "-c", SAVES, path], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(draws.random() * 0.02)
        process.kill()
        process.communicate()
        assert weights_of(fastbp.load(path)) == weights_of(model)
    model.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]  # a save removes what killed ones left behind
