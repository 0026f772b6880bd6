"""Forks and the compiler: a fork waits until no thread compiles, and its child has locks of its own.

LLVM, Numba and what Numba uses of the standard library keep locks and tables that a child could never mend.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from llvmlite.binding import ffi
from numba.core import compiler_lock, config, event

from fastbp.kernels import jit, warm_up
from fastbp.util import turns

# Seconds that a fork waits for an entry that another thread compiles; the longest takes some seven.
PATIENCE = 60.0

_llvm: Any = getattr(getattr(ffi.lib, "_lock", None), "_lock", None)
_taken = threading.local()


def _before() -> None:
    _taken.locks = []
    # In the order in which they are taken. Ours first: under it Numba imports modules and computes cached properties,
    # outside its own lock, and a child would wait for ever for the thread that holds a module's lock.
    for lock in (jit._lock, compiler_lock.global_compiler_lock._lock, _llvm):
        if lock is not None and lock.acquire(timeout=PATIENCE):
            _taken.locks.append(lock)


def _after_in_parent() -> None:
    for lock in reversed(_taken.locks):
        lock.release()


def _after_in_child() -> None:
    global _llvm
    _after_in_parent()
    if _llvm is not None and _free(_llvm) is not _llvm:
        _llvm = ffi.lib._lock._lock = threading.RLock()
    compiler = compiler_lock.global_compiler_lock
    compiler._lock = _free(compiler._lock)
    warm_up._lock = _free(warm_up._lock)
    if (lock := _free(jit._lock)) is not jit._lock:  # another thread was compiling
        jit._lock, config.CACHE_DIR = lock, jit.users_cache_dir
        with contextlib.suppress(ValueError):
            event.unregister("numba:run_pass", jit.NOTICE)


def _free(lock: Any) -> Any:
    """The lock if this thread can have it, otherwise a new one: the thread that held it is not here."""
    if lock.acquire(blocking=False):
        lock.release()
        return lock
    return threading.RLock()


turns.at_fork(_before, _after_in_parent, _after_in_child)
