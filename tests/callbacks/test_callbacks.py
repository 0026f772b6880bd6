"""Callbacks in cases worked out by hand and in real fits."""

import csv
import errno
import math
import struct
import sys

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential, callbacks
from fastbp.callbacks.base import Monitor
from fastbp.spec import LayerSpec, Report, UpdateSpec
from fastbp.storage import checkpoint
from fastbp.training.batch_norm_statistics import renew_statistics
from fastbp.training.learning_rates import Rates

N = 40
X = np.random.default_rng(7).normal(size=(N, 3)).astype(np.float32)
Y = (X[:, :1] * X[:, 1:2]).astype(np.float32)


def build(optimizer="sgd", metrics=(), **options):
    model = Sequential([Dense(5, "tanh"), Dense(1)], input_size=3, seed=2, **options)
    model.compile(optimizer, "mse", metrics)
    return model


class FakeModel:
    """A stand-in for a model, with the number of the epoch as its weights."""

    def __init__(self, rate=1.0):
        self.stop_training, self.weights, self.learning_rate, self.saved = False, 0.0, rate, []

    def get_weights(self):
        return [np.array([self.weights])]

    def set_weights(self, weights):
        self.weights = float(weights[0][0])

    def save(self, path):
        self.saved.append(path.name)

    def run(self, callback, values, name="val_loss"):
        """Run epochs with these values until the callback stops; return how many ran."""
        callback.set_model(self)
        callback.on_train_begin({})
        for epoch, value in enumerate(values):
            self.weights = float(epoch)
            callback.on_epoch_begin(epoch, {})
            callback.on_epoch_end(epoch, {"loss": 1.0, name: value})
            if self.stop_training:
                break
        callback.on_train_end({})
        return epoch + 1


# ---------------------------------------------------------------- stopping


EARLY = {  # options, values of the metric, epochs run, final weights
    "three epochs without improvement": ({"patience": 3}, [5, 4, 3, 3.5, 3, 3.2, 2], 6, 5),
    "restores best": ({"patience": 2, "restore_best_weights": True}, [5, 3, 4, 3.1], 4, 1),
    "restores best without stopping": ({"patience": 9, "restore_best_weights": True}, [5, 3, 4], 3, 1),
    "improvement resets patience": ({"patience": 2}, [5, 6, 4, 5, 3, 9, 9], 7, 6),
    "patience 0": ({}, [5, 4, 4], 3, 2),
    "the first epoch never stops": ({}, [math.nan, math.nan, 1], 2, 1),
    "min_delta": ({"patience": 1, "min_delta": 0.5}, [5, 4, 3.6, 1], 3, 2),
    "max": ({"patience": 1, "mode": "max"}, [1, 2, 2], 3, 2),
    "max, from the name": ({"patience": 1, "monitor": "val_accuracy"}, [1, 2, 2], 3, 2),
    "baseline": ({"patience": 3, "baseline": 1.0}, [5, 4, 3, 2.9], 4, 3),
    "below baseline, improvement does not reset patience": (
        {"patience": 2, "baseline": 1},
        [3, 3.5, 0.5, 2, 2, 0],
        2,
        1,
    ),
    "start_from_epoch": ({"patience": 1, "start_from_epoch": 3}, [0, 9, 9, 5, 6, 1], 5, 4),
    "baseline never reached": ({"patience": 2, "baseline": 0, "restore_best_weights": True}, [3, 2, 2, 1], 3, 1),
    "first of equals": ({"patience": 2, "restore_best_weights": True}, [3, 2, 2, 2, 1], 4, 1),
    "last of equals": ({"patience": 2, "restore_best_weights": True, "ties": "last"}, [3, 2, 2, 4, 2, 4, 3], 7, 4),
    "infinite at first": ({"patience": 2}, [math.inf, 5, 6, 7, 1], 4, 3),
}


@pytest.mark.parametrize("case", EARLY)
def test_early_stopping(case):
    options, values, epochs, weights = EARLY[case]
    fake = FakeModel()
    stopping = callbacks.EarlyStopping(**options)
    assert fake.run(stopping, values, options.get("monitor", "val_loss")) == epochs
    assert fake.weights == weights
    assert stopping.stop_reason == ("early_stopping" if fake.stop_training else None)


