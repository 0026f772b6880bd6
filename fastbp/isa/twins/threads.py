"""What threads need of the processor, where there is one thread."""

from __future__ import annotations


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


def this_core():
    return -1


def allowed_cores(array, offset):
    return -1


def allow_cores(array, offset):
    return -1


def flush_denormals():
    """Nothing to set without compiled code: NumPy keeps its denormals."""
    return 0


def restore_denormals(before):
    return 0
