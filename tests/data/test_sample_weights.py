"""Invalid and all-zero sample weights are rejected by every method of a model."""

import numpy as np
import pytest

from fastbp import Dense, Sequential

N = 50
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)
BAD = {
    "negative": -np.ones(N), "NaN": np.full(N, np.nan), "infinite": np.full(N, np.inf), "short": np.ones(N - 1),
    "strings": np.full(N, "1"), "too large": np.full(N, 1e300), "all zero": np.zeros(N),
    "masked": np.ma.masked_array(np.ones(N), mask=Y == 1),
}  # fmt: skip
METHODS = {
    "fit": lambda model, w: model.fit(X, Y, sample_weight=w),
    "validation": lambda model, w: model.fit(X, Y, validation_data=(X, Y, w)),
    "source": lambda model, w: model.fit([(X, Y, w)]),
    "two chunks": lambda model, w: model.fit([(X, Y, w), (X, Y, w)]),
    "validation source": lambda model, w: model.fit(X, Y, validation_data=[(X, Y, w)]),
    "evaluate": lambda model, w: model.evaluate(X, Y, sample_weight=w),
    "train_on_batch": lambda model, w: model.train_on_batch(X, Y, sample_weight=w),
    "gradients": lambda model, w: model.gradients(X, Y, sample_weight=w),
}


def build():
    model = Sequential([Dense(2, "softmax")], seed=0)
    model.compile("adam", "cross_entropy")
    return model


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", BAD)
def test_bad_weights_are_rejected(case, method):
    with pytest.raises((ValueError, TypeError), match="sample_weight"):
        METHODS[method](build(), BAD[case])


def test_chunk_of_zero_weights_is_accepted_among_others():
    assert build().fit([(X, Y, np.zeros(N)), (X, Y, np.ones(N))]).history["loss"][0] > 0


def test_split_that_leaves_only_zero_weights_is_rejected():
    weight = np.where(np.arange(N) < 40, 0.0, 1.0)
    with pytest.raises(ValueError, match="sample_weight must have a positive entry, but all rows of epoch 1"):
        build().fit(X, Y, sample_weight=weight, validation_split=0.2)
