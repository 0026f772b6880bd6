"""fastbp: multilayer perceptrons trained by backpropagation on multicore CPUs.

Examples
--------
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

from fastbp import callbacks
from fastbp.activations import ELU, CustomActivation, LeakyReLU
from fastbp.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    GradientHealth,
    LambdaCallback,
    LearningRateScheduler,
    MLflow,
    ModelCheckpoint,
    OptunaPruning,
    ReduceLROnPlateau,
    StochasticWeightAveraging,
    TensorBoard,
    TerminateOnNaN,
)
from fastbp.constraints import MaxNorm
from fastbp.diagnosis.gradient_check import GradientCheck, check_gradients
from fastbp.diagnosis.layer_health import Diagnosis, diagnose
from fastbp.diagnosis.lr_finder import RateSearch, find_learning_rate
from fastbp.layers import Activation, BatchNorm, ColumnEmbedding, Dense, Dropout, GaussianNoise, LayerNorm, Residual
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
from fastbp.model.fold import fold
from fastbp.model.loading import load
from fastbp.model.sequential import Sequential
from fastbp.optimizers import LAMB, SGD, Adadelta, Adagrad, Adam, AdamW, Lion, Muon, NAdam, RMSprop
from fastbp.plots import plot_history
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.regularizers import L1, L1L2, L2
from fastbp.schedules import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    OneCycle,
    PiecewiseConstant,
    PolynomialDecay,
    StepDecay,
    Warmup,
)
from fastbp.storage.errors import CheckpointError
from fastbp.training.history import DivergenceWarning, History
from fastbp.util import old_names
from fastbp.util.version import __version__

# Imported lazily: Numba alone takes 0.25 s, the estimators need scikit-learn.
_LAZY_MODULES = ("datasets", "estimators", "exchange", "kernels", "reference", "sources")
_ESTIMATORS = ("MLPClassifier", "MLPRegressor")
old_names.install()
if os.environ.get("FASTBP_ISA", "").strip():  # must take effect before Numba compiles anything
    importlib.import_module("fastbp.kernels.jit")

__all__ = [
    "ELU",
    "L1",
    "L1L2",
    "L2",
    "LAMB",
    "MAE",
    "MSE",
    "SGD",
    "Activation",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "BackupAndRestore",
    "BatchNorm",
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CSVLogger",
    "Callback",
    "CategoricalFocal",
    "CategoricalHinge",
    "CheckpointError",
    "ColumnEmbedding",
    "CosineDecay",
    "CosineDecayRestarts",
    "CrossEntropy",
    "CustomActivation",
    "CustomLoss",
    "Dense",
    "Diagnosis",
    "DivergenceWarning",
    "Dropout",
    "EarlyStopping",
    "ExponentialDecay",
    "GaussianNLL",
    "GaussianNoise",
    "GradientCheck",
    "GradientHealth",
    "Hinge",
    "History",
    "Huber",
    "KLDivergence",
    "LambdaCallback",
    "LayerNorm",
    "LeakyReLU",
    "LearningRateScheduler",
    "Lion",
    "LogCosh",
    "MLflow",
    "MaxNorm",
    "ModelCheckpoint",
    "Muon",
    "NAdam",
    "OneCycle",
    "OptunaPruning",
    "PiecewiseConstant",
    "Poisson",
    "PolynomialDecay",
    "Preprocessor",
    "Quantile",
    "RMSprop",
    "RateSearch",
    "ReduceLROnPlateau",
    "Residual",
    "Sequential",
    "StepDecay",
    "StochasticWeightAveraging",
    "TensorBoard",
    "TerminateOnNaN",
    "Warmup",
    "__version__",
    "callbacks",
    "check_gradients",
    "diagnose",
    "find_learning_rate",
    "fold",
    "load",
    "plot_history",
]


def __getattr__(name: str) -> object:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"fastbp.{name}")
    if name in _ESTIMATORS:
        return getattr(importlib.import_module("fastbp.estimators"), name)
    raise AttributeError(f"module 'fastbp' has no attribute {name!r}")
