"""Updates that need the whole gradient first: penalties, clipping by norms, LAMB; then limits and averages of weights.

Gradients lie in an arena of their own, cut into pieces: a panel of a kernel with its line of biases, or the gamma or
beta of a normalization. Who does which piece is no matter: sums of squares are kept by piece and added in one order.

    PREPARE   a piece's gradient: mean over accumulated steps, penalties, clipping by value; the sum of its squares;
              in the steps before, whether the gradient accumulated so far is finite
              (of a gradient that stays as it is most squares are added before, where it still is in the caches)
    FACTORS   every worker: the factors that clip by norm, from all sums
    MEASURE   LAMB: applies the factors, sums of squares of weights and of directions; TRUST: every worker: their ratios
    APPLY     a piece's update, limit and average
"""

from __future__ import annotations

import math

from fastbp.kernels.jit import part
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
from fastbp.kernels.parallel import STATUS
from fastbp.kernels.passes.optimizer_scalars import fold
from fastbp.kernels.schema import fields as field

# Of the whole network.
CLIPVALUE, CLIPNORM, GLOBAL_CLIPNORM, ACCUMULATION, EMA_MOMENTUM, AVERAGE, N_UPDATE_SPEC = range(7)
# Columns of a piece's sums: squares of the gradient, |w| and w^2, its penalty; LAMB's w^2 and r^2. Those of the line
# behind it follow. Behind those of all pieces stand the sums of squares of their runs of RUN lines.
SQUARES, SIZES, PENALTY, NORMS, N_SUMS = 0, 2, 4, 5, 9
# Numbers in the second line of an array's group: those of `prepare`, then a bound, a momentum and 0; the third line is
# a factor in every lane, the fourth LAMB's.
BOUND, MOMENTUM, NOTHING = 4, 5, 6
RUN = 64  # lines that stay in the first-level cache from one pass over them to the next


@part
def group_of(c, array):
    return c.groups + array * field.GROUP_LINES * c.L


@part
def start(c):
    """What does not change from step to step."""
    M, L, t = c.M, c.L, c.update_spec
    for array in range(c.n_settings):
        s, at = c.settings[array], group_of(c, array) + L
        M[at], M[at + 1], M[at + 2] = 1.0 / t[ACCUMULATION], s.L1, 2.0 * s.L2
        M[at + 3] = t[CLIPVALUE] if t[CLIPVALUE] > 0.0 else math.inf
        M[at + BOUND], M[at + MOMENTUM] = s.MAX_NORM, t[EMA_MOMENTUM]
        for lane in range(L):
            M[at + L + lane] = 1.0


@part
def fold_groups(c, s):
    """The rule's scalars of one step, for every group of arrays."""
    for group in range(c.n_settings):
        own = c.settings[group]
        fold(c.M, group_of(c, group), c.rule, c.scalars, s, own.MULTIPLIER, own.DECAYS)


@part
def penalty(c, decay, i):
    """l1 sum |W| + l2 sum W^2 of a piece; decay: of this step."""
    piece = c.pieces[i]
    s, total = c.settings[piece.ARRAY], 0.0
    l2 = s.L2 + 0.5 * decay * s.REPORTED
    if s.L1 != 0.0 or l2 != 0.0:
        penalties(c.table, piece.LINES, c.P, piece.PLACE, c.sums, i * N_SUMS + SIZES)
        total = s.L1 * c.sums[i * N_SUMS + SIZES] + l2 * c.sums[i * N_SUMS + SIZES + 1]
    c.sums[i * N_SUMS + PENALTY] = total


@part
def stays(c, array):
    """Whether there is nothing to change about an array's gradient but its norm."""
    s, t = c.settings[array], c.update_spec
    return s.L1 == 0.0 and s.L2 == 0.0 and t[ACCUMULATION] == 1.0 and t[CLIPVALUE] == 0.0


@part
def clips(c):
    """Whether norms are wanted."""
    return c.update_spec[CLIPNORM] > 0.0 or c.update_spec[GLOBAL_CLIPNORM] > 0.0


