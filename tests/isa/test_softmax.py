"""Properties of softmax that `cases_softmax` does not cover."""

from __future__ import annotations

import numpy as np

from .cases import assert_bits, normal_lines
from .cases_softmax import softmax_case
from .machines import each_dtype, each_machine


@each_dtype
@each_machine
def test_lanes_are_independent(machine, dtype):
    """NaN in the last lane changes no bits of the others."""
    rng = np.random.default_rng(20)
    z = normal_lines(rng, dtype, 20)
    with_nan = z.copy()
    with_nan[:, -1] = np.nan
    cases = [softmax_case(z, "clean"), softmax_case(np.nan_to_num(with_nan), "with NaN")]
    cases[1].operands()[0].lines()[:, -1] = np.nan
    machine(cases)
    for clean, other in zip(cases[0].operands()[1:], cases[1].operands()[1:], strict=True):
        assert_bits(other.lines()[:, :-1], clean.lines()[:, :-1])
        assert np.isnan(other.lines()[:, -1]).all()
