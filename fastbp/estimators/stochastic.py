"""Minibatch training until convergence, by scikit-learn's rules."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastbp.estimators.epochs import Epochs
from fastbp.estimators.validation import Validation
from fastbp.training.batch_norm_statistics import renew_statistics
from fastbp.training.hooks import epoch_hook, hook
from fastbp.training.progress import Progress
from fastbp.util.console import tell

if TYPE_CHECKING:
    from fastbp.spec import Report

_SMALLEST_RATE = 1e-6  # minimum of learning_rate="adaptive"


class Stochastic:
    """One fit of an estimator, or one call of its partial_fit (`incremental`).

    Between two checks of the losses, as many epochs run as can pass before training might have to stop: with
    n_iter_no_change = 10 and an improvement just seen, 11.
    """

    def __init__(self, estimator: Any, epochs: Epochs, validation: Validation | None, incremental: bool) -> None:
        self.estimator, self.epochs, self.validation, self.incremental = estimator, epochs, validation, incremental
        self.trainer = epochs.trainer
        self.callbacks = tuple(estimator.callbacks or ())
        self.sgd = estimator.solver == "sgd"
        self.early_stopping = estimator.early_stopping and validation is not None
        paced = self.sgd and estimator.learning_rate == "invscaling"
        self.by_one = incremental or validation is not None or bool(self.callbacks) or paced
        self.step = self.epoch = 0  # read by callbacks
        self.last = False

    def run(self) -> None:
        """Train; scikit-learn's warning if max_iter epochs were not enough, its error if the weights diverged."""
        estimator, model = self.estimator, self.estimator.model_
        if self.early_stopping and getattr(estimator, "_best_weights", None) is None:
            estimator._best_weights = model.get_weights()
        model.stop_training = False
        hook(self.callbacks, "set_model", model)
        hook(self.callbacks, "set_fit", self)
        try:
            hook(self.callbacks, "on_train_begin", {})
            with Progress(self.epochs.n * estimator.max_iter, estimator.max_iter, estimator.progress) as progress:
                report = self._all_epochs(progress)
            hook(self.callbacks, "on_train_end", {"loss": estimator.loss_} if estimator.loss_curve_ else {})
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
            report = None
        finally:
            hook(self.callbacks, "set_fit", None)
        if self.early_stopping and not self.incremental:
            model.set_weights(estimator._best_weights)
            estimator._best_weights = None
        elif report is not None:
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )

    def renew_statistics(self) -> None:
        """Re-estimate batch normalization statistics on the training data, for callbacks that set weights."""
        renew_statistics(self.trainer, self.epochs.rows, self.epochs.batch_size)

    # ---------------------------------------------------------------- epochs

    def _all_epochs(self, progress: Progress) -> Report | None:
        """The loop; returns the engine's report if training diverged."""
        estimator = self.estimator
        estimator.n_iter_ = 0
        while estimator.n_iter_ < estimator.max_iter:
            if self.callbacks:
                epoch_hook(self.callbacks, "on_epoch_begin", estimator.n_iter_, estimator.n_iter_, {})
            count = self._at_once(estimator.max_iter - estimator.n_iter_)
            losses, report = self.epochs.run(count)
            stops = self._account(losses)
            logs = self._logs() if losses else {}
            progress.update(self.epochs.n * len(losses), estimator.n_iter_ - 1, logs, None)
            if report is not None:
                self._diverged()
                return report
            if stops or self.incremental:
                return None
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
            "converged yet.",
            ConvergenceWarning,
            stacklevel=6,
        )
        return None

    def _at_once(self, left: int) -> int:
        """Epochs to run together, since only after the last of them training can stop or change."""
        if self.by_one:
            return 1
        before_stop = self.estimator.n_iter_no_change + 1 - self.estimator._no_improvement_count
        return int(max(1, min(left, self.epochs.most, before_stop)))

    def _account(self, losses: list[float]) -> bool:
        """Record the losses of epochs; returns whether training stops."""
        estimator = self.estimator
        for loss in losses:
            estimator.n_iter_ += 1
            estimator.t_ += self.epochs.n
            estimator.loss_ = loss
            estimator.loss_curve_.append(loss)
            self.epoch, self.step = estimator.n_iter_, self.trainer.step
            if estimator.verbose:
                tell(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
            self._count()
            if self.sgd and estimator.learning_rate == "invscaling":
                self._set_rate(estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t)
            stops = estimator._no_improvement_count > estimator.n_iter_no_change and self._has_converged()
            if self.callbacks:
                epoch_hook(self.callbacks, "on_epoch_end", estimator.n_iter_, estimator.n_iter_ - 1, self._logs())
                self.last = stops or self.incremental or estimator.n_iter_ == estimator.max_iter
                hook(self.callbacks, "on_slice_end")
                stops = stops or estimator.model_.stop_training
            if stops:
                return True
        return False

    def _count(self) -> None:
        """Count the epochs without improvement, by the loss or, with early stopping, by the validation score."""
        estimator = self.estimator
        if self.validation is not None:
            score = self.validation.measure(estimator)
            if self.early_stopping:
                worse = score < estimator.best_validation_score_ + estimator.tol
                estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                if self.early_stopping:
                    estimator._best_weights = estimator.model_.get_weights()
        if not self.early_stopping:
            worse = estimator.loss_ > estimator.best_loss_ - estimator.tol
            estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)

    def _has_converged(self) -> bool:
        """Whether to stop; if not, the learning rate was reduced and the count restarts."""
        estimator = self.estimator
        what = "Validation score" if self.early_stopping else "Training loss"
        patience = estimator.n_iter_no_change
        message = f"{what} did not improve more than tol={estimator.tol:f} for {patience} consecutive epochs."
        if not (self.sgd and estimator.learning_rate == "adaptive"):
            self._say(message + " Stopping.")
            return True
        rate = self.trainer.learning_rate
        if rate <= _SMALLEST_RATE:
            self._say(message + " Learning rate too small. Stopping.")
            return True
        self._set_rate(rate / 5.0)
        self._say(message + f" Setting learning rate to {rate / 5.0:f}")
        estimator._no_improvement_count = 0
        return False

    def _set_rate(self, rate: float) -> None:
        """Set the learning rate; rescale the velocity, which contains it in scikit-learn but not here."""
        before = self.trainer.learning_rate
        self.trainer.learning_rate = rate
        engine = self.trainer.engine
        if engine.n_states and rate != before:
            engine.set_state([[part * part.dtype.type(before / rate) for part in v] for v in engine.get_state()])

    def _diverged(self) -> None:
        """Record the epoch in which the loss or a weight became infinite or NaN; the weights are those from before."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.loss_ = np.nan
        estimator.loss_curve_.append(np.nan)
        if self.validation is not None:
            self.validation.note(estimator, np.nan, np.nan)
        if self.early_stopping:
            warnings.warn(
                f"Stochastic Optimizer: training diverged in iteration {estimator.n_iter_}; the weights are those of "
                "the best iteration before. Lower learning_rate_init, or scale X and y.",
                ConvergenceWarning,
                stacklevel=7,
            )

    def _logs(self) -> dict[str, float]:
        """Logs of the last epoch."""
        estimator = self.estimator
        logs = {"loss": float(estimator.loss_)}
        if self.validation is not None:
            logs["val_loss"] = float(estimator.validation_loss_curve_[-1])
            logs["val_score"] = float(estimator.validation_scores_[-1])
        return logs

    def _say(self, message: str) -> None:
        if self.estimator.verbose:
            tell(message)
