"""Lines of float32 as operands of bfloat16, in plain loops; the emitter draws both forms."""

from __future__ import annotations

import math

from fastbp.isa.twins.products import TINY, nearest, widened
from fastbp.isa.twins.tile import APPLY_RELU

NEITHER, HALVES, WHOLE, STREAMED = range(4)  # of lines of rows: what is written, the last past the caches
PADDED = 2  # pairs: zeros follow

def finish_outputs(table, n, columns, count, C, c, cpitch, bias, o, biased, post, Z, z, zpitch, keep, P, p, ppitch,
                   pairs, R, r, halves, low):  # fmt: skip
    """Z <- f(C + bias), f the identity or ReLU, and its pairs and rows; of these, lanes from `count` on are zero."""
    for j in range(columns):
        for i in range(n):
            for lane in range(16):
                value = C[c + j * cpitch + i * 16 + lane]
                if biased:
                    value = value + bias[o + i]
                if post == APPLY_RELU and value < 0:
                    value = C.dtype.type(0)
                if keep:
                    Z[z + j * zpitch + i * 16 + lane] = value
                if 16 * j + lane >= count:
                    value = C.dtype.type(0)
                if pairs:
                    put(P, p + j * ppitch + i // 2 * 32 + 2 * lane + i % 2, value, low)
                    if i == n - 1 and i % 2 == 0:
                        put(P, p + j * ppitch + i // 2 * 32 + 2 * lane + 1, C.dtype.type(0), low)
                if halves != NEITHER:
                    put(R, r + i * 32 + 16 * j + lane, value, low)
                if halves >= WHOLE and columns == 1:
                    put(R, r + i * 32 + 16 + lane, C.dtype.type(0), low)


def finish_deltas(table, n, columns, count, E, e, epitch, K, k, kpitch, masked, P, p, ppitch, pairs, T, t, halves, low):
    """The operands of up to 16 lines of deltas, times ReLU's slope if masked; lanes from `count` on are zero."""
    for j in range(columns):
        for i in range(16):
            for lane in range(16):
                value = E[e + j * epitch + i * 16 + lane] if i < n and 16 * j + lane < count else E.dtype.type(0)
                if masked and widened(K[k + j * kpitch + i // 2 * 32 + 2 * lane + i % 2]) <= 0:
                    value = E.dtype.type(0)
                if pairs:
                    put(P, p + j * ppitch + i // 2 * 32 + 2 * lane + i % 2, value, low)
                if pairs == PADDED:
                    put(P, p + j * ppitch + 256 + i // 2 * 32 + 2 * lane + i % 2, E.dtype.type(0), low)
                put(T, t + (8 * j + lane // 2) * 32 + 2 * i + lane % 2, value, low)
                if halves >= WHOLE and columns == 1:
                    put(T, t + (8 + lane // 2) * 32 + 2 * i + lane % 2, E.dtype.type(0), low)


def round_kernel(table, n, columns, W, w, wpitch, F, f, fpitch, B, b, bpitch, halves, low):
    """A kernel's two operands from up to 32 lines of one or two panels."""
    for j in range(columns):
        for i in range(32):
            for lane in range(16):
                value = W[w + j * wpitch + i * 16 + lane] if i < n else W.dtype.type(0)
                put(F, f + j * fpitch + lane * 32 + i, value, low)
                if halves != NEITHER:
                    put(B, b + i // 16 * bpitch + i % 16 * 32 + 16 * j + lane, value, low)
                if halves >= WHOLE and columns == 1:
                    put(B, b + i // 16 * bpitch + i % 16 * 32 + 16 + lane, W.dtype.type(0), low)


def put(target, at, value, low):
    """A number as a word; `low` behind it, what that leaves."""
    word = narrowed(1.0 * float(value))
    target[at] = word
    if low:
        back = widened(word)
        target[at + low] = narrowed(1.0 * float(value) - back) if abs(back) < math.inf else 0


def narrowed(value):
    """The word of the nearest bfloat16, ties to even; 0 for what is below the smallest normal number."""
    sign, size = 32768 if math.copysign(1.0, value) < 0 else 0, abs(value)
    if value != value:
        return 0x7FC0
    if size < TINY:
        return sign
    if size >= 3.3961775292304957e38:  # halfway from the largest one to 2^128
        return sign + 0x7F80
    fraction, exponent = math.frexp(size)
    return sign + (exponent + 126) * 128 + int(nearest(fraction, 8)) - 128


HELPERS = (narrowed, put)
