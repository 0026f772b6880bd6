"""Trials of Optuna that end early where they promise nothing."""

from __future__ import annotations

from typing import Any

from fastbp.callbacks.base import Callback, Logs, Monitor


class OptunaPruning(Callback):
    """Report a figure of every epoch to a trial of Optuna, and end the fit where the study's pruner says so.

    trial: what Optuna gives the objective; monitor: the figure, such as "val_loss" or "val_accuracy", which the study's
    direction, minimize or maximize, must suit; steps are epochs, from 0. A fit that is pruned ends with
    optuna.TrialPruned, which the objective lets pass; the weights are then those of the epoch's end. Where the figure
    is missing a warning says so, and nothing is pruned.
    Raises TypeError for what is no trial, ImportError, with the command that installs it, where optuna is missing.

    >>> import optuna
    >>> trial = optuna.create_study().ask()
    >>> pruning = OptunaPruning(trial, "val_loss")

    As optuna_integration's KerasPruningCallback. Li et al. 2018 on pruners that halve the trials again and again.
    """

    def __init__(self, trial: Any, monitor: str = "val_loss") -> None:
        if not (callable(getattr(trial, "report", None)) and callable(getattr(trial, "should_prune", None))):
            raise TypeError(f"trial must be one of Optuna, got {trial!r}: pass what the objective is given")
        self._pruned = _pruned_class()
        self.trial, self.monitor = trial, monitor
        self._monitor = Monitor(monitor)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self._monitor.of(logs)
        if value is None:
            return
        self.trial.report(float(value), step=epoch)
        if self.trial.should_prune():
            raise self._pruned(f"pruned after epoch {epoch + 1}: {self.monitor} {value:.4g}")


def _pruned_class() -> type[BaseException]:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('OptunaPruning needs the package optuna: pip install "fastbp[optuna]" installs it') from error
    pruned: type[BaseException] = optuna.TrialPruned
    return pruned
