"""Divergence is reported, weights and states stay finite, and files can be loaded."""

import numpy as np
import pytest

import fastbp
from fastbp import SGD, Adam, BatchNorm, Dense, DivergenceWarning, Sequential

X = np.full((4, 1), 3e38, np.float32)
Y = np.zeros((4, 1))


def check_finite(model, tmp_path):
    snapshot = model.snapshot()
    for array in [*snapshot.weights, *(part for state in snapshot.states for part in state)]:
        assert np.isfinite(array).all()
    model.save(tmp_path / "model.safetensors")
    loaded = fastbp.load(tmp_path / "model.safetensors")
    for one, two in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def accumulating(steps, optimizer=SGD, **options):
    model = Sequential([Dense(1)], input_size=1)
    model.compile(optimizer(1e-3, gradient_accumulation_steps=steps, **options), "mae")
    model.set_weights([[[1e-3]], [0.0]])
    return model


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("options", [{}, {"use_ema": True}, {"clipnorm": 1.0}], ids=["plain", "ema", "clipped"])
def test_overflow_of_the_accumulated_gradient_is_divergence(optimizer, options, tmp_path):
    model = accumulating(3, optimizer, **options)
    before = model.get_weights()
    message = "in step 2 in epoch 2 the accumulated gradient became infinite at layer 0"
    with pytest.warns(DivergenceWarning, match=message):
        history = model.fit(X, Y, epochs=6, verbose=0)
    assert history.stopped == "diverged"
    assert len(history.history["loss"]) == 2
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    check_finite(model, tmp_path)
    model.fit(X / 1e38, Y, epochs=6, verbose=0)  # training continues
    check_finite(model, tmp_path)


def test_fit_and_train_on_batch_report_divergence_in_the_same_step():
    one = accumulating(3)
    assert one.train_on_batch(X, Y) > 0
    with pytest.warns(DivergenceWarning, match="in step 2 the accumulated"):
        one.train_on_batch(X, Y)
    other = accumulating(3)
    with pytest.warns(DivergenceWarning, match="in step 2 in epoch 1 the accumulated"):
        other.fit(np.tile(X, (6, 1)), np.tile(Y, (6, 1)), batch_size=4, shuffle=False, verbose=0)
    assert one.snapshot().step == other.snapshot().step == 2


def test_overflow_in_the_step_of_the_update_is_divergence(tmp_path):
    model = accumulating(2)
    with pytest.warns(DivergenceWarning, match="step 2 in epoch 2 would have made weights infinite"):
        model.fit(X, Y, epochs=4, verbose=0)
    check_finite(model, tmp_path)


@pytest.mark.parametrize("scale", [1e19, 1e25, 1e30, 3e38])
@pytest.mark.parametrize("name", ["sgd", "adam", "nadam", "rmsprop", "adagrad", "adadelta", "lion", "lamb", "muon"])
@pytest.mark.filterwarnings("ignore::fastbp.DivergenceWarning")
def test_files_can_be_loaded_whatever_the_scale(name, scale, tmp_path):
    rng = np.random.default_rng(0)
    rows = (rng.uniform(-1, 1, (64, 3)) * scale).astype(np.float32)
    for layers in ([Dense(5, "tanh"), Dense(1)], [BatchNorm(), Dense(5, "relu"), BatchNorm(), Dense(1)]):
        model = Sequential(layers, input_size=3)
        model.compile(name, "mae")
        model.fit(rows, rows[:, :1], epochs=3, batch_size=16, verbose=0)
        check_finite(model, tmp_path)
