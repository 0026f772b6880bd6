"""Sizes of work: derived or measured, kept for one machine, and without influence on any bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbp.cli.commands import main
from fastbp.engine.planning import autotune, tuning
from fastbp.engine.planning.tuning import Tuning
from tests.engine.cases import assert_same_bits, everything, make_data, make_engine, spec, train

SIZES = Tuning(123_456, 1 << 19, 9, 16)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of measured sizes, in a folder of the test's own."""
    monkeypatch.setattr(tuning, "place", lambda: tmp_path / "tuning.json")
    monkeypatch.setattr(tuning, "chosen", None)
    return tmp_path / "tuning.json"


def test_measured_sizes_are_used_by_later_processes(file):
    assert tuning.current() == tuning.derived()
    tuning.keep(SIZES)
    assert tuning.current() == tuning.derived()  # in this process plans were made already
    tuning.chosen = None
    assert tuning.current() == SIZES
    tuning.forget()
    assert not file.exists()
    assert tuning.current() == tuning.derived()


@pytest.mark.parametrize("spoil", [
    lambda found: found["machine"].update(cores=found["machine"]["cores"] + 1),
    lambda found: found["machine"].update(processor="another"),
    lambda found: found["sizes"].update(batch_panels=0),
    lambda found: found["sizes"].update(batch_panels=2.5),
    lambda found: found["sizes"].update(unknown=1),
    lambda found: found.pop("sizes"),
])  # fmt: skip
def test_sizes_of_another_machine_or_damaged_ones_are_not_used(file, spoil):
    tuning.keep(SIZES)
    found = json.loads(file.read_text())
    spoil(found)
    file.write_text(json.dumps(found))
    assert tuning.kept() is None


def test_what_is_no_json_is_not_used(file):
    file.write_bytes(b"\xff{")
    assert tuning.kept() is None


@pytest.mark.parametrize("l2", [256 << 10, 512 << 10, 1 << 20, 2 << 20])
def test_derived_units_fit_into_half_of_the_second_level_cache(l2, monkeypatch):
    monkeypatch.setattr(tuning.detect, "cache_sizes", lambda: (32 << 10, l2))
    sizes = tuning.derived()
    assert 3 <= sizes.batch_panels <= 18
    assert sizes.batch_panels % 3 == 0  # a tile's columns
    assert sizes.batch_panels == 3 or sizes.batch_panels * 256 * 64 <= l2 // 2


@pytest.mark.parametrize("sizes", [Tuning(1, 1, 3, 1), Tuning(1, 1 << 40, 6, 2), Tuning(1 << 60, 1 << 16, 300, 300)])
def test_no_bit_depends_on_them(sizes, monkeypatch):
    def trained():
        layers = [spec(130, "relu"), spec(90, "tanh"), spec(9)]
        engine = make_engine(70, layers, optimizer="adam")
        X, y = make_data(400, 70, 9)
        _, losses = train(engine, X, y, "adam", [0, 200, 400])
        return [*everything(engine), losses]

    expected = trained()
    monkeypatch.setattr(tuning, "chosen", sizes)
    assert_same_bits(trained(), expected)


@pytest.fixture
def tiny(monkeypatch):
    """Networks that train fast where nothing is compiled, too."""
    for name in ("SHARED", "KEPT", "LARGE"):
        monkeypatch.setattr(autotune, name, (((5, 7, 3), 16), ((4, 6), 8)))
    monkeypatch.setattr(autotune, "TURN", 0.001)
    monkeypatch.setattr(autotune, "ROUNDS", 2)


def test_measuring_ends_in_time_and_restores_the_sizes_in_use(tiny):
    before = tuning.current()
    told = []
    found = autotune.measure(20.0, lambda done, of: told.append((done, of)))
    assert tuning.current() == before
    assert found.derived == tuning.derived()
    assert told == [(i, len(told)) for i in range(1, len(told) + 1)]
    assert {trial.size for trial in found.trials} >= {"kept_bytes", "batch_panels", "most_panels"}
    assert all(np.isfinite(trial.ratio) for trial in found.trials)
    assert autotune.measure(0.0).chosen == tuning.derived()


@pytest.mark.jit
def test_the_command_keeps_what_it_measured(file, tiny, capsys):
    assert main(["autotune", "--seconds", "5"]) == 0
    assert str(file) in capsys.readouterr().out
    assert tuning.kept() is not None
    assert main(["autotune", "--forget"]) == 0
    assert tuning.kept() is None
