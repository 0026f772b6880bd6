"""Callbacks: objects that `fit` calls to monitor training, stop it, change its learning rate, or save its progress.

Names, arguments and behaviour are Keras's; docstrings say where they differ. There are no hooks per batch: steps run in
slices, many to one call of compiled code, and `on_slice_end` follows each slice.
"""

from fastbp.callbacks import averaging, files, health, learning_rate, mlflow, optuna, stopping, tensorboard
from fastbp.callbacks.averaging import *
from fastbp.callbacks.base import Callback, LambdaCallback
from fastbp.callbacks.files import *
from fastbp.callbacks.health import *
from fastbp.callbacks.learning_rate import *
from fastbp.callbacks.mlflow import *
from fastbp.callbacks.optuna import *
from fastbp.callbacks.stopping import *
from fastbp.callbacks.tensorboard import *

__all__ = ["Callback", "LambdaCallback"]
__all__ += averaging.__all__
__all__ += files.__all__
__all__ += health.__all__
__all__ += learning_rate.__all__
__all__ += mlflow.__all__
__all__ += optuna.__all__
__all__ += stopping.__all__
__all__ += tensorboard.__all__
