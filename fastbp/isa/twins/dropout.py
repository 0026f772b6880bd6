"""Dropout and Gaussian noise: the constants of the generator, and the twins.

Philox4x32-10 (Salmon et al. 2011) has no state: it turns the place of a unit and a key into random words.
"""

from __future__ import annotations

import math

from fastbp.isa.targets.table import LINE

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
# Of sqrt(2) erfinv(x) = x p(w), w = -log(1 - x^2): in w - 2.5 below 5, else in sqrt(w) - 3. Giles 2010, table 5, which
# gives erfinv: good to 1e-6 or so, and noise needs no more.
ERFINV_CENTRE = (
    1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.000218580870, -4.39150654e-06, -3.5233877e-06,
    3.43273939e-07, 2.81022636e-08,
)  # fmt: skip
ERFINV_TAIL = (
    2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773, -0.00367342844, 0.00134934322,
    0.000100950558, -0.000200214257,
)  # fmt: skip
SQRT_2 = 1.4142135623730951

FACTOR_0, FACTOR_1 = MULTIPLIERS
WEYL_0, WEYL_1 = WEYL
WORD = 0xFFFFFFFF


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


HELPERS = (philox, random_word, normal)
