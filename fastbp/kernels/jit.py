"""The only place of compile options, of the compiled-code cache and of the instruction set Numba compiles for.

`kernel` marks functions that other kernels call; nothing is compiled until an entry is. Entries are compiled by
`callback` and `parallel` with explicit signatures and kept on disk in a private folder whose name is a hash of the
kernel sources, the versions of Numba and Python and the instruction set: Numba's own check looks at one file alone.
Beside the code lie its SHA-256 digests, without which a flipped bit would be run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config, event

from fastbp import isa
from fastbp.isa.targets.detect import usable_cores
from fastbp.kernels.interrupts import interrupts_are_raised
from fastbp.kernels.notice import Single
from fastbp.kernels.parts import EntryCompiler, PartCompiler
from fastbp.spec import KINDS

JIT = not config.DISABLE_JIT
# Never `reassoc` (a row alone would differ from the same row in a batch), never `nnan` or `ninf` (they delete isnan).
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "nsz"}, "nogil": True}
UNUSED_DAYS = 60
# What the first compilation takes, on one core or on several.
SECONDS = 10 if usable_cores() > 1 else 20
# Lines as sha256sum writes them, only ever appended to: a file is whole if any of its lines fits. So processes that
# race for an entry, whose code may differ, do not undo each other's lines.
DIGESTS = "sha256"
_lock = threading.RLock()
users_cache_dir = config.CACHE_DIR  # Numba's own, while ours is in its place
_copies: list[tempfile.TemporaryDirectory[str]] = []


def _retarget() -> None:
    """Compiles for any processor with the instruction set of FASTBP_ISA instead of the host's; possible before Numba's
    first use. So the cache is valid on all of them."""
    requested = os.environ.get("FASTBP_ISA", "").strip().lower()
    if not JIT or requested in ("", "portable"):
        return
    from numba.core.registry import cpu_target

    if "_toplevel_target_context" in vars(cpu_target):  # made when Numba first compiles, for one processor
        if requested == isa.detect.choose(None):  # the host has it: only the cache is its own
            return
        raise RuntimeError(f"FASTBP_ISA={requested} must be in force before Numba compiles anything: "
                           "import fastbp first, or set NUMBA_CPU_NAME as well.")
    config.CPU_NAME, config.CPU_FEATURES = isa.table(requested).cpu, ""


def kernel(function: Callable) -> Any:
    """A function for other kernels: compiled into whatever entry calls it, and inlined there by LLVM, because passing
    a dozen arrays costs 70 ns a call."""
    return numba.njit(forceinline=True, **OPTIONS)(function)


def called(function: Callable) -> Any:
    """A function that stays one: a twin of a microkernel, or work so large that 70 ns for the call are nothing. What is
    not in the interpreter's loop does not slow small networks down."""
    return numba.njit(**OPTIONS)(function)


def part(function: Callable) -> Any:
    """A function that becomes part of every entry that calls it; LLVM decides whether it is inlined there."""
    return numba.njit(pipeline_class=PartCompiler, **OPTIONS)(function)


def inlined_part(function: Callable) -> Any:
    """The same, inlined by LLVM at every call: what small networks run thousands of times a step."""
    return numba.njit(pipeline_class=PartCompiler, forceinline=True, **OPTIONS)(function)


def inlined(function: Callable) -> Any:
    """The same, pasted into its callers before types are inferred: for what would otherwise cost more to compile than
    it does, because every call of a function with a dozen arrays is dear to Numba's front end."""
    return numba.njit(inline="always", **OPTIONS)(function)


def own(function: Callable) -> Any:
    """A user's function: as it is if it is compiled already; kept in memory alone, for its file is not ours."""
    return function if hasattr(function, "py_func") else numba.njit(**OPTIONS)(function)


def own_callback(function: Callable, signature: Any) -> Any:
    """A C callback that calls users' functions; never kept on disk, since no key would tell one function's code from
    another's."""
    with interrupts_are_raised(), _lock:
        return numba.cfunc(signature, **OPTIONS)(function)


def processor() -> tuple[str, str]:
    """Name and features of the processor that Numba compiles for."""
    import llvmlite.binding as llvm

    if config.CPU_NAME is not None:
        return config.CPU_NAME, config.CPU_FEATURES or ""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@cache
