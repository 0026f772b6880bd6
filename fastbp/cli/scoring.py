"""The test score."""

from __future__ import annotations

import math

import numpy as np

from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.util.types import Array

_REMEDY = "train longer, try --learning-rate auto, or look for columns that say more about the target"


def score(preprocessor: Preprocessor, outputs: Array, y: Array) -> tuple[str, str]:
    """Name and value of the test score: accuracy, or R² with the error in the target's original units."""
    if preprocessor.classes:
        return "accuracy", f"{100 * float(np.mean(outputs.argmax(axis=1) == y)):.2f} %"
    residual = ((outputs - y).astype(np.float64) ** 2).mean(axis=0)
    variance = y.astype(np.float64).var(axis=0)
    r2 = float(np.mean(1 - residual / np.where(variance > 0, variance, 1)))
    rmse = math.sqrt(float(np.mean(residual * preprocessor.target_scale**2)))
    return "R²", f"{r2:.4f} (root mean square error {rmse:.6g})"


def no_better_than_constant(preprocessor: Preprocessor, outputs: Array, y: Array, y_train: Array) -> str:
    """A warning if the training rows' mean, or most frequent class, does as well on the test rows; "" otherwise."""
    if preprocessor.classes:
        majority = int(np.bincount(y_train).argmax())
        accuracy, constant = float(np.mean(outputs.argmax(axis=1) == y)), float(np.mean(y == majority))
        if accuracy > constant or constant == 1.0:
            return ""
        always = f"always predicting {str(preprocessor.classes[majority])!r}, which has {100 * constant:.2f} %"
        return f"the model is no better than {always}: {_REMEDY}"
    error = float(((outputs - y).astype(np.float64) ** 2).mean())
    constant = float(((y_train.mean(axis=0, dtype=np.float64) - y) ** 2).mean())
    if error < constant or constant == 0.0:
        return ""
    factor = math.sqrt(error / constant)
    return f"the model is no better than the mean of the target (its error is {factor:.3g} times as large): {_REMEDY}"


def score_known(preprocessor: Preprocessor, outputs: Array, y: Array) -> str:
    """The score of predictions in words; of the rows whose class was learned, if others are among them.

    Says why there is none instead of raising: predictions are worth as much without a score.
    """
    try:
        known = np.ones(len(y), bool)
        if preprocessor.classes:
            names = {str(label) for label in preprocessor.classes}
            y = _spelled_as(y, preprocessor)
            known = np.array([str(label) in names for label in y.tolist()], bool)
        if not known.any():
            first = y[0] if len(y) else "no rows"
            return f"not scored: no class in the target was seen in training (got {first!r})"
        name, value = score(preprocessor, outputs[known], preprocessor.transform_target(y[known]))
        left_out = int(np.count_nonzero(~known))
        note = f" on {known.sum():,} rows; {left_out:,} with classes not seen in training left out" * bool(left_out)
        return f"{name} {value}{note}"
    except (ValueError, TypeError) as error:
        return f"not scored: {error}"


def _spelled_as(y: Array, preprocessor: Preprocessor) -> Array:
    """Labels as in training; the test rows of UCI's Adult have a full stop after each label."""
    assert preprocessor.classes is not None
    if not isinstance(preprocessor.classes[0], str):
        return y
    texts = [str(label) for label in y.tolist()]
    return np.array([text if text in preprocessor.classes else text.rstrip(".") for text in texts], object)
