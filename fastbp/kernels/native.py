"""Machine code from LLVM without Numba's front end, kept beside what Numba compiles.

A file holds the SHA-256 digest of what follows it, an object file: without it, a flipped bit would be run.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from llvmlite import binding

from fastbp.isa.emitters.vocabulary.lines import Constants
from fastbp.kernels import jit
from fastbp.util.atomic_write import atomic_write

DIGEST = hashlib.sha256().digest_size


class Code:
    """Loaded functions, whose addresses hold as long as this does."""

    def __init__(self, objects: bytes, names: Sequence[str]):
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target_machine())
        self._engine.add_object_file(binding.ObjectFileRef.from_data(objects))
        self._engine.finalize_object()
        self.addresses = [self._engine.get_function_address(name) for name in names]


def target_machine() -> binding.TargetMachine:
    """Of the processor that Numba compiles for."""
    target = binding.Target.from_triple(binding.get_process_triple())
    name, features = jit.processor()
    return target.create_target_machine(cpu=name, features=features, opt=3, reloc="default", codemodel="jitdefault")


def compiled(key: str, names: Sequence[str], emit: Callable[[Constants], None]) -> Code:
    """The functions of these names that `emit` defines, compiled or, if the key is known, loaded."""
    objects = kept(key)
    if objects is None:
        module = Constants(name=key)
        module.triple = binding.get_process_triple()
        emit(module)
        objects = object_code(str(module))
        keep(key, objects)
    return Code(objects, names)


def object_code(source: str) -> bytes:
    machine, module = target_machine(), binding.parse_assembly(source)
    options = binding.create_pipeline_tuning_options(3)
    options.inlining_threshold = 0
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


@cache
def folder() -> Path | None:
    """Where the code lies; None where none is kept."""
    base = jit.cache_dir()
    if base is None:
        return None
    with contextlib.suppress(OSError):
        (base / "straight").mkdir(mode=0o700, exist_ok=True)
        return base / "straight"
    return None


def is_kept(key: str) -> bool:
    """Whether there is a file for a key."""
    place = folder()
    return place is not None and (place / key).exists()


def kept(key: str) -> bytes | None:
    """The object file of a key, if there is one and it is whole."""
    place = folder()
    if place is None:
        return None
    try:
        data = (place / key).read_bytes()
    except OSError:
        return None
    objects = data[DIGEST:]
    return objects if data[:DIGEST] == hashlib.sha256(objects).digest() else None


def keep(key: str, objects: bytes) -> None:
    """Nothing is kept where there is no room."""
    place = folder()
    if place is not None:
        with contextlib.suppress(OSError), atomic_write(place / key) as file:
            file.write(hashlib.sha256(objects).digest() + objects)
