"""The work behind `fastbp warmup`: compile everything once, so that nothing waits for the compiler afterwards."""

from __future__ import annotations

import time

from fastbp.engine import warm_up


def warmup(dtypes: tuple[str, ...]) -> int:
    """Run `fastbp warmup`: compile what the cache lacks, say how long each part took, and where it is kept."""
    from fastbp.kernels import jit

    if not jit.JIT:
        raise ValueError("there is nothing to compile: NUMBA_DISABLE_JIT is set")
    start = time.perf_counter()
    entries = warm_up(dtypes)
    seconds = time.perf_counter() - start
    for entry in entries:
        how = f"compiled in {entry.seconds:.1f} s" if entry.compiled else "in the cache"
        print(f"{entry.name:<15}{entry.dtype:<10}{how}")
    print(f"{'total':<25}{seconds:.1f} s")
    folder = jit.cache_dir()
    if folder is None:  # a warning has said why
        print("nothing is kept: set FASTBP_CACHE_DIR to a folder only you can write to")
        return 1
    print(f"{'cache folder':<25}{folder}")
    return 0
