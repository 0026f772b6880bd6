"""Interrupted and resumed fits are bit-identical to uninterrupted ones."""

import errno
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import safetensors.numpy

import fastbp
from fastbp import CheckpointError, Dense, Sequential, callbacks
from fastbp.callbacks import BackupAndRestore
from fastbp.engine.engine import Engine
from fastbp.storage import checkpoint
from fastbp.training import fit as training
from tests.training import kill_and_resume

pytestmark = pytest.mark.jit  # hundreds of fits

N = 43
X = np.random.default_rng(17).normal(size=(N, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0) + (X[:, 1] > 0.5).astype(np.int64)
WEIGHT = np.random.default_rng(18).integers(0, 4, N).astype(np.float32)
METRICS = ["accuracy", "mae", "r2", "auc", "rmse"]


class Crash(Exception):
    """Interrupts a fit."""


class CrashAfter(fastbp.Callback):
    """Raise after the given number of slices, when callbacks before it have written their backups."""

    def __init__(self, slices):
        self.left = slices

    def on_slice_end(self):
        self.left -= 1
        if self.left == 0:
            raise Crash


class Steady:
    """A pace that never changes."""

    def __init__(self, count):
        self.count = count

    def measured(self, done, seconds):
        pass


def build(optimizer="adam", metrics=(), **options):
    model = Sequential([Dense(6, "tanh"), Dense(3, "softmax")], **{"seed": 8} | options)
    model.compile(optimizer, "cross_entropy", metrics)
    return model


def stateful():
    """Callbacks whose state must be restored."""
    return [
        callbacks.EarlyStopping("loss", patience=40, restore_best_weights=True),
        callbacks.ReduceLROnPlateau("loss", patience=1, factor=0.5, min_delta=0.05, cooldown=1),
        callbacks.StochasticWeightAveraging(2),
    ]


def assert_same(first, second):
    """Weights, states and counters of two models."""
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for states in zip(first._engine.get_state(), second._engine.get_state(), strict=True):
        for a, b in zip(*states, strict=True):
            np.testing.assert_array_equal(a, b)
    for name in ("step", "epoch", "learning_rate"):
        assert getattr(first._trainer, name) == getattr(second._trainer, name)
    assert first._engine.steps_trained == second._engine.steps_trained


# ---------------------------------------------------------------- bit-identical results

FITS = {
    "plain": {},
    "one batch": {"batch_size": N},
    "no shuffling": {"shuffle": False},
    "weights": {"sample_weight": WEIGHT, "class_weight": {0: 2.0, 1: 0.5}},
    "validation data": {"validation_data": (X[:9], LABELS[:9], WEIGHT[:9] + 1), "batch_size": 9},
    "validation split": {"validation_split": 0.25, "sample_weight": WEIGHT},
}


@pytest.mark.parametrize("count", [1, 3, 7, 16, 1000])
@pytest.mark.parametrize("metrics", [[], METRICS], ids=["no metrics", "metrics"])
@pytest.mark.parametrize("watched", [False, True], ids=["alone", "watched"])
@pytest.mark.parametrize("case", FITS)
def test_interrupted_fit_resumes_identically(tmp_path, monkeypatch, case, watched, metrics, count):
    """Interrupted twice, each time after a number of slices, and resumed by a new model."""
    monkeypatch.setattr(training, "Pace", lambda flops: Steady(count))
    options = {"batch_size": 8, "epochs": 5} | FITS[case]
    extra = stateful if watched else list
    whole = build(metrics=metrics)
    expected = whole.fit(X, LABELS, callbacks=extra(), **options)
    path, crashes = tmp_path / "fit", 0
    for slices in (1, 4):
        again = [*extra(), BackupAndRestore(path, save_freq=1), CrashAfter(slices)]
        try:
            build(metrics=metrics).fit(X, LABELS, callbacks=again, **options)
        except Crash:
            crashes += 1
    resumed = build(metrics=metrics)
    history = resumed.fit(X, LABELS, callbacks=extra(), resume_from=path, **options)
    assert crashes >= 1
    assert history.history == expected.history
    assert (history.epoch, history.stopped) == (expected.epoch, None)
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    "optimizer",
    [fastbp.SGD(0.1), fastbp.SGD(0.1, momentum=0.9), fastbp.AdamW(0.01), fastbp.Adam(lambda step: 0.1 / (1 + step))],
    ids=["sgd", "momentum", "adamw", "schedule"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers_resume_identically(tmp_path, monkeypatch, optimizer, dtype):
    monkeypatch.setattr(training, "Pace", lambda flops: Steady(4))
    whole, broken, resumed = (build(optimizer, dtype=dtype) for _ in range(3))
    halve = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    expected = whole.fit(X, LABELS, batch_size=5, epochs=4, callbacks=[halve])
    backup = BackupAndRestore(tmp_path / "fit", save_freq=3)
    with pytest.raises(Crash):
        broken.fit(X, LABELS, batch_size=5, epochs=4, callbacks=[halve, backup, CrashAfter(5)])
    assert resumed.fit(X, LABELS, batch_size=5, epochs=4, callbacks=[halve, backup]).history == expected.history
    assert_same(resumed, whole)
    assert fastbp.load(tmp_path / "fit").get_weights()[0].dtype == dtype  # a backup is a model file as well


def test_fit_of_a_trained_model_resumes_identically(tmp_path):
    base = build()
    base.fit(X, LABELS, epochs=2)
    base.save(tmp_path / "base")
    whole, broken, resumed = (fastbp.load(tmp_path / "base") for _ in range(3))
    expected = whole.fit(X, LABELS, batch_size=4, epochs=30, callbacks=stateful())
    with pytest.raises(Crash):
        broken.fit(
            X, LABELS, batch_size=4, epochs=30, callbacks=[*stateful(), BackupAndRestore(tmp_path / "f"), CrashAfter(3)]
        )
    for model in (resumed, broken):  # broken: the same process resumes after the crash
        history = model.fit(X, LABELS, batch_size=4, epochs=30, callbacks=stateful(), resume_from=tmp_path / "f")
        assert history.history == expected.history
        assert_same(model, whole)
    with pytest.raises(ValueError, match=r"started when its model had made 2 steps, but this one has made 0"):
        build().fit(X, LABELS, batch_size=4, epochs=30, callbacks=stateful(), resume_from=tmp_path / "f")


def test_complete_fit_returns_at_once_and_can_be_extended(tmp_path):
    path = tmp_path / "fit"
    first = build()
    expected = first.fit(X, LABELS, epochs=3, callbacks=[*stateful(), BackupAndRestore(path)])
    again = build()
    assert again.fit(X, LABELS, epochs=3, callbacks=[*stateful(), BackupAndRestore(path)]).history == expected.history
    assert_same(first, again)
    longer, whole = build(), build()
    history = longer.fit(X, LABELS, epochs=6, callbacks=[*stateful(), BackupAndRestore(path)])
    assert history.history == whole.fit(X, LABELS, epochs=6, callbacks=stateful()).history
    assert_same(longer, whole)
    with pytest.raises(ValueError, match=r"epochs=3 makes 3 steps, but the fit .* has made 6"):
        build().fit(X, LABELS, epochs=3, callbacks=stateful(), resume_from=path)


def test_successive_fits_of_one_model_may_share_a_file(tmp_path):
    model, plain = build(), build()
    for _ in range(3):
        model.fit(X, LABELS, callbacks=[BackupAndRestore(tmp_path / "fit")])
        plain.fit(X, LABELS)
    assert_same(model, plain)


def test_early_stop_is_final(tmp_path):
    options = {"batch_size": 8, "epochs": 50, "validation_data": (X[:9], 2 - LABELS[:9])}

    def stopping():
        return [BackupAndRestore(tmp_path / "f"), callbacks.EarlyStopping(patience=2, restore_best_weights=True)]

    first, again = build(), build()
    history = first.fit(X, LABELS, callbacks=stopping(), **options)
    repeated = again.fit(X, LABELS, callbacks=stopping(), **options)
    assert history.stopped == repeated.stopped == "early_stopping"
    assert history.history == repeated.history
    assert again.stop_training
    assert_same(first, again)


def test_divergence_recurs_on_resume(tmp_path):
    def diverge(*others):
        model = Sequential([Dense(6, "tanh"), Dense(2)], seed=8)
        model.compile(fastbp.SGD(20.0), "mse", ["mae"])
        with pytest.warns(fastbp.DivergenceWarning) as caught:
            history = model.fit(X, X[:, :2], batch_size=8, epochs=50, callbacks=others)
        return model, history, str(caught[0].message)

    plain = diverge(callbacks.LambdaCallback())
    for _ in range(2):
        model, history, message = diverge(BackupAndRestore(tmp_path / "fit", 1))
        assert (history.history, history.stopped, message) == (plain[1].history, "diverged", plain[2])
        assert_same(model, plain[0])


def test_ctrl_c_loses_only_what_follows_the_last_backup(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "Pace", lambda flops: Steady(50))

    class Interrupt(fastbp.Callback):
        def on_slice_end(self):
            raise KeyboardInterrupt

    model, whole = build(), build()
    options = {"batch_size": 8, "epochs": 20}
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, LABELS, callbacks=[BackupAndRestore(tmp_path / "fit"), Interrupt()], **options)
    model.fit(X, LABELS, callbacks=[BackupAndRestore(tmp_path / "fit")], **options)
    whole.fit(X, LABELS, **options)
    assert_same(model, whole)


def test_csv_log_of_a_resumed_fit_has_every_epoch_once(tmp_path):
    def logger(name):
        return callbacks.CSVLogger(tmp_path / name)

    build().fit(X, LABELS, epochs=6, callbacks=[logger("whole")])
    with pytest.raises(Crash):  # two epochs after the last backup are in the table
        build().fit(
            X, LABELS, epochs=6, callbacks=[logger("broken"), BackupAndRestore(tmp_path / "f", 3), CrashAfter(5)]
        )
    assert len((tmp_path / "broken").read_text().splitlines()) == 6
    build().fit(X, LABELS, epochs=6, callbacks=[logger("broken")], resume_from=tmp_path / "f")
    assert (tmp_path / "broken").read_text() == (tmp_path / "whole").read_text()


def test_progress_bar_resumes_where_the_fit_does(tmp_path, capsys):
    with pytest.raises(Crash):
        build().fit(X, LABELS, epochs=4, callbacks=[*stateful(), BackupAndRestore(tmp_path / "f"), CrashAfter(3)])
    build().fit(X, LABELS, epochs=4, callbacks=stateful(), resume_from=tmp_path / "f", verbose=1)
    first, *_, last = capsys.readouterr().err.strip("\r\n").split("\r")
    assert " 75%" in first
    assert "epoch 4/4" in last
    assert "100%" in last


def test_saved_models_count_all_their_steps(tmp_path):
    model = build()
    model.fit(X, LABELS, batch_size=10)
    model.compile("sgd", "cross_entropy")
    model.train_on_batch(X, LABELS)
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert (loaded._trainer.step, loaded._engine.steps_trained) == (1, 6)
    contents = checkpoint.read(tmp_path / "model")[0]
    for name in ("steps_trained", "learning_rate"):
        del contents.model[name]  # as version 0.1.0 wrote it
    checkpoint.write(tmp_path / "model", contents)
    assert fastbp.load(tmp_path / "model")._engine.steps_trained == 1
    contents.model["learning_rate"] = -1.0
    checkpoint.write(tmp_path / "model", contents)
    with pytest.raises(CheckpointError, match="learning rate is -1"):
        fastbp.load(tmp_path / "model")


# ---------------------------------------------------------------- time limits


def test_time_limit_excludes_compilation(monkeypatch):
    monkeypatch.setattr(Engine, "warm_up", lambda engine: time.sleep(1.5))
    assert build().fit(X, LABELS, epochs=1, time_limit=1.0).stopped is None


@pytest.mark.timing
@pytest.mark.jit
def test_time_limit_stops_promptly_and_resumes_identically(tmp_path):
    model, history = build(), None
    options = {"batch_size": 4, "epochs": 100_000, "callbacks": [BackupAndRestore(tmp_path / "fit", seconds=60)]}
    model.fit(X, LABELS)
    model.compile("adam", "cross_entropy")
    began, stops = time.perf_counter(), 0
    history = model.fit(X, LABELS, time_limit=0.2, **options)
    assert 0.2 <= time.perf_counter() - began < 1.0  # 0.1 s late at most; the machine may be busy
    assert history.stopped == "time_limit"
    while history.stopped == "time_limit":
        stops += 1
        history = model.fit(X, LABELS, time_limit=0.4, **options)
    whole = build()
    whole.fit(X, LABELS)
    whole.compile("adam", "cross_entropy")
    assert history.history == whole.fit(X, LABELS, batch_size=4, epochs=100_000).history
    assert (history.stopped, stops >= 1) == (None, True)
    assert_same(model, whole)


def test_unreached_time_limit_has_no_effect():
    history = build().fit(X, LABELS, epochs=2, time_limit=1000)
    assert (len(history.epoch), history.stopped) == (2, None)


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_invalid_time_limits_are_refused(value, error):
    with pytest.raises(error, match="time_limit must be"):
        build().fit(X, LABELS, time_limit=value)


@pytest.mark.jit
def test_fit_stopped_by_another_thread_resumes_identically(tmp_path):
    model, whole = build(), build()
    options = {"batch_size": 4, "epochs": 20_000, "callbacks": [BackupAndRestore(tmp_path / "fit", seconds=60)]}
    timer = threading.Timer(0.1, lambda: setattr(model, "stop_training", True))
    timer.start()
    assert model.fit(X, LABELS, **options).stopped == "stop_training"
    timer.join()
    resumed = build()
    history = resumed.fit(X, LABELS, **options)
    assert history.stopped is None
    assert history.history == whole.fit(X, LABELS, batch_size=4, epochs=20_000).history
    assert_same(resumed, whole)


# ---------------------------------------------------------------- when files are written


def test_backups_are_written_when_due(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "Pace", lambda flops: Steady(2))
    clock, written = [0.0], []
    monkeypatch.setattr(callbacks.files.time, "monotonic", lambda: clock[0])

    class Clock(fastbp.Callback):
        def on_slice_end(self):
            clock[0] += 1

    def steps(**options):
        written.clear()
        backup = BackupAndRestore(tmp_path / "fit", **options)
        build().fit(X, LABELS, batch_size=8, epochs=3, callbacks=[backup, Clock()])  # 6 steps an epoch
        (tmp_path / "fit").unlink(missing_ok=True)
        return list(written)

    real = training.Fit.save
    monkeypatch.setattr(training.Fit, "save", lambda fit, path: (written.append(fit.step), real(fit, path)))
    assert steps() == [6, 12, 18]
    assert steps(save_freq=1) == list(range(2, 20, 2))
    assert steps(save_freq=5) == [6, 10, 16, 18]
    assert steps(save_freq=1, seconds=2.5) == [8, 14, 18]
    assert steps(delete_checkpoint=True) == [6, 12, 18]


def test_delete_checkpoint_applies_to_finished_fits_only(tmp_path):
    path = tmp_path / "fit"
    build().fit(X, LABELS, callbacks=[BackupAndRestore(path, delete_checkpoint=True)])
    assert not path.exists()
    limited = [BackupAndRestore(path, delete_checkpoint=True)]
    assert build().fit(X, LABELS, batch_size=1, epochs=10**7, time_limit=0.1, callbacks=limited).stopped == "time_limit"
    assert path.exists()


def test_leftovers_of_a_killed_writer_are_removed(tmp_path):
    names = [".fit[1].0123456789abcdef.tmp", ".fit1.0123456789abcdef.tmp"]
    for name in names:
        (tmp_path / name).touch()
    build().fit(X, LABELS, callbacks=[BackupAndRestore(tmp_path / "fit[1]")])
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[1], "fit[1]"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_the_last_good_file(tmp_path, monkeypatch, call):
    path, good = tmp_path / "fit", []

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(epoch, logs):
        if epoch == 2:
            good.append(path.read_bytes())
            place = (checkpoint.os, "fsync") if call == "fsync" else (checkpoint.Path, "replace")
            monkeypatch.setattr(*place, fail)

    filling = callbacks.LambdaCallback(on_epoch_begin=fill)
    model, whole = build(), build()
    with pytest.warns(UserWarning, match="could not be written: .*No space.*Training goes on") as caught:
        history = model.fit(X, LABELS, epochs=4, callbacks=[BackupAndRestore(path), filling])
    assert (len(caught), len(history.epoch)) == (2, 4)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (good[0], ["fit"])
    with pytest.raises(OSError, match="No space"):  # the first write of a fit: the path itself may be wrong
        build().fit(X, LABELS, epochs=4, callbacks=[BackupAndRestore(tmp_path / "other")])
    monkeypatch.undo()
    resumed = build()
    resumed.fit(X, LABELS, epochs=4, callbacks=[BackupAndRestore(path)])
    whole.fit(X, LABELS, epochs=4)
    assert_same(resumed, whole)


FULL_DISK = """
import resource, signal, sys, warnings, numpy as np, fastbp
warnings.simplefilter("ignore")
X = np.random.default_rng(1).normal(size=(64, 60))
model = fastbp.Sequential([fastbp.Dense(60)], seed=1)
model.compile("adam", "mse")
def full(epoch, logs):
    if epoch == 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
filling = fastbp.LambdaCallback(on_epoch_begin=full)
print(len(model.fit(X, X, epochs=4, callbacks=[fastbp.BackupAndRestore(sys.argv[1]), filling]).epoch))
"""


def test_disk_full_during_a_write_leaves_the_last_good_file(tmp_path):
    path = tmp_path / "fit"
    run = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["4"]
    assert os.listdir(tmp_path) == ["fit"]
    assert checkpoint.read(path)[0].fit["dict"]["step"] == 2


@pytest.mark.jit
def test_kill_at_random_moments():
    done = kill_and_resume.kill_repeatedly(5, seed=1)
    assert done == sorted(done)
    assert len(set(done)) >= 3  # most kills hit it during training


# ---------------------------------------------------------------- other data, other arguments


@pytest.fixture
def interrupted(tmp_path):
    """The file of an interrupted fit."""
    path = tmp_path / "fit"
    with pytest.raises(Crash):
        build(metrics=["mae"]).fit(
            X, LABELS, batch_size=8, epochs=4, sample_weight=WEIGHT, validation_data=(X[:5], LABELS[:5]),
            callbacks=[*stateful(), BackupAndRestore(path), CrashAfter(2)],
        )  # fmt: skip
    return path


def changed(array):
    array = array.copy()
    array[20] = array[21] if array[20].tolist() != array[21].tolist() else array[22]
    return array


OTHERS = {
    "number of rows": (
        {"X": X[:-1], "y": LABELS[:-1], "sample_weight": WEIGHT[:-1]},
        r"X had the shape \(43, 4\) and now has \(42, 4\)",
    ),
    "X": ({"X": X * 2}, "X holds other numbers than before"),
    "one row of X": ({"X": changed(X)}, "X holds other numbers"),
    "order of rows": ({"X": X[::-1], "y": LABELS[::-1]}, "X holds other numbers"),
    "y": ({"y": changed(LABELS)}, "y holds other numbers"),
    "weights": ({"sample_weight": WEIGHT + 1}, "sample_weight or class_weight holds other numbers"),
    "class weights": ({"class_weight": {1: 3.0}}, "sample_weight or class_weight holds other numbers"),
    "no weights": ({"sample_weight": None}, "sample_weight or class_weight was given before"),
    "validation X": ({"validation_data": (X[1:6], LABELS[:5])}, "validation X holds other numbers"),
    "no validation": ({"validation_data": None}, "validation data was True and is now False"),
    "batch size": ({"batch_size": 9}, "batch_size was 8 and is now 9"),
    "shuffle": ({"shuffle": False}, "shuffle was True and is now False"),
    "epochs": ({"epochs": 1}, "epochs=1 makes 6 steps, but the fit .* has made 12"),
    "seed": ({"build": {"seed": 9}}, "seed was 8 and is now 9"),
    "dtype": ({"build": {"dtype": "float64"}}, "dtype was float32 and is now float64"),
    "optimizer": ({"build": {"optimizer": "sgd"}}, "optimizer was .*Adam.* and is now .*SGD"),
    "learning rate": ({"build": {"optimizer": fastbp.Adam(0.5)}}, "optimizer was .*0.001.* and is now .*0.5"),
    "metrics": ({"build": {"metrics": ()}}, r"metrics was .*MAE.* and is now \[\]"),
    "no callbacks": ({"callbacks": []}, "had the callbacks EarlyStopping, ReduceLROnPlateau, .*got none"),
    "fewer callbacks": ({"callbacks": stateful()[1:]}, "pass the same ones in the same order"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_different_fit_is_refused_and_changes_nothing(interrupted, case):
    change, message = OTHERS[case]
    change = dict(change)
    model = build(**{"metrics": ["mae"]} | change.pop("build", {}))
    model.predict(X)
    before = model.get_weights()
    given = {
        "X": X, "y": LABELS, "batch_size": 8, "epochs": 4, "sample_weight": WEIGHT,
        "validation_data": (X[:5], LABELS[:5]), "callbacks": stateful(),
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(**given, resume_from=interrupted)
    assert not isinstance(caught.value, CheckpointError)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model._trainer.step == 0


def test_fingerprint_of_large_data_samples_rows(monkeypatch):
    from fastbp.training import resume as resuming

    monkeypatch.setattr(resuming, "_FINGERPRINT_BYTES", 1000)
    array = np.arange(5000.0).reshape(-1, 5)
    before = resuming._fingerprint(array)
    assert before["shape"] == [1000, 5]
    array[1] = 7  # one row in 40 is read
    assert resuming._fingerprint(array) == before
    assert resuming._fingerprint(array + 1) != before


# ---------------------------------------------------------------- damaged and foreign files


def resume(path):
    return build(metrics=["mae"]).fit(
        X, LABELS, batch_size=8, epochs=4, sample_weight=WEIGHT, validation_data=(X[:5], LABELS[:5]),
        callbacks=stateful(), resume_from=path,
    )  # fmt: skip


def test_truncated_and_flipped_files_are_refused(interrupted):
    raw = interrupted.read_bytes()
    for length in [*range(0, len(raw), 997), len(raw) - 1]:
        interrupted.write_bytes(raw[:length])
        with pytest.raises(CheckpointError):
            resume(interrupted)
    for position in range(3, len(raw), 499):
        flipped = bytearray(raw)
        flipped[position] ^= 4
        interrupted.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            resume(interrupted)


def test_foreign_files_are_refused(tmp_path, interrupted):
    path = tmp_path / "other"
    path.write_bytes(b"hello " * 100)
    with pytest.raises(CheckpointError):
        resume(path)
    model = build(metrics=["mae"])
    model.fit(X, LABELS)
    model.save(path)
    with pytest.raises(CheckpointError, match=r"holds no fit.*fastbp\.load"):
        resume(path)
    contents = checkpoint.read(interrupted)[0]
    metadata = {
        "fastbp.format": "1",
        "fastbp.model": json.dumps(contents.model),
        "fastbp.fit": json.dumps(contents.fit),
    }
    safetensors.numpy.save_file(contents.tensors | contents.arrays, path, metadata)
    with pytest.raises(CheckpointError, match="holds no fit"):  # it has no checksum
        resume(path)


FORGED = {
    "step": ("step", -1), "more steps than the model": ("step", 10**6), "step is a string": ("step", "3"),
    "first epoch": ("first_epoch", 1.5), "stopped": ("stopped", 3), "given": ("given", []), "tally": ("tally", None),
    "callbacks": ("callbacks", None), "history": ("history", {"dict": {"loss": {"array": "fit.99"}}}),
    "history too long": ("history", {"dict": {"loss": [1.0] * 9}}), "kind": ("latest", {"code": "os"}),
    "learning rate": ("learning_rate", -1), "latest": ("latest", 4),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_forged_fits_are_refused(interrupted, case):
    contents = checkpoint.read(interrupted)[0]
    contents.fit["dict"].update([FORGED[case]])
    checkpoint.write(interrupted, contents)
    with pytest.raises(CheckpointError):
        resume(interrupted)


@pytest.mark.parametrize("missing", ["given", "step", "tally", "history", "callbacks", "first_epoch", "stopped"])
def test_incomplete_fits_are_refused(interrupted, missing):
    contents = checkpoint.read(interrupted)[0]
    contents.fit["dict"].pop(missing)
    checkpoint.write(interrupted, contents)
    with pytest.raises(CheckpointError):
        resume(interrupted)


def test_invalid_callback_states_are_refused(interrupted):
    contents = checkpoint.read(interrupted)[0]
    contents.fit["dict"]["callbacks"][0]["tuple"][1] = {"dict": {}}
    checkpoint.write(interrupted, contents)
    with pytest.raises(CheckpointError, match="a state that EarlyStopping cannot take"):
        resume(interrupted)


def test_unserializable_callback_states_are_refused():
    class Odd(fastbp.Callback):
        def get_state(self):
            return {"generator": np.random.default_rng()}

    with pytest.raises(TypeError, match=r"dicts with string keys.*got Generator"):
        build().fit(X, LABELS, callbacks=[Odd(), BackupAndRestore("nowhere")])


def test_fits_without_a_backup_describe_nothing(monkeypatch):
    from fastbp.training import resume as resuming

    def never(*arguments):
        raise AssertionError

    monkeypatch.setattr(resuming, "_described_fit", never)
    monkeypatch.setattr(resuming, "contents", never)
    build().fit(X, LABELS, epochs=2, callbacks=[callbacks.LambdaCallback()])
