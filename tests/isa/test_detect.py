"""The choice of an instruction set: by the processor, by name, and the two ways to get it wrong."""

from __future__ import annotations

import pytest

from fastbp import isa
from fastbp.isa.targets import avx2, avx512, detect

ALL = {*avx512.TABLE.features, *avx2.TABLE.features}


@pytest.fixture
def processor(monkeypatch):
    """Sets what the machine is and has."""

    def pretend(machine: str, features: set[str]) -> None:
        monkeypatch.setattr(detect.platform, "machine", lambda: machine)
        monkeypatch.setattr(detect, "host_features", lambda: features)

    return pretend


@pytest.mark.parametrize(
    ("machine", "features", "best"),
    [
        ("x86_64", ALL, "avx512"),
        ("AMD64", ALL - {"avx512vl"}, "avx2"),
        ("x86_64", {"avx2"}, "portable"),
        ("x86_64", set(), "portable"),
        ("aarch64", set(), "neon"),
        ("arm64", set(), "neon"),
        ("riscv64", set(), "portable"),
    ],
)
@pytest.mark.parametrize("asked", [None, "", "  "])
def test_the_best_that_is_there(processor, machine, features, best, asked):
    processor(machine, features)
    assert detect.choose(asked) == best


@pytest.mark.parametrize("asked", ["avx2", " AVX2 ", "portable", "Portable"])
def test_what_is_asked_for(processor, asked):
    processor("x86_64", ALL)
    assert detect.choose(asked) == asked.strip().lower()


def test_an_unknown_name_is_an_error_that_lists_the_known(processor):
    processor("x86_64", ALL)
    with pytest.raises(ValueError) as error:
        detect.choose("sse9")
    known = "FASTBP_ISA must be one of portable, avx2, avx512, amx, neon; got 'sse9'."
    assert str(error.value) == f"{known} Unset it to choose by itself."


@pytest.mark.parametrize(
    ("machine", "features", "asked", "offered"),
    [
        ("x86_64", {"avx2", "fma"}, "avx512", "avx2, portable"),
        ("x86_64", ALL, "neon", "avx512, avx2, portable"),
        ("x86_64", set(), "avx2", "portable"),
        ("aarch64", set(), "avx2", "neon, portable"),
    ],
)
def test_what_the_processor_lacks_is_an_error_that_says_what_it_has(processor, machine, features, asked, offered):
    processor(machine, features)
    with pytest.raises(RuntimeError) as error:
        detect.choose(asked)
    rule = f"FASTBP_ISA={asked} is not offered by this processor, which has: {offered}."
    assert str(error.value) == f"{rule} Unset it to choose by itself."


@pytest.mark.parametrize("name", detect.CHOICES)
def test_every_choice_has_a_table(name):
    table = isa.table(name)
    assert table.name == name
    assert table.sizes[-1] == (1, 1)
    assert len(set(table.sizes)) == len(table.sizes)
    assert all(rows * columns <= table.sums for rows, columns in table.sizes)
    assert table.columns < 8  # a tile is found by 8 rows + columns


def test_this_machine():
    assert isa.NAME in detect.CHOICES
    assert detect.usable_cores() >= 1
    first, second = detect.cache_sizes()
    assert 4 << 10 <= first < second
