"""`MLPClassifier`."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from fastbp.estimators import design as designs
from fastbp.estimators import parameters
from fastbp.estimators.base import BaseMLP
from fastbp.estimators.design import Design
from fastbp.estimators.validation import accuracy
from fastbp.util.types import Array


def _by_minibatches(estimator: Any) -> bool:
    """Whether the solver takes batches; AttributeError, in scikit-learn's words, where it does not."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


def _has_probabilities(estimator: Any) -> bool:
    if getattr(estimator, "out_activation_", "softmax") not in ("softmax", "logistic"):
        raise AttributeError(f"the loss {estimator.loss!r} has no probabilities: fit with loss='log_loss'")
    return True


class MLPClassifier(ClassifierMixin, BaseMLP):
    """scikit-learn's MLPClassifier on fastbp's engine: the same parameters, weights and scores, many times faster.

        minimised is  mean of -log p(y | x)  +  alpha / 2 sum W^2 / rows of the batch

    X: (n, features), an array, a DataFrame or a sparse matrix; float32 is computed in float32, all else in float64.
    y: (n,) labels of any kind, or (n, classes) of 0 and 1, of which any number may be 1 (multilabel).

    scikit-learn's parameters: hidden_layer_sizes, activation ("identity", "logistic", "tanh", "relu"), solver ("adam",
    "sgd", "lbfgs"), alpha, batch_size, learning_rate ("constant", "invscaling", "adaptive"), learning_rate_init,
    power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping,
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun. A random_state gives the same initial
    weights, held out rows and orders as there, and so, but for rounding, the same weights after training.

    Added: activation may be any of fastbp's, or a sequence of one for each hidden layer. solver may be a name or an
    object of fastbp.optimizers, such as AdamW(1e-3); learning_rate_init may be a schedule. dropout: the share of each
    hidden layer's outputs to drop, or one for each. batch_norm: whether to normalise below each hidden activation.
    loss: "log_loss", or a name or object of fastbp.losses. class_weight: None, "balanced" or {class: weight}. scoring:
    what early stopping goes by: None (accuracy), "loss", a scorer or its name. callbacks: of fastbp.callbacks.
    progress: whether to show a bar. n_threads: at most so many, None for as many as pay.

    Attributes: scikit-learn's, and model_, the fastbp.Sequential; validation_loss_curve_ beside validation_scores_.

    Raises ValueError or TypeError for parameters and data that cannot be right; warns with scikit-learn's
    ConvergenceWarning where max_iter came before convergence.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = MLPClassifier(tol=1e-3, random_state=0).fit(X[:1000] / 16, y[:1000])
    >>> classifier.score(X[1000:] / 16, y[1000:]) > 0.9
    True

    Goodfellow et al. 2016, chapters 6 and 8; docs/estimators.md says what differs from scikit-learn.
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
        """Train for one epoch over X and y; the first call needs classes, all there will be.

        With early_stopping, X_val and y_val are needed: once the score on them has not become better for
        n_iter_no_change calls the best weights are restored, stopped_early_ is True, and later calls change nothing.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which cannot know how many rows of a class "
                "are to come: pass a dict, such as that of sklearn.utils.compute_class_weight"
            )
        if _check_partial_fit_first_call(self, classes):
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer = LabelBinarizer().fit(y if multilabel else classes)
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)

    def _check_y(self, y: Array, incremental: bool, first: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_known(unique_labels(y), incremental)
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return np.asarray(self._label_binarizer.transform(y))
        return y

    def _check_known(self, labels: Array, incremental: bool) -> None:
        """ValueError for classes the model does not have."""
        if self.warm_start and not incremental and set(labels) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {labels}"
            )
        if len(np.setdiff1d(labels, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {labels}."
            )

    @property
    def _multilabel(self) -> bool:
        return bool(self._label_binarizer.y_type_.startswith("multilabel"))

    def _design(self, y: Array) -> Design:
        return designs.classification(self.loss, len(self.classes_), self._multilabel)

    def _targets(self, y: Array, design: Design, dtype: Any) -> Array:
        if self._multilabel:
            return _signed(np.ascontiguousarray(y, dtype), design)
        codes: Array = np.searchsorted(self.classes_, y).astype(np.int64, copy=False)
        if design.loss.targets == "classes":
            return codes
        if design.units == 1:
            return _signed(codes.astype(dtype).reshape(-1, 1), design)
        return _signed(np.eye(design.units, dtype=dtype)[codes], design)

    def _weigh(self, y: Array, weight: Array | None, incremental: bool) -> Array | None:
        if self.class_weight is None:
            return weight
        by_class = compute_sample_weight(self.class_weight, y)
        return by_class if weight is None else by_class * weight

    def _strata(self, y: Array) -> Array | None:
        if self._multilabel or len(self.classes_) > 2:
            return None  # as scikit-learn, which looks at the columns of a binarised y
        return np.where(y == self.classes_[-1], "True", "False") if len(self.classes_) == 2 else None

    # ---------------------------------------------------------------- asking

    def predict(self, X: Any) -> Array:
        """The most probable class of each row, (n,); of multilabel the classes above 1/2, (n, classes) of 0 and 1."""
        return self._labels(self._outputs(X))

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, (n, classes), in the order of classes_."""
        p = self._outputs(X)
        if self._multilabel:
            return p
        if p.shape[1] == 1:
            return np.hstack([1 - p, p])
        return p / p.sum(axis=1, keepdims=True) if self.out_activation_ == "logistic" else p

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of predict_proba."""
        p = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.log(p, out=p)

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


def _signed(targets: Array, design: Design) -> Array:
    """0 and 1 as the loss takes them."""
    return 2 * targets - 1 if design.loss.targets == "signs" else targets
