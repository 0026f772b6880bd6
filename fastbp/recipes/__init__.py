"""Estimators for tables: whole recipes, from raw columns to predictions, with scikit-learn's interface.

`members` trains one or several networks, `base` is what all estimators share, `classifier` and `regressor` what those
of one task do, and each recipe has a module of its own.
"""

from fastbp.recipes.realmlp import RealMLPClassifier, RealMLPRegressor

__all__ = ["RealMLPClassifier", "RealMLPRegressor"]
