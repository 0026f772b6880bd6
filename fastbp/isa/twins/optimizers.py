"""The update rules: their codes, states and scalars; what scalars a step has; the formulas; and the twin over lines.

A rule may keep its states without their constant factors: see `emitters.optimizers`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastbp.isa.targets.table import LINE


class UpdateRule(NamedTuple):
    """How many states a rule keeps of each weight, and the scalars of a step in the order of its microkernel."""

    n_states: int
    scalars: tuple[str, ...]


# kept: 1 - learning rate * decay, by which the weight is multiplied; step: minus the learning rate, or minus alpha.
# one_minus_rho and the like are numbers of their own, so that they are rounded once.
(
    SGD, MOMENTUM, NESTEROV, ADAM, ADAM_DECAY, ADAMW, AMSGRAD, NADAM, RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED,
    ADAGRAD, ADADELTA, LION,
) = range(14)  # fmt: skip
UPDATE_RULES = {
    "sgd": UpdateRule(0, ("kept", "step")),
    "momentum": UpdateRule(1, ("decay", "momentum", "step")),
    "nesterov": UpdateRule(1, ("decay", "momentum", "step")),
    "adam": UpdateRule(2, ("decay", "beta_1", "beta_2", "epsilon", "step")),
    "adam_decay": UpdateRule(2, ("decay", "beta_1", "beta_2", "epsilon", "step")),
    "adamw": UpdateRule(2, ("kept", "beta_1", "beta_2", "epsilon", "step")),
    "amsgrad": UpdateRule(3, ("decay", "beta_1", "beta_2", "epsilon", "step", "kept")),
    "nadam": UpdateRule(2, ("decay", "beta_1", "beta_2", "epsilon", "step", "share_of_m")),
    "rmsprop": UpdateRule(1, ("decay", "rho", "one_minus_rho", "epsilon", "step")),
    "rmsprop_momentum": UpdateRule(2, ("decay", "rho", "one_minus_rho", "epsilon", "step", "momentum")),
    "rmsprop_centered": UpdateRule(3, ("decay", "rho", "one_minus_rho", "epsilon", "step", "momentum")),
    "adagrad": UpdateRule(1, ("decay", "initial", "epsilon", "step")),
    "adadelta": UpdateRule(2, ("decay", "rho", "one_minus_rho", "epsilon", "step")),
    "lion": UpdateRule(1, ("kept", "beta_1", "one_minus_beta_1", "beta_2", "one_minus_beta_2", "learning_rate")),
}
RULE_CODES = {name: code for code, name in enumerate(UPDATE_RULES)}
N_STATES = tuple(rule.n_states for rule in UPDATE_RULES.values())
MOST_STATES = 3
N_SCALARS = 8
LIMIT = 7  # scalars[LIMIT] bounds the squared gradients up to which nothing can overflow
# Added to v', so that 0 / 0 cannot arise when epsilon is 0; far below what epsilon or any real gradient adds.
TINY_32, TINY_64 = 1e-36, 1e-290
# Squared gradients below these cannot make an update overflow; above, every line is checked.
SAFE_32, SAFE_64 = 1e32, 1e290
# The same for rules that divide by as little as the root of TINY, or add up squares without end.
SAFER_32 = 1e16
LARGEST_RATE = 1e6


def fold(M, at, rule, S, s, multiplier, decays):
    """Writes the scalars of one step to M[at ...] as UPDATE_RULES lists them, and how large gradients may safely be.

    multiplier, decays: times the rate and the decay, for the arrays that these scalars are for.
    S[s ...] comes from the optimizer: rate, decay, then what `optimizers` says of each.
    """
    rate, decay = S[s] * multiplier, S[s + 1] * decays
    step = rate
    if rule == SGD:
        M[at], M[at + 1] = 1.0 - rate * decay, -rate
    elif rule in (MOMENTUM, NESTEROV):
        M[at], M[at + 1], M[at + 2] = decay, S[s + 2], -rate
    elif rule <= NADAM:
        step = fold_adam(M, at, rule, rate, decay, S, s)
    else:
        fold_others(M, at, rule, rate, decay, S, s)
    safe = SAFE_64
    if M.itemsize == 4:
        safe = SAFER_32 if rule in (RMSPROP_CENTERED, ADAGRAD) else SAFE_32
    # decay alone makes weights grow where rate * decay > 2, and squares of decay * W may overflow; no gradient tells.
    # With a decay up to 1 only weights from 1e19 on do that, and to check always would cost half of Adam's speed.
    if decay > 1.0 and rule >= ADAM:
        safe = 0.0
    M[at + LIMIT] = safe if step < LARGEST_RATE and decay < LARGEST_RATE and rate * decay <= 1.0 else 0.0


def fold_adam(M, at, rule, rate, decay, S, s):
    """m = (1 - beta_1) m' and v = (1 - beta_2) v': the factors, the corrections and the root of 1/v's move into
    epsilon' = epsilon / root and alpha = rate (1 - beta_1) / ((1 - beta_1^t) root)."""
    beta_1, beta_2, epsilon = S[s + 2], S[s + 3], S[s + 4]
    root = math.sqrt((1.0 - beta_2) / S[s + 6])
    step = rate * (1.0 - beta_1) / (S[s + 5] * root)
    if rule == NADAM:  # rate (S[s + 5] g + S[s + 7] m) / ...
        step = rate * S[s + 5] / root
        M[at + 5] = S[s + 7] * (1.0 - beta_1) / S[s + 5]
    elif rule == AMSGRAD:
        decoupled = S[s + 7] != 0.0
        M[at + 5] = 1.0 - rate * decay if decoupled else 1.0
        decay = 0.0 if decoupled else decay
    M[at] = 1.0 - rate * decay if rule == ADAMW else decay
    M[at + 1], M[at + 2], M[at + 3], M[at + 4] = beta_1, beta_2, epsilon / root, -step
    return step


