"""Microkernel calls and their expected results: one table of cases for every instruction set and for the twins.

A case is a microkernel, its arguments and a check of the results. `run_and_check(machine, cases)` runs the cases on a
machine (emitted code here, the twins as Python, Arm code in an emulator), compares bit by bit everything that must not
be written, and checks the results against a computation in higher precision, within bounds derived at each check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbp.isa.codes import FAMILIES

DTYPES = ("float32", "float64")
GUARD = 2  # lines around every operand


def unit(dtype) -> float:
    """The unit roundoff u: half the spacing at 1."""
    return float(np.finfo(dtype).eps) / 2


def wide(values) -> np.ndarray:
    """Exactly the same values in the next wider type."""
    return np.asarray(values).astype(np.float64 if np.asarray(values).dtype == np.float32 else np.longdouble)


def lanes_of(dtype) -> int:
    return 64 // np.dtype(dtype).itemsize


class Operand:
    """`size` elements in a 64-byte aligned array of NaN, so stray reads corrupt results; `shift` misaligns them.

    `written` marks those that the microkernel may change.
    """

    def __init__(self, dtype, size: int, values=None, shift: int = 0):
        dtype = np.dtype(dtype)
        lanes = lanes_of(dtype)
        total = size + 2 * GUARD * lanes + shift
        raw = np.zeros(total * dtype.itemsize + 64, np.uint8)
        start = -raw.ctypes.data % 64
        self.array = raw[start : start + total * dtype.itemsize].view(dtype)
        stray = {"f": np.nan, "i": -(10 ** (2 * dtype.itemsize - 1)), "u": 0x7FC1}  # the last is a bfloat16 NaN
        self.array[:] = stray[dtype.kind]
        self.offset = GUARD * lanes + shift
        self.values = self.array[self.offset : self.offset + size]
        self.written = np.zeros(size, bool)
        if values is not None:
            self.values[:] = np.ravel(values)

    def lines(self) -> np.ndarray:
        return self.values.reshape(-1, lanes_of(self.array.dtype))

    def freeze(self) -> None:
        self.before = self.array.copy()

    def assert_rest_unchanged(self) -> None:
        width = np.dtype(f"u{self.array.itemsize}")
        changed = self.array.view(width) != self.before.view(width)
        changed[self.offset : self.offset + self.values.size] &= ~self.written
        assert not changed.any(), f"wrote at {np.flatnonzero(changed)[:8] - self.offset} of {self.values.size} elements"


def writable(operand: Operand) -> Operand:
    """Mark every element as one that may be written."""
    operand.written[:] = True
    return operand


class Case(NamedTuple):
    name: str  # of the microkernel, as in isa.microkernels.SLOTS
    dtype: str
    arguments: list[Any]  # integers and operands
    check: Callable[[], None]
    label: str = ""

    def family(self) -> tuple[str, list[int]]:
        """The function that kernels call, and the code they pass to it."""
        for family, members in FAMILIES.items():
            if self.name.startswith(family + "_"):
                return family, [members.index(self.name.removeprefix(family + "_"))]
        return self.name, []

    def operands(self) -> list[Operand]:
        return [argument for argument in self.arguments if isinstance(argument, Operand)]

    def flat(self) -> list[Any]:
        """The arguments as kernels pass them."""
        return [x for a in self.arguments for x in ((a.array, a.offset) if isinstance(a, Operand) else (a,))]


def run_and_check(machine: Callable[[list[Case]], None], cases) -> None:
    cases = list(cases)
    assert cases
    for case in cases:
        for operand in case.operands():
            operand.freeze()
    machine(cases)
    for case in cases:
        try:
            for operand in case.operands():
                operand.assert_rest_unchanged()
            case.check()
        except AssertionError as error:
            raise AssertionError(f"{case.name} {case.dtype} {case.label}: {error}") from None


def assert_within(got, exact, bound) -> None:
    """|got - exact| <= bound, elementwise; numbers below the smallest normal one may be flushed to 0."""
    with np.errstate(invalid="ignore"):
        error = np.abs(np.asarray(got).astype(np.asarray(exact).dtype) - exact)
    error = np.where(got == exact, 0, error)  # infinities
    allowed = np.broadcast_to(bound + float(np.finfo(got.dtype).smallest_normal), error.shape)
    wrong = np.ravel(~(error <= allowed))
    if wrong.any():
        at = np.argmax(wrong)
        exact = np.broadcast_to(exact, error.shape)
        got, exact, error, allowed = (np.ravel(x)[at] for x in (got, exact, error, allowed))
        raise AssertionError(f"{got!r} at {at} instead of {exact!r}: off by {error:.3g}, allowed {allowed:.3g}")


def assert_bits(got, expected) -> None:
    width = np.dtype(f"u{got.itemsize}")
    np.testing.assert_array_equal(np.ascontiguousarray(got).view(width), np.ascontiguousarray(expected).view(width))


def same_bits(operand: Operand, expected) -> Callable[[], None]:
    """A check that the operand starts with the expected bits."""
    return lambda: assert_bits(operand.values[: expected.size], np.ravel(expected))


def normal_lines(rng: np.random.Generator, dtype: str, n: int, scale: float = 1.0) -> np.ndarray:
    return (scale * rng.normal(size=(n, lanes_of(dtype)))).astype(dtype)


def within(operand: Operand, exact: np.ndarray, bound: np.ndarray) -> Callable[[], None]:
    return lambda: assert_within(operand.values.reshape(np.shape(exact)), exact, bound)
