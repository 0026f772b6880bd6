"""What classifiers of tables share: classes and their weights, probabilities."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets

from fastbp.estimators import class_weights
from fastbp.losses import CrossEntropy, Loss
from fastbp.model.sequential import Sequential
from fastbp.preprocessing.targets import Targets, of_objects
from fastbp.recipes.base import SHARE, TableEstimator
from fastbp.recipes.calibration import calibrate
from fastbp.util.types import Array


class TableClassifier(ClassifierMixin, TableEstimator):
    """Two classes or more, one softmax output each."""

    classes_: Array
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = TableEstimator._parameter_constraints | {
        "label_smoothing": [SHARE],
        "class_weight": [None, dict, StrOptions({"balanced"})],
        "calibrate": ["boolean"],
    }

    # ---------------------------------------------------------------- fitting

    def _checked_targets(self, y: Any, name: str) -> Array:
        if not isinstance(getattr(y, "dtype", None), np.dtype | None):  # pandas' types of its own would become floats
            y = np.asarray(y, object)
        values: Array = column_or_1d(y, warn=True)
        if values.dtype.kind == "O":
            values = of_objects(values)
        if values.dtype.kind == "f":  # scikit-learn's next check warns of what is not finite
            check_array(values, ensure_2d=False, input_name=name)
        check_classification_targets(values)
        if hasattr(self, "classes_") and name != "y" and len(new := np.setdiff1d(values, self.classes_)):
            one = new[0].item()
            raise ValueError(f"{name} has classes that y does not have, such as {one!r}: leave these rows out")
        return values

    def _learn_targets(self, y: Array) -> Targets:
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            one = self.classes_[0].item()
            raise ValueError(f"y must have at least two classes, got one class, {one!r}: pass rows of other classes")
        self._class_weights = class_weights.tables(self.class_weight, y.reshape(-1, 1), [self.classes_])
        labels = self.classes_.tolist()
        simple = all(isinstance(label, str | int | float) for label in labels)
        return Targets(tuple(labels if simple else map(str, labels)), (), (), True)

    def _coded(self, y: Array, targets: Targets) -> Array:
        return self._strata(y)

    def _member_targets(self, y: Array, targets: Targets, clamp: bool) -> Targets:
        return targets

    def _weighed(self, y: Array, weight: Array | None) -> Array | None:
        if not self._class_weights:
            return weight
        by_class = class_weights.of_rows(self._class_weights, y.reshape(-1, 1))
        return by_class if weight is None else by_class * weight

    def _strata(self, y: Array) -> Array:
        codes: Array = np.searchsorted(self.classes_, y)
        return codes

    def _loss(self) -> Loss:
        return CrossEntropy(label_smoothing=self.label_smoothing)

    def _selection(self) -> tuple[list[str], str]:
        return ["accuracy"], "accuracy"

    def _finish(self, model: Sequential, X: Array, y: Array, weight: Array | None = None) -> None:
        if self.calibrate:
            calibrate(model, X, y, weight)

    # ---------------------------------------------------------------- prediction

    def predict(self, X: Any) -> Array:
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : table (n, columns)
            With the columns of the training rows.

        Returns
        -------
        ndarray (n,)
            Labels.
        """
        best = self.predict_proba(X).argmax(axis=1)
        labels: Array = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Predict the probability of each class, the mean over the members.

        Parameters
        ----------
        X : table (n, columns)
            With the columns of the training rows.

        Returns
        -------
        ndarray (n, classes)
            In the order of ``classes_``.
        """
        proba = self._mean(self._of_members(X))
        if len(self.members_) > 1:  # sums of a mean are 1 to the precision of float32 only
            proba /= proba.sum(axis=1, keepdims=True)
        return proba
