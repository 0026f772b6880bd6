"""AMX: AVX-512, and beside its registers eight tiles of 16 lines that multiply operands of bfloat16.

A tile's product is 16 x 16 sums of 32 products each: 16,384 FLOPs in 16 cycles, 16 times what the lines' multiply-add
units do in that time. Whatever is not such a product is AVX-512's, bit by bit. Linux lets a process use tiles when it
has asked for them, which `permitted` does.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

from fastbp.isa.targets import avx512

TABLE = avx512.TABLE._replace(name="amx", cpu="sapphirerapids", bfloat16="tiles",
                              features=(*avx512.TABLE.features, "amx-tile", "amx-bf16", "avx512bf16"))  # fmt: skip
# Linux's x86-64 numbers: the system call, its request for an extended state, and the state of tiles.
ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18


@cache
def permitted() -> bool:
    """Whether the operating system lets this process use tiles; asked once, and inherited by threads and children."""
    if not sys.platform.startswith("linux"):
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype, call.argtypes = ctypes.c_long, (ctypes.c_long, ctypes.c_int, ctypes.c_ulong)
    return int(call(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)) == 0
