"""The processor: what it can do, its caches, its usable cores. `FASTBP_ISA` overrides the choice of instruction set."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from fastbp.isa.targets import TARGETS
from fastbp.isa.targets.table import Table

CHOICES = tuple(TARGETS)
CONTROL_GROUP = Path("/sys/fs/cgroup")


def host_features() -> set[str]:
    """LLVM's names of what the processor and the operating system offer."""
    import llvmlite.binding as llvm

    return {name for name, there in llvm.get_host_cpu_features().items() if there}


def offered(table: Table) -> bool:
    """Whether this processor has the instruction set."""
    if table.machines and platform.machine().lower() not in table.machines:
        return False
    return not table.features or host_features().issuperset(table.features)


def choose(requested: str | None = None) -> str:
    """The best instruction set of this processor, or the one asked for.

    Raises ValueError for an unknown name and RuntimeError for one the processor lacks.
    """
    requested = (requested or "").strip().lower()
    if requested and requested not in CHOICES:
        raise ValueError(
            f"FASTBP_ISA must be one of {', '.join(CHOICES)}; got {requested!r}. Unset it to choose automatically."
        )
    possible = [name for name in reversed(CHOICES) if offered(TARGETS[name])]
    if requested and requested not in possible:
        raise RuntimeError(f"FASTBP_ISA={requested} is not supported by this processor, which supports: "
                           f"{', '.join(possible)}. Unset it to choose automatically.")
    return requested or possible[0]


def usable_cores() -> int:
    """Cores this process may use: affinity and the control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else min(cores, max(1, int(quota)))


def cpu_quota() -> float | None:
    """Cores' worth of time that the control group may use, as containers see it: of version 2, or of version 1."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CONTROL_GROUP / name).read_text() for name in names).split()
            return int(quota) / int(period) if quota not in ("max", "-1") else None
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None


def cache_sizes() -> tuple[int, int]:
    """Bytes of a core's first- and second-level data cache; 32 KiB and 1 MiB where the system does not say."""
    sizes = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind = (index / "level").read_text().strip(), (index / "type").read_text().strip()
            text = (index / "size").read_text().strip()
            size = int(text.rstrip("KM")) << (10 * text.endswith("K") + 20 * text.endswith("M"))
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            sizes[level] = size
    return sizes.get("1", 32 << 10), sizes.get("2", 1 << 20)
