"""The list of microkernels, in the order of their slots, with the emitter and the twin of each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from fastbp.isa.codes import FAMILIES
from fastbp.isa.contract import BFLOAT16, FILES, ROWS
from fastbp.isa.targets.table import Table

# (microkernel, member of its family or nothing), in the order of the slots.
_LIST = [(name, member) for name in FILES for member in FAMILIES.get(name, ("",))]
SLOTS = {f"{name}_{member}" if member else name: slot for slot, (name, member) in enumerate(_LIST)}


def emitter(name: str) -> Callable[..., Any]:
    """(module, bits, table) -> the emitted function; of a family also its member's name."""
    function: Callable[..., Any] = getattr(import_module(f"fastbp.isa.emitters.{FILES[name]}"), name)
    return function


def twin(name: str) -> Callable[..., Any]:
    """The microkernel, or what threads need, in plain loops."""
    function: Callable[..., Any] = getattr(import_module(f"fastbp.isa.twins.{FILES.get(name, 'threads')}"), name)
    return function


def twin_helpers() -> list[Callable[..., Any]]:
    """What the twins call."""
    return [helper for file in ROWS for helper in import_module(f"fastbp.isa.twins.{file}").HELPERS]


def fill(builder: Any, bits: int, table: Table, addresses: Any, bfloat16: bool = False) -> None:
    """Emit every microkernel, or those on operands of bfloat16, into the builder's module and store its address into
    its slot of `addresses`.

    The addresses are taken at run time by the code itself, so nothing frozen gets into a cache of that code.
    """
    from fastbp.isa.emitters.vocabulary.lines import I64

    for slot, (name, member) in enumerate(_LIST):
        if (FILES[name] in BFLOAT16) != bfloat16:
            continue
        function = emitter(name)(builder.module, bits, table, *[member] * bool(member))
        address = builder.ptrtoint(function, I64)
        builder.store(address, builder.gep(addresses, [I64(slot)], source_etype=I64), align=8)
