"""Processor features that threads use: atomics, and the floating-point control word."""

from __future__ import annotations

import numpy as np

from fastbp.kernels import entries, jit, microkernels

from .cases import Operand, lanes_of
from .machines import each_dtype


@jit.kernel
def use_atomics(words):
    found = (
        microkernels.atomic_add(words, 1, 3),
        microkernels.atomic_load(words, 1),
        microkernels.atomic_store(words, 0, 2),
        microkernels.exchange_if(words, 0, 1, 9),  # the word is not 1
        microkernels.exchange_if(words, 0, 2, 9),
    )
    return found, microkernels.pause(), microkernels.yield_thread()


def test_atomics_read_and_update_words():
    """Emitted code, or the twins if the JIT is off."""
    words = np.array([5, 7], np.int64)
    assert use_atomics(words) == ((7, 10, 2, 2, 2), 0, 0)
    assert words.tolist() == [9, 10]


@jit.kernel
def scale_flushed(table, n, line, factors, flushed):
    before = microkernels.flush_denormals()
    microkernels.scale(table, n, flushed, 0, factors, 0)
    microkernels.restore_denormals(before)
    microkernels.scale(table, n, line, 0, factors, 0)


@each_dtype
def test_denormals_are_flushed_only_between_flush_and_restore(dtype):
    L, smallest = lanes_of(dtype), np.finfo(dtype).smallest_normal
    operands = [Operand(dtype, L, np.full(L, value)) for value in (smallest, 0.5, smallest)]
    line, factors, flushed = (operand.array[operand.offset :] for operand in operands)
    scale_flushed(entries.addresses(dtype), 1, line, factors, flushed)
    np.testing.assert_array_equal(line[:L], smallest / 2)
    if not microkernels.PORTABLE:  # an inlined twin may be moved across the switch
        np.testing.assert_array_equal(flushed[:L], 0)
