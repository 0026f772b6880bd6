"""Every microkernel x dtype x size on 64-bit Arm: cross-compiled with the NEON table, run in an emulator.

The cases are those of the other tests here. A small C program (neon_driver.c) is linked to the emitted code; operands
go to it in a file, results come back in another.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from fastbp.isa.emitters.vocabulary.lines import PTR
from fastbp.isa.microkernels import SLOTS, fill
from fastbp.isa.targets import neon

from . import cases_losses as losses
from .cases import DTYPES, Case, run_and_check
from .cases_tile import outers, tiles
from .tables import TABLES

COMPILER = "aarch64-linux-gnu-gcc"
EMULATOR = shutil.which("qemu-aarch64-static") or "qemu-aarch64"
pytestmark = pytest.mark.neon
STEPS = (0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 100)


def object_code(bits: int) -> bytes:
    """Arm code of `void fastbp_fill_f32(int64_t *addresses)`, or f64, and of all microkernels."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    machine = target.create_target_machine(neon.TABLE.cpu, ",".join(f"+{f}" for f in neon.TABLE.features), opt=3)
    module = ir.Module(f"fastbp_f{bits}")
    module.triple, module.data_layout = target.triple, str(machine.target_data)
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [PTR]), f"fastbp_fill_f{bits}")
    builder = ir.IRBuilder(entry.append_basic_block())
    fill(builder, bits, neon.TABLE, entry.args[0])
    builder.ret_void()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(parsed, passes)
    return machine.emit_object(parsed)


@pytest.fixture(scope="session")
def driver(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("neon")
    for bits in (32, 64):
        (folder / f"f{bits}.o").write_bytes(object_code(bits))
    sources = [Path(__file__).with_name("neon_driver.c"), folder / "f32.o", folder / "f64.o"]
    program = folder / "driver"
    subprocess.run([COMPILER, "-O1", "-Wall", "-Werror", "-static", "-o", program, *sources, "-lm"], check=True)
    return program


def words_of(cases: list[Case]) -> tuple[np.ndarray, list[np.ndarray], int]:
    """The calls as the driver reads them, the arrays of the image in order, and its size."""
    places: dict[int, int] = {}
    arrays, size, words = [], 0, [len(cases)]
    for case in cases:
        words += [8 * np.dtype(case.dtype).itemsize, SLOTS[case.name], len(case.arguments)]
        for argument in case.arguments:
            if isinstance(argument, int):
                words += [0, argument]
                continue
            array = argument.array
            if id(array) not in places:
                places[id(array)] = size
                arrays.append(array)
                size += -(-array.nbytes // 64) * 64
            words += [1, places[id(array)] + argument.offset * array.itemsize]
    return np.array([size, *words], np.int64), arrays, size


@pytest.fixture
def emulated(driver, tmp_path):
    """Runs all cases in one run of the emulator."""

    def run(cases: list[Case]) -> None:
        words, arrays, size = words_of(cases)
        image, at = np.zeros(size, np.uint8), 0
        starts = []
        for array in arrays:
            image[at : at + array.nbytes] = array.view(np.uint8)
            starts.append(at)
            at += -(-array.nbytes // 64) * 64
        (tmp_path / "in").write_bytes(words.tobytes() + image.tobytes())
        subprocess.run([EMULATOR, driver, tmp_path / "in", tmp_path / "out"], check=True)
        image = np.fromfile(tmp_path / "out", np.uint8)
        for array, start in zip(arrays, starts, strict=True):
            array.view(np.uint8)[:] = image[start : start + array.nbytes]

    return run


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_of_outer_products_are_as_expected(emulated, dtype):
    run_and_check(emulated, outers(neon.TABLE, dtype))


@pytest.mark.parametrize("k", STEPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_of_tiles_are_as_expected(emulated, dtype, k):
    run_and_check(emulated, tiles(neon.TABLE, dtype, k))


def every_loss(dtype):
    for name in losses.BOUNDS:
        yield from losses.cases_of(name, dtype)
        yield from losses.extremes_of(name, dtype)


@pytest.mark.parametrize("cases", [every_loss, *TABLES], ids=lambda cases: cases.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_of_other_microkernels_are_as_expected(emulated, dtype, cases):
    run_and_check(emulated, cases(dtype))