def test_early_stopping_restores_the_best_epoch_of_a_fit():
    model, twin = build(fastbp.SGD(0.3)), build(fastbp.SGD(0.3))
    held_out = (X[:10], -Y[:10])  # gets worse while training gets better
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    history = model.fit(X, Y, batch_size=8, epochs=200, validation_data=held_out, callbacks=[stopping])
    losses = history.history["val_loss"]
    best = int(np.argmin(losses))
    assert history.stopped == "early_stopping"
    assert (best, len(losses)) == (stopping.best_epoch, best + 3)
    twin.fit(X, Y, batch_size=8, epochs=best + 1)
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("values", "epochs"), [([1, 2, math.nan, 3], 3), ([1, math.inf], 2), ([1, 2, 3], 3)])
def test_terminate_on_nan(values, epochs):
    assert FakeModel().run(callbacks.TerminateOnNaN(), values) == epochs


def test_history_has_the_stop_reason():
    class Enough(fastbp.Callback):
        def on_epoch_end(self, epoch, logs):
            self.stop("enough")

    assert build().fit(X, Y, epochs=5, callbacks=[Enough()]).stopped == "enough"
    plain = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", True))
    model = build()
    assert model.fit(X, Y, epochs=5, callbacks=[plain]).stopped == "stop_training"
    assert model.fit(X, Y, epochs=2).stopped is None
    model.compile(fastbp.SGD(1e30), "mse")
    with pytest.warns(fastbp.DivergenceWarning):
        assert model.fit(X, Y, epochs=50).stopped == "diverged"


@pytest.mark.parametrize(
    ("name", "mode", "direction"),
    [("loss", "auto", -1), ("val_rmse", "auto", -1), ("val_accuracy", "auto", 1), ("top_k_accuracy", "auto", 1),
     ("val_r2", "auto", 1), ("auc", "auto", 1), ("auc", "min", -1), ("loss", "max", 1)],
)  # fmt: skip
def test_monitor_compares_by_direction_and_min_delta(name, mode, direction):
    monitor = Monitor(name, mode, 0.1)
    assert monitor.worst == -direction * math.inf
    assert monitor.better(2.0, 1.0) == (direction > 0)
    assert monitor.better(1.0, 2.0) == (direction < 0)
    assert not monitor.better(1.05, 1.0)
    assert not monitor.better(math.nan, monitor.worst)
    assert monitor.better(1e308, monitor.worst)


def test_missing_metric_warns_once():
    with pytest.warns(UserWarning, match="monitor must be one of .*got .val_loss.: pass validation_data") as caught:
        build().fit(X, Y, epochs=3, callbacks=[callbacks.EarlyStopping()])
    assert len(caught) == 1


# ---------------------------------------------------------------- learning rates


PLATEAUS = {  # options, values, learning rate after each epoch
    "twice": ({"patience": 2, "factor": 0.5}, [5, 4, 4, 4, 4, 4], [1, 1, 1, 0.5, 0.5, 0.25]),
    "improvement resets patience": ({"patience": 2, "factor": 0.5}, [5, 5, 4, 4, 3, 3], [1, 1, 1, 1, 1, 1]),
    "cooldown": ({"patience": 1, "factor": 0.5, "cooldown": 2}, [5, 5, 5, 5, 5], [1, 0.5, 0.5, 0.25, 0.25]),
    "min_lr": ({"patience": 1, "factor": 0.1, "min_lr": 0.05}, [5, 5, 5, 5], [1, 0.1, 0.05, 0.05]),
    "min_delta": ({"patience": 1, "factor": 0.5, "min_delta": 1}, [5, 4.5, 3, 2.5], [1, 0.5, 0.5, 0.25]),
    "max": ({"patience": 1, "factor": 0.5, "mode": "max"}, [1, 2, 1.5], [1, 1, 0.5]),
}


@pytest.mark.parametrize("case", PLATEAUS)
def test_reduce_lr_on_plateau(case):
    options, values, rates = PLATEAUS[case]
    fake, seen = FakeModel(), []
    plateau = callbacks.ReduceLROnPlateau(**options)
    for epoch, value in enumerate(values):
        plateau.set_model(fake)
        logs = {"val_loss": value}
        before = fake.learning_rate
        plateau.on_epoch_end(epoch, logs)
        assert logs["learning_rate"] == before
        seen.append(fake.learning_rate)
    assert seen == pytest.approx(rates, rel=1e-15)


