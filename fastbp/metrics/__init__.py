"""Metrics by name or object, and the confusion matrix.

A metric takes in the data block by block (`add`), keeps a state, and computes its value from it (`result`).
"""

from fastbp.metrics import classes, confusion, numbers, scores
from fastbp.metrics.base import Mean, Metric
from fastbp.metrics.by_name import (
    NAMES,
    add_all,
    check_outputs,
    direction_of,
    get,
    get_all,
    probabilities,
)
from fastbp.metrics.classes import *
from fastbp.metrics.confusion import *
from fastbp.metrics.numbers import *
from fastbp.metrics.scores import *

__all__ = ["NAMES", "Mean", "Metric", "add_all", "check_outputs", "direction_of", "get", "get_all"]
__all__ += ["probabilities"]
__all__ += classes.__all__
__all__ += confusion.__all__
__all__ += numbers.__all__
__all__ += scores.__all__
