"""Callbacks: objects that `fit` calls to monitor training, stop it, change its learning rate, or save its progress.

Names, arguments and behaviour are Keras's; docstrings say where they differ. There are no hooks per batch: steps run in
slices, many to one call of compiled code, and `on_slice_end` follows each slice.
"""

from fastbp.callbacks.averaging import StochasticWeightAveraging
from fastbp.callbacks.base import Callback, LambdaCallback
from fastbp.callbacks.files import BackupAndRestore, CSVLogger, ModelCheckpoint
from fastbp.callbacks.health import GradientHealth
from fastbp.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from fastbp.callbacks.mlflow import MLflow
from fastbp.callbacks.optuna import OptunaPruning
from fastbp.callbacks.stopping import EarlyStopping, TerminateOnNaN
from fastbp.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "GradientHealth",
    "LambdaCallback",
    "LearningRateScheduler",
    "MLflow",
    "ModelCheckpoint",
    "OptunaPruning",
    "ReduceLROnPlateau",
    "StochasticWeightAveraging",
    "TensorBoard",
    "TerminateOnNaN",
]
