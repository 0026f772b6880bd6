"""A fit that is killed (SIGKILL) at random moments and rerun until it is done must equal one that is never killed.

`python -m tests.training.kill_and_resume --kills 50 --rounds 5` kills each of five fits 50 times; the test suite,
one fit five times. With `--child` it is the program that is killed.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastbp
from fastbp import Dense, Sequential
from fastbp.callbacks import BackupAndRestore, CSVLogger, EarlyStopping, ReduceLROnPlateau, StochasticWeightAveraging
from fastbp.training import fit as training

N, EPOCHS, BATCH = 400, 24, 8


class Pace:
    """Seven steps per slice, so that slices end, and files are written, in the middle of epochs."""

    count = 7

    def __init__(self, flops):
        pass

    def measured(self, done, seconds):
        pass


def child(folder):
    """Train, or resume training, and print the result."""
    training.Pace = Pace
    rng = np.random.default_rng(5)
    X = rng.normal(size=(N, 6)).astype(np.float32)
    labels = (X[:, 0] * X[:, 1] > 0) + (X[:, 2] > 1).astype(np.int64)
    hidden = [Dense(16), fastbp.BatchNorm(), fastbp.Activation("tanh"), fastbp.Dropout(0.2)]
    model = Sequential([*hidden, Dense(3, "softmax")], seed=3)
    optimizer = fastbp.Adam(lambda steps: 0.01 / (1 + 1e-3 * steps), global_clipnorm=1.0, use_ema=True)
    model.compile(optimizer, "cross_entropy", ["accuracy", "auc"])
    callbacks = [
        CSVLogger(folder / "table.csv"),
        EarlyStopping(patience=1000, restore_best_weights=True),
        ReduceLROnPlateau("loss", factor=0.5, patience=2),
        StochasticWeightAveraging(EPOCHS // 2),
        BackupAndRestore(folder / "run.fit", save_freq=5),
    ]
    warm_up = Sequential([Dense(2)])
    warm_up.compile("sgd", "mse")
    warm_up.fit(X, X[:, :2])
    print("ready", flush=True)
    history = model.fit(
        X, labels, batch_size=BATCH, epochs=EPOCHS, sample_weight=rng.random(N), validation_split=0.2,
        callbacks=callbacks,
    )  # fmt: skip
    weights = b"".join(W.tobytes() for W in model.get_weights())
    print(json.dumps({"weights": hashlib.sha256(weights).hexdigest(), "history": repr(history.history)}))


def started(folder):
    command = [sys.executable, __file__, "--child", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def finished(folder):
    """The output of a run that nothing stops, its table, and the seconds it took."""
    process, began = started(folder), time.perf_counter()
    output = process.communicate()[0]
    assert process.returncode == 0
    return output, (Path(folder) / "table.csv").read_text(), time.perf_counter() - began


def steps_done(folder):
    path = Path(folder) / "run.fit"
    return fastbp.storage.checkpoint.read(path)[0].fit["dict"]["step"] if path.exists() else 0


def kill_repeatedly(kills, seed):
    """Compare a fit killed several times with one never killed; return the steps done at each kill."""
    draw, done = random.Random(seed), []
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as broken:
        expected = finished(whole)
        for _ in range(kills):
            process = started(broken)
            time.sleep(draw.uniform(0, 1.3 * expected[2] / (kills + 1)))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done.append(steps_done(broken))  # reads the file, which must be intact
        assert finished(broken)[:2] == expected[:2]
        assert sorted(path.name for path in Path(broken).iterdir()) == ["run.fit", "table.csv"]
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
    else:
        for seed in range(arguments.rounds):
            print("bit-identical; steps done at each kill:", *kill_repeatedly(arguments.kills, seed))
