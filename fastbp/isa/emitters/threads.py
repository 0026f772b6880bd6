"""What threads need of the processor: atomics, pause, yield, cores, and the floating-point control word.

Each emitter takes a builder and LLVM values and returns one; it is inlined where it is used.
"""

from __future__ import annotations

import platform
import sys

from llvmlite import ir

from fastbp.isa.emitters.vocabulary.lines import I32, I64, PTR, declare
from fastbp.isa.targets.table import ARM64, X86_64

X86 = platform.machine().lower() in X86_64
ARM = platform.machine().lower() in ARM64
LINUX = sys.platform == "linux"
CORE_WORDS = 16  # words of a set of cores: 1,024 of them, as in glibc's cpu_set_t
FTZ_DAZ = 0x8040  # MXCSR: results and operands that are denormal count as zero
FPCR_FZ = 1 << 24  # FPCR: the same on Arm


def atomic_add(b: ir.IRBuilder, pointer, value):
    return b.atomic_rmw("add", pointer, value, "acq_rel")


def atomic_load(b: ir.IRBuilder, pointer):
    """A plain load would be hoisted out of a waiting loop."""
    return b.load_atomic(pointer, "acquire", 8, typ=I64)


def atomic_store(b: ir.IRBuilder, pointer, value):
    pointer.type = I64.as_pointer()  # llvmlite's builder wants to see the type it stores to
    b.store_atomic(value, pointer, "release", 8)
    return value


def exchange_if(b: ir.IRBuilder, pointer, expected, value):
    """Stores the value if the word is the expected one; returns the word as it was."""
    return b.extract_value(b.cmpxchg(pointer, expected, value, "acq_rel", "acquire"), 0)


def pause(b: ir.IRBuilder):
    """Tells the core that this is a waiting loop."""
    if X86:
        b.call(declare(b.module, "llvm.x86.sse2.pause", ir.FunctionType(ir.VoidType(), [])), [])
    elif ARM:
        b.call(declare(b.module, "llvm.aarch64.hint", ir.FunctionType(ir.VoidType(), [I32])), [I32(1)])
    return I64(0)


def yield_thread(b: ir.IRBuilder):
    """sched_yield, by name: an address would be frozen into the cache."""
    return b.sext(b.call(declare(b.module, "sched_yield", ir.FunctionType(I32, [])), []), I64)


def this_core(b: ir.IRBuilder):
    """The number of the core that this thread runs on, -1 where the system does not tell."""
    if not LINUX:
        return I64(-1)
    return b.sext(b.call(declare(b.module, "sched_getcpu", ir.FunctionType(I32, [])), []), I64)


def allowed_cores(b: ir.IRBuilder, cores):
    """Writes the set of cores that this thread may run on; returns 0, or -1 if the system refuses."""
    return _affinity(b, "sched_getaffinity", cores)


def allow_cores(b: ir.IRBuilder, cores):
    """Lets this thread run on a set of cores alone, where it is moved at once; returns 0, or -1 if it may not."""
    return _affinity(b, "sched_setaffinity", cores)


def _affinity(b: ir.IRBuilder, name: str, cores):
    if not LINUX:
        return I64(-1)
    function = declare(b.module, name, ir.FunctionType(I32, [I32, I64, PTR]))
    return b.sext(b.call(function, [I32(0), I64(8 * CORE_WORDS), cores]), I64)


def _mxcsr(b: ir.IRBuilder, name: str, place):
    b.call(declare(b.module, f"llvm.x86.sse.{name}", ir.FunctionType(ir.VoidType(), [ir.PointerType()])), [place])


def flush_denormals(b: ir.IRBuilder):
    """Sets flush-to-zero for this thread; returns the control word as it was."""
    if X86:
        place = b.alloca(I32)
        _mxcsr(b, "stmxcsr", place)
        before = b.load(place, typ=I32)
        b.store(b.or_(before, I32(FTZ_DAZ)), place)
        _mxcsr(b, "ldmxcsr", place)
        return b.zext(before, I64)
    if ARM:
        before = b.call(declare(b.module, "llvm.aarch64.get.fpcr", ir.FunctionType(I64, [])), [])
        restore_denormals(b, b.or_(before, I64(FPCR_FZ)))
        return before
    return I64(0)


def restore_denormals(b: ir.IRBuilder, before):
    if X86:
        place = b.alloca(I32)
        b.store(b.trunc(before, I32), place)
        _mxcsr(b, "ldmxcsr", place)
    elif ARM:
        b.call(declare(b.module, "llvm.aarch64.set.fpcr", ir.FunctionType(ir.VoidType(), [I64])), [before])
    return I64(0)
