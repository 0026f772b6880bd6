"""Updates that need the whole gradient first: penalties, clipping by norms, LAMB; then limits and averages of weights.

Gradients lie in an arena of their own, cut into pieces: a panel of a kernel with its line of biases, or the gamma or
beta of a normalisation. Who does which piece is no matter: sums of squares are kept by piece and added in one order.

    PREPARE   a piece's gradient: mean over accumulated steps, penalties, clipping by value; the sum of its squares
              (of a gradient that stays as it is most squares are added before, where it still is in the caches)
    FACTORS   every worker: the factors that clip by norm, from all sums
    MEASURE   LAMB: applies the factors, sums of squares of weights and of directions; TRUST: every worker: their ratios
    APPLY     a piece's update, limit and average
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastbp.kernels import fields as field
from fastbp.kernels.jit import inlined, kernel
from fastbp.kernels.microkernels import (
    average,
    exchange_if,
    lamb,
    limit,
    penalties,
    prepare,
    scale,
    squares,
    update,
)
from fastbp.kernels.optimizer_scalars import fold
from fastbp.kernels.parallel import STATUS

# Fields of a piece: its node, its offset, its lines, its array, the array of the line behind them (-1: none), whether
# it is trained (frozen ones have penalties and averages all the same), and where the sums of its runs begin.
NODE, PLACE, LINES, ARRAY, BIAS_ARRAY, TRAINED, RUNS, N_PIECE = range(8)
# Columns of an array's settings: times the rate, times the decay, penalties, the norm that units may have; its pieces;
# how much of the penalty whose gradient the decay is counts in the loss.
MULTIPLIER, DECAYS, L1, L2, MAX_NORM, FIRST, COUNT, REPORTED, N_SETTINGS = range(9)
# Of the whole network.
CLIPVALUE, CLIPNORM, GLOBAL_CLIPNORM, ACCUMULATION, EMA_MOMENTUM, AVERAGE, N_UPDATE_SPEC = range(7)
# Columns of a piece's sums: squares of the gradient, |w| and w^2, its penalty; LAMB's w^2 and r^2. Those of the line
# behind it follow. Behind those of all pieces stand the sums of squares of their runs of RUN lines.
SQUARES, SIZES, PENALTY, NORMS, N_SUMS = 0, 2, 4, 5, 9
# Numbers in the second line of an array's group: those of `prepare`, then a bound, a momentum and 0; the third line is
# a factor in every lane, the fourth LAMB's.
BOUND, MOMENTUM, NOTHING = 4, 5, 6
RUN = 64  # lines that stay in the first-level cache from one pass over them to the next


class Arena(NamedTuple):
    pieces: object  # (pieces, N_PIECE)
    settings: object  # (arrays, N_SETTINGS), one for every group
    update_spec: object  # N_UPDATE_SPEC numbers
    sums: object  # float64, N_SUMS for each piece
    groups: int  # where this worker's groups lie in M
    penalised: bool
    lamb: bool


@inlined
def group_of(mem, arena, array):
    return arena.groups + array * field.GROUP_LINES * mem.L


@inlined
def start(mem, arena):
    """What does not change from step to step."""
    M, L, t = mem.M, mem.L, arena.update_spec
    for array in range(arena.settings.shape[0]):
        s, at = arena.settings[array], group_of(mem, arena, array) + L
        M[at], M[at + 1], M[at + 2] = 1.0 / t[ACCUMULATION], s[L1], 2.0 * s[L2]
        M[at + 3] = t[CLIPVALUE] if t[CLIPVALUE] > 0.0 else math.inf
        M[at + BOUND], M[at + MOMENTUM] = s[MAX_NORM], t[EMA_MOMENTUM]
        for lane in range(L):
            M[at + L + lane] = 1.0


@inlined
def fold_groups(mem, arena, code, scalars):
    """The rule's scalars of one step, for every group of arrays."""
    for group in range(arena.settings.shape[0]):
        s = arena.settings[group]
        fold(mem.M, group_of(mem, arena, group), code, scalars, s[MULTIPLIER], s[DECAYS])


