"""Optimizers as descriptions: scalars by step, ranges, names."""

import numpy as np
import pytest

from fastbp import optimizers
from fastbp.optimizers import SGD, Adam, AdamW

MOMENTUM, NESTEROV = SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True)
OBJECTS = [SGD(), MOMENTUM, NESTEROV, Adam(), Adam(weight_decay=0.1), AdamW()]


@pytest.mark.parametrize("optimizer", OBJECTS, ids=repr)
@pytest.mark.parametrize("n", [1, 2, 300])
def test_scalars_are_rows_the_engine_can_read(optimizer, n):
    table = optimizer.scalars(np.arange(5, 5 + n))
    assert table.shape == (n, optimizers.N_SCALARS)
    assert table.dtype == np.float64
    assert table.strides == (0, 8) or table.flags.c_contiguous  # one row for all steps, or a row each
    assert (table[:, 0] == optimizer.learning_rate).all()


def test_corrections_of_adam_by_step():
    steps = np.array([0, 9, 10**7])
    table = Adam(beta_1=0.9, beta_2=0.999).scalars(steps)
    for row, t in zip(table, steps + 1, strict=True):
        np.testing.assert_allclose(row[5:7], [1 - 0.9**t, 1 - 0.999**t], rtol=1e-13)  # of 1 - beta: some ulp


def test_a_schedule_gives_a_rate_a_step():
    table = SGD(lambda steps: 0.1 / (1 + steps)).scalars(np.arange(3))
    np.testing.assert_allclose(table[:, 0], [0.1, 0.05, 0.1 / 3])


@pytest.mark.parametrize("rates", [[1.0], [np.nan] * 3, [-1.0] * 3, "abc"])
def test_a_schedule_that_gives_no_rates(rates):
    with pytest.raises(ValueError, match=r"learning_rate|could not convert"):
        SGD(lambda steps: rates).scalars(np.arange(3))


BAD = [
    (lambda: SGD(-1), ValueError, "learning_rate must be at least 0 and finite, got -1"),
    (lambda: SGD(float("nan")), ValueError, "learning_rate"),
    (lambda: SGD(float("inf")), ValueError, "learning_rate"),
    (lambda: SGD("fast"), TypeError, "learning_rate must be a number"),
    (lambda: SGD(momentum=1.0), ValueError, "momentum must be at least 0 and below 1, got 1.0"),
    (lambda: SGD(nesterov=True), ValueError, "nesterov=True needs momentum > 0"),
    (lambda: Adam(beta_1=1.0), ValueError, "beta_1"),
    (lambda: Adam(beta_2=-0.1), ValueError, "beta_2"),
    (lambda: Adam(epsilon=-1e-8), ValueError, "epsilon"),
    (lambda: AdamW(weight_decay=-1), ValueError, "weight_decay"),
    (lambda: Adam(learning_rate=True), TypeError, "learning_rate"),
    (lambda: optimizers.get("adamm"), ValueError, "'sgd', 'adam', 'adamw'"),
    (lambda: optimizers.get(3), ValueError, "got 3"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_values_out_of_range(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_names_and_objects():
    assert [optimizers.get(name).rule for name in optimizers.NAMES] == ["sgd", "adam", "adamw"]
    assert optimizers.get(OBJECTS[1]) is OBJECTS[1]
    assert [x.rule for x in OBJECTS] == ["sgd", "momentum", "nesterov", "adam", "adam", "adamw"]
    assert [x.n_states for x in OBJECTS] == [0, 1, 1, 2, 2, 2]
    assert SGD(0.0).learning_rate == 0  # warm-up, frozen layers
