"""Turns: what threads wait for before they change or read one model, and what a fork does about it.

A model has two locks, both re-entrant. `state` is held for as long as its weights must stand still: a slice of steps,
a copy of the weights, a new optimizer. No code of the user's runs under it, so nobody who holds it waits for another
model. `fitting` is held for a whole fit, of which other threads may read the model between two slices.

    read      with turns.state: …
    change    with turns.state: turns.wait(); …          waits while another thread fits
    fit       with turns.fit(): …                        its slices take `state`

Python's locks wake up for Ctrl-C in the main thread, and `with` on one of them leaves no gap in which Ctrl-C could keep
it taken. A wait that could never end, because the other thread waits for a model that this one fits, raises instead.
"""

from __future__ import annotations

import _thread
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

# Seconds that a fork waits for the slices of other threads; a slice takes 0.1 s, or one step.
PATIENCE = 10.0

# Seconds for which whoever makes one slice after another lets a waiting fork go first, and between two looks at it: on
# a busy machine the fork's thread may wake up late.
WAY, LOOK = 0.1, 0.001

_all: set[weakref.ref[Turns]] = set()
_awaited: dict[int, Turns] = {}  # by thread


class Turns:
    """The turns of one model. owner: the thread that fits it, if any; torn: a fork left a step half done."""

    __slots__ = ("__weakref__", "fitting", "owner", "state", "torn")

    def __init__(self) -> None:
        self.state, self.fitting = threading.RLock(), threading.RLock()
        self.owner: int | None = None
        self.torn = False
        _all.add(weakref.ref(self, _all.discard))

    @property
    def mine(self) -> bool:
        """Whether this thread fits the model: its callbacks run now."""
        return self.owner == get_ident()

    @contextmanager
    def fit(self) -> Iterator[None]:
        """A turn of a whole fit, after those of other threads."""
        self._ask()
        with self.fitting:
            _awaited.pop(get_ident(), None)
            outer = self.owner if self.mine else None
            try:
                with self.state:  # no change of another thread is under way
                    self.check()
                    self.owner = get_ident()
                yield
            finally:
                self.owner = outer

    def wait(self) -> None:
        """Wait until no other thread fits; `state` is taken by the caller, and let go meanwhile."""
        while self.owner is not None and not self.mine:
            self.state.release()
            try:
                self._ask()
                with self.fitting:
                    _awaited.pop(get_ident(), None)
                    if not self.mine:
                        self.owner = None  # or Ctrl-C came between the end of a fit and its last word
            finally:
                self.state.acquire()
        self.check()

    def check(self) -> None:
        """RuntimeError if the model is that of a process forked in the middle of a step."""
        if self.torn:
            raise RuntimeError(
                "this process was forked while another thread was in the middle of a step of this model, of which half "
                "is missing here: load the model from a file, or fork when no step runs"
            )

    def _ask(self) -> None:
        """RuntimeError if waiting for this turn would never end."""
        me = get_ident()
        if self.owner is None or self.owner == me:
            return
        _awaited[me] = self  # before looking: of two threads at least one sees the other
        seen: set[int] = set()
        owner: int | None = self.owner
        while owner is not None and owner not in seen:
            seen.add(owner)
            other = _awaited.get(owner)
            owner = None if other is None else other.owner
            if owner == me:
                del _awaited[me]
                raise RuntimeError(
                    "two threads each wait for a model that the other one fits, which would never end: do not train or "
                    "change a model in a callback of another one that is trained by another thread"
                )

    def _forked(self, free: bool) -> None:
        """In the child: locks of threads that are not there are replaced. free: the fork waited for the state."""
        if not free:
            self.state, self.torn = threading.RLock(), True
        if self.fitting.acquire(blocking=False):
            self.fitting.release()
        else:
            self.fitting, self.owner = threading.RLock(), None


_forking = threading.RLock()
_waiting = threading.Event()  # a fork waits for states
_others: list[tuple[Callable[[], object], Callable[[], None], Callable[[], None]]] = []
_held: list[Turns] = []  # by the thread that forks


def at_fork(before: Callable[[], object], in_parent: Callable[[], None], in_child: Callable[[], None]) -> None:
    """Have these called by a fork, the first one when no model changes any more."""
    _others.append((before, in_parent, in_child))


def give_way() -> None:
    """To be called before a state is taken again and again: Python's locks are not fair, and a fork that waits for this
    one could wait until its patience ends."""
    end = time.monotonic() + WAY
    while _waiting.is_set() and time.monotonic() < end:
        time.sleep(LOOK)


def _before_fork() -> None:
    _forking.acquire()
    _waiting.set()
    end = time.monotonic() + PATIENCE
    for reference in list(_all):
        turns = reference()
        try:
            if turns is not None and turns.state.acquire(timeout=max(0.0, end - time.monotonic())):
                _held.append(turns)
        except KeyboardInterrupt:  # would be lost here
            _thread.interrupt_main()
    _waiting.clear()
    for before, _, _ in _others:
        before()


def _after_fork_in_parent() -> None:
    for _, in_parent, _ in _others:
        in_parent()
    _let_go()


def _let_go() -> None:
    while _held:
        _held.pop().state.release()
    _forking.release()


def _after_fork_in_child() -> None:
    for _, _, in_child in _others:
        in_child()
    free = {id(turns) for turns in _held}
    _let_go()
    _awaited.clear()
    for reference in list(_all):
        turns = reference()
        if turns is not None:
            turns._forked(id(turns) in free)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
