"""The measured peak: the multiply-add chains compute what they should, and no tile is faster."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastbp import isa
from fastbp.engine import peak
from fastbp.engine.memory import aligned
from fastbp.isa.twins import tile as twins
from fastbp.kernels import entries, jit, microkernels

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.mark.jit
@each_dtype
@pytest.mark.parametrize("n", [0, 1, 7])
def test_chains_match_their_twin(dtype, n, rng):
    lines, lanes = peak.ROWS * peak.COLUMNS, isa.LINE // np.dtype(dtype).itemsize
    X, C = aligned(2 * lanes, dtype), aligned(lines * lanes, dtype)
    X[:], C[:] = rng.random(X.size), rng.random(C.size)
    expected = C.copy()
    twins.peak(None, n, lines, X, 0, expected, 0)

    def call(table, *arguments):
        chains(table, *arguments)

    chains = microkernels.peak
    jit.kernel(call)(entries.addresses(dtype), n, lines, X, 0, C, 0)
    np.testing.assert_allclose(C, expected, rtol=16 * np.finfo(dtype).eps)


@pytest.mark.jit
@each_dtype
def test_tiles_are_no_faster_than_the_peak(dtype):
    best = max(peak.measured_peak(dtype) for _ in range(3))
    assert 1e8 < peak.tile_speed(dtype) < 1.3 * best or isa.NAME == "portable"


@pytest.mark.parametrize("measure", [peak.measured_peak, peak.tile_speed])
def test_measurement_with_several_threads(measure):
    assert measure("float32", 3) > 0


@pytest.mark.parametrize("measure", [peak.measured_peak, peak.tile_speed])
def test_invalid_arguments_are_refused(measure):
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got 'float16'"):
        measure("float16")
    with pytest.raises(ValueError, match="n_threads must be at least 1, got 0"):
        measure("float32", 0)


# ---------------------------------------------------------------- best of several rounds


def best_of_rounds(monkeypatch, speeds, load, cores=4):
    """The result of `peak_of_several` for rounds of these speeds."""
    rounds = iter(speeds)
    monkeypatch.setattr(peak, "APART", 0.0)
    monkeypatch.setattr(peak, "speeds", lambda *arguments: next(rounds))
    monkeypatch.setattr(peak, "_load", lambda: (load, cores))
    return peak.peak_of_several("float32", 2)


def test_best_of_several_rounds_is_reported(monkeypatch):
    best, busy = best_of_rounds(monkeypatch, [[1.0, 0.9], [1.1, 1.0], [0.9, 1.0], [1.0, 1.0], [1.0, 1.05]], 0.3)
    assert (best, busy) == (1.1, "")


@pytest.mark.parametrize(
    ("speeds", "load", "reason"),
    [([0.4, 0.5], 0.1, "a typical round has 5. % of the best's speed"), ([1.0, 1.0], 3.5, "a load of 3.5 on 4 cores")],
)
def test_busy_machine_is_reported(monkeypatch, speeds, load, reason):
    best, busy = best_of_rounds(monkeypatch, [[1.0], speeds, speeds, speeds, speeds], load)
    assert best == 1.0
    assert re.search(rf"the machine is busy \({reason}", busy)


def test_systems_without_load_average_count_as_idle(monkeypatch):
    monkeypatch.delattr(peak.os, "getloadavg")
    assert peak._load()[0] == 0.0
