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
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastbp import activations, callbacks, constraints, layers, losses, optimizers, regularizers, schedules
from fastbp.activations import *
from fastbp.callbacks import *
from fastbp.constraints import *
from fastbp.diagnosis.gradient_check import GradientCheck, check_gradients
from fastbp.diagnosis.layer_health import Diagnosis, diagnose
from fastbp.diagnosis.lr_finder import RateSearch, find_learning_rate
from fastbp.layers import *
from fastbp.losses.classes import *
from fastbp.losses.custom import *
from fastbp.losses.numbers import *
from fastbp.model.fold import fold
from fastbp.model.loading import load
from fastbp.model.sequential import Sequential
from fastbp.model.trainable import TrainableNetwork
from fastbp.optimizers.adam import *
from fastbp.optimizers.adaptive import *
from fastbp.optimizers.layerwise import *
from fastbp.optimizers.lion import *
from fastbp.optimizers.sgd import *
from fastbp.plots import plot_history
from fastbp.preprocessing.preprocessor import Preprocessor
from fastbp.regularizers import *
from fastbp.schedules.cycles import *
from fastbp.schedules.decay import *
from fastbp.storage.errors import CheckpointError
from fastbp.training.history import DivergenceWarning, History
from fastbp.util import old_names
from fastbp.util.argument_names import explain_arguments
from fastbp.util.arguments import suggestions
from fastbp.util.version import __version__

if TYPE_CHECKING:
    from fastbp import datasets as datasets
    from fastbp import estimators as estimators
    from fastbp import exchange as exchange
    from fastbp import kernels as kernels
    from fastbp import recipes as recipes
    from fastbp import reference as reference
    from fastbp import sources as sources
    from fastbp.estimators import MLPClassifier as MLPClassifier
    from fastbp.estimators import MLPRegressor as MLPRegressor
    from fastbp.recipes import RealMLPClassifier as RealMLPClassifier
    from fastbp.recipes import RealMLPRegressor as RealMLPRegressor

# Imported lazily: Numba alone takes 0.25 s, the estimators need scikit-learn.
_LAZY_MODULES = ("datasets", "estimators", "exchange", "kernels", "recipes", "reference", "sources")
_ESTIMATORS = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "RealMLPClassifier": "recipes",
    "RealMLPRegressor": "recipes",
}
_MODULES = (  # imported already, as are those of __all__
    *("activations", "constraints", "initializers", "layers", "losses", "metrics"),
    *("optimizers", "plots", "regularizers", "schedules"),
)
old_names.install()
if os.environ.get("FASTBP_ISA", "").strip():  # must take effect before Numba compiles anything
    importlib.import_module("fastbp.kernels.jit")

__all__ = [
    "CheckpointError",
    "Diagnosis",
    "DivergenceWarning",
    "GradientCheck",
    "History",
    "Preprocessor",
    "RateSearch",
    "Sequential",
    "__version__",
    "callbacks",
    "check_gradients",
    "diagnose",
    "find_learning_rate",
    "fold",
    "load",
    "plot_history",
]
__all__ += activations.__all__
__all__ += callbacks.__all__
__all__ += constraints.__all__
__all__ += layers.__all__
__all__ += losses.classes.__all__
__all__ += losses.custom.__all__
__all__ += losses.numbers.__all__
__all__ += optimizers.adam.__all__
__all__ += optimizers.adaptive.__all__
__all__ += optimizers.layerwise.__all__
__all__ += optimizers.lion.__all__
__all__ += optimizers.sgd.__all__
__all__ += regularizers.__all__
__all__ += schedules.cycles.__all__
__all__ += schedules.decay.__all__

explain_arguments([TrainableNetwork])
explain_arguments(item for name, item in list(vars().items()) if name in __all__ and isinstance(item, type))


def __dir__() -> list[str]:
    """What is public; the estimators only where scikit-learn is, for whoever gets each name next."""
    estimators = _ESTIMATORS if find_spec("sklearn") else ()
    return sorted({*__all__, *_MODULES, *_LAZY_MODULES, *estimators})


def __getattr__(name: str) -> object:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"fastbp.{name}")
    if name in _ESTIMATORS:
        return getattr(importlib.import_module(f"fastbp.{_ESTIMATORS[name]}"), name)
    found = [] if name.startswith("_") else suggestions(name, (*__all__, *_LAZY_MODULES, *_ESTIMATORS))
    hint = f": did you mean {' or '.join(map(repr, found))}?" if found else ""
    raise AttributeError(f"module 'fastbp' has no attribute {name!r}{hint}")