@part
def square_runs(c, row, p0, p1, k0, k1):
    """Squares of the runs that lie within panels p0 ... p1, lines k0 ... k1 of a kernel's gradient."""
    K = row.K
    for i in range(row.PIECE + p0, row.PIECE + p1):
        piece = c.pieces[i]
        for run in range((k0 + RUN - 1) // RUN, (min(k1, K) + RUN - 1) // RUN):
            end = min(run * RUN + RUN, K)
            if end <= k1 and stays(c, piece.ARRAY):
                squares(c.table, end - run * RUN, c.G, piece.PLACE + run * RUN * c.L, c.sums,
                        piece.RUNS + run)


@part
def squared(row, start, end):
    """Whether `square_runs` has seen these lines: one unit of work wrote them all."""
    size = row.WEIGHTS_SIZE
    return row.IS_DENSE and not row.SPARSE and start // size == (end - 1) // size


@part
def watch(c, piece, place):
    """Refuses a step after which a gradient that is still accumulated would not be finite."""
    lines = piece.LINES + (piece.BIAS_ARRAY >= 0)
    penalties(c.table, lines, c.G, piece.PLACE, c.sums, place)
    if not math.isfinite(c.sums[place]):
        exchange_if(c.sync, STATUS + (c.step & 1), 0, piece.NODE + 1)


@part
def prepare_piece(c, i):
    piece, place = c.pieces[i], i * N_SUMS + SQUARES
    at, lines, bias = piece.PLACE, piece.LINES, piece.BIAS_ARRAY
    c.sums[place] = c.sums[place + 1] = 0.0
    if c.train and not piece.TRAINED:
        return
    if not c.updates:
        watch(c, piece, i * N_SUMS + SIZES)
        return
    if not stays(c, piece.ARRAY):
        change(c, piece.ARRAY, at, lines, place)
    elif clips(c):
        for run in range((lines + RUN - 1) // RUN):
            start, end = run * RUN, min(run * RUN + RUN, lines)
            if not squared(c.layers[piece.NODE], start, end):
                squares(c.table, end - start, c.G, at + start * c.L, c.sums, piece.RUNS + run)
            c.sums[place] += c.sums[piece.RUNS + run]
    if bias >= 0 and stays(c, bias):
        squares(c.table, 1, c.G, at + lines * c.L, c.sums, place + 1)
    elif bias >= 0:
        change(c, bias, at + lines * c.L, 1, place + 1)


@part
def change(c, array, at, lines, place):
    prepare(c.table, lines, c.G, at, c.P, at, c.M, group_of(c, array) + c.L, c.sums, place)


@part
def set_factor(c, array, factor):
    at = group_of(c, array) + 2 * c.L
    for lane in range(c.L):
        c.M[at + lane] = factor


@part
def sum_of(c, array, column, apart):
    """An array's sum over its pieces; `apart`: how far behind a kernel's column that of its biases is."""
    total, s = 0.0, c.settings[array]
    for i in range(int(s.FIRST), int(s.FIRST) + int(s.COUNT)):
        total += c.sums[i * N_SUMS + (column if array == c.pieces[i].ARRAY else column + apart)]
    return total


@part
def clip(bound, square):
    """min(1, c / (norm + 1e-6)); NaN where the norm is, so that nothing is updated."""
    length = math.sqrt(square) + 1e-6
    return 1.0 if length <= bound else bound / length


@part
def factors(c):
    """What brings the norm of each array within a bound, then that of all of them together within another."""
    own, together, total = c.update_spec[CLIPNORM], c.update_spec[GLOBAL_CLIPNORM], 0.0
    if not clips(c):
        return
    for array in range(c.n_settings):
        square = sum_of(c, array, SQUARES, 1)
        factor = clip(own, square) if own > 0.0 else 1.0
        total += factor * factor * square
        set_factor(c, array, factor)
    factor = clip(together, total) if together > 0.0 else 1.0
    if factor != 1.0:
        for array in range(c.n_settings):
            set_factor(c, array, factor * c.M[group_of(c, array) + 2 * c.L])


@part
def trust(c, s):
    """LAMB: the rate of every array times norm of weights / norm of direction, where both are positive."""
    for array in range(c.n_settings):
        weights, direction = sum_of(c, array, NORMS, 2), sum_of(c, array, NORMS + 1, 2)
        ratio = math.sqrt(weights / direction) if weights > 0.0 and direction > 0.0 else 1.0
        own = c.settings[array]
        fold(c.M, group_of(c, array), c.rule, c.scalars, s, own.MULTIPLIER * ratio, own.DECAYS)


@part
def direction_scalars(c, s):
    """LAMB: r = decay W + alpha' m' / (sqrt(v') + epsilon'), in terms of the states that are kept (see `updates`)."""
    root = math.sqrt((1.0 - c.scalars[s + 3]) / c.scalars[s + 6])
    for array in range(c.n_settings):
        at = group_of(c, array) + 3 * c.L
        c.M[at] = c.scalars[s + 1] * c.settings[array].DECAYS
        c.M[at + 1], c.M[at + 2] = c.scalars[s + 2], c.scalars[s + 3]
        c.M[at + 3], c.M[at + 4] = c.scalars[s + 4] / root, (1.0 - c.scalars[s + 2]) / (c.scalars[s + 5] * root)


@part
def clipped(c, array, at, lines):
    """Multiplies a run of the gradient by its array's factor."""
    factor = group_of(c, array) + 2 * c.L
    if c.M[factor] != 1.0:
        scale(c.table, lines, c.G, at, c.M, factor)


@part
def measure_piece(c, i):
    """The sums that `trust` needs, from clipped gradients."""
    piece, sums, place = c.pieces[i], c.sums, i * N_SUMS + NORMS
    at, lines = piece.PLACE, piece.LINES
    for which in range(2 * piece.TRAINED):
        array = piece.BIAS_ARRAY if which else piece.ARRAY
        if array >= 0:
            clipped(c, array, at, lines)
            lamb(c.table, lines, c.G, at, c.P, at, c.stride, c.M,
                 group_of(c, array) + 3 * c.L, sums, place + 2 * which)
        at, lines = at + lines * c.L, 1


@part
def apply_piece(c, i):
    """A piece's update, then the limit of its units' norms, then the average of its weights."""
    piece = c.pieces[i]
    lines, group = piece.LINES, group_of(c, piece.ARRAY) + c.L
    if piece.TRAINED:
        apply_run(c, piece.ARRAY, piece.PLACE, lines)
        if c.M[group + BOUND] > 0.0:
            limit(c.table, lines, c.P, piece.PLACE, c.M, group + BOUND)
        if piece.BIAS_ARRAY >= 0:
            apply_run(c, piece.BIAS_ARRAY, piece.PLACE + lines * c.L, 1)
    lines += piece.BIAS_ARRAY >= 0
    if c.M[group + MOMENTUM] > 0.0:
        mean = piece.PLACE + int(c.update_spec[AVERAGE])
        momentum = group + (NOTHING if c.first_update else MOMENTUM)
        average(c.table, lines, c.P, piece.PLACE, c.P, mean, c.M, momentum)
    if c.sync[c.flag]:
        exchange_if(c.sync, STATUS + (c.step & 1), 0, piece.NODE + 1)


@part
def apply_run(c, array, at, lines):
    """Runs of lines that stay in the first-level cache between clipping and the update."""
    for k in range(0, lines, RUN):
        n, here = min(RUN, lines - k), at + k * c.L
        if not c.lamb:  # `measure_piece` has done so
            clipped(c, array, here, n)
        update(c.table, c.rule, n, 1, c.G, here, 0, c.P, here, 0, c.stride,
               c.M, group_of(c, array), c.sync, c.flag)
