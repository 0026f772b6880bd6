"""Update rules: their scalars, folded once a step."""

from __future__ import annotations

import math

from fastbp.isa.rules import LIMIT, RULES, TINY_32, TINY_64
from fastbp.kernels.jit import kernel

(SGD, MOMENTUM, NESTEROV, ADAM, ADAM_DECAY, ADAMW, AMSGRAD, NADAM, RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED, ADAGRAD,
 ADADELTA, LION) = range(len(RULES))
# Squared gradients below these cannot make an update overflow; above, every line is checked.
SAFE_32, SAFE_64 = 1e32, 1e290
# The same for rules that divide by as little as the root of TINY, or add up squares without end.
SAFER_32 = 1e16
LARGEST_RATE = 1e6


@kernel
def fold(M, at, rule, row, multiplier, decays):
    """Writes the scalars of one step to M[at ...] in the form that the rule's microkernel wants.

    multiplier, decays: times the rate and the decay, for the arrays that these scalars are for.
    `row` comes from the optimizer: rate, decay, then what `optimizers` says of each.
    """
    rate, decay = row[0] * multiplier, row[1] * decays
    step = rate
    if rule == SGD:
        M[at], M[at + 1] = 1.0 - rate * decay, -rate
    elif rule in (MOMENTUM, NESTEROV):
        M[at], M[at + 1], M[at + 2] = decay, row[2], -rate
    elif rule <= NADAM:
        step = fold_adam(M, at, rule, rate, decay, row)
    else:
        fold_others(M, at, rule, rate, decay, row)
    safe = SAFE_64
    if M.itemsize == 4:
        safe = SAFER_32 if rule in (RMSPROP_CENTERED, ADAGRAD) else SAFE_32
    # decay alone makes weights grow where rate * decay > 2, and squares of decay * W may overflow; no gradient tells.
    # With a decay up to 1 only weights from 1e19 on do that, and to check always would cost half of Adam's speed.
    if decay > 1.0 and rule >= ADAM:
        safe = 0.0
    M[at + LIMIT] = safe if step < LARGEST_RATE and decay < LARGEST_RATE and rate * decay <= 1.0 else 0.0


@kernel
def fold_adam(M, at, rule, rate, decay, row):
    """m = (1 - beta_1) m' and v = (1 - beta_2) v': the factors, the corrections and the root of 1/v's move into
    epsilon' = epsilon / root and alpha = rate (1 - beta_1) / ((1 - beta_1^t) root)."""
    beta_1, beta_2, epsilon = row[2], row[3], row[4]
    root = math.sqrt((1.0 - beta_2) / row[6])
    step = rate * (1.0 - beta_1) / (row[5] * root)
    if rule == NADAM:  # rate (row[5] g + row[7] m) / ...
        step = rate * row[5] / root
        M[at + 5] = row[7] * (1.0 - beta_1) / row[5]
    elif rule == AMSGRAD:
        decoupled = row[7] != 0.0
        M[at + 5] = 1.0 - rate * decay if decoupled else 1.0
        decay = 0.0 if decoupled else decay
    M[at] = 1.0 - rate * decay if rule == ADAMW else decay
    M[at + 1], M[at + 2], M[at + 3], M[at + 4] = beta_1, beta_2, epsilon / root, -step
    return step


@kernel
def fold_others(M, at, rule, rate, decay, row):
    tiny = TINY_32 if M.itemsize == 4 else TINY_64
    M[at] = decay
    if rule == ADAGRAD:
        M[at + 1], M[at + 2], M[at + 3] = row[2] + tiny, row[3], -rate
    elif rule == LION:
        M[at], M[at + 1], M[at + 2] = 1.0 - rate * decay, row[2], 1.0 - row[2]
        M[at + 3], M[at + 4], M[at + 5] = row[3], 1.0 - row[3], rate
    else:
        epsilon = row[3] + tiny if rule == ADADELTA else row[4]
        M[at + 1], M[at + 2], M[at + 3], M[at + 4], M[at + 5] = row[2], 1.0 - row[2], epsilon, -rate, row[3]