@kernel
def penalty(mem, arena, decay, i):
    """l1 sum |W| + l2 sum W^2 of a piece; decay: of this step."""
    piece, s, total = arena.pieces[i], arena.settings[arena.pieces[i, ARRAY]], 0.0
    l2 = s[L2] + 0.5 * decay * s[REPORTED]
    if s[L1] != 0.0 or l2 != 0.0:
        penalties(mem.table, piece[LINES], mem.P, piece[PLACE], arena.sums, i * N_SUMS + SIZES)
        total = s[L1] * arena.sums[i * N_SUMS + SIZES] + l2 * arena.sums[i * N_SUMS + SIZES + 1]
    arena.sums[i * N_SUMS + PENALTY] = total


@inlined
def stays(arena, array):
    """Whether there is nothing to change about an array's gradient but its norm."""
    s, t = arena.settings[array], arena.update_spec
    return s[L1] == 0.0 and s[L2] == 0.0 and t[ACCUMULATION] == 1.0 and t[CLIPVALUE] == 0.0


@inlined
def clips(arena):
    """Whether norms are wanted."""
    return arena.update_spec[CLIPNORM] > 0.0 or arena.update_spec[GLOBAL_CLIPNORM] > 0.0


@kernel
def square_runs(mem, row, arena, p0, p1, k0, k1):
    """Squares of the runs that lie within panels p0 ... p1, lines k0 ... k1 of a kernel's gradient."""
    K = row[field.K]
    for i in range(row[field.PIECE] + p0, row[field.PIECE] + p1):
        piece = arena.pieces[i]
        for run in range((k0 + RUN - 1) // RUN, (min(k1, K) + RUN - 1) // RUN):
            end = min(run * RUN + RUN, K)
            if end <= k1 and stays(arena, piece[ARRAY]):
                squares(mem.table, end - run * RUN, mem.G, piece[PLACE] + run * RUN * mem.L, arena.sums,
                        piece[RUNS] + run)


@inlined
def squared(row, start, end):
    """Whether `square_runs` has seen these lines: one unit of work wrote them all."""
    size = row[field.WEIGHTS_UNITS + field.SIZE]
    return row[field.IS_DENSE] and not row[field.SPARSE] and start // size == (end - 1) // size


@kernel
def prepare_piece(mem, layers, arena, training, i):
    piece, place = arena.pieces[i], i * N_SUMS + SQUARES
    at, lines, bias = piece[PLACE], piece[LINES], piece[BIAS_ARRAY]
    arena.sums[place] = arena.sums[place + 1] = 0.0
    if training and not piece[TRAINED]:
        return
    if not stays(arena, piece[ARRAY]):
        change(mem, arena, piece[ARRAY], at, lines, place)
    elif clips(arena):
        for run in range((lines + RUN - 1) // RUN):
            start, end = run * RUN, min(run * RUN + RUN, lines)
            if not squared(layers[piece[NODE]], start, end):
                squares(mem.table, end - start, mem.G, at + start * mem.L, arena.sums, piece[RUNS] + run)
            arena.sums[place] += arena.sums[piece[RUNS] + run]
    if bias >= 0 and stays(arena, bias):
        squares(mem.table, 1, mem.G, at + lines * mem.L, arena.sums, place + 1)
    elif bias >= 0:
        change(mem, arena, bias, at + lines * mem.L, 1, place + 1)


@inlined
def change(mem, arena, array, at, lines, place):
    prepare(mem.table, lines, mem.G, at, mem.P, at, mem.M, group_of(mem, arena, array) + mem.L, arena.sums, place)


@inlined
def set_factor(mem, arena, array, factor):
    at = group_of(mem, arena, array) + 2 * mem.L
    for lane in range(mem.L):
        mem.M[at + lane] = factor


@inlined
def sum_of(arena, array, column, apart):
    """An array's sum over its pieces; `apart`: how far behind a kernel's column that of its biases is."""
    total, s = 0.0, arena.settings[array]
    for i in range(int(s[FIRST]), int(s[FIRST]) + int(s[COUNT])):
        total += arena.sums[i * N_SUMS + (column if arena.pieces[i, ARRAY] == array else column + apart)]
    return total


@inlined
def clip(bound, square):
    """min(1, c / (norm + 1e-6)); NaN where the norm is, so that nothing is updated."""
    length = math.sqrt(square) + 1e-6
    return 1.0 if length <= bound else bound / length


@kernel
def factors(mem, arena):
    """What brings the norm of each array within a bound, then that of all of them together within another."""
    own, together, total = arena.update_spec[CLIPNORM], arena.update_spec[GLOBAL_CLIPNORM], 0.0
    if not clips(arena):
        return
    for array in range(arena.settings.shape[0]):
        square = sum_of(arena, array, SQUARES, 1)
        factor = clip(own, square) if own > 0.0 else 1.0
        total += factor * factor * square
        set_factor(mem, arena, array, factor)
    factor = clip(together, total) if together > 0.0 else 1.0
    if factor != 1.0:
        for array in range(arena.settings.shape[0]):
            set_factor(mem, arena, array, factor * mem.M[group_of(mem, arena, array) + 2 * mem.L])


@kernel
def trust(mem, arena, code, scalars):
    """LAMB: the rate of every array times norm of weights / norm of direction, where both are positive."""
    for array in range(arena.settings.shape[0]):
        weights, direction = sum_of(arena, array, NORMS, 2), sum_of(arena, array, NORMS + 1, 2)
        ratio = math.sqrt(weights / direction) if weights > 0.0 and direction > 0.0 else 1.0
        s = arena.settings[array]
        fold(mem.M, group_of(mem, arena, array), code, scalars, s[MULTIPLIER] * ratio, s[DECAYS])


@inlined
def direction_scalars(mem, arena, row):
    """LAMB: r = decay W + alpha' m' / (sqrt(v') + epsilon'), in terms of the states that are kept (see `updates`)."""
    root = math.sqrt((1.0 - row[3]) / row[6])
    for array in range(arena.settings.shape[0]):
        at = group_of(mem, arena, array) + 3 * mem.L
        mem.M[at], mem.M[at + 1], mem.M[at + 2] = row[1] * arena.settings[array, DECAYS], row[2], row[3]
        mem.M[at + 3], mem.M[at + 4] = row[4] / root, (1.0 - row[2]) / (row[5] * root)


@inlined
def clipped(mem, arena, array, at, lines):
    """Multiplies a run of the gradient by its array's factor."""
    factor = group_of(mem, arena, array) + 2 * mem.L
    if mem.M[factor] != 1.0:
        scale(mem.table, lines, mem.G, at, mem.M, factor)


@kernel
def measure_piece(mem, arena, rule, i):
    """The sums that `trust` needs, from clipped gradients."""
    piece, sums, place = arena.pieces[i], arena.sums, i * N_SUMS + NORMS
    at, lines = piece[PLACE], piece[LINES]
    for part in range(2 * piece[TRAINED]):
        array = piece[BIAS_ARRAY] if part else piece[ARRAY]
        if array >= 0:
            clipped(mem, arena, array, at, lines)
            lamb(mem.table, lines, mem.G, at, mem.P, at, rule.stride, mem.M,
                 group_of(mem, arena, array) + 3 * mem.L, sums, place + 2 * part)
        at, lines = at + lines * mem.L, 1


@kernel
def apply_piece(mem, arena, rule, i):
    """A piece's update, then the limit of its units' norms, then the average of its weights."""
    piece = arena.pieces[i]
    lines, group = piece[LINES], group_of(mem, arena, piece[ARRAY]) + mem.L
    if piece[TRAINED]:
        apply_run(mem, arena, rule, piece[ARRAY], piece[PLACE], lines)
        if mem.M[group + BOUND] > 0.0:
            limit(mem.table, lines, mem.P, piece[PLACE], mem.M, group + BOUND)
        if piece[BIAS_ARRAY] >= 0:
            apply_run(mem, arena, rule, piece[BIAS_ARRAY], piece[PLACE] + lines * mem.L, 1)
    lines += piece[BIAS_ARRAY] >= 0
    if mem.M[group + MOMENTUM] > 0.0:
        mean = piece[PLACE] + int(arena.update_spec[AVERAGE])
        momentum = group + (NOTHING if rule.first else MOMENTUM)
        average(mem.table, lines, mem.P, piece[PLACE], mem.P, mean, mem.M, momentum)
    if rule.sync[rule.flag]:
        exchange_if(rule.sync, STATUS + rule.parity, 0, piece[NODE] + 1)


@inlined
def apply_run(mem, arena, rule, array, at, lines):
    """Runs of lines that stay in the first-level cache between clipping and the update."""
    for k in range(0, lines, RUN):
        n, here = min(RUN, lines - k), at + k * mem.L
        if not arena.lamb:  # `measure_piece` has done so
            clipped(mem, arena, array, here, n)
        update(mem.table, rule.code, n, 1, mem.G, here, 0, mem.P, here, 0, rule.stride,
               mem.M, group_of(mem, arena, array), rule.sync, rule.flag)