def source_hash() -> str:
    """Of everything that ends up in machine code."""
    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    for path in sorted([*package.glob("isa/**/*.py"), *package.glob("kernels/**/*.py")]):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    # The codes of the kinds of layers are their places in spec.KINDS.
    facts = (numba.__version__, sys.version_info[:2], isa.NAME, processor(), *KINDS)
    digest.update(repr(facts).encode())
    return digest.hexdigest()[:16]


def _private(folder: Path) -> bool:
    """Whether nobody but this user, and root, can replace the folder or what is in it.

    A folder that everyone may write to is no danger where it is sticky, as /tmp is: there nobody can rename or remove
    what another one owns. So what lies next below it must be this user's.
    """
    if os.name != "posix":
        return True
    below: os.stat_result | None = None
    for place in (folder, *folder.resolve().parents):
        with contextlib.suppress(OSError):
            found = place.stat()
            if found.st_mode & stat.S_IWOTH:
                owned = below is None or below.st_uid in (os.geteuid(), 0)
                if not (found.st_mode & stat.S_ISVTX and owned):
                    return False
            below = found
    return True


@cache
def cache_dir() -> Path | None:
    """The folder of compiled code; where none can be written, a copy of what is there, or None (with one warning)."""
    base = os.environ.get("FASTBP_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(base) if base else Path.home() / ".cache"
        folder = root / "fastbp" / source_hash()
        if not _private(root):
            raise PermissionError(f"{root}, or a folder that it is in, is writable by everyone or another user's")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            if not _private(folder):
                raise PermissionError(f"{folder}, or a folder that it is in, is another user's")
            tempfile.TemporaryFile(dir=folder).close()
            os.utime(folder)
            _forget_unused(folder)
        except OSError:
            if not any(folder.glob("*/*.nbi")):
                raise
            return _copy(folder)
    except (OSError, RuntimeError) as error:
        warnings.warn(f"fastbp keeps no compiled code, every process will compile again (about {SECONDS} s): {error}. "
                      "Set FASTBP_CACHE_DIR to a folder only you can write to.", RuntimeWarning, stacklevel=2)
        return None
    return folder


def _copy(folder: Path) -> Path:
    """Two megabytes that last as long as the process: Numba goes elsewhere if it cannot write."""
    try:
        _copies.append(tempfile.TemporaryDirectory(prefix="fastbp-", ignore_cleanup_errors=True))
        return Path(shutil.copytree(folder, _copies[-1].name, dirs_exist_ok=True))
    except OSError as error:
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error  # of the first file
        raise OSError(f"{folder} cannot be written, nor copied to a temporary folder ({reason}), which would do, too: "
                      "make room in /tmp or set TMPDIR") from error


def _forget_unused(current: Path) -> None:
    limit = time.time() - UNUSED_DAYS * 86400
    for other in current.parent.iterdir():
        with contextlib.suppress(OSError):
            if other != current and other.stat().st_mtime < limit:
                shutil.rmtree(other, ignore_errors=True)
    for part in current.glob("*/*.tmp.*"):  # of processes that were killed while they wrote
        with contextlib.suppress(OSError):
            if part.stat().st_mtime < time.time() - 3600:
                part.unlink()


@contextlib.contextmanager
def _cached() -> Iterator[None]:
    """Points Numba's cache at our folder while an entry of ours is compiled or loaded."""
    folder = cache_dir()
    global users_cache_dir
    with _lock:
        before = users_cache_dir = config.CACHE_DIR
        try:
            if folder is not None:
                config.CACHE_DIR = str(folder)
            yield
        finally:
            config.CACHE_DIR = before


NOTICE = Single()


def _code_files(folder: Path, function: Callable) -> Iterator[Path]:
    """The files that hold an entry's code."""
    name = function.__qualname__.replace("<", "").replace(">", "")
    return folder.glob(f"*/*.{name}-{function.__code__.co_firstlineno}.*.nbc")


def _digests(folder: Path, function: Callable) -> dict[Path, str]:
    """The files that hold an entry's code, and the lines of DIGESTS that fit them now."""
    lines = {}
    for path in _code_files(folder, function):
        with contextlib.suppress(FileNotFoundError):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines[path] = f"{digest}  {path.relative_to(folder).as_posix()}\n"
    return lines


def is_kept(function: Callable) -> bool:
    """Whether the cache has an entry's code."""
    folder = cache_dir()
    return folder is not None and any(_code_files(folder, function))


def cache_is_shared() -> bool:
    """Whether other processes find what this one compiles, and the other way round."""
    folder = cache_dir()
    return folder is not None and not any(str(folder) == copy.name for copy in _copies)


def be_quiet() -> None:
    """No notice: another process has given it."""
    NOTICE.silent = True


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """No notice of single entries in this thread: one of all of them is given."""
    before = getattr(NOTICE.quiet, "on", False)
    NOTICE.quiet.on = True
    try:
        yield
    finally:
        NOTICE.quiet.on = before


def _whole_files(folder: Path, function: Callable) -> set[str]:
    """The lines of an entry's files, of which the damaged ones are removed, with a warning. No line at all will do."""
    for _ in range(10):
        lines, known = _digests(folder, function), ""
        with contextlib.suppress(FileNotFoundError):
            known = (folder / DIGESTS).read_text(errors="replace")
        damaged = [path for path, line in lines.items() if line[64:] in known and line not in known]
        if not damaged:
            return set(lines.values())
        time.sleep(0.05)  # another process may have replaced the file, and be about to add its line
    for path in damaged:
        path.unlink(missing_ok=True)
    warnings.warn(f"fastbp's compiled code in {damaged[0]} was damaged; compiling it again.",
                  RuntimeWarning, stacklevel=4)
    return set()


def _entry(function: Callable, decorate: Callable[[bool], Any], what: str) -> Any:
    """Compiles or loads an entry; a cache that cannot be read is thrown away once, with a warning.

    Ctrl-C arrives when the current call of the compiler returns. Nothing of an entry is kept before all of it is
    there, neither here nor on disk, so the next call of it compiles anew.
    """
    with interrupts_are_raised(), _cached():
        folder = cache_dir()
        if folder is None:
            return decorate(False)
        try:
            before = _whole_files(folder, function)
            NOTICE.what = what or function.__name__
            with event.install_listener("numba:run_pass", NOTICE):
                entry = decorate(True)
            if new := set(_digests(folder, function).values()) - before:
                with contextlib.suppress(OSError), (folder / DIGESTS).open("ab", buffering=0) as file:
                    file.write("".join(sorted(new)).encode())
            return entry
        except Exception as error:
            warnings.warn(f"fastbp's compiled code in {folder} cannot be used ({error!r}); compiling again.",
                          RuntimeWarning, stacklevel=3)
            shutil.rmtree(folder, ignore_errors=True)
            return decorate(False)


def callback(function: Callable, signature: Any, what: str = "") -> Any:
    """A C callback: its address is what serial callers and the parallel entry call."""
    options = {**OPTIONS, "pipeline_class": EntryCompiler}
    return _entry(function, lambda keep: numba.cfunc(signature, cache=keep, **options)(function), what)


def parallel(function: Callable, signature: Any, what: str = "") -> Any:
    """A function with a parallel region."""
    return _entry(function, lambda keep: numba.njit(signature, cache=keep, parallel=True, **OPTIONS)(function), what)


def max_threads() -> int:
    """How many threads Numba may start: NUMBA_NUM_THREADS, or the cores at its import."""
    return int(config.NUMBA_NUM_THREADS)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Lets Numba start n threads."""
    before = numba.get_num_threads()
    numba.set_num_threads(n)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def threads_are_launched() -> bool:
    """Whether Numba has chosen its threading layer; its own one, "workqueue", has then started all its threads."""
    from numba.np.ufunc import parallel as layer

    return bool(layer._is_initialized)


def threading_layer() -> str:
    """Numba's threading layer, which is chosen when the first threads start: "omp", "tbb" or "workqueue"."""
    numba.set_num_threads(numba.get_num_threads())
    return str(numba.threading_layer())


_retarget()
