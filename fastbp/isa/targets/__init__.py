"""The instruction sets: a table each, listed here from the simplest to the best."""

from __future__ import annotations

from fastbp.isa.targets import amx, avx2, avx512, neon, portable
from fastbp.isa.targets.table import Table

TARGETS: dict[str, Table] = {module.TABLE.name: module.TABLE for module in (portable, avx2, avx512, amx, neon)}
