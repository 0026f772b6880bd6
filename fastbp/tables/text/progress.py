"""A bar for files that take longer than a moment to read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_DELAY = 1.5  # seconds without a bar


@contextmanager
def reading(path: Path, shown: bool) -> Iterator[Callable[[int], None] | None]:
    """A function that takes the bytes read so far; None if no bar is wanted or standard error is no terminal."""
    if not shown or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no monitor thread: threads and fork do not mix

    with Bar(
        desc=f"reading {path.name}", total=path.stat().st_size, unit="B", unit_scale=True, delay=_DELAY, leave=False,
        dynamic_ncols=True,
    ) as bar:  # fmt: skip
        yield lambda position: bar.update(position - bar.n) and None
