"""Cases of bfloat16 products and of rounding: every microkernel against its twin, bit by bit. See cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastbp.isa.codes import (
    ACCUMULATE,
    APPLY_RELU,
    HALVES,
    KEEP,
    NEITHER,
    PADDED,
    STREAM_A,
    STREAM_B,
    STREAMED,
    WHOLE,
    ZERO,
)
from fastbp.isa.microkernels import twin

from .cases import Case, Operand, assert_bits, writable

LOW = 4096  # words from a rounded part to its remainder
SPECIAL = np.array([0, 1e-40, -1e-40, np.inf, -np.inf, 3.4e38, 3.396177e38, 3.39618e38, 1.00390625, 1.01171875,
                    -1.00390625, 1e-38, 1.1754943e-38, 2, -3, 0.1], np.float32)  # fmt: skip


def words(rng: np.random.Generator, n: int) -> Operand:
    return Operand(np.uint16, n, (rng.normal(size=n).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))


def blank(dtype, n: int) -> Operand:
    operand = writable(Operand(dtype, n))
    operand.values[:] = 0
    return operand


def twin_case(name: str, arguments: list, label: str) -> Case:
    """A case whose check calls the twin on copies of the operands."""
    copies = []
    for argument in arguments:
        if isinstance(argument, Operand):
            copy = Operand(argument.array.dtype, argument.values.size, argument.values)
            copies.append(copy)
        else:
            copies.append(argument)

    def check():
        flat = [x for a in copies for x in ((a.array, a.offset) if isinstance(a, Operand) else (a,))]
        with np.errstate(all="ignore"):
            twin(name)(None, *flat)
        for got, expected in zip(arguments, copies, strict=True):
            if isinstance(got, Operand) and got.written.any():
                assert_bits(got.values, expected.values)

    return Case(name, "float32", arguments, check, label)


def products() -> Iterator[Case]:
    for rows in (1, 2):
        for columns in (1, 2):
            for low in (0, LOW):
                for start, streamed in ((ZERO, STREAM_A), (ACCUMULATE, STREAM_B)):
                    rng = np.random.default_rng([rows, columns, low, start])
                    A, B, C = words(rng, 2 * LOW), words(rng, 2 * LOW), writable(Operand(np.float32, 1024))
                    C.values[:] = rng.normal(size=1024)
                    arguments = [rows, columns, 3, A, 1536, 512, B, 1536, 512, low, low, C, 512, start, streamed, A,
                                 512, 1]
                    yield twin_case("products", arguments, f"{rows}x{columns} low={low} start={start}")


def outputs() -> Iterator[Case]:
    for columns in (1, 2):
        for n in (1, 2, 5, 16):
            for post, pairs, halves, low in ((KEEP, 1, WHOLE, 0), (APPLY_RELU, 1, STREAMED, LOW), (KEEP, 0, NEITHER, 0),
                                             (APPLY_RELU, 1, HALVES if columns == 1 else WHOLE, LOW)):  # fmt: skip
                for count in (3, 16, 20):
                    rng = np.random.default_rng([columns, n, count])
                    C = Operand(np.float32, 1024, rng.normal(size=1024))
                    C.values[:16] = SPECIAL
                    bias = Operand(np.float32, 16, rng.normal(size=16) * (n > 1))
                    arguments = [n, columns, count, C, 512, bias, n % 2, post, blank(np.float32, 1024), 512, n % 2,
                                 blank(np.uint16, 2 * LOW), 1024, pairs, blank(np.uint16, 2 * LOW), halves, low]
                    yield twin_case("finish_outputs", arguments, f"{n} units, {columns} panels, {count} rows")


def deltas() -> Iterator[Case]:
    for columns in (1, 2):
        for n in (1, 7, 16):
            for masked, pairs, halves, low in ((0, 1, WHOLE, 0), (1, PADDED, STREAMED, LOW), (1, 0, WHOLE, 0)):
                rng = np.random.default_rng([columns, n, masked])
                E, K = Operand(np.float32, 512, rng.normal(size=512)), words(rng, 1024)
                arguments = [n, columns, 12 + columns, E, 256, K, 512, masked, blank(np.uint16, 2 * LOW), 1024, pairs,
                             blank(np.uint16, 2 * LOW), halves, low]
                yield twin_case("finish_deltas", arguments, f"{n} units, {columns} panels")


def kernels() -> Iterator[Case]:
    for columns in (1, 2):
        for n in (1, 16, 31, 32):
            for halves, low in ((WHOLE, 0), (STREAMED, LOW), (HALVES if columns == 1 else WHOLE, LOW)):
                W = Operand(np.float32, 1024, np.random.default_rng([columns, n]).normal(size=1024))
                arguments = [n, columns, W, 512, blank(np.uint16, 2 * LOW), 1024, blank(np.uint16, 2 * LOW), 1024,
                             halves, low]
                yield twin_case("round_kernel", arguments, f"{n} lines, {columns} panels")


TABLES = (products, outputs, deltas, kernels)
