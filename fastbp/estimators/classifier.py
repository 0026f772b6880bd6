"""`MLPClassifier`."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from fastbp.estimators import architecture, class_weights, parameters
from fastbp.estimators.architecture import OutputDesign
from fastbp.estimators.base import BaseMLP
from fastbp.estimators.validation import accuracy
from fastbp.util.types import Array


def _by_minibatches(estimator: Any) -> bool:
    """Whether the solver uses minibatches; AttributeError, in scikit-learn's words, if it does not."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


def _gives_probabilities(estimator: Any) -> bool:
    if hasattr(estimator, "out_activation_"):
        return estimator.out_activation_ in ("softmax", "logistic")
    try:
        return architecture.classification(estimator.loss, 2, False).activation != "identity"
    except (TypeError, ValueError):  # an invalid loss, which fit refuses
        return True


def _has_probabilities(estimator: Any) -> bool:
    if not _gives_probabilities(estimator):
        raise AttributeError(
            f"the loss {estimator.loss!r} gives no probabilities: use decision_function, or fit with loss='log_loss'"
        )
    return True


def _has_margins(estimator: Any) -> bool:
    """Whether there are outputs that are no probabilities; with both methods, scikit-learn would prefer the outputs."""
    if _gives_probabilities(estimator):
        raise AttributeError(f"the loss {estimator.loss!r} gives probabilities: use predict_proba")
    return True


