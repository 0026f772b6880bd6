"""Loss functions by name or object, and the last activations that each allows.

`fastbp.reference.LOSSES` holds the equations and their derivatives. Where PyTorch has a loss, formula and defaults are
PyTorch's, otherwise Keras's. All are means over the rows of a batch; with sample weights ``Σ w l / Σ w``.
"""

from fastbp.losses import classes, custom, numbers
from fastbp.losses.base import Loss
from fastbp.losses.by_name import LAST_ACTIVATIONS, NAMES, check_output, get
from fastbp.losses.classes import *
from fastbp.losses.custom import *
from fastbp.losses.numbers import *

__all__ = ["LAST_ACTIVATIONS", "NAMES", "Loss", "check_output", "get"]
__all__ += classes.__all__
__all__ += custom.__all__
__all__ += numbers.__all__
