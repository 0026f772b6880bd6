"""Ctrl-C while entries are compiled: never heard where Python drops the exceptions.

A signal that arrives while LLVM emits machine code is heard in the callback that takes the code. There ctypes prints
the KeyboardInterrupt and goes on: Ctrl-C would be lost, and the code as well, which would look like a broken cache.
Destructors, of which a compilation runs thousands, drop it too.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from numba.core import event

# Modules whose functions are called by LLVM or when an object is gone.
DROPPING = ("llvmlite.binding.executionengine", "weakref")


class _Interrupts(event.Listener):  # type: ignore[misc]
    """What Ctrl-C does, again at the next pass of the compiler if an exception was dropped, or would have been."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler, self.missed = handler, False

    def hear(self, number: int, frame: FrameType | None) -> None:
        self.missed = True
        if not _drops_exceptions(frame):
            self.handler(number, frame)
            self.missed = False  # it has done its work without an exception

    def raise_if_missed(self) -> None:
        if self.missed:
            self.missed = False
            self.handler(signal.SIGINT, None)

    def on_start(self, event: Any) -> None:
        if threading.current_thread() is threading.main_thread():  # listeners hear of other threads' passes, too
            self.raise_if_missed()

    def on_end(self, event: Any) -> None:
        pass


@contextlib.contextmanager
def interrupts_are_raised() -> Iterator[None]:
    """Ctrl-C while the block compiles is raised in it, or at its end."""
    handler: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    interrupts = _Interrupts(handler)
    signal.signal(signal.SIGINT, interrupts.hear)
    try:
        with event.install_listener("numba:run_pass", interrupts):
            yield
    except KeyboardInterrupt:
        interrupts.missed = False
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
        interrupts.raise_if_missed()


def _drops_exceptions(frame: FrameType | None) -> bool:
    """Whether the code that is running was called from where exceptions are dropped."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_globals.get("__name__") in DROPPING:
            return True
        frame = frame.f_back
    return False
