"""Callbacks that track a fit (MLflow, Optuna, GradientHealth): results, resumed fits, error messages."""

import importlib
import sys

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Sequential, callbacks
from fastbp.diagnosis.layer_health import diagnose

N = 40
X = np.random.default_rng(7).normal(size=(N, 3)).astype(np.float32)
Y = (X[:, :1] * X[:, 1:2]).astype(np.float32)
MODULES = ("health", "mlflow", "optuna", "tensorboard")


def build(optimizer="sgd", metrics=()):
    model = Sequential([Dense(5, "tanh"), Dense(1)], input_size=3, seed=2)
    model.compile(optimizer, "mse", metrics)
    return model


class Stop(fastbp.Callback):
    """Raise an error after `epochs` epochs."""

    def __init__(self, error, epochs=2):
        self.error, self.epochs = error, epochs

    def on_epoch_end(self, epoch, logs):
        if epoch + 1 == self.epochs:
            raise self.error


# ---------------------------------------------------------------- gradient health


def test_health_matches_diagnose_at_epoch_ends():
    model, found = build("adam"), []
    found.append(diagnose(model, X, Y))
    record = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: found.append(diagnose(model, X, Y)))
    health = callbacks.GradientHealth(X, Y)
    model.fit(X, Y, epochs=3, batch_size=8, callbacks=[record, health])
    assert health.epochs == [0, 1, 2, 3]
    assert health.layers == ["Dense(5, tanh)", "Dense(1, identity)"]
    for name in ("activation", "gradient", "passed_back", "update"):
        expected = [[getattr(layer, name) for layer in diagnosis.layers] for diagnosis in found]
        np.testing.assert_array_equal(getattr(health, name), expected)
    assert health.verdicts == [[layer.verdict for layer in diagnosis.layers] for diagnosis in found]


def test_health_changes_no_bit_of_the_training():
    watched, alone = build("adam"), build("adam")
    history = watched.fit(X, Y, epochs=4, batch_size=8, callbacks=[callbacks.GradientHealth(X, Y, rows=7, every=2)])
    expected = alone.fit(X, Y, epochs=4, batch_size=8)
    assert history.history == expected.history
    for a, b in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_health_samples_every_n_epochs_and_restarts_with_each_fit():
    health = callbacks.GradientHealth(X, Y, rows=5, every=3)
    build().fit(X, Y, epochs=7, callbacks=[health])
    assert health.epochs == [0, 3, 6]
    build().fit(X, Y, epochs=2, callbacks=[health])
    assert (health.epochs, health.gradient.shape) == ([0], (1, 2))


def test_health_of_deep_sigmoid_network_is_vanishing():
    deep = Sequential([*[Dense(8, "sigmoid") for _ in range(10)], Dense(1)])
    deep.compile("sgd", "mse")
    health = callbacks.GradientHealth(X, Y)
    deep.fit(X, Y, epochs=1, callbacks=[health])
    # each layer loses at least three quarters of the gradient
    assert (health.passed_back[:, 0] < 0.25**9 * health.passed_back[:, -1] * 10).all()
    assert health.verdicts[-1][0] == "vanishing"


def test_health_of_a_resumed_fit_matches_an_uninterrupted_one(tmp_path):
    whole = callbacks.GradientHealth(X, Y)
    build("adam").fit(X, Y, epochs=4, batch_size=8, callbacks=[whole])
    backup = callbacks.BackupAndRestore(tmp_path / "run.fit")
    with pytest.raises(RuntimeError):
        build("adam").fit(
            X, Y, epochs=4, batch_size=8, callbacks=[callbacks.GradientHealth(X, Y), backup, Stop(RuntimeError(), 3)]
        )
    second = callbacks.GradientHealth(X, Y)
    build("adam").fit(X, Y, epochs=4, batch_size=8, callbacks=[second, backup])
    assert (second.epochs, second.verdicts) == (whole.epochs, whole.verdicts)
    np.testing.assert_array_equal(second.gradient, whole.gradient)


