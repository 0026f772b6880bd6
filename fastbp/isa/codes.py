"""Every code and named column that callers hand to microkernels, in one place to import from.

Those of a family stand at the head of its twin, beside its formulas, so that a new activation, loss or update rule is a
row of one table, a formula below it, and its emitter in the file of the same name.
"""

from __future__ import annotations

from fastbp.isa.twins.activations import ACTIVATIONS, ELEMENTWISE, IDENTITY, KEEPS_SLOPES, SIGMOID, SOFTMAX
from fastbp.isa.twins.losses import (
    CATEGORICAL,
    CROSS_ENTROPY,
    FUSED_WITH_SIGMOID,
    GAUSSIAN_NLL,
    LOSSES,
    QUANTILE,
)
from fastbp.isa.twins.optimizers import LIMIT, MOST_STATES, N_SCALARS, RULE_CODES, UPDATE_RULES
from fastbp.isa.twins.products import STREAM_A, STREAM_B
from fastbp.isa.twins.rounding import HALVES, NEITHER, PADDED, STREAMED, WHOLE
from fastbp.isa.twins.tile import (
    ACCUMULATE,
    AHEAD_LINES,
    APPLY_RELU,
    BIAS_COLUMNS,
    BIAS_ROWS,
    KEEP,
    ROUNDS,
    ZERO,
)

# Microkernels of which there is one for every code, in the order of the codes.
FAMILIES: dict[str, tuple[str, ...]] = {
    "loss": tuple(LOSSES),
    "update": tuple(UPDATE_RULES),
    "activate": ELEMENTWISE,
    "slope": ELEMENTWISE,
}

__all__ = [
    "ACCUMULATE",
    "ACTIVATIONS",
    "AHEAD_LINES",
    "APPLY_RELU",
    "BIAS_COLUMNS",
    "BIAS_ROWS",
    "CATEGORICAL",
    "CROSS_ENTROPY",
    "ELEMENTWISE",
    "FAMILIES",
    "FUSED_WITH_SIGMOID",
    "GAUSSIAN_NLL",
    "HALVES",
    "IDENTITY",
    "KEEP",
    "KEEPS_SLOPES",
    "LIMIT",
    "LOSSES",
    "MOST_STATES",
    "NEITHER",
    "N_SCALARS",
    "PADDED",
    "QUANTILE",
    "ROUNDS",
    "RULE_CODES",
    "SIGMOID",
    "SOFTMAX",
    "STREAMED",
    "STREAM_A",
    "STREAM_B",
    "UPDATE_RULES",
    "WHOLE",
    "ZERO",
]
