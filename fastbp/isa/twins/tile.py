"""The plain-loop twin of every microkernel: oracle, fallback for unknown processors, and what runs with the JIT off.

Same names, arguments and results as the emitted ones (see the package's docstring), in loops anyone can check. Every
pointer is an array and an offset in elements; the first argument, the table of addresses, is not used here. Each
element sees the same operations in the same order as in the emitted code, but for two roundings: a * b + c is written
plainly, and the functions of `math` are not those of `vmath`.

Nothing here imports Numba, but all of it compiles with it. `HELPERS` lists what the twins call: `kernels` makes these
known to Numba. Where speed matters the lanes are the innermost loop, over slices: Numba lets an index be negative, and
the test for that keeps LLVM from vectorising `C[line + lane]`. L is read from the array, for LLVM would unroll a loop
of 16 before it looks for vectors. Measured with AVX-512, all in the first-level cache: 2.5 GFLOP/s by plain indices, 5
by slices, 14 by slices and eight products at a time.
"""

from __future__ import annotations

import math

from fastbp.isa import curves_portable as curves
from fastbp.isa import losses_portable as losses
from fastbp.isa.emitters.lines import ACCUMULATE, BIAS_COLUMNS, BIAS_ROWS, LINE, RELU
from fastbp.isa.emitters.optimizers import LIMIT, RULES, TINY_32, TINY_64

(SGD, MOMENTUM, NESTEROV, ADAM, ADAM_DECAY, ADAMW, AMSGRAD, NADAM, RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED, ADAGRAD,
 ADADELTA, LION) = range(14)  # positions in rules.RULES
N_STATES = tuple(states for _, states in RULES.values())


# -- the register tile ---------------------------------------------------------------------------------------------
def across(table, rows, columns, k, A, a, B, b, bpitch, C, c, cpitch, start, bias, o, post, ahead, h):
    """C[j, i, :] (+)= sum over k of A[k*L + i] B[j, k, :]"""
    L = LINE // C.itemsize
    for j in range(columns):
        for i in range(rows):
            row = C[c + j * cpitch + i * L : c + j * cpitch + i * L + L]
            tile_start(row, start, bias, o, i, j)
            add_products(row, k, A, a + i, L, B, b + j * bpitch)
            tile_finish(row, post)


