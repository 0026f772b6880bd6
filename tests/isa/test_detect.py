"""The choice of an instruction set: by processor, by name, and the errors for unknown and unsupported names."""

from __future__ import annotations

import pytest

from fastbp import isa
from fastbp.isa.targets import avx2, avx512, detect

ALL = {*avx512.TABLE.features, *avx2.TABLE.features}


@pytest.fixture
def processor(monkeypatch):
    """Sets the architecture and the features of the machine."""

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
@pytest.mark.parametrize("requested", [None, "", "  "])
def test_best_available_instruction_set_is_chosen(processor, machine, features, best, requested):
    processor(machine, features)
    assert detect.choose(requested) == best


@pytest.mark.parametrize("requested", ["avx2", " AVX2 ", "portable", "Portable"])
def test_requested_instruction_set_is_chosen(processor, requested):
    processor("x86_64", ALL)
    assert detect.choose(requested) == requested.strip().lower()


def test_unknown_name_error_lists_the_valid_names(processor):
    processor("x86_64", ALL)
    with pytest.raises(ValueError) as error:
        detect.choose("sse9")
    known = "FASTBP_ISA must be one of portable, avx2, avx512, amx, neon; got 'sse9'."
    assert str(error.value) == f"{known} Unset it to choose automatically."


@pytest.mark.parametrize(
    ("machine", "features", "requested", "offered"),
    [
        ("x86_64", {"avx2", "fma"}, "avx512", "avx2, portable"),
        ("x86_64", ALL, "neon", "avx512, avx2, portable"),
        ("x86_64", set(), "avx2", "portable"),
        ("aarch64", set(), "avx2", "neon, portable"),
    ],
)
def test_unsupported_name_error_lists_the_supported_ones(processor, machine, features, requested, offered):
    processor(machine, features)
    with pytest.raises(RuntimeError) as error:
        detect.choose(requested)
    rule = f"FASTBP_ISA={requested} is not supported by this processor, which supports: {offered}."
    assert str(error.value) == f"{rule} Unset it to choose automatically."


@pytest.mark.parametrize("name", detect.CHOICES)
def test_every_choice_has_a_table(name):
    table = isa.table(name)
    assert table.name == name
    assert table.sizes[-1] == (1, 1)
    assert len(set(table.sizes)) == len(table.sizes)
    assert all(rows * columns <= table.sums for rows, columns in table.sizes)
    assert table.columns < 8  # tiles are indexed by 8 rows + columns


def test_detection_on_this_machine():
    assert isa.NAME in detect.CHOICES
    assert detect.usable_cores() >= 1
    first, second = detect.cache_sizes()
    assert 4 << 10 <= first < second


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "50000\n"}, None),
        ({"cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_quota_of_the_control_group(files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(detect, "CONTROL_GROUP", tmp_path)
    assert detect.cpu_quota() == cores
    assert detect.usable_cores() >= 1
    if cores is not None:
        assert detect.usable_cores() == 1
