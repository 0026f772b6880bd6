"""Update rules: their scalars, folded once a step."""

from __future__ import annotations

import math

from fastbp.isa.rules import LIMIT, RULES
from fastbp.kernels.jit import kernel

SGD, MOMENTUM, NESTEROV, ADAM, ADAM_DECAY, ADAMW = (list(RULES).index(name) for name in RULES)
# Squared gradients below these cannot make an update overflow; above, every line is checked.
SAFE_32, SAFE_64 = 1e32, 1e290
LARGEST_RATE = 1e6


@kernel
def fold(M, at, rule, row, multiplier, decays):
    """Writes the scalars of one step to M[at ...] in the form that the rule's microkernel wants.

    multiplier, decays: times the rate and the decay, for the arrays that these scalars are for.
    `row` comes from the optimizer: rate, decay, momentum | beta_1, beta_2, epsilon, 1 - beta_1^t, 1 - beta_2^t.
    """
    rate, decay = row[0] * multiplier, row[1] * decays
    step = rate
    if rule == SGD:
        M[at], M[at + 1] = 1.0 - rate * decay, -rate
    elif rule in (MOMENTUM, NESTEROV):
        M[at], M[at + 1], M[at + 2] = decay, row[2], -rate
    else:
        # m = (1 - beta_1) m' and v = (1 - beta_2) v': the factors, the corrections and the root of 1/v's move into
        # epsilon' = epsilon / root and alpha = rate (1 - beta_1) / ((1 - beta_1^t) root)
        root = math.sqrt((1.0 - row[3]) / row[6])
        step = rate * (1.0 - row[2]) / (row[5] * root)
        M[at] = 1.0 - rate * decay if rule == ADAMW else decay
        M[at + 1], M[at + 2], M[at + 3], M[at + 4] = row[2], row[3], row[4] / root, -step
    safe = SAFE_32 if M.itemsize == 4 else SAFE_64
    # decay alone makes weights grow where rate * decay > 2; no gradient tells
    M[at + LIMIT] = safe if step < LARGEST_RATE and decay < LARGEST_RATE and rate * decay <= 1.0 else 0.0