@pytest.mark.parametrize("make", [fastbp.SGD, fastbp.Adam])
def test_scheduler_equals_setting_the_learning_rate_and_a_schedule(make):
    scheduled, plain = build(make(0.1)), build(make(0.1))
    rates = [0.1, 0.03, 0.007, 0.03]
    scheduler = callbacks.LearningRateScheduler(lambda epoch: rates[epoch])
    history = scheduled.fit(X, Y, batch_size=8, epochs=4, callbacks=[scheduler])
    assert history.history["learning_rate"] == rates
    for rate in rates:
        plain.learning_rate = rate
        plain.fit(X, Y, batch_size=8)
    steps = 4 * N // 8
    by_step = build(make(lambda step: np.repeat(rates, N // 8)[np.minimum(step, steps - 1)]))
    by_step.fit(X, Y, batch_size=8, epochs=4)
    for a, b, c in zip(scheduled.get_weights(), plain.get_weights(), by_step.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_scheduler_may_take_the_current_learning_rate():
    model = build(fastbp.SGD(0.5))
    halve = callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    assert model.fit(X, Y, epochs=3, callbacks=[halve]).history["learning_rate"] == [0.25, 0.125, 0.0625]
    assert model.learning_rate == 0.0625


def test_setting_the_learning_rate_scales_the_schedule():
    model = build(fastbp.SGD(lambda step: 1.0 / (1 + step)))
    model.fit(X, Y, batch_size=10)
    assert model.learning_rate == 1 / 5
    model.learning_rate = 0.1
    rows = model._trainer.rates.of(4, 3)[:, 0]
    np.testing.assert_array_equal(rows, np.array([1 / 5, 1 / 6, 1 / 7]) * 0.5)
    assert model._trainer.rates.of(9, 1)[0, 0] == 0.1 * 0.5
    keep = callbacks.LearningRateScheduler(lambda epoch, rate: rate)
    model.fit(X, Y, epochs=2, batch_size=10, callbacks=[keep])
    assert model._trainer.rates.changed == 0.5


def test_constant_learning_rate_stays_a_single_row():
    rates = build(fastbp.SGD(0.5))._trainer.rates
    rates.set(0.25, 3)
    table = rates.of(3, 1000)
    assert (table.strides[0], table[999, 0]) == (0, 0.25)
    assert rates.of(3, 1)[0, 0] == 0.25
    rates.set(0.125, 3)
    assert rates.of(3, 1)[0, 0] == 0.125


def test_accumulation_steps_share_the_scalars_of_their_update():
    class Accumulating(fastbp.SGD):
        update_spec = UpdateSpec(accumulation=3)

    rates = Rates(Accumulating(lambda update: 1.0 + update))
    assert rates.of(4, 6)[:, 0].tolist() == [2, 2, 3, 3, 3, 4]
    rates.set(1.0, 5)
    assert rates.of(6, 1)[0, 0] == rates.get(6) == 1.5


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1.0, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1", TypeError), (True, TypeError)],
)
def test_invalid_learning_rate_is_rejected(value, error):
    model = build()
    with pytest.raises(error, match="learning_rate must be"):
        model.learning_rate = value
    warming_up = build(fastbp.SGD(lambda step: step * 1.0))
    with pytest.raises(ValueError, match="schedule that it scales is 0"):
        warming_up.learning_rate = 0.1
    warming_up.learning_rate = 0.0
    assert warming_up._trainer.rates.changed is None


def test_learning_rate_is_saved_with_the_model(tmp_path):
    model = build(fastbp.Adam(0.1))
    model.learning_rate = 0.025
    model.save(tmp_path / "model")
    loaded = fastbp.load(tmp_path / "model")
    assert loaded.learning_rate == 0.025
    for m in (model, loaded):
        m.fit(X, Y, epochs=2)
    np.testing.assert_array_equal(model.get_weights()[0], loaded.get_weights()[0])
    model.compile(fastbp.SGD(lambda step: np.full(step.shape, 0.5)), "mse")
    model.learning_rate = 0.25
    with pytest.warns(UserWarning, match="its value at step 0, 0.25, is saved"):
        model.save(tmp_path / "model")
    assert fastbp.load(tmp_path / "model").learning_rate == 0.25
    with pytest.raises(ValueError, match="not known yet"):
        _ = compiled_only().learning_rate


def compiled_only():
    model = Sequential([Dense(1)])
    model.compile("sgd", "mse")
    return model


# ---------------------------------------------------------------- files


def test_model_checkpoint_names_files_by_epoch_and_metrics(tmp_path):
    model = build(fastbp.SGD(0.1), ["mae"])
    saver = callbacks.ModelCheckpoint(tmp_path / "new" / "m-{epoch:02d}-{val_loss:.2f}-{mae:.1e}", save_freq=2)
    history = model.fit(X, Y, epochs=5, validation_split=0.2, callbacks=[saver]).history
    names = [f"m-{e:02d}-{history['val_loss'][e - 1]:.2f}-{history['mae'][e - 1]:.1e}" for e in (2, 4)]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    twin = build(fastbp.SGD(0.1), ["mae"])
    twin.fit(X, Y, epochs=4, validation_split=0.2)
    loaded = fastbp.load(tmp_path / "new" / names[1])
    for a, b in zip(loaded.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "saved"),
    [({}, "1 2 4"), ({"mode": "max"}, "1 3 5"), ({"initial_value_threshold": 3.5}, "2 4"), ({"save_freq": 2}, "2 4")],
)
def test_model_checkpoint_saves_only_the_best(options, saved):
    fake = FakeModel()
    fake.run(callbacks.ModelCheckpoint("{epoch}", save_best_only=True, **options), [4, 3, 5, 2, 6])
    assert " ".join(fake.saved) == saved


def test_model_checkpoint_error_lists_valid_names():
    with pytest.raises(ValueError, match=r"may name epoch, loss.*got 'val_los'"):
        build().fit(X, Y, callbacks=[callbacks.ModelCheckpoint("{val_los}")])


def test_full_disk_does_not_stop_training(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    saver = callbacks.ModelCheckpoint(tmp_path / "{epoch}")
    fill = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: monkeypatch.setattr(checkpoint.os, "fsync", fail) if epoch == 1 else None
    )
    with pytest.warns(UserWarning, match="could not be written.*No space.*the last file written is .*1") as caught:
        history = build().fit(X, Y, epochs=3, callbacks=[saver, fill])
    assert (len(caught), len(history.epoch)) == (2, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    fresh = callbacks.ModelCheckpoint(tmp_path / "{epoch}")
    with pytest.raises(OSError, match="No space"):
        build().fit(X, Y, callbacks=[fresh])


def test_csv_logger_writes_every_epoch(tmp_path):
    path, model = tmp_path / "table.csv", build(metrics=["mae"])
    history = model.fit(X, Y, epochs=3, validation_split=0.2, callbacks=[callbacks.CSVLogger(path)]).history
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    for name, values in history.items():
        assert [float(row[name]) for row in rows] == values
    model.fit(X, Y, callbacks=[callbacks.CSVLogger(path, append=True)])
    assert path.read_text().splitlines()[4].startswith("0,")
    assert path.read_text().splitlines()[4].endswith(",NA,NA")
    model.fit(X, Y, callbacks=[callbacks.CSVLogger(path, ";")])
    assert len(path.read_text().splitlines()) == 2
    assert path.read_text().startswith("epoch;loss;mae\n0;")


def test_csv_logger_adds_columns_for_later_metrics(tmp_path):
    """When appending and within a fit; every line keeps as many values as the header."""
    path, model = tmp_path / "log.csv", build(metrics=["mae"])
    model.fit(X, Y, epochs=2, callbacks=[callbacks.CSVLogger(path)])
    before = path.read_text().splitlines()
    first = model.fit(X, Y, validation_split=0.2, callbacks=[callbacks.CSVLogger(path, append=True)]).history
    late = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update({"b": 2.0} if epoch else {"a": 1.0}))
    model.fit(X, Y, epochs=2, callbacks=[late, callbacks.CSVLogger(path, append=True)])
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,loss,mae,val_loss,val_mae,a,b"
    assert lines[1:3] == [f"{line},NA,NA,NA,NA" for line in before[1:]]
    assert lines[3] == f"0,{first['loss'][0]},{first['mae'][0]},{first['val_loss'][0]},{first['val_mae'][0]},NA,NA"
    assert lines[4].endswith(",NA,NA,1.0,NA")
    assert lines[5].endswith(",NA,NA,NA,2.0")
    assert len(lines) == 6


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "epoch;loss\n0;1.0\n", "some notes"])
def test_csv_logger_refuses_to_append_to_other_files(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="append=True needs a file of CSVLogger with the separator ','"):
        build().fit(X, Y, callbacks=[callbacks.CSVLogger(path, append=True)])
    assert path.read_text() == text


