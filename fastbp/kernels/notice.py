"""What is said on standard error while kernels are compiled: what for, how far it is and how long it takes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from numba.core import event

# Every line begins so.
PREFIX = "fastbp: compil"
# Seconds that each entry takes, measured on one core of the machine of docs/performance.md.
COSTS = {
    "microkernels": 7.0, "worker": 5.5, "node": 2.4, "update": 2.0, "plain update": 1.5, "peak": 0.5, "launcher": 0.3,
    "bfloat16": 3.0, "products": 3.0, "tile peak": 0.3,
}  # fmt: skip
LABELS = {"worker": "training loop", "node": "layers", "update": "updates", "launcher": "threads"}
Name = tuple[str, str]  # of an entry: what it is and its element type


def label(name: Name) -> str:
    """An entry in the user's words."""
    what, dtype = name
    return LABELS.get(what, what) if what == "launcher" else f"{LABELS.get(what, what)} ({dtype})"


class Stages:
    """The notice of several entries: a line at first, then one for each, on a terminal in the place of the one before.

    costs: seconds that the shares of the processes should take, this one's first. How much longer it takes is estimated
    from how long this one's entries have taken.
    """

    def __init__(self, names: Sequence[Name], costs: Sequence[float]) -> None:
        self.names, self.done, self.start = names, 0, time.perf_counter()
        self.total, self.own, self.finished, self.pace = max(costs, default=0.0), sum(costs[:1]), 0.0, 1.0
        self.work = sum(COSTS[what] for what, _ in names)
        self.terminal = sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()
        if names:
            purposes = sorted({"threads" if what == "launcher" else dtype for what, dtype in names})
            parts = f"{len(names)} part{'s' * (len(names) > 1)}, {_about(self.total)}"
            self._say(f"compiling for {', '.join(purposes)}, once on this machine: {parts}")

    def entry(self, name: Name) -> None:
        """An entry was compiled."""
        self.done, self.finished = self.done + 1, self.finished + COSTS[name[0]]
        passed = time.perf_counter() - self.start
        if self.finished <= self.own:
            self.pace = passed / self.finished
        if self.done < len(self.names):
            left = self.pace * self.total - passed  # or, if the others are slower, as long as they take at most
            if self.finished >= self.own:
                left = self.pace * (self.work - self.finished)
            self._say(f"compiled {label(name)}, {self.done} of {len(self.names)}, {_about(left)} left")
        elif self.done > 1:
            self._say(f"compiled {self.done} parts in {passed:.0f} s", last=True)
        elif self.terminal:
            _write("\n")

    def _say(self, text: str, last: bool = False) -> None:
        line = f"fastbp: {text}"
        _write(f"\r{line:<78}" + "\n" * last if self.terminal else f"{line}\n")


class Single(event.Listener):  # type: ignore[misc]
    """The notice of an entry that is compiled by itself: Numba runs no pass for what it loads from the cache."""

    def __init__(self) -> None:
        self.given, self.what, self.quiet = False, "", threading.local()
        self.silent = False  # another process says it

    def on_start(self, event: Any) -> None:
        if self.what and not self.silent and not getattr(self.quiet, "on", False):
            self.given = True
            _write(f"fastbp: compiling {self.what}, once on this machine\n")
            self.what = ""

    def on_end(self, event: Any) -> None:
        pass


def _about(seconds: float) -> str:
    return f"about {max(1, round(seconds))} s"


def _write(text: str) -> None:
    """Compiling must not fail because nobody listens."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        pass
