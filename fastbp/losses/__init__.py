"""Loss functions by name or object, and the last activations that each allows.

`fastbp.reference.LOSSES` holds the equations and their derivatives. Where PyTorch has a loss, formula and defaults are
PyTorch's, otherwise Keras's. All are means over the rows of a batch; with sample weights ``Σ w l / Σ w``.
"""

from fastbp.losses.base import Loss
from fastbp.losses.by_name import ALIASES, LAST_ACTIVATIONS, NAMES, check_output, get
from fastbp.losses.classes import (
    BinaryCrossEntropy,
    BinaryFocal,
    CategoricalFocal,
    CategoricalHinge,
    CrossEntropy,
    Hinge,
    KLDivergence,
)
from fastbp.losses.custom import CustomLoss
from fastbp.losses.numbers import MAE, MSE, GaussianNLL, Huber, LogCosh, Poisson, Quantile

__all__ = [
    "ALIASES",
    "LAST_ACTIVATIONS",
    "MAE",
    "MSE",
    "NAMES",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CategoricalFocal",
    "CategoricalHinge",
    "CrossEntropy",
    "CustomLoss",
    "GaussianNLL",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "Poisson",
    "Quantile",
    "check_output",
    "get",
]
