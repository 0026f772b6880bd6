"""Softmax beyond the cases of `cases_softmax`."""

from __future__ import annotations

import numpy as np

from .cases import assert_bits, normal_lines
from .cases_softmax import softmax_case
from .machines import each_dtype, each_machine


@each_dtype
@each_machine
def test_a_lane_knows_nothing_of_its_neighbours(machine, dtype):
    """Spoiling the last lane changes no bit of the others."""
    rng = np.random.default_rng(20)
    z = normal_lines(rng, dtype, 20)
    spoilt = z.copy()
    spoilt[:, -1] = np.nan
    cases = [softmax_case(z, "clean"), softmax_case(np.nan_to_num(spoilt), "spoilt")]
    cases[1].operands()[0].lines()[:, -1] = np.nan
    machine(cases)
    for clean, other in zip(cases[0].operands()[1:], cases[1].operands()[1:], strict=True):
        assert_bits(other.lines()[:, :-1], clean.lines()[:, :-1])
        assert np.isnan(other.lines()[:, -1]).all()
