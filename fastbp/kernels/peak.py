"""What a measurement of this machine's peak runs: chains of multiply-adds, or the largest register tile."""

from __future__ import annotations

import numpy as np
from numba import carray

from fastbp import isa
from fastbp.isa.codes import KEEP, ZERO
from fastbp.isa.microkernels import SLOTS
from fastbp.kernels import jit
from fastbp.kernels.microkernels import across, begin_tiles, end_tiles, peak, tile_peak
from fastbp.kernels.schema.pointers import pointer

CHAIN, TILE = range(2)
ROWS, COLUMNS = isa.table().sizes[0]
# Steps of a tile's product: with AVX-512 operands of 28 KiB and results of 1.5, which any first-level cache holds.
DEPTH = 112
SIZE = DEPTH * (1 + COLUMNS) + ROWS * COLUMNS  # lines of operands and results
N_SLOTS = len(SLOTS)


@jit.inlined
def repeat(table, M, what, n):
    """n multiply-adds of a line for each sum of a tile: in chains, or as products of DEPTH steps."""
    L = 64 // M.itemsize
    lines, sums = DEPTH * L, DEPTH * (1 + COLUMNS) * L
    if what == CHAIN:
        peak(table, n * DEPTH, ROWS * COLUMNS, M, 0, M, sums)
    else:
        for _ in range(n):
            across(table, ROWS, COLUMNS, DEPTH, M, 0, M, lines, lines, M, sums, ROWS * L, ZERO, M, 0, KEEP,
                   M, 0)


def repeat_tiles(table, operands, n):
    """n times four products of tiles: operands of 4 KiB, sums of 4 KiB, and a line for the thread's configuration."""
    slots = carray(pointer(table), N_SLOTS, np.int64)
    words = carray(pointer(operands), 2048, np.uint16)
    sums, saved = carray(pointer(operands + 4096), 1024, np.float32), carray(pointer(operands + 8192), 8, np.int64)
    begin_tiles(slots, saved, 0)
    tile_peak(slots, n, words, 0, sums, 0)
    end_tiles(slots, saved, 0)


def repeat_float32(table, operands, what, n):
    repeat(carray(pointer(table), N_SLOTS, np.int64), carray(pointer(operands), SIZE * 16, np.float32), what, n)


def repeat_float64(table, operands, what, n):
    repeat(carray(pointer(table), N_SLOTS, np.int64), carray(pointer(operands), SIZE * 8, np.float64), what, n)
