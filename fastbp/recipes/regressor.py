"""What regressors of tables share: quantities, standardized for training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d

from fastbp.losses import MSE, Loss
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.preprocessing.targets import Targets, learn_targets
from fastbp.recipes.base import Rows, TableEstimator
from fastbp.util.arguments import real
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

    def _compare(self, given: Rows, used: Array, held: Rows | None) -> None:
        self.__dict__.pop("residuals_", None)
        if self.n_folds is not None:
            self.residuals_ = (given.y - self.out_of_fold_)[used]
            return
        if held is None:
            rows = self.members_[0].held
            if rows is None:
                return
            held = given.take(rows)
        features = self.preprocessor_.transform(held.table)
        residuals = held.y - self._mean(self._output(member, features) for member in self.members_)
        self.residuals_ = residuals if held.weight is None else residuals[held.weight > 0]

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
            return self._mean(self._of_members(X))
        if len(self._fitted()) == 1:
            raise ValueError("return_std needs several members, but there is one: fit with n_ensembles=8")
        each = np.stack(list(self._of_members(X)))
        return each.mean(axis=0), each.std(axis=0)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        """Predict a lower and an upper bound of each target.

        The interval is the prediction ± the k-th smallest of the n absolute residuals of the rows held out, with
        k = ⌈(n + 1) coverage⌉ (split conformal prediction). If rows come from where the training rows came from, it
        holds the target with about this probability, whatever the distribution of the errors. All rows have the same
        width; outputs have their own.

        Parameters
        ----------
        X : table (n, columns)
            With the columns of the training rows.
        coverage : float, default 0.9
            Share of the targets that shall lie in their intervals, between 0 and 1.

        Returns
        -------
        lower, upper : ndarray (n,) or (n, outputs)
            In the units of y.

        Raises
        ------
        ValueError
            If coverage is not between 0 and 1, or if no rows, or too few for it, were held out.
        TypeError
            If coverage is not a number.

        Notes
        -----
        The best epoch was chosen by the same rows, which makes intervals a little too narrow where these are few; pass
        ``n_folds`` to take the residuals of all rows. Weights of rows do not count, unless they are 0.

        References
        ----------
        Lei et al., "Distribution-free predictive inference for regression", 2018.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.recipes import RealMLPRegressor
        >>> x = np.linspace(0, 1, 1000)
        >>> y = 3 * x + np.random.default_rng(0).normal(0, 0.1, 1000)
        >>> regressor = RealMLPRegressor(n_epochs=30, batch_size=50, n_folds=2, random_state=0).fit(x[:, None], y)
        >>> lower, upper = regressor.predict_interval(x[:, None], coverage=0.8)
        >>> bool(0.75 < np.mean((lower <= y) & (y <= upper)) < 0.85)
        True
        """
        self._fitted()
        coverage = real(coverage, "coverage", "between 0 and 1", lambda share: 0 < share < 1, "pass for example 0.9")
        if "residuals_" not in self.__dict__:
            raise ValueError(
                "predict_interval needs rows held out: fit with validation_fraction, n_folds, or X_val and y_val"
            )
        n = len(self.residuals_)
        rank = math.ceil((n + 1) * coverage - 1e-9)  # 0.7 is a little more, or less, than 7 / 10
        if rank > n:
            fewest = math.ceil(coverage / (1 - coverage) - 1e-9)
            raise ValueError(
                f"coverage={coverage:g} needs {fewest} rows held out, got {n}: fit with more rows, or lower coverage"
            )
        margin = np.sort(np.abs(self.residuals_), axis=0)[rank - 1]
        predictions = self.predict(X).astype(np.float64)
        return predictions - margin, predictions + margin

    def _in_units(self, outputs: Array, preprocessor: Preprocessor) -> Array:
        return preprocessor.inverse_target(outputs)
