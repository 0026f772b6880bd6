"""Contracts of the reference engine: weights, outputs, sample weights, divergence, dtypes."""

import numpy as np
import pytest

from fastbp.reference import RULES, ReferenceEngine
from fastbp.spec import LayerSpec, Report

STATES = {
    "sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2, "amsgrad": 3, "nadam": 2, "rmsprop": 1,
    "rmsprop_momentum": 2, "rmsprop_centered": 3, "adagrad": 1, "adadelta": 2, "lion": 1,
}  # fmt: skip
ROWS = {
    "sgd": [0.1],
    "momentum": [0.1, 0.0, 0.9, 1.0],
    "nesterov": [0.1, 0.0, 0.9, 1.0],
    "adam": [0.1, 0.0, 0.9, 0.999, 1e-8, 0.1, 0.001],
    "adamw": [0.1, 0.01, 0.9, 0.999, 1e-8, 0.1, 0.001],
    "amsgrad": [0.1, 0.01, 0.9, 0.999, 1e-8, 0.1, 0.001, 1.0],
    "nadam": [0.1, 0.0, 0.9, 0.999, 1e-8, 1.0, 0.001, 0.5],
    "rmsprop": [0.1, 0.0, 0.9, 0.0, 1e-8],
    "rmsprop_momentum": [0.1, 0.0, 0.9, 0.9, 1e-8],
    "rmsprop_centered": [0.1, 0.0, 0.9, 0.9, 1e-8],
    "adagrad": [0.1, 0.0, 0.0, 1e-8],
    "adadelta": [1.0, 0.0, 0.9, 1e-4],
    "lion": [0.1, 0.01, 0.9, 0.99],
}


def make_engine(
    loss: str = "mse", rule: str = "sgd", *, last: str = "identity", dtype: str = "float64"
) -> ReferenceEngine:
    rng = np.random.default_rng(0)
    engine = ReferenceEngine(4, [LayerSpec(6, "relu"), LayerSpec(3, last)], dtype=dtype)
    engine.set_weights([rng.normal(0, 0.7, W.shape) for W in engine.get_weights()])
    engine.configure(loss, rule)
    engine.reset_state(STATES[rule])
    return engine


def make_data(rows: int = 12, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 4)).astype(dtype), rng.random((rows, 3)).astype(dtype)


def train(engine: ReferenceEngine, X: np.ndarray, y: np.ndarray, row: list[float], bounds: list[int], **options):  # type: ignore[no-untyped-def]
    steps = len(bounds) - 1
    scalars, losses = np.zeros((steps, 8)), np.full(steps, -1.0)
    scalars[:, : len(row)] = row
    return engine.train(X, y, np.arange(bounds[-1]), np.array(bounds), scalars, losses, **options), losses


