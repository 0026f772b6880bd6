"""Properties of update rules that `cases_optimizers` does not cover."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp.isa.codes import UPDATE_RULES

from .cases import assert_bits, lanes_of
from .cases_optimizers import random_update, update_case
from .machines import each_dtype, each_machine


@pytest.mark.parametrize("rule", UPDATE_RULES)
@each_dtype
@each_machine
def test_nan_gradient_changes_no_bits_of_other_weights(machine, dtype, rule):
    g, w, states = random_update(rule, dtype, 1, 6)
    with_nan = g.copy()
    with_nan[0, 2, 3] = np.nan
    cases = [update_case(rule, gradient, w, states, "") for gradient in (g, with_nan)]
    machine(cases)
    clean, other = (case.operands()[1].values for case in cases)
    here = np.arange(clean.size) % w.size != 2 * lanes_of(dtype) + 3
    assert_bits(other[here], clean[here])
    assert [case.operands()[3].values[0] for case in cases] == [0, 1]