@pytest.mark.parametrize(
    ("X_", "options", "error"),
    [(X[:, :2], {}, ValueError), (X, {"rows": 0}, ValueError), (X, {"every": 1.5}, TypeError)],
)
def test_health_rejects_invalid_arguments_before_training(X_, options, error):
    model = build()
    before = model.get_weights()
    with pytest.raises(error):
        model.fit(X, Y, callbacks=[callbacks.GradientHealth(X_, Y, **options)])
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


# ---------------------------------------------------------------- MLflow


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    """MLflow confined to this folder: its file store allowed, its telemetry off."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("mlflow")
    module.set_tracking_uri(str(tmp_path / "store"))
    yield module
    while module.active_run():
        module.end_run()
    module.set_tracking_uri(None)


def assert_logged(client, run_id, model, history):
    """Assert that a run has the parameters, all metrics by epoch, and the model."""
    run = client.get_run(run_id)
    wanted = {
        "layers": "Dense(5, tanh), Dense(1, identity)", "n_parameters": "26", "input_size": "3", "seed": "2",
        "loss": "mse", "optimizer": "Adam", "optimizer.beta_1": "0.9", "epochs": "3", "batch_size": "8", "note": "<x>",
    }  # fmt: skip
    assert wanted.items() <= run.data.params.items()
    for name, values in history.items():
        stored = sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))
        assert stored == list(enumerate(values))
    assert {metric.value for metric in client.get_metric_history(run_id, "learning_rate")} == {0.5}
    artifact = f"{run.info.artifact_uri}/model.safetensors"
    path = importlib.import_module("mlflow.artifacts").download_artifacts(artifact_uri=artifact, dst_path=".")
    for a, b in zip(fastbp.load(path).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    return run.info


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own use of SQLAlchemy
@pytest.mark.parametrize("store", ["files", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_mlflow_gets_parameters_metrics_and_the_model(mlflow, tmp_path, store):
    uri = str(tmp_path / "runs") if store == "files" else f"sqlite:///{tmp_path / 'runs.db'}"
    tracking = callbacks.MLflow("digits", "first", tracking_uri=uri, params={"note": "<x>"})
    model = build(fastbp.Adam(0.5), ["mae"])
    history = model.fit(X, Y, epochs=3, batch_size=8, validation_split=0.2, callbacks=[tracking])
    client = mlflow.MlflowClient(uri)
    info = assert_logged(client, tracking.run_id, model, history.history)
    assert (info.status, info.run_name) == ("FINISHED", "first")
    assert client.get_experiment(info.experiment_id).name == "digits"
    assert mlflow.active_run() is None
    again = callbacks.MLflow("digits", tracking_uri=uri, log_model=False)
    build().fit(X, Y, callbacks=[again])
    assert client.get_run(again.run_id).info.experiment_id == info.experiment_id != "0"
    assert client.list_artifacts(again.run_id) == []


def test_mlflow_writes_to_the_active_run_and_leaves_it_open(mlflow):
    tracking = callbacks.MLflow(log_model=False)
    with mlflow.start_run() as run:
        build().fit(X, Y, callbacks=[tracking])
        assert mlflow.active_run().info.status == "RUNNING"
        assert tracking.run_id == run.info.run_id
    stored = mlflow.get_run(run.info.run_id)
    assert stored.info.status == "FINISHED"
    assert "loss" in stored.data.metrics


def test_mlflow_uses_the_current_experiment(mlflow):
    experiment = mlflow.set_experiment("chosen")
    tracking = callbacks.MLflow(log_model=False, params={"long": "x" * 7000})
    build().fit(X, Y, callbacks=[tracking])
    assert mlflow.get_run(tracking.run_id).info.experiment_id == experiment.experiment_id


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_mlflow_ends_its_run_after_an_error(mlflow, tmp_path, error, status):
    tracking = callbacks.MLflow(tracking_uri=tmp_path / "runs")
    with pytest.raises(type(error)):
        build().fit(X, Y, epochs=3, callbacks=[tracking, Stop(error)])
    assert mlflow.MlflowClient(str(tmp_path / "runs")).get_run(tracking.run_id).info.status == status


def test_mlflow_continues_the_run_of_a_resumed_fit(mlflow, tmp_path):
    uri, backup = str(tmp_path / "runs"), callbacks.BackupAndRestore(tmp_path / "run.fit")
    first, second = (callbacks.MLflow(tracking_uri=uri, params={"note": "<x>"}) for _ in range(2))
    options = {"epochs": 3, "batch_size": 8}
    with pytest.raises(RuntimeError):
        build(fastbp.Adam(0.5)).fit(X, Y, **options, callbacks=[first, backup, Stop(RuntimeError())])
    model = build(fastbp.Adam(0.5))
    history = model.fit(X, Y, **options, callbacks=[second, backup])
    assert second.run_id == first.run_id
    client = mlflow.MlflowClient(uri)
    assert client.get_run(second.run_id).info.status == "FINISHED"
    steps = [metric.step for metric in client.get_metric_history(second.run_id, "loss")]
    assert set(steps) == {0, 1, 2}  # the second epoch was lost and repeated
    assert client.get_run(second.run_id).data.metrics["loss"] == history.history["loss"][-1]
    third = callbacks.MLflow(tracking_uri=uri)  # nothing is left to do
    build(fastbp.Adam(0.5)).fit(X, Y, **options, callbacks=[third, backup])
    assert len(client.search_runs(["0"])) == 1


# ---------------------------------------------------------------- Optuna


@pytest.fixture
def optuna():
    module = importlib.import_module("optuna")
    module.logging.set_verbosity(module.logging.ERROR)
    return module


def test_optuna_prunes_unpromising_trials(optuna):
    epochs = {}

    def objective(trial):
        model = build(fastbp.SGD(trial.suggest_categorical("rate", [0.0, 0.1])), ["mae"])
        pruning = callbacks.OptunaPruning(trial, "val_mae")
        record = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.update({trial.number: epoch + 1}))
        history = model.fit(X, Y, epochs=6, validation_split=0.2, callbacks=[record, pruning])
        return history.history["val_mae"][-1]

    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=2)
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"rate": [0.1, 0.0]}, seed=1), pruner=pruner)
    study.enqueue_trial({"rate": 0.1})
    study.enqueue_trial({"rate": 0.0})
    study.optimize(objective, n_trials=2)
    good, bad = study.trials
    assert (good.state.name, bad.state.name) == ("COMPLETE", "PRUNED")
    assert list(good.intermediate_values) == [0, 1, 2, 3, 4, 5]
    assert good.intermediate_values[5] == good.value
    assert epochs[1] == len(bad.intermediate_values) < 6


def test_pruned_fit_keeps_the_weights_of_its_last_epoch(optuna):
    class Trial:
        def report(self, value, step):
            self.value, self.step = value, step

        def should_prune(self):
            return self.step == 1

    trial, pruned, whole = Trial(), build(), build()
    with pytest.raises(optuna.TrialPruned, match="pruned after epoch 2: loss"):
        pruned.fit(X, Y, epochs=5, batch_size=8, callbacks=[callbacks.OptunaPruning(trial, "loss")])
    history = whole.fit(X, Y, epochs=2, batch_size=8)
    assert trial.value == history.history["loss"][1]
    for a, b in zip(pruned.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    pruned.fit(X, Y, epochs=1, batch_size=8)  # training continues as if nothing had happened
    whole.fit(X, Y, epochs=1, batch_size=8)
    np.testing.assert_array_equal(pruned.get_weights()[0], whole.get_weights()[0])


def test_optuna_warns_once_about_a_missing_metric(optuna):
    trial = optuna.create_study().ask()
    with pytest.warns(UserWarning, match=r"monitor must be one of .*got 'val_loss': pass validation_data") as caught:
        build().fit(X, Y, epochs=3, callbacks=[callbacks.OptunaPruning(trial)])
    assert len(caught) == 1
    with pytest.raises(TypeError, match="trial must be an Optuna trial"):
        callbacks.OptunaPruning("trial")


# ---------------------------------------------------------------- missing packages


@pytest.mark.parametrize("name", ["mlflow", "optuna"])
def test_missing_package_error_names_the_install_command(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    trial = type("Trial", (), {"report": lambda *_: None, "should_prune": lambda *_: False})()
    with pytest.raises(ImportError, match=rf'pip install "fastbp\[{name}\]"'):
        build().fit(X, Y, callbacks=[callbacks.MLflow() if name == "mlflow" else callbacks.OptunaPruning(trial)])