def test_weights_are_copies() -> None:
    engine = make_engine(rule="adam")
    weights, states = engine.get_weights(), engine.get_state()
    assert [W.shape for W in weights] == [(4, 6), (6,), (6, 3), (3,)]
    assert [[v.shape for v in state] for state in states] == [[W.shape for W in weights]] * 2
    for array in (*weights, *states[0], *states[1]):
        array += 1
    for W, changed in zip(engine.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(W + 1, changed)
    assert all((v == 0).all() for state in engine.get_state() for v in state)
    engine.set_weights(weights)
    weights[0] += 1
    np.testing.assert_array_equal(engine.get_weights()[0] + 1, weights[0])
    assert (engine.input_size, engine.output_size, engine.n_parameters) == (4, 3, 51)


@pytest.mark.parametrize(
    ("loss", "last"), [("mse", "relu"), ("cross_entropy", "softmax"), ("cross_entropy", "identity")]
)
def test_training_reports_outputs_and_losses_before_each_update(loss: str, last: str) -> None:
    engine, twin = make_engine(loss, last=last), make_engine(loss, last=last)
    X, y = make_data()
    if loss == "cross_entropy":
        y = np.arange(12) % 3
    outputs, bounds = np.empty((12, 3)), [0, 5, 12]
    _, losses = train(engine, X, y, [0.1], bounds, outputs=outputs)
    for step in range(2):
        rows = slice(bounds[step], bounds[step + 1])
        expected = np.empty((len(X[rows]), 3))
        twin.predict(X[rows], expected)
        np.testing.assert_array_equal(outputs[rows], expected)
        assert losses[step] == pytest.approx(twin.evaluate(X[rows], y[rows]), rel=1e-15)
        train(twin, X[rows], y[rows], [0.1], [0, len(X[rows])])


def test_predict_and_evaluate_process_large_inputs_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = make_data(50)
    weight = np.random.default_rng(4).random(50)
    engine, out, chunked = make_engine(), np.empty((50, 3)), np.empty((50, 3))
    engine.predict(X, out)
    loss = engine.evaluate(X, y, sample_weight=weight)
    monkeypatch.setattr("fastbp.reference.engine.CHUNK", 7)
    assert engine.evaluate(X, y, sample_weight=weight, outputs=chunked) == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(chunked, out, rtol=1e-13)  # BLAS may sum in a different order
    assert loss == pytest.approx(weight @ np.square(out - y).mean(axis=1) / weight.sum(), rel=1e-14)


def test_integer_sample_weights_equal_repeated_rows() -> None:
    X, y = make_data()
    weight = np.array([0, 1, 2, 3] * 3)
    engine = make_engine()
    loss, gradient = engine.gradients(X, y, sample_weight=weight)
    expected_loss, expected = engine.gradients(np.repeat(X, weight, axis=0), np.repeat(y, weight, axis=0))
    assert loss == pytest.approx(expected_loss, rel=1e-14)
    for dW, expected_dW in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(dW, expected_dW, rtol=1e-13, atol=1e-15)  # sums of 18 products of order 1


def test_batch_of_zero_weight_has_zero_loss_and_gradient() -> None:
    X, y = make_data()
    loss, gradient = make_engine().gradients(X, y, sample_weight=np.zeros(12))
    assert loss == 0
    assert all((dW == 0).all() for dW in gradient)


@pytest.mark.parametrize("rule", RULES)
def test_step_with_non_finite_loss_is_skipped(rule: str) -> None:
    X, y = make_data()
    engine, twin = make_engine(rule=rule), make_engine(rule=rule)
    train(twin, X, y, ROWS[rule], [0, 3, 6])
    X[7] = 1e300  # its squared error overflows in the third step
    report, losses = train(engine, X, y, ROWS[rule], [0, 3, 6, 9, 12])
    assert report == Report(2, 1, -1)
    assert np.isfinite(losses[:2]).all()
    assert losses[2] == np.inf
    assert losses[3] == -1
    for W, expected in zip(engine.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(W, expected)
    for state, expected_state in zip(engine.get_state(), twin.get_state(), strict=True):
        for v, expected in zip(state, expected_state, strict=True):
            np.testing.assert_array_equal(v, expected)


@pytest.mark.parametrize("rule", RULES)
def test_weights_with_a_non_finite_update_keep_their_values(rule: str) -> None:
    engine = make_engine(rule=rule, dtype="float32")
    X, y = make_data(3, "float32")
    before = engine.get_weights()
    report, losses = train(engine, X, y, [np.inf, *ROWS[rule][1:]], [0, 1, 2, 3])
    assert report.status == 2
    assert report.layer in (0, 1)
    assert np.isfinite(losses[: report.steps]).all()
    for W, old in zip(engine.get_weights(), before, strict=True):
        assert np.isfinite(W).all()
        np.testing.assert_array_equal(W, old)
    assert all(np.isfinite(v).all() for state in engine.get_state() for v in state)


def test_large_harmless_learning_rate_is_not_divergence() -> None:
    engine = make_engine(dtype="float32")
    X, y = make_data(3, "float32")
    report, _ = train(engine, X, y, [1e19], [0, 3])
    assert report == Report(1, 0, -1)


def test_adam_with_zero_epsilon_leaves_dead_weights_unchanged() -> None:
    engine = make_engine(rule="adam")
    X, y = make_data()
    X[:, 0] = 0  # so the first row of the first kernel has a gradient of 0
    kept = engine.get_weights()[0][0]
    report, _ = train(engine, X, y, [0.1, 0.0, 0.9, 0.999, 0.0, 0.1, 0.001], [0, 12])
    assert report.status == 2
    np.testing.assert_array_equal(engine.get_weights()[0][0], kept)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("rule", RULES)
def test_every_dtype_trains_in_its_own_precision(dtype: str, rule: str) -> None:
    engine = make_engine(rule=rule, dtype=dtype)
    X, y = make_data(12, dtype)
    row = [0.01, *ROWS[rule][1:]]
    if rule.startswith("adam"):
        row[4] = 1e-3  # 1e-8 is 0 in float16
    _, losses = train(engine, np.tile(X, (20, 1)), np.tile(y, (20, 1)), row, list(range(0, 241, 12)))
    assert losses[-1] < losses[0]
    assert all(W.dtype == dtype for W in (*engine.get_weights(), *engine.gradients(X, y)[1]))


def test_inputs_are_not_modified() -> None:
    engine = make_engine()
    X, y = make_data()
    kept = X.copy(), y.copy()
    for array in (X, y):
        array.flags.writeable = False
    train(engine, X, y, [0.1], [0, 12])
    engine.gradients(X, y)
    alone = ReferenceEngine(4, [LayerSpec(4, "relu", kind="activation"), LayerSpec(3)], dtype="float64")
    alone.configure("mse", "sgd")
    alone.gradients(X, y)
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(y, kept[1])


def test_xor_is_learned() -> None:
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]]), np.array([[0], [1], [1], [0.0]])
    rng = np.random.default_rng(0)
    engine = ReferenceEngine(2, [LayerSpec(4, "sigmoid"), LayerSpec(1, "sigmoid")], dtype="float64")
    engine.set_weights([rng.uniform(-1, 1, W.shape) * (W.ndim == 2) for W in engine.get_weights()])
    engine.configure("mse", "momentum")
    engine.reset_state(1)
    steps = 5000
    scalars, losses = np.tile([1.0, 0, 0.9, 0, 0, 0, 0, 0], (steps, 1)), np.empty(steps)
    engine.train(X, y, np.tile(np.arange(4), steps), np.arange(0, 4 * steps + 1, 4), scalars, losses)
    out = np.empty((4, 1))
    engine.predict(X, out)
    np.testing.assert_array_equal(out.round(), y)
