"""Callbacks that monitor a metric know in which direction it improves."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from sklearn.datasets import make_classification

import fastbp
from fastbp import Dense, Sequential, callbacks
from fastbp.metrics import Mean

X = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)

MONITORS = {
    "EarlyStopping": lambda tmp_path, name, mode: callbacks.EarlyStopping(name, patience=1, mode=mode),
    "ReduceLROnPlateau": lambda tmp_path, name, mode: callbacks.ReduceLROnPlateau(name, patience=1, mode=mode),
    "ModelCheckpoint": lambda tmp_path, name, mode: (
        callbacks.ModelCheckpoint(tmp_path / "best.safetensors", name, save_best_only=True, mode=mode)
    ),
}


@dataclass(frozen=True)
class Kappa(Mean):
    """A custom metric whose name does not tell its direction."""

    name: ClassVar[str] = "kappa"
    direction: ClassVar[str | None] = "max"

    def row_values(self, y, outputs, loss):
        return outputs.argmax(axis=1) == y


@dataclass(frozen=True)
class Undirected(Kappa):
    direction: ClassVar[str | None] = None


@dataclass(frozen=True)
class Cost(Kappa):
    """A custom metric whose name suggests the opposite direction."""

    name: ClassVar[str] = "inverse_accuracy"
    direction: ClassVar[str | None] = "min"


def build(*metrics):
    model = Sequential([Dense(4, "tanh"), Dense(2, "softmax")], seed=1)
    model.compile("adam", "cross_entropy", metrics)
    return model


@pytest.mark.parametrize("kind", MONITORS)
@pytest.mark.parametrize("metric", [Kappa(), Cost()])
def test_direction_of_custom_metric_is_used(kind, metric, tmp_path):
    callback = MONITORS[kind](tmp_path, f"val_{metric.name}", "auto")
    history = build(metric).fit(X, Y, epochs=4, validation_data=(X, Y), callbacks=[callback])
    values = history.history[f"val_{metric.name}"]
    assert callback.best == (max(values) if metric.direction == "max" else min(values))


@pytest.mark.parametrize("kind", MONITORS)
@pytest.mark.parametrize("name", ["val_kappa", "kappa", "learning_rate", "val_los"])
def test_unknown_direction_needs_a_mode(kind, name, tmp_path):
    model = build(Undirected())
    model.fit(X, Y)
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"mode must be 'min' or 'max' for the metric '{name}'"):
        model.fit(X, Y, validation_data=(X, Y), callbacks=[MONITORS[kind](tmp_path, name, "auto")])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    if name == "val_kappa":
        for mode, better in (("min", min), ("max", max)):
            callback = MONITORS[kind](tmp_path, name, mode)
            history = model.fit(X, Y, epochs=2, validation_data=(X, Y), callbacks=[callback])
            assert callback.best == better(history.history[name])


def test_misspelled_monitor_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean 'accuracy'"):
        build("accuracy").fit(X, Y, callbacks=[callbacks.EarlyStopping("acuracy")])


def test_checkpoint_of_every_epoch_needs_no_direction(tmp_path):
    build().fit(X, Y, callbacks=[callbacks.ModelCheckpoint(tmp_path / "m.safetensors", "val_kappa")])
    assert (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("kind", MONITORS)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("scoring", [None, "loss", "neg_log_loss"])
def test_estimator_score_is_maximized(kind, scoring, tmp_path):
    rows, y = make_classification(300, 10, n_informative=6, random_state=0)
    callback = MONITORS[kind](tmp_path, "val_score", "auto")
    estimator = fastbp.MLPClassifier((8,), max_iter=12, random_state=0, scoring=scoring, callbacks=[callback])
    estimator.fit(rows[:200], y[:200], X_val=rows[200:], y_val=y[200:])
    if kind == "ReduceLROnPlateau":  # its min_delta is 1e-4
        assert callback.best == pytest.approx(max(estimator.validation_scores_), abs=1e-4)
    else:
        assert callback.best == max(estimator.validation_scores_)


# ---------------------------------------------------------------- Optuna


def trial_of(*directions):
    study = SimpleNamespace(directions=[SimpleNamespace(name=name) for name in directions])
    return SimpleNamespace(report=lambda value, step: None, should_prune=lambda: False, study=study)


@pytest.mark.parametrize(("name", "direction"), [
    ("val_loss", "MAXIMIZE"), ("loss", "MAXIMIZE"), ("val_accuracy", "MINIMIZE"), ("val_f1", "MINIMIZE"),
])  # fmt: skip
def test_study_with_opposite_direction_is_rejected(name, direction):
    pytest.importorskip("optuna")
    with pytest.raises(ValueError, match=f"the study has the direction '{direction.lower()}'"):
        callbacks.OptunaPruning(trial_of(direction), name)


def test_study_with_matching_direction_is_accepted():
    pytest.importorskip("optuna")
    callbacks.OptunaPruning(trial_of("MINIMIZE"), "val_loss")
    callbacks.OptunaPruning(trial_of("MAXIMIZE"), "val_accuracy")
    callbacks.OptunaPruning(trial_of("MAXIMIZE", "MINIMIZE"), "val_accuracy")
    pruning = callbacks.OptunaPruning(trial_of("MINIMIZE"), "val_kappa")
    with pytest.raises(ValueError, match="monitor 'val_kappa' is to be maximized"):
        build(Kappa()).fit(X, Y, validation_data=(X, Y), callbacks=[pruning])


# ---------------------------------------------------------------- metrics that need probabilities


@pytest.mark.parametrize(("last", "loss"), [("identity", "mse"), ("identity", "hinge"), ("tanh", "mse")])
def test_log_loss_needs_probabilities(last, loss):
    model = Sequential([Dense(1, last)])
    with pytest.raises(ValueError, match="metric 'log_loss' needs probabilities"):
        model.compile("adam", loss, ["log_loss"])
    assert not model.compiled


def test_log_loss_equals_cross_entropy_loss():
    model = Sequential([Dense(2)], seed=1)  # logits
    model.compile("adam", "cross_entropy", ["log_loss", "f1", "balanced_accuracy", "average_precision"])
    found = model.fit(X, Y, epochs=2, validation_data=(X, Y)).history
    np.testing.assert_allclose(found["val_log_loss"], found["val_loss"], rtol=1e-5)
