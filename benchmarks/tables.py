"""Generated tables in the documentation: text between two markers is replaced, the rest of the page is left alone."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from fastbp import isa


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table whose first ``left`` columns are aligned left, the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_generated(path: Path, name: str, text: str, *, title: str) -> None:
    """Put text between ``<!-- generated: name -->`` and ``<!-- end: name -->``, at the end of a page without them."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    page = path.read_text(encoding="utf-8") if path.exists() else f"# {title}\n"
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
    head, rest = page.split(begin, 1)
    tail = rest.split(end, 1)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")


def by_instruction_set(name: str) -> str:
    """The section of a table whose figures depend on the instruction set: a page keeps one section of each.

    float32 runs on AVX-512 where AMX is chosen.
    """
    return f"{name} {'avx512' if isa.NAME == 'amx' else isa.NAME}"


def machine() -> dict[str, str]:
    """The processor, its cores, the system and the Python that measured."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution that is there."""
    found = {}
    for name in sorted(set(distributions)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name", platform.processor() or "unknown processor")
    flags = facts.get("flags", "").split()
    widest = next((f", {isa}" for isa in ("amx_tile", "avx512f", "avx2") if isa in flags), "")
    return f"{name} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')}{widest})"
