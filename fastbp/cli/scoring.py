"""The test score."""

from __future__ import annotations

import math

import numpy as np

from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.util.types import Array


def score(preprocessor: Preprocessor, outputs: Array, y: Array) -> tuple[str, str]:
    """Name and value of the test score: accuracy, or R² with the error in the target's original units."""
    if preprocessor.classes:
        return "accuracy", f"{100 * float(np.mean(outputs.argmax(axis=1) == y)):.2f} %"
    residual = ((outputs - y).astype(np.float64) ** 2).mean(axis=0)
    variance = y.astype(np.float64).var(axis=0)
    r2 = float(np.mean(1 - residual / np.where(variance > 0, variance, 1)))
    rmse = math.sqrt(float(np.mean(residual * preprocessor.target_scale**2)))
    return "R²", f"{r2:.4f} (root mean square error {rmse:.6g})"
