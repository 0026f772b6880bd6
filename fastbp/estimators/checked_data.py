"""Validation of an estimator's data against the network that it has, or is going to build."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastbp.data import arrays as data
from fastbp.data import csr, sample_weights, targets
from fastbp.data.arrays import Rows
from fastbp.estimators.architecture import OutputDesign
from fastbp.util.types import Array

DTYPES = (np.float64, np.float32)


class Given(NamedTuple):
    """Validated data: X an array or a sparse matrix, y as the user passed it, weight (n,) or None."""

    X: Any
    y: Array
    weight: Array | None

    def take(self, part: Array) -> Given:
        """Select rows."""
        return Given(self.X[part], self.y[part], None if self.weight is None else self.weight[part])


class CheckedData:
    """What an estimator does with X, y and weights before anything else; y has one check for all entries.

    Nothing of the estimator changes before all of fit's data are checked.
    """

    solver: Any
    _numeric_y = False  # whether y must be numbers

    # ---------------------------------------------------------------- what subclasses implement

    @abstractmethod
    def _learn_y(self, y: Array, first: bool, incremental: bool, classes: Any) -> None:
        """Record what y tells about the network to be built: its classes, or how many columns."""

    @abstractmethod
    def _check_y(self, y: Array, name: str, incremental: bool) -> Array:
        """y, validated against what `_learn_y` recorded, which is what the network was built for."""

    @abstractmethod
    def _targets(self, y: Array, design: OutputDesign, dtype: Any) -> Array:
        """y in the form the engine takes."""

    def _learn_class_weights(self, y: Array) -> None:
        """Settle the weights of classes; y: the training rows."""

    def _weigh(self, y: Array, weight: Array | None) -> Array | None:
        """Sample weights, including class weights."""
        return weight

    # ---------------------------------------------------------------- checks

    @contextmanager
    def _kept_on_error(self) -> Iterator[None]:
        """Leave the estimator as it was if data or parameters are refused."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            now = vars(self)
            now.update(before)  # first, so that other threads that predict never miss an attribute
            for name in now.keys() - before.keys():
                del now[name]
            raise

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, first: bool, incremental: bool, classes: Any
    ) -> Given:
        """The training rows; what they tell about the network is recorded."""
        X, y = self._validated(X, y, first)
        self._learn_y(y, first, incremental, classes)
        given = self._checked(X, y, sample_weight, incremental)
        if given.weight is not None and not given.weight.any():  # later versions of scikit-learn check this
            raise ValueError("Sample weights must contain at least one non-zero number.")
        self._learn_class_weights(given.y)
        return given._replace(weight=self._weigh(given.y, given.weight))

    def _validated(self, X: Any, y: Any, first: bool, end: str = "") -> tuple[Any, Array]:
        """X and y, validated by scikit-learn; end: of their names."""
        refuse_masked(**{"X" + end: X, "y" + end: y})
        csr.check(X, "X" + end)
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=DTYPES, reset=first,
            y_numeric=self._numeric_y,
        )  # fmt: skip
        return X, column_or_1d(y, warn=True) if isinstance(y, np.ndarray) and y.shape[1:] == (1,) else y

    def _checked(self, X: Any, y: Array, weight: Any, incremental: bool, end: str = "") -> Given:
        """Validated X and y, checked against the network; end: of their names."""
        y = self._check_y(y, "y" + end, incremental)
        if weight is not None:
            data.numeric(weight, "sample_weight" + end)  # scikit-learn takes strings and what is behind a mask
            weight = _check_sample_weight(weight, X, dtype=X.dtype, ensure_non_negative=True)
        return Given(X.tocsr() if hasattr(X, "tocsr") else X, y, weight)

    def _check_held_out(self, held_out: tuple[Any, Any, Any]) -> Given | None:
        """X_val, y_val and sample_weight_val, weighted as the training rows are, or None if not given."""
        X, y, weight = held_out
        if X is None and y is None and weight is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val must both be given, or none of them")
        if self.solver == "lbfgs":
            raise ValueError("X_val needs epochs, which solver='lbfgs' does not have: pass solver='adam' or 'sgd'")
        given = self._checked(*self._validated(X, y, False, "_val"), weight, True, "_val")
        return given._replace(weight=self._weigh(given.y, given.weight))

    def _rows(self, given: Given, design: OutputDesign, dtype: Any, end: str = "") -> Rows:
        """Data in the form the engine takes, checked in this form; end: of their names."""
        dtype, n = np.dtype(dtype), given.X.shape[0]
        X = given.X
        if hasattr(X, "tocsr") or X.dtype != dtype or not X.flags.carray:
            X = data.features(X, None, dtype, "X" + end)
        y = targets.targets(self._targets(given.y, design, dtype), n, design.units, design.loss, dtype, "y" + end)
        weight = given.weight
        if weight is not None:
            weight = sample_weights.weights(weight, n, dtype, "sample_weight" + end)
        return Rows(X, y, weight)


def refuse_masked(**arrays: Any) -> None:
    """ValueError for masked values, whose mask scikit-learn would ignore."""
    for name, array in arrays.items():
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise ValueError(f"{name} must have no masked values, got a masked array: fill or drop them")