def fold_others(M, at, rule, rate, decay, S, s):
    tiny = TINY_32 if M.itemsize == 4 else TINY_64
    M[at] = decay
    if rule == ADAGRAD:
        M[at + 1], M[at + 2], M[at + 3] = S[s + 2] + tiny, S[s + 3], -rate
    elif rule == LION:
        M[at], M[at + 1], M[at + 2] = 1.0 - rate * decay, S[s + 2], 1.0 - S[s + 2]
        M[at + 3], M[at + 4], M[at + 5] = S[s + 3], 1.0 - S[s + 3], rate
    else:
        epsilon = S[s + 3] + tiny if rule == ADADELTA else S[s + 4]
        M[at + 1], M[at + 2], M[at + 3], M[at + 4], M[at + 5] = S[s + 2], 1.0 - S[s + 2], epsilon, -rate, S[s + 3]


def update(table, code, rows, columns, G, g, gpitch, W, w, wpitch, stride, S, s, flag, f):
    """`columns` runs of `rows` lines of W and its states, `stride` elements apart; what is not finite is not stored."""
    n, n_states = rows * (LINE // W.itemsize), N_STATES[code]
    tiny = W.dtype.type(TINY_32 if W.itemsize == 4 else TINY_64)
    scalars = S[s : s + LIMIT]
    checked = not is_safe(n, columns, G, g, gpitch, S[s + LIMIT])
    for j in range(columns):
        at, g_run = w + j * wpitch, G[g + j * gpitch : g + j * gpitch + n]
        w_run = W[at : at + n]
        m_run = W[at + stride : at + stride + n] if n_states > 0 else w_run
        v_run = W[at + 2 * stride : at + 2 * stride + n] if n_states > 1 else w_run
        u_run = W[at + 3 * stride : at + 3 * stride + n] if n_states > 2 else w_run
        for i in range(n):
            new_w, new_m, new_v, new_u = rule(code, g_run[i], w_run[i], m_run[i], v_run[i], u_run[i], scalars, tiny)
            if checked and not (abs(new_w) < math.inf and abs(new_m) < math.inf and abs(new_v) < math.inf
                                and abs(new_u) < math.inf):  # fmt: skip
                flag[f] = 1
                continue
            if n_states > 2:
                u_run[i] = new_u
            if n_states > 1:
                v_run[i] = new_v
            if n_states > 0:
                m_run[i] = new_m
            w_run[i] = new_w


def is_safe(n, columns, G, g, gpitch, limit):
    """Whether the squared gradients of every lane add up to less than the limit."""
    L = LINE // G.itemsize
    for lane in range(L):
        total = G.dtype.type(0)
        for j in range(columns):
            for i in range(lane, n, L):
                total += G[g + j * gpitch + i] * G[g + j * gpitch + i]
        if not total < limit:
            return False
    return True


def rule(code, g, w, m, v, u, s, tiny):
    """One weight's update: the new weight and its first to third state; those a rule lacks stay."""
    if code == SGD:
        return s[1] * g + s[0] * w, m, v, u
    if code == MOMENTUM:
        m = s[1] * m + (s[0] * w + g)
        return s[2] * m + w, m, v, u
    if code == NESTEROV:
        g = s[0] * w + g
        m = s[1] * m + g
        return s[2] * (s[1] * m + g) + w, m, v, u
    if code == LION:
        average = s[2] * g + s[1] * m
        m, w = s[4] * g + s[3] * m, s[0] * w
        if average == 0:
            return w, m, v, u
        return (w - s[5] if average > 0 else w + s[5] if average < 0 else average), m, v, u
    if code not in (ADAM, ADAMW):
        g = s[0] * w + g
    if code <= NADAM:
        return adam(code, g, w, m, v, u, s, tiny)
    if code == ADAGRAD:
        m = g * g + m
        return w + s[3] * g / (square_root(m + s[1]) + s[2]), m, v, u
    if code == ADADELTA:
        m = s[2] * g * g + s[1] * m
        step = square_root((v + s[3]) / (m + s[3])) * g
        return s[4] * step + w, m, s[2] * step * step + s[1] * v, u
    return rmsprop(code, g, w, m, v, u, s, tiny)


def adam(code, g, w, m, v, u, s, tiny):
    if code == ADAMW:
        w = s[0] * w
    elif code == AMSGRAD:
        w = s[5] * w
    m = s[1] * m + g
    v = g * g + (s[2] * v + tiny)
    if code == AMSGRAD:
        u = u if u > v else v
        return w + s[4] * m / (square_root(u) + s[3]), m, v, u
    top = s[5] * m + g if code == NADAM else m
    return w + s[4] * top / (square_root(v) + s[3]), m, v, u


def rmsprop(code, g, w, m, v, u, s, tiny):
    if code == RMSPROP_CENTERED:
        m = s[2] * g * g + s[1] * m
        u = s[2] * g + s[1] * u
        variance = m - u * u
        variance = tiny if variance < tiny else variance
    else:
        m = s[2] * g * g + (s[1] * m + tiny)
        variance = m
    quotient = g / (square_root(variance) + s[3])
    if code == RMSPROP:
        return s[4] * quotient + w, m, v, u
    v = s[5] * v + quotient
    return s[4] * v + w, m, v, u


def square_root(v):
    return type(v)(math.sqrt(v))


HELPERS = (is_safe, square_root, adam, rmsprop, rule)
FOLD_HELPERS = (fold_adam, fold_others)  # what `fold` calls
