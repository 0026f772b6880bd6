"""This machine's peak, measured: chains of multiply-adds in registers, and the largest register tile beside them.

Both run through the compiled table of microkernels, as training does, so they say what the instruction set in force
(FASTBP_ISA) reaches here and now. On a shared machine only figures of the same minute compare.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastbp import isa
from fastbp.engine.memory import address, aligned
from fastbp.isa.targets import amx
from fastbp.kernels import entries, jit
from fastbp.kernels.peak import CHAIN, COLUMNS, DEPTH, ROWS, SIZE, TILE, repeat

FLOPS_OF_TILES = 4 * 2 * 16 * 16 * 32  # of four products of tiles
# Rounds of a measurement, and how long one takes; of the rounds the best counts.
ROUNDS, SECONDS = 8, 0.003
# `peak_of_several`: measurements, seconds between them, and the share of the best speed that a typical round has.
MEASUREMENTS, APART, STEADY = 5, 0.05, 0.8


def runner(dtype: str, what: int) -> Callable[[int], None]:
    """A function that does n times the FLOPs of `flops_of`, on operands of its own and without the GIL."""
    M = aligned(SIZE * isa.LINE // np.dtype(dtype).itemsize, dtype)
    M[:] = 0.5  # sums of x/2 + 1/2 stay between 0 and 1: nothing overflows or becomes denormal
    table = entries.addresses(dtype)
    call = entries.entry("peak", dtype).ctypes if jit.JIT else None

    def run(n: int) -> None:
        if call is None:
            repeat(table, M, what, n)
        else:
            call(address(table), address(M), what, n)

    return run


def flops_of(dtype: str) -> int:
    """FLOPs of one turn: a multiplication and an addition a lane, step and sum."""
    return 2 * DEPTH * ROWS * COLUMNS * isa.LINE // np.dtype(dtype).itemsize


def turns_in(run: Callable[[int], None], seconds: float) -> int:
    """About how many turns fill so many seconds."""
    run(1)
    n, passed = 1, 0.0
    while passed < seconds / 4:
        n *= 2
        start = time.perf_counter()
        run(n)
        passed = time.perf_counter() - start
    return max(1, round(n * seconds / passed))


def speed(what: int, dtype: str = "float32", n_threads: int = 1) -> float:
    """FLOP/s of chains or tiles on so many Python threads at once, in the best round, from first start to last end."""
    return max(speeds(what, dtype, n_threads))


def speeds(what: int, dtype: str, n_threads: int) -> list[float]:
    """FLOP/s of every round."""
    return _rounds([runner(dtype, what) for _ in range(n_threads)], flops_of(dtype))


def _rounds(runs: Sequence[Callable[[int], None]], flops: int) -> list[float]:
    """FLOP/s of every round, of functions that each do n times the FLOPs on a thread of its own."""
    n_threads, n = len(runs), turns_in(runs[0], SECONDS)
    together = threading.Barrier(n_threads)

    def rounds(run: Callable[[int], None]) -> list[tuple[float, float]]:
        times = []
        for _ in range(ROUNDS):
            together.wait()
            start = time.perf_counter()
            run(n)
            times.append((start, time.perf_counter()))
        return times

    with ThreadPoolExecutor(n_threads) as pool:
        times = np.array(list(pool.map(rounds, runs)))  # (threads, rounds, start and end)
    longest = times[:, :, 1].max(axis=0) - times[:, :, 0].min(axis=0)
    return [n_threads * n * flops / float(seconds) for seconds in longest]


def measured_peak(dtype: str = "float32", n_threads: int = 1) -> float:
    """FLOP/s of fused multiply-adds in registers, on so many threads at once: what no kernel can exceed.

        C[j, :] <- C[j, :] * x + y     for as many independent sums j as the largest register tile has

    Args:
        dtype: "float32" or "float64".
        n_threads: Python threads, each calling compiled code without the GIL.

    Takes about 30 ms once compiled; the best of 8 rounds counts, so a busy neighbour costs little.

    Raises:
        ValueError: another dtype, or fewer threads than one.

    Example:
        >>> measured_peak() > 1e6
        True
    """
    return _checked(CHAIN, dtype, n_threads)


def measured_tile_peak(n_threads: int = 1) -> float:
    """FLOP/s of AMX's products of bfloat16 in registers, on so many threads at once; 0 without tiles.

    Args, time and errors as for `measured_peak`.

    Example:
        >>> measured_tile_peak() >= 0
        True
    """
    if isa.table().bfloat16 != "tiles" or not amx.permitted() or not jit.JIT:
        return 0.0
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, got {n_threads!r}: pass a larger number")
    table, call = entries.addresses_with_bfloat16(), entries.entry("tile peak", "float32").ctypes

    def runner_of_tiles() -> Callable[[int], None]:
        operands = aligned(8192 + isa.LINE, np.uint8)
        return lambda n: call(address(table), address(operands), n)

    return max(_rounds([runner_of_tiles() for _ in range(n_threads)], FLOPS_OF_TILES))


def peak_of_several(dtype: str = "float32", n_threads: int = 1) -> tuple[float, str]:
    """`measured_peak` in the best of several measurements, some time apart, and a warning if the machine is busy.

    Busy is a machine whose load leaves no core idle for each thread, or whose typical round is much slower than the
    best: then the figure says less than the machine can do.
    """
    found = []
    for _ in range(MEASUREMENTS):
        found += speeds(CHAIN, dtype, n_threads)
        time.sleep(APART)
    best, typical = max(found), float(np.median(found))
    reasons = [f"a typical round has {100 * typical / best:.0f} % of the best's speed"] * (typical < STEADY * best)
    load, cores = _load()
    if load + n_threads > cores + 1:
        reasons.append(f"a load of {load:.1f} on {cores} cores")
    if not reasons:
        return best, ""
    return best, (
        f"the machine is busy ({', '.join(reasons)}): its peak may be higher, and times are longer than on an idle "
        "one; repeat when nothing else runs"
    )


def _load() -> tuple[float, int]:
    """Runnable processes in the last minute, all of this machine, and its cores; 0 where it does not say."""
    try:
        return os.getloadavg()[0], os.cpu_count() or 1
    except (AttributeError, OSError):
        return 0.0, os.cpu_count() or 1


def tile_speed(dtype: str = "float32", n_threads: int = 1) -> float:
    """FLOP/s of the largest register tile on operands in the first-level cache: what a kernel can hope for.

    Arguments, errors and time as for `measured_peak`.

    Example:
        >>> tile_speed() > 1e6
        True
    """
    return _checked(TILE, dtype, n_threads)


def _checked(what: int, dtype: str, n_threads: int) -> float:
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}: pass one of these")
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, got {n_threads!r}: pass a larger number")
    return speed(what, dtype, n_threads)
