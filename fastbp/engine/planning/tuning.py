"""The sizes that suit a machine: derived from its caches, or measured once by `fastbp autotune`.

They decide how work is cut and shared out, so they change times and never a bit. What was measured is kept beside the
compiled code, and holds for the processor, the number of cores and the kernels it was measured with.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from fastbp import isa
from fastbp.isa.targets import detect
from fastbp.kernels import jit
from fastbp.kernels.schema.fields import BLOCK
from fastbp.util.atomic_write import atomic_write


class Tuning(NamedTuple):
    """The sizes.

    worth_sharing: multiply-adds of a step, per layer and worker, from which another worker pays for the lines that
    cores hand each other; kept_bytes: of deltas that are kept until all weights are updated at once; batch_panels: how
    many of the batch a unit of a product keeps in the second-level cache, BLOCK lines of each; most_panels: of outputs,
    or blocks of inputs, that pass them by.
    """

    worth_sharing: int
    kept_bytes: int
    batch_panels: int
    most_panels: int


chosen: Tuning | None = None  # once it is known


def current() -> Tuning:
    """What was measured on this machine, or else what follows from its caches."""
    global chosen
    if chosen is None:
        chosen = kept() or derived()
    return chosen


def derived() -> Tuning:
    """From the size of the second-level cache.

    64-100-10 with 64 rows, 237,000 multiply-adds a layer for each of two workers, takes 17 to 26 us alone and 16 to 21
    shared, as the machine's other guests will have it. BLOCK lines of the batch panels stay in half of the cache; at
    1024 and 4096 wide more than 18 panels, or 32 of outputs, read no fewer lines.
    """
    _, l2 = detect.cache_sizes()
    panels = l2 // 2 // (BLOCK * isa.LINE)
    return Tuning(150_000, l2, max(3, min(18, panels // 3 * 3)), 32)


def machine() -> dict[str, object]:
    """What a measurement holds for."""
    return {"processor": jit.processor()[0], "caches": list(detect.cache_sizes()), "cores": detect.usable_cores()}


def place() -> Path | None:
    """The file; None where nothing is kept."""
    folder = jit.cache_dir() if jit.JIT else None
    return None if folder is None else folder / "tuning.json"


def kept() -> Tuning | None:
    """What was measured on a machine like this one, if anything was."""
    path = place()
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        if path is not None:
            found = json.loads(path.read_text(encoding="utf-8"))
            sizes = Tuning(**found["sizes"])
            if found["machine"] == machine() and all(type(size) is int and size > 0 for size in sizes):
                return sizes
    return None


def forget() -> None:
    """Removes what was measured."""
    global chosen
    path, chosen = place(), None
    if path is not None:
        path.unlink(missing_ok=True)


def keep(sizes: Tuning) -> Path | None:
    """Writes what was measured for the processes to come; returns where."""
    path = place()
    if path is not None:
        with atomic_write(path) as file:
            file.write(json.dumps({"machine": machine(), "sizes": sizes._asdict()}, indent=1).encode())
    return path
