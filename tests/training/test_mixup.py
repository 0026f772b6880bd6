"""Mixup: steps on blended rows, the same however they are cut into slices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import fastbp
from fastbp.data.arrays import Rows
from fastbp.data.batch_schedule import Pace
from fastbp.training.mixup import Mixup
from tests.engine.cases import assert_same_bits

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(50, 6)), RNG.integers(0, 3, 50)


def make_model(last: str = "softmax", loss: str = "cross_entropy") -> fastbp.Sequential:
    model = fastbp.Sequential([fastbp.Dense(8, "tanh"), fastbp.Dense(3, last)], dtype="float64", seed=4)
    model.compile(fastbp.SGD(0.1), loss)
    return model


def test_rows_and_targets_are_blended_alike_within_the_batch() -> None:
    order, bounds = np.arange(20), np.array([0, 12, 20])
    mixed = Mixup(5.0, seed=1, classes=3)(Rows(X, LABELS, None), order, bounds, step=5)
    one_hot = np.eye(3)[LABELS]
    for begin, end in ((0, 12), (12, 20)):
        batch, shares = slice(begin, end), []
        for x, y in zip(mixed.X[batch], mixed.y[batch], strict=True):
            found = None
            for i in order[batch]:
                for j in order[batch]:
                    difference = X[i] - X[j]
                    share = 1.0 if i == j else float((x - X[j]) @ difference / (difference @ difference))
                    if np.allclose(share * X[i] + (1 - share) * X[j], x) and np.allclose(
                        share * one_hot[i] + (1 - share) * one_hot[j], y
                    ):
                        found = share
                        break
                else:
                    continue
                break
            else:
                pytest.fail("a row is not a blend of two rows of its batch")
            if 1e-6 < found < 1 - 1e-6:  # otherwise it was blended with itself
                shares.append(min(found, 1 - found))
        assert len(shares) > 1
        assert np.ptp(shares) < 1e-9  # one share for the batch


def test_blending_does_not_depend_on_slices() -> None:
    order, bounds = RNG.permutation(50)[:40], np.array([0, 16, 32, 40])
    whole = Mixup(0.2, seed=1, classes=3)(Rows(X, LABELS, None), order, bounds, step=7)
    again = Mixup(0.2, seed=1, classes=3)
    parts = [again(Rows(X, LABELS, None), order[a:b], np.array([0, b - a]), step=7 + s)
             for s, (a, b) in ((2, (32, 40)), (0, (0, 16)), (1, (16, 32)))]  # fmt: skip
    assert_same_bits([np.concatenate([parts[1].X, parts[2].X, parts[0].X])], [whole.X])


def test_slices_do_not_change_results(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for most in (1, 3, 1000):
        monkeypatch.setattr(Pace, "measured", lambda self, done, seconds, most=most: setattr(self, "count", most))
        model = make_model()
        history = model.fit(X, LABELS, epochs=4, batch_size=16, mixup=0.2)
        results.append([*model.get_weights(), np.array(history.history["loss"])])
    assert_same_bits(results[1], results[0])
    assert_same_bits(results[2], results[0])


def test_zero_mixup_equals_no_mixup() -> None:
    models = []
    for options in ({}, {"mixup": 0}, {"mixup": 0.2}):
        models.append(make_model())
        models[-1].fit(X, LABELS, epochs=2, batch_size=16, **options)
    weights = [model.get_weights() for model in models]
    assert_same_bits(weights[1], weights[0])
    assert not np.array_equal(weights[2][0], weights[0][0])


@pytest.mark.parametrize(("last", "loss"), [("identity", "mse"), ("sigmoid", "binary_cross_entropy")])
def test_two_dimensional_targets_train(last: str, loss: str) -> None:
    model = make_model(last, loss)
    history = model.fit(X, np.eye(3)[LABELS], epochs=30, batch_size=16, mixup=0.2)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_invalid_mixup_is_refused() -> None:
    with pytest.raises(ValueError, match="mixup must be at least 0"):
        make_model().fit(X, LABELS, mixup=-1)
    with pytest.raises(TypeError, match="mixup must be a number"):
        make_model().fit(X, LABELS, mixup="0.2")
    with pytest.raises(ValueError, match="X is sparse"):
        make_model().fit(scipy.sparse.csr_array(X), LABELS, mixup=0.2)
    with pytest.raises(ValueError, match="blended"):
        make_model("identity", "categorical_hinge").fit(X, np.eye(3)[LABELS], mixup=0.2)
