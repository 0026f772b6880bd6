"""Learning rate schedules.

A schedule is a frozen description and a function: it maps an int64 array of update numbers t, counted from 0, to a
float64 array of learning rates. With gradient_accumulation_steps one update takes that many steps. Arguments have
Keras's names where it has them; formulas are PyTorch's, whose schedulers count the same way if stepped once per update.
Any other function of that kind works too, but only these classes are saved with a model.
"""

from fastbp.schedules import cycles, decay
from fastbp.schedules.base import Schedule
from fastbp.schedules.cycles import *
from fastbp.schedules.decay import *

__all__ = ["Schedule"]
__all__ += cycles.__all__
__all__ += decay.__all__
