"""Prefetching: a thread prepares the next item while the current one is used."""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

ENABLED = True
# Seconds to wait for the thread when stopped early; it cannot be interrupted while it reads. After Ctrl-C the user is
# not kept waiting.
PATIENCE, INTERRUPTED_PATIENCE = 5.0, 0.1
# Seconds in which a thread that was started must have begun; it never does if there is no memory for its first frame.
START = 20.0


class _Handover(Generic[T]):
    """What the two threads share: a slot for one item, and what became of the thread.

    All of it is made beforehand, so that a thread that gets no memory can still say so. There is no global state: a
    process forked meanwhile has no lock of it to wait for.
    """

    def __init__(self, make: Callable[[threading.Event], Iterable[T]]) -> None:
        self.make, self.stop = make, threading.Event()
        self.made, self.wanted, self.running = (threading.Lock() for _ in range(3))
        for lock in (self.made, self.wanted):
            lock.acquire()
        self.begun = self.ended = False
        self.items: list[T] = []
        self.error: BaseException | None = None
        self.process = os.getpid()

    def work(self) -> None:
        """Run in the thread."""
        self.begun = True
        try:
            with self.running:
                for item in self.make(self.stop):
                    self.items.append(item)
                    del item  # the caller may free it long before the next is ready
                    self.made.release()
                    self.wanted.acquire()
                    if self.stop.is_set():
                        return
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            if self.made.locked():  # else the item before was not even taken
                self.made.release()

    def await_item(self) -> None:
        """Wait until there is an item, an error or the end."""
        start = time.monotonic()
        while not (self.made.acquire(timeout=0.5) or self.ended):
            if os.getpid() != self.process:
                raise RuntimeError(
                    "this process was forked while the fit read its source in a thread, which is not here: fork before "
                    "or after fit, or pass arrays"
                )
            if not self.begun and time.monotonic() - start > START:
                raise MemoryError("the thread that reads the source did not begin: there is too little memory for it")

    def close(self) -> None:
        """Let the thread end, and wait for it for a while."""
        self.stop.set()
        if self.wanted.locked():
            self.wanted.release()
        if self.begun and not self.ended and os.getpid() == self.process:
            patience = INTERRUPTED_PATIENCE if _interrupted() else PATIENCE
            if self.running.acquire(timeout=patience):
                self.running.release()


def ahead(make: Callable[[threading.Event], Iterable[T]]) -> Generator[T, None, None]:
    """Iterate over make(stop) with one item prepared ahead in a separate thread.

    At most two items exist at a time. An exception raised while preparing an item is re-raised in its place, after the
    items before it. Close the iterator (contextlib.closing) if it may not be exhausted, so that the thread ends; stop
    is then set, which long-running producers should check. Where no thread can be started, items are prepared when they
    are needed.

    >>> list(ahead(lambda stop: range(3)))
    [0, 1, 2]
    """
    if not ENABLED:
        yield from make(threading.Event())
        return
    shared = _Handover(make)
    try:  # try before start: Ctrl-C may arrive right after it
        if not _started(shared):
            yield from make(shared.stop)
            return
        while True:
            shared.await_item()
            if shared.items:
                item = shared.items.pop()
                shared.wanted.release()
                yield item
                del item
            elif shared.error is not None:
                try:
                    raise shared.error
                finally:
                    shared.error = None  # break the reference cycle of error and frame
            else:
                return
    finally:
        shared.close()


def _started(shared: _Handover[Any]) -> bool:
    """Whether the thread could be started. `threading.Thread` would wait for ever for one that gets no memory."""
    try:
        _thread.start_new_thread(shared.work, ())
    except (RuntimeError, MemoryError):
        return False
    return True


def _interrupted() -> bool:
    """Whether Ctrl-C is why the iterator is closed."""
    error: BaseException | None = sys.exc_info()[1]
    seen = 0
    while error is not None and seen < 100:
        if isinstance(error, KeyboardInterrupt):
            return True
        error, seen = error.__context__, seen + 1
    return False
