"""Every microkernel x dtype x size: the emitted code and the plain-loop twins, against wider arithmetic."""

from __future__ import annotations

import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from fastbp import isa
from fastbp.isa.codes import UPDATE_RULES
from fastbp.isa.microkernels import SLOTS, twin
from fastbp.kernels import jit, microkernels

from . import cases_elementwise as elementwise
from . import cases_losses as losses
from . import cases_nodes as nodes
from . import cases_parameters as parameters
from . import cases_sparse as sparse
from .cases import (
    ACCUMULATE,
    DTYPES,
    KEEP,
    ZERO,
    Case,
    Operand,
    Product,
    assert_bits,
    gathers,
    lanes_of,
    run_and_check,
    scatters,
    tiles,
    transposes,
    whole,
    zeros,
)
from .rounded import Rounded

STEPS = (0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 100)


@cache
def harness(family: str):
    """A kernel that calls one microkernel, as other kernels do."""
    microkernel = getattr(microkernels, family)

    def call(table, *arguments):
        microkernel(table, *arguments)

    return jit.kernel(call)


def emitted(cases: list[Case]) -> None:
    """Through the callers in `kernels`: machine code, or with FASTBP_ISA=portable the compiled twins."""
    for case in cases:
        family, code = case.family()
        harness(family)(microkernels.addresses(case.dtype), *code, *case.flat())


def plain(cases: list[Case]) -> None:
    """The twins as plain Python."""
    with np.errstate(all="ignore"):
        for case in cases:
            family, code = case.family()
            twin(family)(None, *code, *case.flat())


MACHINES = [pytest.param(emitted, marks=pytest.mark.jit, id="emitted"), pytest.param(plain, id="plain")]
SMALL = isa.table()._replace(sums=4, columns=2)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_machine = pytest.mark.parametrize("machine", MACHINES)


@pytest.mark.jit
@pytest.mark.parametrize("k", STEPS)
@each_dtype
def test_every_tile_keeps_the_bound_and_gives_the_same_bits(dtype, k):
    run_and_check(emitted, tiles(isa.table(), dtype, k))


@pytest.mark.parametrize("k", [0, 1, 7, 8, 17])
@each_dtype
def test_tiles_of_the_twins(dtype, k):
    run_and_check(plain, tiles(SMALL, dtype, k))


@pytest.mark.parametrize("first", [1, 8, 16, 30])
@pytest.mark.parametrize("form", ["across", "along"])
@each_dtype
@each_machine
def test_a_product_in_blocks_is_the_same_bits(machine, dtype, form, first):
    k, rows, columns = 33, 1, 1
    product = Product(dtype, k, rows, columns)
    begin, rest = product.part(0, first), product.part(first, k)
    run_and_check(machine, [p.tile(form, rows, columns, ZERO, KEEP) for p in (product, begin)])
    rest.C = begin.bits[ZERO, KEEP][0]
    run_and_check(machine, [rest.tile(form, rows, columns, ACCUMULATE, KEEP)])
    assert_bits(rest.bits[ACCUMULATE, KEEP][0], product.bits[ZERO, KEEP][0])


@each_dtype
@each_machine
def test_relu_keeps_nan(machine, dtype):
    product = Product(dtype, 3, 1, 1)
    product.B[0, 1, 2] = np.nan
    case = product.tile("across", 1, 1, ZERO, 1)
    machine([case])
    line = case.operands()[2].values[: lanes_of(dtype)]
    np.testing.assert_array_equal(np.isnan(line), np.arange(line.size) == 2)


@pytest.mark.parametrize("cases", [transposes, zeros])
@each_dtype
@each_machine
def test_panels(machine, dtype, cases):
    run_and_check(machine, cases(dtype))


@pytest.mark.parametrize("cases", [gathers, scatters])
@each_dtype
@each_machine
def test_rows_to_panels_and_back(machine, dtype, cases):
    run_and_check(machine, cases(dtype, range(1, 41) if machine is emitted else (1, 9, 33)))


