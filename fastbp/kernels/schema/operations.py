"""The operations of a step: their codes, the fields of a program's rows, and how their work may be split."""

from __future__ import annotations

# What an operation does.
(GATHER, FORWARD, LOSS, CHECK, OUTPUT, BACKWARD, WEIGHTS, CHAIN, PENALTIES, PREPARE, FACTORS, MEASURE, TRUST,
 APPLY) = range(14)
ROUND = 14  # no operation of a step: kernels that were written from outside become operands of bfloat16
STRAIGHT = 15  # some products as code of their own, whose address stands in the place of the layer (see `straight`)
# How it is split: by shares of units, from which workers help each other; by fixed shares of them; everything by every
# worker; by fixed shares of the batch's panels, of the layer's panels of outputs, or of its blocks of inputs.
HELPING, FIXED, EVERYONE, BY_BATCH, BY_OUTPUTS, BY_INPUTS = range(6)
