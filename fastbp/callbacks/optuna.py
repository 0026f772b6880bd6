"""Pruning of Optuna trials."""

from __future__ import annotations

from typing import Any

from fastbp import metrics
from fastbp.callbacks.base import Callback, Logs, Monitor

__all__ = ["OptunaPruning"]


class OptunaPruning(Callback):
    """Report a metric of every epoch to an Optuna trial, and end the fit if the study's pruner says so.

    Parameters
    ----------
    trial : optuna.Trial
        The argument of the objective.
    monitor : str, optional
        The metric, such as "val_loss" or "val_accuracy". The study's direction must be its own: maximize if larger
        values are better.

    Raises
    ------
    TypeError
        If trial is not a trial.
    ValueError
        If the study minimizes what should be maximized, or the other way round.
    ImportError
        If optuna is not installed; the message gives the command.
    optuna.TrialPruned
        By `fit`, when the trial is pruned; the objective lets it pass. The weights are those at the end of the epoch.

    Notes
    -----
    Steps are epochs, counted from 0. If the metric is missing, a warning says so and nothing is pruned. As
    optuna_integration's KerasPruningCallback.

    References
    ----------
    Li et al., "Hyperband", 2018, on pruners that halve the trials repeatedly.

    Examples
    --------
    >>> import optuna
    >>> trial = optuna.create_study().ask()
    >>> pruning = OptunaPruning(trial, "val_loss")
    """

    def __init__(self, trial: Any, monitor: str = "val_loss") -> None:
        if not (callable(getattr(trial, "report", None)) and callable(getattr(trial, "should_prune", None))):
            raise TypeError(f"trial must be an Optuna trial, got {trial!r}: pass the objective's argument")
        self._pruned = _pruned_class()
        self.trial, self.monitor = trial, monitor
        self._monitor = Monitor(monitor)
        self._check_direction(self._monitor.direction)

    def on_train_begin(self, logs: Logs) -> None:
        own = self.model.metrics if getattr(self.model, "compiled", False) else ()
        self._check_direction(metrics.direction_of(self.monitor, own))

    def _check_direction(self, direction: str | None) -> None:
        """ValueError if the pruner would keep the worst trials."""
        found: list[Any] = getattr(getattr(self.trial, "study", None), "directions", [])
        if direction is None or len(found) != 1:
            return
        wanted, got = f"{direction}imize", found[0].name.lower()
        if got != wanted:
            raise ValueError(
                f"monitor {self.monitor!r} is to be {wanted}d, but the study has the direction {got!r}: call "
                f"optuna.create_study(direction={wanted!r}), or monitor another metric"
            )

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self._monitor.value(logs)
        if value is None:
            return
        self.trial.report(float(value), step=epoch)
        if self.trial.should_prune():
            raise self._pruned(f"pruned after epoch {epoch + 1}: {self.monitor} {value:.4g}")


def _pruned_class() -> type[BaseException]:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('OptunaPruning needs optuna: install it with pip install "fastbp[optuna]"') from error
    pruned: type[BaseException] = optuna.TrialPruned
    return pruned