def along(
    table, rows, columns, k, A, a, apitch, B, b, bpitch, C, c, cpitch, start, bias, o, post, ahead, h, pitch, stride,
    arrays, step, until, stream, f,
):  # fmt: skip
    """C[j, i, :] (+)= sum over k of A[(k // L)*apitch + i*L + k % L] B[j, k, :]; what is ahead is not prefetched."""
    L = LINE // C.itemsize
    for j in range(columns):
        for i in range(rows):
            row = C[c + j * cpitch + i * L : c + j * cpitch + i * L + L]
            tile_start(row, start, bias, o, i, j)
            for n in range(0, k, L):
                add_products(row, min(L, k - n), A, a + n // L * apitch + i * L, 1, B, b + j * bpitch + n * L)
            tile_finish(row, post)


def tile_start(row, start, bias, o, i, j):
    L = LINE // row.itemsize
    if start != ACCUMULATE:
        for lane in range(L):
            row[lane] = 0.0
    if start == BIAS_ROWS:
        for lane in range(L):
            row[lane] = bias[o + i]
    if start == BIAS_COLUMNS:
        for lane in range(L):
            row[lane] = bias[o + j * L + lane]


def add_products(row, k, A, a, spread, B, b):
    """row += A[a] B[b, :] + A[a + spread] B[b + 1, :] + ..., k products in this order."""
    L = LINE // row.itemsize
    whole = k // 8 * 8
    for n in range(0, whole, 8):
        add_eight(row, A, a + n * spread, spread, B[b + n * L : b + (n + 8) * L])
    for n in range(whole, k):
        scalar, line = A[a + n * spread], B[b + n * L : b + (n + 1) * L]
        for lane in range(L):
            row[lane] += scalar * line[lane]


def add_eight(row, A, a, d, B):
    L = LINE // row.itemsize
    s0, s1, s2, s3 = A[a], A[a + d], A[a + 2 * d], A[a + 3 * d]
    s4, s5, s6, s7 = A[a + 4 * d], A[a + 5 * d], A[a + 6 * d], A[a + 7 * d]
    for lane in range(L):
        total = row[lane] + s0 * B[lane] + s1 * B[L + lane] + s2 * B[2 * L + lane] + s3 * B[3 * L + lane]
        total = total + s4 * B[4 * L + lane] + s5 * B[5 * L + lane] + s6 * B[6 * L + lane] + s7 * B[7 * L + lane]
        row[lane] = total


def tile_finish(row, post):
    if post == RELU:
        for lane in range(LINE // row.itemsize):
            row[lane] = 0.0 if row[lane] < 0.0 else row[lane]  # NaN stays NaN


# -- panels --------------------------------------------------------------------------------------------------------
def transpose(table, rows, columns, S, s, T, t):
    """One L x L block, of which `columns` target lines are wanted; source lines from `rows` on count as zero."""
    L = LINE // T.itemsize
    for i in range(min(L, columns)):
        for lane in range(L):
            T[t + i * L + lane] = S[s + lane * L + i] if lane < rows else 0.0


def gather(table, features, count, X, x, pitch, indices, first, P, p):
    """Lane i of the panel becomes row indices[i] of X, zero from `count` on."""
    L = LINE // P.itemsize
    for n in range(features):
        for i in range(L):
            P[p + n * L + i] = X[x + indices[first + i] * pitch + n] if i < count else 0.0


def scatter(table, features, count, P, p, X, x, pitch):
    """Lane i of the panel becomes row i of X, for i < count."""
    L = LINE // P.itemsize
    for i in range(min(count, L)):
        for n in range(features):
            X[x + i * pitch + n] = P[p + n * L + i]


def zero(table, n, T, t):
    """n lines of zeros."""
    run = T[t : t + n * (LINE // T.itemsize)]
    for i in range(run.size):
        run[i] = 0.0


# -- softmax and losses --------------------------------------------------------------------------------------------
def softmax(table, n, Z, z, P, p, logsum, o):
    """p = exp(z - max) / sum; logsum = max + log(sum). z and p may be the same."""
    L = LINE // P.itemsize
    for lane in range(L):
        top = Z.dtype.type(-math.inf)
        for at in range(lane, n * L, L):
            top = top if top > Z[z + at] else Z[z + at]
        for at in range(lane, n * L, L):
            P[p + at] = math.exp(Z[z + at] - top)
        total = lane_sum(n, P, p + lane, P, p + lane, False)
        logsum[o + lane] = top + P.dtype.type(math.log(total))
        for at in range(lane, n * L, L):
            P[p + at] /= total


def softmax_slope(table, n, P, p, D, d):
    """d <- p (d - sum of d p)."""
    L = LINE // P.itemsize
    for lane in range(L):
        total = lane_sum(n, P, p + lane, D, d + lane, True)
        for at in range(lane, n * L, L):
            D[d + at] = P[p + at] * (D[d + at] - total)


def lane_sum(n, P, p, D, d, products):
    """Sum of one lane's p, or of its p d: L partial sums by line mod L, then halves: ((0+8)+(4+12)) + ...

    The innermost loop holds what is added first: the partial sums 8 (float64: 4) apart.
    """
    nothing = P.dtype.type(0)
    total = nothing
    for one in range(2):
        by_two = nothing
        for two in range(2):
            by_four = nothing
            for four in range(2):
                by_eight = nothing
                for eight in range(LINE // P.itemsize // 8):
                    by_eight += partial_sum(n, P, p, D, d, one + 2 * two + 4 * four + 8 * eight, products)
                by_four += by_eight
            by_two += by_four
        total += by_two
    return total


def partial_sum(n, P, p, D, d, first, products):
    L = LINE // P.itemsize
    total = P.dtype.type(0)
    for at in range(first * L, n * L, L * L):
        total += P[p + at] * D[d + at] if products else P[p + at]
    return total


def scale(table, n, D, d, weights, w):
    """Every line of d times the line of weights."""
    L = LINE // D.itemsize
    for i in range(n):
        for lane in range(L):
            D[d + i * L + lane] *= weights[w + lane]


loss = losses.loss


# -- update rules --------------------------------------------------------------------------------------------------
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
    """One weight's update rule: new weight, first to third state (see `rules`); those a rule lacks stay."""
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


# -- activations ---------------------------------------------------------------------------------------------------
def activate(table, code, n, Z, z, A, a, slopes, s, alpha, o):
    """a = f(z), over n lines; z and a may be the same. `slopes` gets f' where f' is no function of a."""
    parameter = 1.0 * float(alpha[o])
    for i in range(n * (LINE // A.itemsize)):
        if code >= curves.GELU:
            A[a + i], slopes[s + i] = curves.forward_slope(code, Z[z + i])
        else:
            A[a + i] = curves.activate(code, Z[z + i], parameter)


def slope(table, code, n, A, a, D, d, alpha, o):
    """d <- d f'(z), over n lines; a holds the activation, or the slopes where `activate` wrote them."""
    parameter = 1.0 * float(alpha[o])
    for i in range(n * (LINE // A.itemsize)):
        if code >= curves.GELU:
            D[d + i] *= A[a + i]
        else:
            D[d + i] *= D.dtype.type(curves.slope_from_output(code, A[a + i], parameter))


# -- the measure of the others --------------------------------------------------------------------------------------
def peak(table, n, lines, X, x, C, c):
    """C[j, :] <- C[j, :] * X[0, :] + X[1, :], n times, for j < lines."""
    L = LINE // C.itemsize
    factor, term, sums = X[x : x + L], X[x + L : x + 2 * L], C[c : c + lines * L]
    for _ in range(n):
        for j in range(0, lines * L, L):
            for lane in range(L):
                sums[j + lane] = sums[j + lane] * factor[lane] + term[lane]


HELPERS = (
    tile_start, add_products, add_eight, tile_finish, zero, lane_sum, partial_sum, is_safe, square_root, adam, rmsprop,
    rule, curves.activate, curves.slope_from_output, curves.forward_slope, *losses.HELPERS,
)  # fmt: skip


# -- what threads need, where there is one thread ------------------------------------------------------------------
def atomic_add(array, offset, value):
    before = array[offset]
    array[offset] = before + value
    return before


def atomic_load(array, offset):
    return array[offset]


def atomic_store(array, offset, value):
    array[offset] = value
    return value


def exchange_if(array, offset, expected, value):
    before = array[offset]
    if before == expected:
        array[offset] = value
    return before


def pause():
    return 0


def yield_thread():
    return 0


def flush_denormals():
    """Nothing to set without compiled code: NumPy keeps its denormals."""
    return 0


def restore_denormals(before):
    return 0
