"""The work behind `fastbp warmup`, `autotune` and `info`: what has to do with this machine rather than with data."""

from __future__ import annotations

import platform
import time
from importlib.metadata import version
from itertools import groupby

from fastbp.engine import warm_up
from fastbp.util.console import say

TOLD = {
    "worth_sharing": "multiply-adds per layer and worker, from which several share a step",
    "kept_bytes": "bytes of deltas kept until all weights are updated",
    "batch_panels": "panels of the batch in a unit of a product",
    "most_panels": "panels of outputs in a unit of a product",
}
NOTHING_KEPT = "nothing is kept: set FASTBP_CACHE_DIR to a folder only you can write to"


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
        print(NOTHING_KEPT)
        return 1
    print(f"{'cache folder':<25}{folder}")
    return 0


def autotune(seconds: float, forget: bool = False) -> int:
    """Run `fastbp autotune`: print each size with what was tried for it, and keep those that were faster."""
    from fastbp.engine.planning import autotune, tuning
    from fastbp.kernels import jit

    if forget:
        tuning.forget()
        print("sizes follow from the caches again")
        return 0
    if not jit.JIT:
        raise ValueError("there is nothing to measure: NUMBA_DISABLE_JIT is set")
    warm_up(("float32",))
    found = autotune.measure(seconds, lambda done, of: say(f"measured {done} of {of}"))
    for size, trials in groupby(found.trials, lambda trial: trial.size):
        derived, chosen = getattr(found.derived, size), getattr(found.chosen, size)
        print(f"{size:<15}{chosen:>10,}  {TOLD[size]}" + (f"; derived: {derived:,}" if chosen != derived else ""))
        against = "one worker" if size == "worth_sharing" else "the time"
        for trial in trials:
            print(f"{'':<15}{trial.candidate:>10,}  {trial.ratio:.2f} of {against}")
    path = tuning.keep(found.chosen)
    if path is None:  # a warning has said why
        print(NOTHING_KEPT)
        return 1
    print(f"kept in {path}")
    return 0


def show_info() -> int:
    """Run `fastbp info`: print what fastbp detected on this machine."""
    from fastbp import __version__, isa
    from fastbp.engine.peak import peak_of_several
    from fastbp.engine.planning import tuning
    from fastbp.isa.targets.detect import usable_cores
    from fastbp.kernels import jit

    cores = usable_cores()
    measured = {n: peak_of_several("float32", n) for n in sorted({1, cores})}
    facts = [
        ("fastbp", __version__),
        ("Python", ", ".join([platform.python_version(), *(f"{name} {version(name)}" for name in ("numpy", "numba"))])),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("instruction set", isa.NAME),
        ("bfloat16", _bfloat16()),
        ("usable cores", str(cores)),
        ("threads", f"at most {jit.max_threads()} (NUMBA_NUM_THREADS)"),
        ("threading layer", jit.threading_layer()),
        ("cache folder", str(jit.cache_dir())),
        ("sizes of work", "as measured by fastbp autotune" if tuning.kept() else "derived from the caches"),
        *(
            (f"peak, {n} thread{'s' * (n > 1)}", f"{peak / 1e9:.0f} GFLOP/s in float32, measured")
            for n, (peak, _) in measured.items()
        ),
    ]
    for name, value in facts:
        print(f"{name:<17}{value}")
    if busy := next(filter(None, (busy for _, busy in measured.values())), ""):
        say(f"warning: {busy}")
    return 0


def _bfloat16() -> str:
    """How operands of bfloat16 are multiplied."""
    from fastbp import isa
    from fastbp.isa.targets import amx

    how = {"tiles": "in tiles (AMX)", "lines": "in float32's multiply-add units", "loops": "in plain loops"}
    if isa.table().bfloat16 == "tiles" and not amx.permitted():
        return "not permitted by the operating system"
    return how.get(isa.table().bfloat16, "not offered by this instruction set")
