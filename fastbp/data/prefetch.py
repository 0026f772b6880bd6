"""One thing ahead: a thread makes the next while the one before it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

ENABLED = True
# Seconds that an end in the middle, as by Ctrl-C, waits for the thread, which cannot be stopped while it reads.
_PATIENCE = 5.0


def ahead(make: Callable[[threading.Event], Iterable[T]]) -> Generator[T, None, None]:
    """What make(stop) gives; each item is made, in a thread of its own, while the caller works on the one before it.

    At most two are there at a time. What making one raises is raised in its place, when those before it are used up.
    Close the iterator (contextlib.closing) where it may not be used up, so that the thread ends; stop is then set, for
    items that take long to look at.

    >>> list(ahead(lambda stop: range(3)))
    [0, 1, 2]
    """
    if not ENABLED:
        yield from make(threading.Event())
        return
    made: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    wanted, stop = threading.Semaphore(0), threading.Event()
    # All that the thread knows is its own: a process forked meanwhile has neither thread nor lock of it to wait for.
    thread = threading.Thread(target=_work, args=(make, made, wanted, stop), name="fastbp-prefetch", daemon=True)
    try:  # before the start: Ctrl-C may strike right after it
        thread.start()
        while True:
            what, value = made.get()
            if what == "end":
                break
            if what == "error":
                try:
                    raise value
                finally:
                    del value  # else the error would hold this frame, and this frame the error
            wanted.release()
            yield value
    finally:
        stop.set()
        wanted.release()
        if thread.ident is not None:
            thread.join(_PATIENCE)


def _work(
    make: Callable[[threading.Event], Iterable[Any]],
    made: SimpleQueue[tuple[str, Any]],
    wanted: threading.Semaphore,
    stop: threading.Event,
) -> None:
    try:
        for item in make(stop):
            made.put(("item", item))
            del item  # the caller may drop it long before the next is there
            wanted.acquire()
            if stop.is_set():
                return
    except BaseException as error:
        made.put(("error", error))
    else:
        made.put(("end", None))
