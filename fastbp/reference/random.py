"""Counter-based random numbers: Philox4x32-10. Salmon, Moraes, Dror and Shaw 2011.

The number at (row in the batch, unit, step, node) depends on nothing else. It is therefore the same for any number of
threads, any batch size and any engine, and the backward pass can draw again what the forward pass drew::

    counter  (row, unit // 4, step mod 2^32, node xor (step // 2^32) 2^16)
    number   word unit mod 4 of Philox(counter, key)
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Words = npt.NDArray[np.uint64]  # 32-bit words; 64 bits hold their products

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key in each round: golden ratio, sqrt 3 - 1
LOW = 0xFFFFFFFF


class Draw(NamedTuple):
    """What the random numbers of a training step depend on besides node, row and unit: key (two words) and step.

    update: the number of the update that the step is part of, on which a dropout's rate may depend.
    """

    key: tuple[int, int]
    step: int
    update: int = 0


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[int, int]) -> tuple[Words, Words, Words, Words]:
    """Four random words for each counter of four words; the words broadcast.

    Each round multiplies, swaps and adds the key:

    c0, c1, c2, c3 <- hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0).
    """
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    for number in range(ROUNDS):
        k0, k1 = (np.uint64((key[i] + number * WEYL[i]) & LOW) for i in range(2))
        product_0, product_1 = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1 = (product_1 >> np.uint64(32)) ^ c1 ^ k0, product_1 & np.uint64(LOW)
        c2, c3 = (product_0 >> np.uint64(32)) ^ c3 ^ k1, product_0 & np.uint64(LOW)
    return c0, c1, c2, c3


def random_words(draw: Draw, node: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """32 random bits for every row and unit of a node's output."""
    rows, units = shape
    row, group = np.arange(rows, dtype=np.uint64)[:, np.newaxis], np.arange(-(-units // 4), dtype=np.uint64)
    low, high = draw.step & LOW, draw.step >> 32
    words = philox((row, group, np.array(low, np.uint64), np.array((node ^ (high << 16)) & LOW, np.uint64)), draw.key)
    stacked: npt.NDArray[np.uint32] = np.stack(words, axis=2).astype(np.uint32)
    return stacked.reshape(rows, -1)[:, :units]


def dropout_mask(draw: Draw, node: int, shape: tuple[int, ...], rate: float) -> npt.NDArray[np.bool_]:
    """The dropout mask: True with probability 1 - rate, on a grid of 2^-32."""
    result: npt.NDArray[np.bool_] = random_words(draw, node, shape) >= int(rate * 2**32)
    return result


def normal(draw: Draw, node: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Standard normal numbers: sqrt(2) erfinv(2 u - 1), with u = (r + 1/2) 2^-32.

    They are symmetric about 0. The relative error is at most 1.3e-7 up to 5 and 4e-4 beyond; 32 bits give nothing above
    6.34. All operations are in dtype.
    """
    r = random_words(draw, node, shape)
    negative = r < 2**31
    # v = min(u, 1 - u): small values keep their precision, whereas 1 - x may round to 0 in float32.
    v = (np.where(negative, r, ~r).astype(dtype) + np.asarray(0.5, dtype)) * np.asarray(2.0**-32, dtype)
    x = 1 - 2 * v
    n: Array = np.where(negative, -1, 1).astype(dtype) * (np.asarray(np.sqrt(2.0), dtype) * _erfinv(x, v))
    return n


# Giles 2010, "Approximating the erfinv function", single precision: erfinv(x) = x p(w), w = -log((1 - x) (1 + x)), p of
# degree 8 in w - 2.5 if w < 5, else in sqrt(w) - 3. Highest power first.
CENTRE = (
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087),
    *(-0.00125372503, -0.00417768164, 0.246640727, 1.50140941),
)
TAIL = (
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773),
    *(-0.0076224613, 0.00943887047, 1.00167406, 2.83297682),
)


def _erfinv(x: Array, v: Array) -> Array:
    """The inverse error function of x = 1 - 2 v, in which (1 - x) (1 + x) = 4 v (1 - v)."""
    w = -np.log(4 * v * (1 - v))
    central = w < 5
    t = np.where(central, w - np.asarray(2.5, w.dtype), np.sqrt(np.maximum(w, 0)) - 3)
    p = np.where(central, *(np.asarray(c[0], w.dtype) for c in (CENTRE, TAIL)))
    for c, d in zip(CENTRE[1:], TAIL[1:], strict=True):
        p = p * t + np.where(central, np.asarray(c, w.dtype), np.asarray(d, w.dtype))
    return x * p
