"""The losses over a panel, emitted code and twins, against the reference's formulas in higher precision."""

from __future__ import annotations

import pytest

from . import cases_losses as losses
from .cases import run_and_check
from .machines import each_dtype, each_machine, emitted


@pytest.mark.parametrize("name", losses.BOUNDS)
@each_dtype
@each_machine
def test_losses_match_the_reference(machine, dtype, name):
    run_and_check(machine, losses.cases_of(name, dtype, losses.LINES if machine is emitted else (1, 2, 17)))


@pytest.mark.parametrize("name", losses.BOUNDS)
@each_dtype
@each_machine
def test_losses_of_extreme_outputs_match_the_reference(machine, dtype, name):
    run_and_check(machine, losses.extremes_of(name, dtype))
