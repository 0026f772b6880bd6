"""Parameters, figures and the model of a training for MLflow to keep."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastbp.callbacks.base import Callback, Logs
from fastbp.util.arguments import flag


class MLflow(Callback):
    """Log to a run of MLflow: how the model is made and trained, the figures of every epoch, and the model at the end.

    Parameters: layers, n_parameters, input_size, seed, dtype, loss, optimizer and its settings, epochs, batch_size, and
    those of params. Metrics, with the epoch from 0 as their step: all of an epoch's logs, and learning_rate. Artifact:
    the file of model.save, as model.safetensors, unless log_model is False.
    Where a run is active (``with mlflow.start_run():``) that one is written to and left open. Otherwise a run of its
    own, called run_name, begins in experiment_name and ends with the fit: FINISHED, KILLED after Ctrl-C, FAILED after
    an error. It is kept where ``mlflow.set_tracking_uri`` or MLFLOW_TRACKING_URI say, or at tracking_uri, which then
    takes no active run; "sqlite:///runs.db" needs no server. run_id: the run's, once there is one; a fit resumed from a
    file of BackupAndRestore goes on with its run.
    Needs the package mlflow, or mlflow-skinny; ImportError, with the command that installs it, where that is missing.

    >>> tracking = MLflow("digits", params={"scaled": True})

    As mlflow.tensorflow's and mlflow.pytorch's callbacks, without metrics of single batches. To look at: ``mlflow ui``.
    """

    def __init__(
        self,
        experiment_name: str | None = None,
        run_name: str | None = None,
        *,
        tracking_uri: str | os.PathLike[str] | None = None,
        params: Mapping[str, Any] | None = None,
        log_model: bool = True,
    ) -> None:
        self.experiment_name, self.run_name = experiment_name, run_name
        self.tracking_uri = None if tracking_uri is None else os.fspath(tracking_uri)
        self.params, self.log_model = dict(params or {}), flag(log_model, "log_model")
        self.run_id: str | None = None
        self._client: Any = None
        self._own = self._ended = False

    def on_train_begin(self, logs: Logs) -> None:
        _mlflow()  # fails before the first epoch rather than after it
        self.run_id, self._client, self._own, self._ended = None, None, False, False

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._begin()  # not earlier: a fit that goes on has by now said with which run

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._begin()
        metric = _mlflow().entities.Metric
        now = int(time.time() * 1000)
        figures = {"learning_rate": self.model.learning_rate, **logs}
        self._client.log_batch(self.run_id, [metric(name, float(v), now, epoch) for name, v in figures.items()])

    def on_train_end(self, logs: Logs) -> None:
        if self._client is None:  # nothing was left to train
            return
        if self.log_model:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.safetensors"
                self.model.save(path)
                self._client.log_artifact(self.run_id, str(path))
        self._end("FINISHED")

    def set_fit(self, fit: Any) -> None:
        super().set_fit(fit)
        if fit is None and self._client is not None:  # over, by an error if on_train_end was not called
            self._end("KILLED" if isinstance(sys.exception(), KeyboardInterrupt) else "FAILED")

    def _begin(self) -> None:
        """Open the run: that of the fit resumed, the active one, or a new one of this experiment."""
        if self._client is not None:
            return
        mlflow = _mlflow()
        client = mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        active = mlflow.active_run() if self.tracking_uri is None else None
        if self.run_id is not None:
            self._own = active is None or active.info.run_id != self.run_id
            client.update_run(self.run_id, status="RUNNING")
        elif active is not None:
            self.run_id = active.info.run_id
        else:
            self._own = True
            experiment = _experiment(mlflow, client, self.experiment_name, self.tracking_uri)
            self.run_id = client.create_run(experiment, run_name=self.run_name).info.run_id
        self._client = client
        params = [mlflow.entities.Param(name, _short(str(value))) for name, value in self._parameters().items()]
        client.log_batch(self.run_id, params=params)

    def _parameters(self) -> dict[str, Any]:
        model, optimizer = self.model, self.model.optimizer
        found: dict[str, Any] = {
            "layers": ", ".join(block.label for block in model.blocks),
            "n_parameters": sum(W.size for W in model.get_weights()),
            "input_size": model.input_size,
            "seed": model.seed,
            "dtype": model.dtype.name,
            "loss": model.loss.name,
            "optimizer": type(optimizer).__name__,
        }
        if dataclasses.is_dataclass(optimizer):
            fields = dataclasses.fields(optimizer)
            found |= {f"optimizer.{field.name}": getattr(optimizer, field.name) for field in fields}
        if self.fit is not None:
            found |= {"epochs": self.fit.job.epochs, "batch_size": self.fit.job.batch_size}
        return {**found, **self.params}

    def _end(self, status: str) -> None:
        if self._own and not self._ended:
            self._client.set_terminated(self.run_id, status)
        self._ended, self._client = True, None

    def get_state(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def set_state(self, state: dict[str, Any]) -> None:
        self.run_id = state["run_id"]


def _experiment(mlflow: Any, client: Any, name: str | None, tracking_uri: str | None) -> str:
    """The number of the experiment of this name, made where there is none; without a name that which MLflow takes."""
    if name is not None:
        found = client.get_experiment_by_name(name)
        return str(client.create_experiment(name) if found is None else found.experiment_id)
    if tracking_uri is not None:
        return "0"  # "Default", which every store has
    return str(mlflow.tracking.fluent._get_experiment_id())  # by set_experiment or the environment


def _short(text: str) -> str:
    """At most as long as every release of MLflow takes a parameter's value."""
    return text if len(text) <= 500 else text[:499] + "…"


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise ImportError('MLflow needs the package mlflow: pip install "fastbp[mlflow]" installs it') from error
    return mlflow