def test_csv_logger_resumes_before_columns_were_added(tmp_path):
    path, logger = tmp_path / "log.csv", callbacks.CSVLogger(tmp_path / "log.csv")

    def epochs(logger, numbers):
        for epoch in numbers:
            logger.on_epoch_end(epoch, {"loss": float(epoch)} | ({"late": 7.0} if epoch >= 3 else {}))

    logger.on_train_begin({})
    epochs(logger, range(2))
    state = logger.get_state()
    epochs(logger, range(2, 5))
    expected = path.read_text()
    again = callbacks.CSVLogger(path)
    again.on_train_begin({})
    again.set_state(state)
    epochs(again, range(2, 5))
    assert path.read_text() == expected == "epoch,loss,late\n0,0.0,NA\n1,1.0,NA\n2,2.0,NA\n3,3.0,7.0\n4,4.0,7.0\n"



def summaries(folder):
    """The values in the only event file of a run; a record is length, checksum, message, checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    (path,) = folder.iterdir()
    raw, values = path.read_bytes(), []
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        values += event_pb2.Event.FromString(raw[12 : 12 + length]).summary.value
        raw = raw[16 + length :]
    return values


def test_tensorboard_writes_a_training_and_a_validation_run(tmp_path):
    pytest.importorskip("tensorboardX")
    board = callbacks.TensorBoard(tmp_path, histogram_freq=2)
    history = build(metrics=["mae"]).fit(X, Y, epochs=3, validation_split=0.2, callbacks=[board]).history
    for run, before in (("train", ""), ("validation", "val_")):
        values = summaries(tmp_path / run)
        for name in ("loss", "mae"):
            scalars = [value.simple_value for value in values if value.tag == f"epoch_{name}"]
            assert scalars == pytest.approx(history[before + name], rel=2**-24)
        histograms = {value.tag for value in values if value.HasField("histo")}
        named = {f"weights/{layer}.{array}" for layer in "01" for array in ("kernel", "bias")}
        assert histograms == (set() if before else named)
        rates = [value.simple_value for value in values if value.tag == "epoch_learning_rate"]
        assert rates == ([] if before else pytest.approx([0.01] * 3, rel=2**-24))


def test_missing_tensorboard_error_names_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install \"fastbp\[tensorboard\]"):
        build().fit(X, Y, callbacks=[callbacks.TensorBoard()])


# ---------------------------------------------------------------- averaging, hooks and arguments


@pytest.mark.parametrize(("start", "epochs"), [(0, 3), (2, 5), (4, 5), (5, 5)])
def test_averaged_weights_are_the_mean_of_epoch_ends(start, epochs):
    averaged, ends = build(fastbp.SGD(0.3)), []
    record = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(averaged.get_weights()))
    swa = callbacks.StochasticWeightAveraging(start_epoch=start)
    averaged.fit(X, Y, batch_size=8, epochs=epochs, callbacks=[swa, record])
    for place, W in enumerate(averaged.get_weights()):
        chosen = [weights[place].astype(np.float64) for weights in ends[start:] or ends[-1:]]
        np.testing.assert_array_equal(W, np.mean(chosen, axis=0).astype(np.float32))


class FakeEngine:
    """An engine of batch normalization and a dense layer, with moving statistics; its scratch engine is itself."""

    specs = (LayerSpec(3, kind="batch_norm", values=(0.25, 1e-5)), LayerSpec(1))

    def __init__(self):
        self.weights = [np.full(n, float(i)) for i, n in enumerate((3, 3, 3, 3, 3, 1))]

    def get_weights(self):
        return [W.copy() for W in self.weights]

    def set_weights(self, weights):
        self.weights = [np.array(W) for W in weights]

    write_weights = set_weights

    def scratch(self):
        return self

    def train(self, X, y, order, bounds, scalars, losses, *, sample_weight=None):
        assert not scalars.any()
        batch = X[order].astype(np.float64)
        self.weights[2] = 0.75 * self.weights[2] + 0.25 * batch.mean(axis=0)
        self.weights[3] = 0.75 * self.weights[3] + 0.25 * batch.var(axis=0, ddof=1)
        self.weights[4] += 1  # as a constraint might do
        return Report(1, 0, -1)


def test_statistics_are_means_over_batches():
    trainer = build()._trainer
    engine = trainer.engine = FakeEngine()
    before = engine.get_weights()
    renew_statistics(trainer, fastbp.data.arrays.Rows(X[:33], Y[:33], None), 8)  # the last batch has one row
    batches = X[:32].astype(np.float64).reshape(4, 8, 3)
    expected = [*before[:2], batches.mean(axis=(0, 1)), batches.var(axis=1, ddof=1).mean(axis=0), *before[4:]]
    for a, b in zip(engine.weights, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)  # float64 sums of a few terms


def test_hooks_run_in_order_and_see_earlier_changes_of_logs():
    calls = []

    class All(fastbp.Callback):
        def set_model(self, model):
            super().set_model(model)
            calls.append("model")

        def set_fit(self, fit):
            super().set_fit(fit)
            calls.append("fit" if fit else "no fit")

        def on_slice_end(self):
            calls.append("slice")
            assert self.fit.epoch == calls.count("epoch")

        def on_epoch_end(self, epoch, logs):
            calls.append("epoch")
            logs["mine"] = epoch + 0.5
            logs["text"] = "not a number"

    seen = []
    record = callbacks.LambdaCallback(
        on_train_begin=lambda logs: calls.append("begin"),
        on_train_end=lambda logs: calls.append("end"),
        on_epoch_begin=lambda epoch, logs: calls.append("epoch begins"),
        on_epoch_end=lambda epoch, logs: seen.append(logs["mine"]),
    )
    history = build().fit(X, Y, epochs=2, callbacks=[All(), record])
    epoch = ["epoch begins", "epoch", "slice"]
    assert calls == ["model", "fit", "begin", *epoch, *epoch, "end", "no fit"]
    assert history.history["mine"] == seen == [0.5, 1.5]
    assert "text" not in history.history


def test_slice_hooks_do_not_shorten_slices(monkeypatch):
    class Slices(fastbp.Callback):
        count = 0

        def on_slice_end(self):
            self.count += 1

    watcher = Slices()
    build().fit(X, Y, epochs=100, callbacks=[watcher])
    assert watcher.count < 100


INVALID = {
    "factor": (lambda: callbacks.ReduceLROnPlateau(factor=1.0), ValueError, "between 0 and 1"),
    "mode": (lambda: callbacks.EarlyStopping(mode="best"), ValueError, "'auto', 'min' or 'max'"),
    "ties": (lambda: callbacks.EarlyStopping(ties="best"), ValueError, "ties must be 'first' or 'last', got 'best'"),
    "patience": (lambda: callbacks.EarlyStopping(patience=1.5), TypeError, "patience must be an integer"),
    "schedule": (lambda: callbacks.LearningRateScheduler(0.1), TypeError, "must be a function"),
    "function": (lambda: callbacks.LambdaCallback(on_train_end=3), TypeError, "on_train_end must be a function"),
    "save_freq": (
        lambda: callbacks.ModelCheckpoint("x", save_freq="step"),
        ValueError,
        "'epoch' or a number of epochs",
    ),
    "save_freq 0": (lambda: callbacks.BackupAndRestore("x", 0), ValueError, "at least 1"),
    "seconds": (lambda: callbacks.BackupAndRestore("x", seconds=-1), ValueError, "seconds must be at least 0, got -1"),
    "start_epoch": (lambda: callbacks.StochasticWeightAveraging(-1), ValueError, "start_epoch must be at least 0"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_arguments_are_rejected(case):
    make, error, text = INVALID[case]
    with pytest.raises(error, match=text):
        make()


def test_verbose_messages_go_to_stderr(capsys):
    FakeModel().run(callbacks.EarlyStopping(patience=1, verbose=1, restore_best_weights=True), [1, 2, 3])
    FakeModel().run(callbacks.ReduceLROnPlateau(patience=1, verbose=1), [1, 2])
    FakeModel().run(callbacks.LearningRateScheduler(lambda epoch: 0.5, verbose=1), [1])
    FakeModel().run(callbacks.ModelCheckpoint("m{epoch}", verbose=1), [1])
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("epoch 2: early stopping", "best epoch, 1", "reduced to 0.1", "rate 0.5", "saved the model to m1"):
        assert text in err


# ---------------------------------------------------------------- hooks by name and by period


class RecordsHooks:
    """Records the epoch hooks that are called, with their epochs."""

    def __init__(self, **attributes):
        self.calls = []
        for name, value in attributes.items():
            setattr(self, name, value)

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("begin", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("end", epoch))


UNCALLED = ("on_train_batch_end", "on_batch_end", "on_batch_begin", "on_test_end", "on_predict_begin", "on_epoch_start",
            "on_train_start", "on_validation_epoch_end", "on_step_end", "on_fit_end")  # fmt: skip


@pytest.mark.parametrize("hook", UNCALLED)
@pytest.mark.parametrize("base", [object, fastbp.Callback])
def test_hooks_that_are_never_called_are_rejected(base, hook):
    kind = type("Own", (base,), {hook: lambda self, *arguments: None, "on_epoch_end": lambda self, epoch, logs: None})
    with pytest.raises(TypeError, match=rf"callbacks\[0\]\.{hook}, which is never called: "):
        build().fit(X, Y, callbacks=[kind()])


def test_other_methods_named_on_something_are_allowed():
    own = type("Own", (RecordsHooks,), {"on_improvement": lambda self: None, "on_fire": 3})()
    build().fit(X, Y, callbacks=[own])
    assert own.calls == [("begin", 0), ("end", 0)]


def test_empty_hooks_of_keras_callbacks_are_ignored():
    def empty(self, batch, logs=None):
        pass

    empty.__module__ = "keras.src.callbacks.callback"
    base = type("Callback", (), {"set_model": lambda self, model: None, "on_train_batch_end": empty})

    class Own(base):
        seen = ()

        def on_epoch_end(self, epoch, logs=None):
            self.seen += (epoch,)

    own = Own()
    build().fit(X, Y, epochs=2, callbacks=[own])
    assert own.seen == (0, 1)

    class Batches(Own):
        def on_train_batch_end(self, batch, logs=None):
            pass

    with pytest.raises(TypeError, match="on_train_batch_end, which is never called"):
        build().fit(X, Y, callbacks=[Batches()])


@pytest.mark.parametrize("batch_size", [N, 7])
def test_period_calls_hooks_only_at_its_epochs(batch_size):
    seldom, often = RecordsHooks(epoch_period=4), RecordsHooks(epoch_period=6)
    history = build().fit(X, Y, epochs=13, batch_size=batch_size, callbacks=[seldom, often])
    begun, ended = ([epoch for what, epoch in seldom.calls if what == part] for part in ("begin", "end"))
    assert (begun, ended) == ([0, 4, 8, 12], [3, 7, 11])
    assert [call for call in often.calls if call[0] == "end"] == [("end", 5), ("end", 11)]
    assert len(history.epoch) == 13


def test_every_passes_the_logs_of_its_epochs():
    seen = {}
    record = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.update({epoch: logs["loss"]}), every=5)
    history = build(metrics=["mae"]).fit(X, Y, epochs=12, callbacks=[record])
    assert seen == {epoch: history.history["loss"][epoch] for epoch in (4, 9)}


def test_training_does_not_pause_between_periods():
    slices = []
    counted = callbacks.LambdaCallback(on_epoch_end=print, on_slice_end=lambda: slices.append(1), every=1000)
    plain = callbacks.LambdaCallback(on_slice_end=lambda: slices.append(1))
    model = build()
    model.fit(X, Y, batch_size=N, epochs=3000, callbacks=[plain])
    without = len(slices)
    slices.clear()
    model.fit(X, Y, batch_size=N, epochs=3000, callbacks=[counted])
    assert len(slices) <= without + 3 + 10  # one more per period, and the pace varies a little


def test_period_changes_no_bit():
    models = [build(), build()]
    for model, seen in zip(models, ([], [RecordsHooks(epoch_period=3)]), strict=True):
        model.fit(X, Y, batch_size=7, epochs=20, callbacks=seen)
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("period", [0, -1, 1.5, "often"])
def test_period_must_be_a_positive_integer(period):
    with pytest.raises((TypeError, ValueError), match="epoch_period must be"):
        build().fit(X, Y, callbacks=[RecordsHooks(epoch_period=period)])
    with pytest.raises((TypeError, ValueError), match="every must be"):
        callbacks.LambdaCallback(on_epoch_end=print, every=period)


def test_verbose_works_without_stderr(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    build().fit(X, Y, epochs=2, callbacks=[callbacks.LearningRateScheduler(lambda epoch: 0.1, verbose=1)])
    assert capsys.readouterr().out == ""
