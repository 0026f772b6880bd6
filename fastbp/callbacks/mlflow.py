"""Tracking of parameters, metrics and the model with MLflow."""

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

__all__ = ["MLflow"]


class MLflow(Callback):
    """Log a run to MLflow: parameters of model and training, the metrics of every epoch, and the final model.

    Parameters
    ----------
    experiment_name : str, optional
        Experiment of a new run.
    run_name : str, optional
        Name of a new run.
    tracking_uri : str or path-like, optional
        Where to keep a new run, instead of where ``mlflow.set_tracking_uri`` or MLFLOW_TRACKING_URI say; an active run
        is then ignored. "sqlite:///runs.db" needs no server.
    params : mapping, optional
        Further parameters to log.
    log_model : bool, optional
        Whether to log the saved model as the artifact model.safetensors.

    Attributes
    ----------
    run_id : str or None
        The id of the run, once it exists.

    Raises
    ------
    ImportError
        By `fit`, if neither mlflow nor mlflow-skinny is installed; the message gives the command.

    Notes
    -----
    Parameters logged: layers, n_parameters, input_size, seed, dtype, loss, optimizer and its settings, epochs,
    batch_size, and params. Metrics logged, with the epoch counted from 0 as their step: all epoch logs, and
    learning_rate.

    If a run is active (``with mlflow.start_run():``), that run is used and left open. Otherwise a new run starts and
    ends with the fit: FINISHED, KILLED after Ctrl-C, FAILED after an error. A fit resumed from a file of
    `BackupAndRestore` continues its run.

    Like the callbacks of mlflow.tensorflow and mlflow.pytorch, without metrics per batch. View runs with ``mlflow ui``.

    Examples
    --------
    >>> tracking = MLflow("digits", params={"scaled": True})
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
        _mlflow()  # fail before the first epoch rather than after it
        self.run_id, self._client, self._own, self._ended = None, None, False, False

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        self._begin()  # not earlier: by now a resumed fit has restored its run_id

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self._begin()
        metric = _mlflow().entities.Metric
        now = int(time.time() * 1000)
        values = {"learning_rate": self.model.learning_rate, **logs}
        self._client.log_batch(self.run_id, [metric(name, float(v), now, epoch) for name, v in values.items()])

    def on_train_end(self, logs: Logs) -> None:
        if self._client is None:  # no epoch was trained
            return
        if self.log_model:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.safetensors"
                self.model.save(path)
                self._client.log_artifact(self.run_id, str(path))
        self._end("FINISHED")

    def set_fit(self, fit: Any) -> None:
        super().set_fit(fit)
        if fit is None and self._client is not None:  # ended by an error if on_train_end was not called
            self._end("KILLED" if isinstance(sys.exception(), KeyboardInterrupt) else "FAILED")

    def _begin(self) -> None:
        """Open the run: that of the resumed fit, the active one, or a new one."""
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
        result: dict[str, Any] = {
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
            result |= {f"optimizer.{field.name}": getattr(optimizer, field.name) for field in fields}
        if self.fit is not None:
            result |= {"epochs": self.fit.job.epochs, "batch_size": self.fit.job.batch_size}
        return {**result, **self.params}

    def _end(self, status: str) -> None:
        if self._own and not self._ended:
            self._client.set_terminated(self.run_id, status)
        self._ended, self._client = True, None

    def get_state(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def set_state(self, state: dict[str, Any]) -> None:
        self.run_id = state["run_id"]


def _experiment(mlflow: Any, client: Any, name: str | None, tracking_uri: str | None) -> str:
    """The id of the experiment of this name, created if missing; without a name MLflow's current experiment."""
    if name is not None:
        found = client.get_experiment_by_name(name)
        return str(client.create_experiment(name) if found is None else found.experiment_id)
    if tracking_uri is not None:
        return "0"  # "Default", which every store has
    return str(mlflow.tracking.fluent._get_experiment_id())  # by set_experiment or the environment


def _short(text: str) -> str:
    """Truncated to the longest parameter value that every release of MLflow accepts."""
    return text if len(text) <= 500 else text[:499] + "…"


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise ImportError('MLflow needs mlflow: install it with pip install "fastbp[mlflow]"') from error
    return mlflow
