"""First weights from data: pre-activations of deviation 1, biases between those of some rows."""

import numpy as np

from fastbp import Dense, Dropout, ParametricActivation, Scale, Sequential
from fastbp.recipes import data_init


def network():
    return Sequential(
        [Scale(), Dense(20), ParametricActivation("mish"), Dropout(0.5), Dense(15, "tanh"), Dense(2, "softmax")],
        input_size=6, seed=3,
    )  # fmt: skip


def test_every_unit_has_pre_activations_of_deviation_1():
    X = np.random.default_rng(0).normal(2, [1, 10, 0.1, 1, 1, 1], size=(500, 6)).astype("float32")
    model = network()
    data_init.initialize(model, X, seed=1)
    scale, W1, b1, alpha, W2, b2, W3, b3 = model.get_weights()
    np.testing.assert_array_equal(scale, 1)
    np.testing.assert_array_equal(alpha, 1)
    A = X.astype(np.float64)
    for W, b, f in ((W1, b1, lambda z: z * np.tanh(np.logaddexp(0, z))), (W2, b2, np.tanh), (W3, b3, None)):
        Z = A @ W
        np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-4)
        assert ((-b >= Z.min(axis=0)) & (-b <= Z.max(axis=0))).all()
        assert len(np.unique(b)) == len(b)
        A = f(Z + b) if f else Z


def test_the_seed_decides_and_few_rows_do(monkeypatch):
    X = np.random.default_rng(0).normal(size=(500, 6)).astype("float32")
    found = []
    for seed, most in ((1, 1 << 30), (1, 1 << 30), (2, 1 << 30), (1, 8 * 20 * 100)):
        monkeypatch.setattr(data_init, "MOST_BYTES", most)
        model = network()
        data_init.initialize(model, X, seed)
        found.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not np.array_equal(found[0][2], found[2][2])
    assert not np.array_equal(found[0][1], found[3][1])


def test_a_unit_without_variation_keeps_its_weights():
    X = np.ones((50, 6), "float32")
    model = network()
    before = model.get_weights()[1]
    data_init.initialize(model, X, seed=1)
    np.testing.assert_array_equal(model.get_weights()[1], before)
    assert all(np.isfinite(W).all() for W in model.get_weights())