@pytest.mark.parametrize("cases", elementwise.ELEMENTWISE, ids=lambda cases: cases.__name__)
@each_dtype
@each_machine
def test_elementwise(machine, dtype, cases):
    if machine is plain and cases is elementwise.updates:
        cases = partial(cases, longest=50)
    run_and_check(machine, cases(dtype))


@pytest.mark.parametrize("name", losses.BOUNDS)
@each_dtype
@each_machine
def test_losses(machine, dtype, name):
    run_and_check(machine, losses.cases_of(name, dtype, losses.LINES if machine is emitted else (1, 2, 17)))


@pytest.mark.parametrize("name", losses.BOUNDS)
@each_dtype
@each_machine
def test_losses_of_extreme_outputs(machine, dtype, name):
    run_and_check(machine, losses.extremes_of(name, dtype))


@each_dtype
@each_machine
def test_what_is_impossible_and_not_wanted_costs_nothing(machine, dtype):
    run_and_check(machine, losses.impossible(dtype))


@pytest.mark.parametrize("cases", [*nodes.NODES, *parameters.PARAMETERS, *sparse.SPARSE], ids=lambda cases: cases.__name__)
@each_dtype
@each_machine
def test_nodes_and_runs_of_parameters(machine, dtype, cases):
    if machine is plain and cases in nodes.BY_PAIRS:
        cases = partial(cases, pairs=nodes.FEW_PAIRS)
    run_and_check(machine, cases(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@each_machine
def test_peak(machine, dtype):
    """c <- c x + y, three times, in as many lines as the largest tile has: each time two roundings, or one."""
    L, lines = lanes_of(dtype), isa.table().sums
    x, c = (elementwise.normal_lines(np.random.default_rng(n), dtype, n) for n in (2, lines))
    C = whole(Operand(dtype, c.size, c))
    expected = Rounded.exactly(c)
    for _ in range(3):
        expected = expected * Rounded.exactly(x[:1]) + Rounded.exactly(x[1:])
    check = elementwise.within(C, expected.value, 1.01 * expected.error)
    run_and_check(machine, [Case("peak", dtype, [3, lines, Operand(dtype, 2 * L, x), C], check)])


@each_dtype
@each_machine
def test_a_lane_knows_nothing_of_its_neighbours(machine, dtype):
    """Spoiling the last lane changes no bit of the others."""
    rng = np.random.default_rng(20)
    z = elementwise.normal_lines(rng, dtype, 20)
    spoilt = z.copy()
    spoilt[:, -1] = np.nan
    cases = [elementwise.softmax_case(z, "clean"), elementwise.softmax_case(np.nan_to_num(spoilt), "spoilt")]
    cases[1].operands()[0].lines()[:, -1] = np.nan
    machine(cases)
    for clean, other in zip(cases[0].operands()[1:], cases[1].operands()[1:], strict=True):
        assert_bits(other.lines()[:, :-1], clean.lines()[:, :-1])
        assert np.isnan(other.lines()[:, -1]).all()


@pytest.mark.parametrize("rule", UPDATE_RULES)
@each_dtype
@each_machine
def test_spoilt_gradients_change_no_bit_of_other_weights(machine, dtype, rule):
    g, w, states = elementwise.random_update(rule, dtype, 1, 6)
    spoilt = g.copy()
    spoilt[0, 2, 3] = np.nan
    cases = [elementwise.update_case(rule, gradient, w, states, "") for gradient in (g, spoilt)]
    machine(cases)
    clean, other = (case.operands()[1].values for case in cases)
    here = np.arange(clean.size) % w.size != 2 * lanes_of(dtype) + 3
    assert_bits(other[here], clean[here])
    assert [case.operands()[3].values[0] for case in cases] == [0, 1]


TABLES = (*elementwise.ELEMENTWISE, *nodes.NODES, *parameters.PARAMETERS, *sparse.SPARSE, losses.impossible)


def test_every_microkernel_has_a_twin_and_a_case():
    cases = [*transposes("float32"), *zeros("float32"), *tiles(SMALL, "float32", 1)]
    cases += [*gathers("float32", [1]), *scatters("float32", [1])]
    cases += [case for table in TABLES for case in table("float32")]
    cases += [case for name in losses.BOUNDS for case in losses.cases_of(name, "float32", (1,))]
    assert {case.name for case in cases} | {"peak"} == set(SLOTS)
    assert all(callable(twin(Case(name, "", [], lambda: None).family()[0])) for name in SLOTS)


@jit.kernel
def use_words(words):
    found = (
        microkernels.atomic_add(words, 1, 3),
        microkernels.atomic_load(words, 1),
        microkernels.atomic_store(words, 0, 2),
        microkernels.exchange_if(words, 0, 1, 9),  # 1 does not stand there
        microkernels.exchange_if(words, 0, 2, 9),
    )
    return found, microkernels.pause(), microkernels.yield_thread()


def test_words():
    """Emitted, or with the JIT off the twins."""
    words = np.array([5, 7], np.int64)
    assert use_words(words) == ((7, 10, 2, 2, 2), 0, 0)
    assert words.tolist() == [9, 10]


@jit.kernel
def scale_flushed(table, n, line, factors, flushed):
    before = microkernels.flush_denormals()
    microkernels.scale(table, n, flushed, 0, factors, 0)
    microkernels.restore_denormals(before)
    microkernels.scale(table, n, line, 0, factors, 0)


@each_dtype
def test_denormals_are_flushed_in_between_alone(dtype):
    L, smallest = lanes_of(dtype), np.finfo(dtype).smallest_normal
    operands = [Operand(dtype, L, np.full(L, value)) for value in (smallest, 0.5, smallest)]
    line, factors, flushed = (operand.array[operand.offset :] for operand in operands)
    scale_flushed(microkernels.addresses(dtype), 1, line, factors, flushed)
    np.testing.assert_array_equal(line[:L], smallest / 2)
    if not microkernels.PORTABLE:  # an inlined twin may be moved over the switch
        np.testing.assert_array_equal(flushed[:L], 0)


# -- memory that may not be touched --------------------------------------------------------------------------------
@pytest.mark.jit
@each_dtype
def test_nothing_is_read_or_written_behind_the_operands(dtype):
    """Operands that end where a page ends, with nothing mapped behind it: in a process of its own, for it may crash."""
    command = [sys.executable, "-c", f"import {__name__} as t; t.touch_every_end({dtype!r})"]
    root = Path(__file__).parents[__name__.count(".")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"


def at_the_end_of_a_page(operand):
    """The operand moved to the end of a page; what follows cannot be read."""
    import ctypes
    import mmap

    page, size = mmap.PAGESIZE, operand.values.nbytes
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start + pages * page), page, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    array = np.frombuffer(memory, operand.array.dtype, size // operand.array.itemsize, pages * page - size)
    array[:] = operand.values
    operand.array, operand.offset, operand.values = array, 0, array


def touch_every_end(dtype: str) -> None:
    cases = [*gathers(dtype, (1, 15, 17)), *scatters(dtype, (1, 15, 17)), *transposes(dtype)]
    for k in (0, 1, 3, 17):
        product = Product(dtype, k, 2, 1)
        cases += [product.tile(form, 2, 1, ZERO, KEEP, apart=0) for form in ("across", "along")]
    pairs = [(17, 31), (1, 1), (33, 16)]
    for table in nodes.NODES:
        cases += table(dtype, pairs) if table in nodes.BY_PAIRS else table(dtype)
    cases += [case for table in parameters.PARAMETERS for case in table(dtype)]
    for case in cases:
        print(case.name, case.label, flush=True)
        for operand in case.operands():
            at_the_end_of_a_page(operand)
        emitted([case])
