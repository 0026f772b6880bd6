"""The plain-loop twins of `norms`, `masks`, `arena` and `sparse`; see `portable`, whose conventions they share."""

from __future__ import annotations

import math

from fastbp.isa.emitters.lines import LINE
from fastbp.isa.emitters.dropout import ERFINV_CENTRE, ERFINV_TAIL, MULTIPLIERS, ROUNDS, SQRT_2, WEYL
from fastbp.isa.emitters.optimizers import TINY_32, TINY_64

FACTOR_0, FACTOR_1 = MULTIPLIERS
WEYL_0, WEYL_1 = WEYL
WORD = 0xFFFFFFFF


# -- normalisation -------------------------------------------------------------------------------------------------
def lane_tree(lanes):
    """The sum of a line: halves of it, again and again."""
    step = lanes.size // 2
    while step > 0:
        for i in range(step):
            lanes[i] += lanes[i + step]
        step //= 2
    return lanes[0]


def batch_sum(batch, A, a, apitch, D, d, dpitch, products, lanes):
    """Sum of a feature's a, or of its a d, over the rows of a batch."""
    L = lanes.size
    for lane in range(L):
        lanes[lane] = 0
    for row in range(batch):
        term = A[a + row // L * apitch + row % L]
        lanes[row % L] += term * D[d + row // L * dpitch + row % L] if products else term
    return lane_tree(lanes)


def batch_norm(table, n, batch, A, a, apitch, Z, z, zpitch, F, f, G, gamma, gpitch, S, stats, spitch, E, epsilon):
    """f <- (a - mean) / sqrt(variance + epsilon) over the batch, z <- gamma f + beta."""
    L = LINE // A.itemsize
    lanes, share = Z[z : z + L].copy(), A.dtype.type(1) / A.dtype.type(batch)
    panels = (batch + L - 1) // L
    for i in range(n):
        at = i * L
        mean = batch_sum(batch, A, a + at, apitch, A, a, apitch, False, lanes) * share
        for q in range(panels):
            for lane in range(L):
                F[f + q * zpitch + at + lane] = A[a + q * apitch + at + lane] - mean
        variance = batch_sum(batch, F, f + at, zpitch, F, f + at, zpitch, True, lanes) * share
        inverse = A.dtype.type(1) / A.dtype.type(math.sqrt(variance + E[epsilon]))
        S[stats + i], S[stats + spitch + i], S[stats + 2 * spitch + i] = mean, variance, inverse
        for q in range(panels):
            for lane in range(L):
                place = q * zpitch + at + lane
                F[f + place] *= inverse
                Z[z + place] = G[gamma + i] * F[f + place] + G[gamma + gpitch + i]


def batch_norm_predict(table, n, A, a, Z, z, G, gamma, gpitch, E, epsilon):
    """One panel; z <- gamma (a - mean) / sqrt(variance + epsilon) + beta with moving statistics."""
    L = LINE // A.itemsize
    for i in range(n):
        shift, mean, variance = (G[gamma + gpitch + i], G[gamma + 2 * gpitch + i], G[gamma + 3 * gpitch + i])
        inverse = A.dtype.type(1) / A.dtype.type(math.sqrt(variance + E[epsilon]))
        for lane in range(L):
            Z[z + i * L + lane] = G[gamma + i] * ((A[a + i * L + lane] - mean) * inverse) + shift


def gains(table, n, batch, D, d, dpitch, F, f, fpitch, G, g, gpitch):
    """g[i] <- sum of d f, g[gpitch + i] <- sum of d over the batch."""
    L = LINE // D.itemsize
    lanes = D[d : d + L].copy()
    for i in range(n):
        G[g + i] = batch_sum(batch, D, d + i * L, dpitch, F, f + i * L, fpitch, True, lanes)
        G[g + gpitch + i] = batch_sum(batch, D, d + i * L, dpitch, D, d, dpitch, False, lanes)


def batch_norm_backward(table, n, batch, D, d, dpitch, F, f, fpitch, P, gamma, S, inverse, G, g, gpitch, E, e, epitch):
    """e <- gamma inverse (d - sum(d) / batch - f sum(d f) / batch)."""
    L = LINE // D.itemsize
    share = D.dtype.type(1) / D.dtype.type(batch)
    for i in range(n):
        factor, slant, mean = P[gamma + i] * S[inverse + i], G[g + i] * share, G[g + gpitch + i] * share
        for q in range((batch + L - 1) // L):
            for at in range(i * L, i * L + L):
                rest = D[d + q * dpitch + at] - mean - F[f + q * fpitch + at] * slant
                E[e + q * epitch + at] = factor * rest


def row_mean(n, A, a, P, gamma, F, f, weighted, mixed, sums):
    """Mean over n features of one lane's a, gamma a or gamma a f: L partial sums by feature mod L, then halves."""
    for i in range(sums.size):
        sums[i] = 0
    for i in range(n):
        at = i * sums.size
        term = P[gamma + i] * A[a + at] if weighted else A[a + at]
        sums[i % sums.size] += term * F[f + at] if mixed else term
    return lane_tree(sums) * (sums.dtype.type(1) / sums.dtype.type(n))


def layer_norm(table, n, A, a, Z, z, F, f, P, gamma, gpitch, S, inverse, E, epsilon):
    """One panel; f <- (a - mean) / sqrt(variance + epsilon) over a row's features, z <- gamma f + beta.

    f is only written: predictions need none, and all workers hand over the same place.
    """
    L = LINE // A.itemsize
    sums = A[a : a + L].copy()
    for lane in range(L):
        mean = row_mean(n, A, a + lane, P, gamma, F, f, False, False, sums)
        variance = row_square(n, A, a + lane, mean, sums)
        factor = A.dtype.type(1) / A.dtype.type(math.sqrt(variance + E[epsilon]))
        S[inverse + lane] = factor
        for i in range(n):
            at = i * L + lane
            known = (A[a + at] - mean) * factor
            F[f + at] = known
            Z[z + at] = P[gamma + i] * known + P[gamma + gpitch + i]


def row_square(n, A, a, mean, sums):
    for i in range(sums.size):
        sums[i] = 0
    for i in range(n):
        centred = A[a + i * sums.size] - mean
        sums[i % sums.size] += centred * centred
    return lane_tree(sums) * (sums.dtype.type(1) / sums.dtype.type(n))


def layer_norm_backward(table, n, D, d, F, f, P, gamma, S, inverse, E, e):
    """One panel; with g = gamma d, e <- inverse (g - mean(g) - f mean(g f))."""
    L = LINE // D.itemsize
    sums = D[d : d + L].copy()
    for lane in range(L):
        mean = row_mean(n, D, d + lane, P, gamma, F, f, True, False, sums)
        slant = row_mean(n, D, d + lane, P, gamma, F, f + lane, True, True, sums)
        for i in range(n):
            at = i * L + lane
            E[e + at] = S[inverse + lane] * (P[gamma + i] * D[d + at] - mean - F[f + at] * slant)


def add(table, n, A, a, S, s, Z, z):
    """z <- a + s, n lines."""
    for i in range(n * (LINE // A.itemsize)):
        Z[z + i] = A[a + i] + S[s + i]


# -- masks ---------------------------------------------------------------------------------------------------------
def philox(row, group, step, node, key_0, key_1):
    """Four random words (Salmon et al. 2011), ten rounds."""
    a, b, c, d = row & WORD, group & WORD, step & WORD, (node ^ ((step >> 32) << 16)) & WORD
    for _ in range(ROUNDS):
        product_0, product_1 = FACTOR_0 * a, FACTOR_1 * c
        a, b, c, d = (
            ((product_1 >> 32) & WORD) ^ b ^ key_0, product_1 & WORD,
            ((product_0 >> 32) & WORD) ^ d ^ key_1, product_0 & WORD,
        )  # fmt: skip
        key_0, key_1 = (key_0 + WEYL_0) & WORD, (key_1 + WEYL_1) & WORD
    return a, b, c, d


def random_word(row, unit, step, node, keys, k):
    return philox(row, unit // 4, step, node, keys[k], keys[k + 1])[unit % 4]


def dropout(table, n, row, step, node, threshold, keys, k, A, a, Z, z, F, f, scale, s):
    """One panel; f <- 0 where the unit's random word is under the threshold, else scale; z <- a f."""
    L = LINE // A.itemsize
    for i in range(n):
        for lane in range(L):
            at = i * L + lane
            word = random_word(row + lane, i, step, node, keys, k)
            F[f + at] = A.dtype.type(0) if word < threshold else scale[s]
            Z[z + at] = F[f + at] * A[a + at]


def noise(table, n, row, step, node, keys, k, A, a, Z, z, deviation, s):
    """One panel; z <- a + deviation N(0, 1)."""
    L = LINE // A.itemsize
    for i in range(n):
        for lane in range(L):
            at, word = i * L + lane, random_word(row + lane, i, step, node, keys, k)
            Z[z + at] = A[a + at] + deviation[s] * A.dtype.type(normal(word))


def normal(word):
    """sqrt(2) erfinv(2 u - 1), u = (r + 1/2) / 2^32, by the distance v of u from the nearer end."""
    negative = word < 2147483648
    v = ((word if negative else WORD - word) + 0.5) * 2.0**-32
    w = -math.log(4.0 * v * (1.0 - v))
    total = 0.0
    if w < 5.0:
        for i in range(len(ERFINV_CENTRE)):
            total = total * (w - 2.5) + ERFINV_CENTRE[len(ERFINV_CENTRE) - 1 - i]
    else:
        for i in range(len(ERFINV_TAIL)):
            total = total * (math.sqrt(w) - 3.0) + ERFINV_TAIL[len(ERFINV_TAIL) - 1 - i]
    size = (1.0 - 2.0 * v) * total * SQRT_2
    return -size if negative else size


# -- runs of parameters --------------------------------------------------------------------------------------------
def wide_square(value):
    """In double precision: Numba's float() leaves a float32 what it is."""
    wide = 1.0 * float(value)
    return wide * wide


def prepare(table, n, G, g, W, w, S, s, sums, o):
    """g <- clip(s[0] g + s[1] sign(w) + s[2] w) to [-s[3], s[3]]; the sum of its squares."""
    total, bound = 0.0, S[s + 3]
    for i in range(n * (LINE // G.itemsize)):
        weight, value = W[w + i], S[s] * G[g + i]
        value += S[s + 1] if weight > 0 else -S[s + 1] if weight < 0 else 0 * S[s + 1]
        value += S[s + 2] * weight
        G[g + i] = bound if value > bound else -bound if value < -bound else value
        total += wide_square(G[g + i])
    sums[o] = total


def squares(table, n, G, g, sums, o):
    """The sum of g^2."""
    total = 0.0
    for i in range(n * (LINE // G.itemsize)):
        total += wide_square(G[g + i])
    sums[o] = total


def penalties(table, n, W, w, sums, o):
    """Sums of |w| and of w^2."""
    size, total = 0.0, 0.0
    for i in range(n * (LINE // W.itemsize)):
        size += abs(1.0 * float(W[w + i]))
        total += wide_square(W[w + i])
    sums[o], sums[o + 1] = size, total


def limit(table, n, W, w, bound, o):
    """Every lane's n weights are scaled to a norm of at most the bound."""
    L = LINE // W.itemsize
    for lane in range(L):
        total, most = 0.0, 1.0 * float(bound[o])
        for at in range(lane, n * L, L):
            total += wide_square(W[w + at])
        norm = math.sqrt(total)
        if norm > most:
            for at in range(lane, n * L, L):
                W[w + at] = most / norm * float(W[w + at])


def average(table, n, W, w, M, m, momentum, o):
    """mean <- w + momentum (mean - w)."""
    for i in range(n * (LINE // W.itemsize)):
        M[m + i] = W[w + i] + momentum[o] * (M[m + i] - W[w + i])


def lamb(table, n, G, g, W, w, stride, S, s, sums, o):
    """Sums of w^2 and of the squares of LAMB's direction."""
    total, moved, tiny = 0.0, 0.0, W.dtype.type(TINY_32 if W.itemsize == 4 else TINY_64)
    for i in range(n * (LINE // G.itemsize)):
        weight, gradient = W[w + i], G[g + i]
        m = S[s + 1] * W[w + stride + i] + gradient
        v = S[s + 2] * W[w + 2 * stride + i] + tiny + gradient * gradient
        direction = S[s] * weight + S[s + 4] * m / (W.dtype.type(math.sqrt(v)) + S[s + 3])
        total += wide_square(weight)
        moved += wide_square(direction)
    sums[o], sums[o + 1] = total, moved


# -- sparse rows ---------------------------------------------------------------------------------------------------
def sparse_forward(table, n, columns, c, V, v, W, w, wpitch, panels, B, bias, Z, z, zpitch):
    """z[j] <- bias[j] + sum over i of values[i] W[j][columns[i]], a line for each of the panels."""
    L = LINE // Z.itemsize
    for j in range(panels):
        for lane in range(L):
            total = B[bias + j * wpitch + lane]
            for i in range(n):
                total += V[v + i] * W[w + j * wpitch + columns[c + i] * L + lane]
            Z[z + j * zpitch + lane] = total


def sparse_add(table, n, columns, c, V, v, D, d, W, w, factor, s, flag, f):
    """One panel; W[columns[i]] <- W[columns[i]] + factor values[i] d, where that is finite in every lane."""
    L = LINE // W.itemsize
    for i in range(n):
        at, good = w + columns[c + i] * L, True
        for lane in range(L):
            good = good and abs(W[at + lane] + V[v + i] * (factor[s] * D[d + lane])) < math.inf
        if not good:
            flag[f] = 1
            continue
        for lane in range(L):
            W[at + lane] += V[v + i] * (factor[s] * D[d + lane])


HELPERS = (lane_tree, batch_sum, row_mean, row_square, philox, random_word, normal, wide_square)