class MLPClassifier(ClassifierMixin, BaseMLP):
    """scikit-learn's MLPClassifier on fastbp's engine: same parameters, weights and scores, many times faster.

    It minimizes::

        mean of -log p(y | x)  +  alpha / 2 sum W^2 / rows of the batch

    X is (n, features): an array, a DataFrame or a sparse matrix; float32 is computed in float32, everything else in
    float64. y is (n,) labels of any kind, or (n, classes) of 0 and 1 for multilabel classification.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default (100,)
        Units of the hidden layers.
    activation : str, Activation or sequence, default "relu"
        "identity", "logistic", "tanh", "relu" or any other of fastbp's activations; or one for each hidden layer.
    solver : str or Optimizer, default "adam"
        "adam", "sgd", "lbfgs", another name, or an object of `fastbp.optimizers` such as ``AdamW(1e-3)``.
    alpha : float, default 1e-4
        Strength of the L2 penalty.
    batch_size : int or "auto", default "auto"
        Rows per step; "auto" is min(200, n).
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        How the learning rate changes.
    learning_rate_init : float or schedule, default 0.001
        Initial learning rate, or a schedule of `fastbp.schedules`.
    power_t : float, default 0.5
        Exponent of "invscaling".
    max_iter : int, default 200
        Maximum number of epochs, or of iterations of "lbfgs".
    shuffle : bool, default True
        Whether to shuffle the rows every epoch.
    random_state : int, RandomState or None, default None
        Gives the same initial weights, validation rows and orders as in scikit-learn and thus, up to rounding, the same
        weights after training.
    tol : float, default 1e-4
        Improvement below which an epoch counts as no improvement.
    verbose : bool, default False
        Whether to print the loss of every epoch.
    warm_start : bool, default False
        Whether fit continues from the current weights.
    momentum : float, default 0.9
        Momentum of "sgd".
    nesterovs_momentum : bool, default True
        Whether "sgd" uses Nesterov's momentum.
    early_stopping : bool, default False
        Whether to stop when the validation score stops improving.
    validation_fraction : float, default 0.1
        Share of the rows held out for early stopping.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999, 1e-8
        Of "adam".
    n_iter_no_change : int, default 10
        Epochs without improvement before training stops.
    max_fun : int, default 15000
        Maximum number of loss evaluations of "lbfgs".
    loss : str or Loss, default "log_loss"
        "log_loss", or a name or object of `fastbp.losses`. Not in scikit-learn, like all that follow.
    dropout : float or sequence, optional
        Dropout rate of the hidden layers, or one for each.
    batch_norm : bool, default False
        Whether to use batch normalization before each hidden activation.
    class_weight : "balanced" or dict, optional
        {class: weight}.
    scoring : str or callable, optional
        Criterion of early stopping: accuracy by default, "loss", a scorer or its name.
    callbacks : list, optional
        Of `fastbp.callbacks`.
    progress : bool, default False
        Whether to show a progress bar.
    n_threads : int, optional
        Maximum number of threads, by default as many as are worthwhile.
    compute : {"float32", "bfloat16", "bfloat16x3", "auto"}, default "float32"
        How products are computed, see `Sequential`; with the second and third, X becomes float32.

    Attributes
    ----------
    model_ : Sequential
        The trained model. All attributes of scikit-learn's estimator exist as well.
    validation_loss_curve_ : list of float
        Validation loss per epoch; scikit-learn's ``validation_scores_`` holds the scores.

    Raises
    ------
    ValueError, TypeError
        For invalid parameters or data.

    Warns
    -----
    ConvergenceWarning
        If max_iter was reached before convergence.

    Notes
    -----
    docs/estimators.md lists the differences from scikit-learn.

    References
    ----------
    Goodfellow et al. 2016, chapters 6 and 8.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = MLPClassifier(tol=1e-3, random_state=0).fit(X[:1000] / 16, y[:1000])
    >>> classifier.score(X[1000:] / 16, y[1000:]) > 0.9
    True
    """

    _parameter_constraints = parameters.CONSTRAINTS | {
        "loss": parameters.CLASSIFIER_LOSSES,
        "class_weight": [None, dict, StrOptions({"balanced"}), list],
    }

    def __init__(
        self,
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
        loss: Any = "log_loss",
        dropout: Any = None,
        batch_norm: bool = False,
        class_weight: Any = None,
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
        classes: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Train for one epoch over X and y.

        With early_stopping, X_val and y_val are required. Once their score has not improved for n_iter_no_change calls,
        the best weights are restored, ``stopped_early_`` is True, and later calls change nothing.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As in `fit`.
        classes : array-like, optional
            All classes there will be; required by the first call.

        Returns
        -------
        self
            The estimator.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not know the class "
                "frequencies: pass a dict, such as from sklearn.utils.compute_class_weight"
            )
        with self._turns.fit():
            return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True, classes=classes)

    def _learn_y(self, y: Array, first: bool, incremental: bool, classes: Any) -> None:
        if incremental and _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_

    def _check_y(self, y: Array, name: str, incremental: bool) -> Array:
        if self._multilabel and y.shape[1:] != self.classes_.shape:
            raise ValueError(
                f"{name} must have {len(self.classes_)} columns of 0 and 1, one for each class, got shape {y.shape}: "
                "pass all columns, or fit another estimator"
            )
        if not self._multilabel and y.ndim != 1:
            raise ValueError(
                f"{name} must hold one label per row, as in the first fit, got shape {y.shape}: pass labels (rows,), "
                "or fit another estimator"
            )
        self._check_classes(unique_labels(y), name, incremental)
        return np.asarray(self._label_binarizer.transform(y)) if self._multilabel else y

    def _check_classes(self, labels: Array, name: str, incremental: bool) -> None:
        """ValueError for classes the model does not have."""
        if (labels.dtype.kind in "biuf") != (self.classes_.dtype.kind in "biuf"):  # NumPy holds "1" and 1 for equal
            raise ValueError(
                f"{name} must hold labels such as {self.classes_[0]!r}, as in the first fit, got {labels[0]!r}: "
                "convert them"
            )
        if self.warm_start and not incremental and set(labels) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {labels}"
            )
        if len(np.setdiff1d(labels, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. '{name}' has "
                f"{labels}."
            )

    @property
    def _multilabel(self) -> bool:
        return bool(self._label_binarizer.y_type_.startswith("multilabel"))

    def _design(self, y: Array) -> OutputDesign:
        return architecture.classification(self.loss, len(self.classes_), self._multilabel)

    def _targets(self, y: Array, design: OutputDesign, dtype: Any) -> Array:
        if self._multilabel:
            return _signed(np.ascontiguousarray(y, dtype), design)
        codes: Array = np.searchsorted(self.classes_, y).astype(np.int64, copy=False)
        if design.loss.targets == "classes":
            return codes
        if design.units == 1:
            return _signed(codes.astype(dtype).reshape(-1, 1), design)
        return _signed(np.eye(design.units, dtype=dtype)[codes], design)

    def _learn_class_weights(self, y: Array) -> None:
        columns = [np.arange(2)] * len(self.classes_) if self._multilabel else [self.classes_]
        self._class_weights = class_weights.tables(self.class_weight, y.reshape(len(y), -1), columns)

    def _weigh(self, y: Array, weight: Array | None) -> Array | None:
        if not self._class_weights:
            return weight
        by_class = class_weights.of_rows(self._class_weights, y.reshape(len(y), -1))
        return by_class if weight is None else by_class * weight

    def _strata(self, y: Array) -> Array | None:
        if self._multilabel or len(self.classes_) > 2:
            return None  # as scikit-learn, which looks at the columns of a binarized y
        return np.where(y == self.classes_[-1], "True", "False") if len(self.classes_) == 2 else None

    # ---------------------------------------------------------------- prediction

    def predict(self, X: Any) -> Array:
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix (n, features)
            Features.

        Returns
        -------
        ndarray (n,) or (n, classes)
            Labels; for multilabel, 1 for every class with a probability above 1/2.
        """
        return self._labels(self._outputs(X))

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like or sparse matrix (n, features)
            Features.

        Returns
        -------
        ndarray (n, classes)
            In the order of ``classes_``.
        """
        p = self._outputs(X)
        if self._multilabel:
            return p
        if p.shape[1] == 1:
            return np.hstack([1 - p, p])
        return p / p.sum(axis=1, keepdims=True) if self.out_activation_ == "logistic" else p

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """Logarithm of `predict_proba`."""
        p = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(p, out=p)

    @available_if(_has_margins)
    def decision_function(self, X: Any) -> Array:
        """Compute the outputs for losses that give no probabilities, such as "hinge": the larger, the likelier.

        Parameters
        ----------
        X : array-like or sparse matrix (n, features)
            Features.

        Returns
        -------
        ndarray (n,) or (n, classes)
            For two classes, one number per row, positive for ``classes_[1]``; else in the order of ``classes_``.
        """
        outputs = self._outputs(X)
        if self._multilabel or outputs.shape[1] > 2 or len(self.classes_) > 2:
            return outputs
        return np.ascontiguousarray(outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0])

    def _labels(self, outputs: Array) -> Array:
        threshold = 0.5 if self.out_activation_ in ("softmax", "logistic") else 0.0
        if self._multilabel:
            labels: Array = self._label_binarizer.inverse_transform(outputs, threshold=threshold)
            return labels
        if outputs.shape[1] > 1:
            return np.asarray(self.classes_[outputs.argmax(axis=1)])
        codes = (outputs[:, 0] > threshold).astype(np.intp)
        return np.asarray(self.classes_[np.minimum(codes, len(self.classes_) - 1)])

    def _score_outputs(self, outputs: Array, y: Array, weight: Array | None) -> float:
        if y.ndim == 1:
            return accuracy(outputs.argmax(axis=1) == y, weight)
        if y.shape[1] > 1 and not self._multilabel:
            return accuracy(outputs.argmax(axis=1) == y.argmax(axis=1), weight)
        threshold = 0.5 if self.out_activation_ == "logistic" else 0.0
        right = ((outputs > threshold) == (y > 0)).all(axis=1)
        return accuracy(right | (len(self.classes_) == 1), weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _signed(targets: Array, design: OutputDesign) -> Array:
    """0 and 1 in the form the loss takes."""
    return 2 * targets - 1 if design.loss.targets == "signs" else targets
