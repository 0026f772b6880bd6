"""The scalars of update rules, folded once a step."""

from __future__ import annotations

from numba.extending import register_jitable

from fastbp.isa.twins import optimizers
from fastbp.kernels import jit

for helper in optimizers.FOLD_HELPERS:
    register_jitable(**jit.OPTIONS)(helper)
fold = jit.part(optimizers.fold)
