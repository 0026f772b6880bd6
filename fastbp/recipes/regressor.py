"""What regressors of tables share: quantities, standardized for training."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d

from fastbp.losses import MSE, Loss
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.preprocessing.targets import Targets, learn_targets
from fastbp.recipes.base import TableEstimator
from fastbp.util.types import Array


class TableRegressor(RegressorMixin, TableEstimator):
    """One quantity or several, each standardized by the rows that a member is trained on."""

    # ---------------------------------------------------------------- fitting

    def _checked_targets(self, y: Any, name: str) -> Array:
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name=name)
        values: Array = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        return values

    def _learn_targets(self, y: Array) -> Targets:
        return learn_targets(y, "regression", None)

    def _member_targets(self, y: Array, targets: Targets, clamp: bool) -> Targets:
        return learn_targets(y, "regression", None, clamp)

    def _coded(self, y: Array, targets: Targets) -> Array:
        return targets.transform(y)

    def _strata(self, y: Array) -> Array | None:
        return None

    def _loss(self) -> Loss:
        return MSE()

    def _selection(self) -> tuple[list[str], str]:
        return [], "loss"

    # ---------------------------------------------------------------- prediction

    def predict(self, X: Any, *, return_std: bool = False) -> Any:
        """Predict the targets of each row, the mean over the members.

        Parameters
        ----------
        X : table (n, columns)
            With the columns of the training rows.
        return_std : bool, default False
            Whether to return the standard deviation over the members, too.

        Returns
        -------
        ndarray (n,) or (n, outputs)
            The predictions; with return_std a tuple of these and the standard deviations.
        """
        if not return_std:
            return self._mean(X)
        if len(self._fitted()) == 1:
            raise ValueError("return_std needs several members, but there is one: fit with n_ensembles=8")
        each = np.stack(list(self._of_members(X)))
        return each.mean(axis=0), each.std(axis=0)

    def _in_units(self, outputs: Array, preprocessor: Preprocessor) -> Array:
        return preprocessor.inverse_target(outputs)
