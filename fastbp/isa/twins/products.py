"""Products of operands of bfloat16 in plain loops, in the order of the tiles' sums; the emitter explains both."""

from __future__ import annotations

import math

from fastbp.isa.twins.tile import ACCUMULATE

TINY = 2.0**-126  # the smallest normal number
STREAM_B, STREAM_A = range(2)  # which operand comes from the second-level cache and is not kept in the first



def products(table, rows, columns, depth, A, a, apitch, astep, B, b, bpitch, bstep, alow, blow, C, c, cpitch, start,
             streamed, ahead, h, hstep, fetch):  # fmt: skip
    """C[j, i, :] (+)= sum over k of A's row i times B's column j; what is ahead is not prefetched."""
    for j in range(columns):
        for i in range(16 * rows):
            row = C[c + j * cpitch + i * 16 : c + j * cpitch + i * 16 + 16]
            if start != ACCUMULATE:
                row[:] = 0
            for n in range(depth):
                x = a + n * astep + i // 16 * apitch + i % 16 * 32
                y = b + n * bstep + j * bpitch
                add_block(row, A, x, B, y)
                if alow and streamed == STREAM_A:
                    add_block(row, A, x, B, y + blow)
                    add_block(row, A, x + alow, B, y)
                elif alow:
                    add_block(row, A, x + alow, B, y)
                    add_block(row, A, x, B, y + blow)


def add_block(row, A, a, B, b):
    """A line of sums and 32 products for each of its lanes."""
    for lane in range(16):
        even = odd = 0.0
        for n in range(0, 32, 2):
            at = b + n * 16 + 2 * lane
            even = rounded_once(even + widened(A[a + n]) * widened(B[at]))
            odd = rounded_once(odd + widened(A[a + n + 1]) * widened(B[at + 1]))
        row[lane] = rounded_once(flushed(row[lane]) + rounded_once(even + odd))


def widened(word):
    """The value of a bfloat16 as a double; below the smallest normal number, 0."""
    word = int(word)
    exponent, fraction = word >> 7 & 255, word & 127
    if exponent == 0:
        value = 0.0
    elif exponent == 255:
        value = math.nan if fraction else math.inf
    else:
        value = math.ldexp(128.0 + fraction, exponent - 134)
    return -value if word >> 15 else value


def flushed(value):
    """The value as a double, 0 if it is below the smallest normal number."""
    value = 1.0 * float(value)
    return value if abs(value) >= TINY or value != value else math.copysign(0.0, value)


def rounded_once(value):
    """A double rounded to 24 bits, to the nearest, ties to even: twice is once, for sums of such numbers."""
    size = abs(value)
    if value != value or size == math.inf or size == 0.0:
        return value
    fraction, exponent = math.frexp(size)
    size = nearest(fraction, 24) * 2.0 ** (exponent - 24)
    size = math.inf if size > 3.4028234663852886e38 else 0.0 if size < TINY else size
    return math.copysign(size, value)


def nearest(fraction, bits):
    """fraction * 2^bits as a whole number, ties to even; the fraction in [1/2, 1)."""
    scaled = math.ldexp(fraction, bits)
    whole = math.floor(scaled)
    rest = scaled - whole
    if rest > 0.5 or (rest == 0.5 and whole % 2 == 1):
        whole += 1
    return 1.0 * whole


def begin_tiles(table, saved, s):
    """There are no tiles."""


def end_tiles(table, saved, s):
    """There are no tiles."""


def tile_peak(table, n, A, a, C, c):
    """n times the four products of a 2 x 2 block, which start from 0."""
    for cell in range(4):
        for i in range(16):
            row = C[c + cell * 256 + i * 16 : c + cell * 256 + i * 16 + 16]
            row[:] = 0
            for _ in range(n):
                add_block(row, A, a + cell // 2 * 512 + i * 32, A, a + 1024 + cell % 2 * 512)


HELPERS = (nearest, rounded_once, flushed, widened, add_block)
