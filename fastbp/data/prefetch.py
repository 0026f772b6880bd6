"""Prefetching: a thread prepares the next item while the current one is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

ENABLED = True
# Seconds to wait for the thread when stopped early, as by Ctrl-C; it cannot be interrupted while it reads.
_PATIENCE = 5.0


def ahead(make: Callable[[threading.Event], Iterable[T]]) -> Generator[T, None, None]:
    """Iterate over make(stop) with one item prepared ahead in a separate thread.

    At most two items exist at a time. An exception raised while preparing an item is re-raised in its place, after the
    items before it. Close the iterator (contextlib.closing) if it may not be exhausted, so that the thread ends; stop
    is then set, which long-running producers should check.

    >>> list(ahead(lambda stop: range(3)))
    [0, 1, 2]
    """
    if not ENABLED:
        yield from make(threading.Event())
        return
    made: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    wanted, stop = threading.Semaphore(0), threading.Event()
    # The thread shares no global state: a process forked meanwhile has no lock of it to wait for.
    thread = threading.Thread(target=_work, args=(make, made, wanted, stop), name="fastbp-prefetch", daemon=True)
    try:  # try before start: Ctrl-C may arrive right after it
        thread.start()
        while True:
            what, value = made.get()
            if what == "end":
                break
            if what == "error":
                try:
                    raise value
                finally:
                    del value  # break the reference cycle of error and frame
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
            del item  # the caller may free it long before the next is ready
            wanted.acquire()
            if stop.is_set():
                return
    except BaseException as error:
        made.put(("error", error))
    else:
        made.put(("end", None))
