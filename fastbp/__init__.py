"""fastbp: multilayer perceptrons trained by backpropagation on multicore CPUs.

>>> import fastbp
>>> model = fastbp.Sequential([fastbp.Dense(32, "relu"), fastbp.Dense(10, "softmax")])
>>> model.compile("adam", "cross_entropy", metrics=["accuracy"])
>>> from fastbp.datasets import load_digits
>>> X, y, _ = load_digits()
>>> history = model.fit(X / 16, y, batch_size=32, epochs=20)
>>> model.evaluate(X / 16, y)["accuracy"] > 0.95
True
"""

import importlib
import os

from fastbp.activations import ELU, CustomActivation, LeakyReLU
from fastbp.checkpoint import CheckpointError
from fastbp.layers import Activation, Dense
from fastbp.losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    BinaryFocal,
    CategoricalFocal,
    CategoricalHinge,
    CrossEntropy,
    CustomLoss,
    GaussianNLL,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    Poisson,
    Quantile,
)
from fastbp.model import Sequential, load
from fastbp.optimizers import SGD, Adam, AdamW
from fastbp.training import DivergenceWarning, History

__version__ = "0.1.0"
_LATER = ("datasets", "kernels", "reference")  # imported when first asked for; Numba alone takes 0.25 s
if os.environ.get("FASTBP_ISA", "").strip():  # is checked, and takes effect, before Numba compiles anything
    importlib.import_module("fastbp.kernels.jit")

__all__ = [
    "ELU",
    "MAE",
    "MSE",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CategoricalFocal",
    "CategoricalHinge",
    "CheckpointError",
    "CrossEntropy",
    "CustomActivation",
    "CustomLoss",
    "Dense",
    "DivergenceWarning",
    "GaussianNLL",
    "Hinge",
    "History",
    "Huber",
    "KLDivergence",
    "LeakyReLU",
    "LogCosh",
    "Poisson",
    "Quantile",
    "Sequential",
    "__version__",
    "load",
]


def __getattr__(name: str) -> object:
    if name in _LATER:
        return importlib.import_module(f"fastbp.{name}")
    raise AttributeError(f"module 'fastbp' has no attribute {name!r}")
