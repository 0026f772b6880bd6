"""`MLPRegressor`."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from fastbp import losses
from fastbp.estimators import architecture, parameters
from fastbp.estimators.architecture import OutputDesign
from fastbp.estimators.base import BaseMLP
from fastbp.estimators.classifier import _by_minibatches
from fastbp.estimators.validation import r2
from fastbp.util.types import Array


class MLPRegressor(RegressorMixin, BaseMLP):
    """scikit-learn's MLPRegressor on fastbp's engine: same parameters, weights and scores, many times faster.

    It minimizes::

        mean of 1/2 (f(x) - y)^2  +  alpha / 2 sum W^2 / rows of the batch

    X is as in `MLPClassifier`; y is (n,) or (n, outputs) numbers.

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        "squared_error", "poisson" (y >= 0; the prediction is the exponential of the output), "absolute_error", or a
        name or object of `fastbp.losses`, such as ``Quantile((0.1, 0.5, 0.9))`` or ``GaussianNLL()``.
    hidden_layer_sizes : sequence of int, default (100,)
        Units of the hidden layers.
    activation : str, Activation or sequence, default "relu"
        Activation of the hidden layers, or one for each.
    scoring : str or callable, optional
        Criterion of early stopping, R² by default.
    solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol
        As in `MLPClassifier`.
    verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon
        As in `MLPClassifier`.
    n_iter_no_change, max_fun, dropout, batch_norm, callbacks, progress, n_threads, compute
        As in `MLPClassifier`, which also has class_weight.

    See Also
    --------
    MLPClassifier : Attributes, errors and warnings.

    Notes
    -----
    docs/estimators.md lists the differences from scikit-learn.

    References
    ----------
    Goodfellow et al. 2016, chapters 6 and 8.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 200).reshape(-1, 1)
    >>> regressor = MLPRegressor(hidden_layer_sizes=(32,), solver="lbfgs", random_state=0).fit(X, np.abs(X[:, 0]))
    >>> regressor.score(X, np.abs(X[:, 0])) > 0.99
    True
    """

    _parameter_constraints = parameters.CONSTRAINTS | {"loss": parameters.REGRESSOR_LOSSES}
    _numeric_y = True

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: Any = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = None,
        batch_norm: bool = False,
        scoring: Any = None,
        callbacks: Any = None,
        progress: bool = False,
        n_threads: int | None = None,
        compute: str = "float32",
    ) -> None:
        parameters.set_parameters(self, locals())

    # ---------------------------------------------------------------- fitting

    @available_if(_by_minibatches)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Train for one epoch over X and y.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As in `fit`; for early_stopping see `MLPClassifier.partial_fit`.

        Returns
        -------
        self
            The estimator.
        """
        with self._turns.fit():
            return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)

    def _validated(self, X: Any, y: Any, first: bool, end: str = "") -> tuple[Any, Array]:
        _check_numbers(y, "y" + end)
        return super()._validated(X, y, first, end)

    def _learn_y(self, y: Array, first: bool, incremental: bool, classes: Any) -> None:
        if first or not hasattr(self, "_columns"):
            self._columns = 1 if y.ndim == 1 else y.shape[1]

    def _check_y(self, y: Array, name: str, incremental: bool) -> Array:
        if (1 if y.ndim == 1 else y.shape[1]) != self._columns:
            raise ValueError(f"{name} must have {self._columns} columns, as in the previous fit, got shape {y.shape}")
        lowest = float(y.min())
        counts = self.loss == "poisson" or isinstance(self.loss, losses.Poisson)
        if counts and lowest < 0:
            raise ValueError(f"{name} must not be negative for the loss 'poisson', got {lowest}: pass counts")
        if self._design(y).activation == "sigmoid" and (lowest < 0 or float(y.max()) > 1):
            raise ValueError(f"{name} must lie in [0, 1] for the loss {self.loss!r}: scale it")
        return y

    def _design(self, y: Array) -> OutputDesign:
        return architecture.regression(self.loss, 1 if y.ndim == 1 else y.shape[1])

    def _targets(self, y: Array, design: OutputDesign, dtype: Any) -> Array:
        return y.reshape(len(y), -1)  # converted by the check that follows

    # ---------------------------------------------------------------- prediction

    def predict(self, X: Any, *, return_std: bool = False) -> Any:
        """Predict the targets of each row.

        Parameters
        ----------
        X : array-like or sparse matrix (n, features)
            Features.
        return_std : bool, default False
            With the loss GaussianNLL, whether to return standard deviations as well.

        Returns
        -------
        ndarray (n,) or (n, outputs)
            The predictions; of several quantiles the one nearest to the median (see `predict_quantiles`). With
            return_std a tuple of these and the standard deviations.
        """
        outputs = self._outputs(X)
        mean = self._shaped(self._predictions(outputs))
        if not return_std:
            return mean
        if not isinstance(self._fitted_loss, losses.GaussianNLL):
            raise ValueError(
                f"return_std needs the loss GaussianNLL(), but the loss is {self.loss!r}: fit with loss='gaussian_nll'"
            )
        return mean, self._shaped(np.exp(outputs[:, outputs.shape[1] // 2 :] / 2))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R² of the predictions.

        Parameters
        ----------
        X : array-like or sparse matrix (n, features)
            Features.
        y : array-like (n,) or (n, outputs)
            Targets.
        sample_weight : array-like (n,), optional
            Weights of the rows.

        Returns
        -------
        float
            As scikit-learn's r2_score.
        """
        _check_numbers(y, "y")
        return float(super().score(X, y, sample_weight))

    def predict_quantiles(self, X: Any) -> Array:
        """Predict all quantiles of the loss Quantile.

        Parameters
        ----------
        X : array-like or sparse matrix (n, features)
            Features.

        Returns
        -------
        ndarray (n, quantiles) or (n, outputs, quantiles)
            The quantiles, in the order of the loss.
        """
        outputs = self._outputs(X)
        loss = self._fitted_loss
        if not isinstance(loss, losses.Quantile):
            raise ValueError(
                f"predict_quantiles needs the loss Quantile, but the loss is {self.loss!r}: fit with "
                "loss=Quantile((0.1, 0.5, 0.9))"
            )
        quantiles: Array = outputs.reshape(len(outputs), -1, len(loss.parameters))
        return quantiles[:, 0] if quantiles.shape[1] == 1 else quantiles

    @property
    def _fitted_loss(self) -> losses.Loss:
        loss: losses.Loss = self.model_.loss
        return loss

    def _predictions(self, outputs: Array) -> Array:
        predicted = self._fitted_loss.predictions(outputs)
        return np.exp(predicted) if self.out_activation_ == "exp" else predicted

    def _shaped(self, values: Array) -> Array:
        return np.ascontiguousarray(values[:, 0] if values.shape[1] == 1 else values)

    def _score_outputs(self, outputs: Array, y: Array, weight: Array | None) -> float:
        return r2(y, self._predictions(outputs), weight)


def _check_numbers(y: Any, name: str) -> None:
    """TypeError unless y holds numbers; scikit-learn would turn strings such as "1" into numbers, or fail later."""
    if hasattr(y, "tocsr"):
        raise TypeError(f"{name} must be a dense array, got sparse {type(y).__name__}: pass {name}.toarray()")
    try:
        values = np.asarray(y)
    except ValueError:  # rows of different lengths, which scikit-learn's message explains
        return
    if values.dtype.kind in "SUTO":
        text = next((value for value in values.flat if isinstance(value, str | bytes)), None)
        if text is not None:
            raise TypeError(
                f"{name} must hold numbers for MLPRegressor, got the string {str(text)!r}: convert them with "
                f"{name}.astype(float), or use MLPClassifier for classes"
            )
    try:
        values.astype(np.float64) if values.dtype.kind == "O" else None
    except OverflowError as error:
        raise ValueError(f"{name} must hold numbers that fit in float64 ({error}): scale them") from error
    except (TypeError, ValueError):  # which scikit-learn's message explains
        return
    if values.dtype.kind in "mM":
        raise TypeError(f"{name} must hold numbers for MLPRegressor, got {values.dtype}: convert it to numbers")
