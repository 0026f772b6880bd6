"""Steps on a few rows like the one before take a short way: the same bits, and the same errors."""

import numpy as np
import pytest

import fastbp
from fastbp import Dense, Dropout, Sequential

pytestmark = pytest.mark.jit
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 7)).astype(np.float32)
Y = RNG.normal(size=(40, 2)).astype(np.float32)
LABELS = RNG.integers(0, 2, 40)
DECAY = fastbp.ExponentialDecay(0.1, 3, 0.5)
OPTIMIZERS = {
    "sgd": lambda: fastbp.SGD(0.05, momentum=0.9),
    "adam": lambda: fastbp.Adam(0.01, weight_decay=0.01),
    "schedule": lambda: fastbp.SGD(DECAY),
    "adam, schedule": lambda: fastbp.Adam(DECAY, global_clipnorm=0.5),
    "decay by schedule": lambda: fastbp.Adam(0.01, weight_decay=DECAY),
    "accumulated": lambda: fastbp.SGD(0.1, gradient_accumulation_steps=3),
    "ema": lambda: fastbp.AdamW(0.01, use_ema=True),
}


def build(optimizer="adam", loss="mse", dtype="float32", dropout=0.0):
    last = "identity" if loss == "mse" else "softmax"
    layers = [Dense(9, "tanh"), *[Dropout(dropout)] * (dropout > 0), Dense(2, last)]
    model = Sequential(layers, input_size=7, seed=3, dtype=dtype)
    model.compile(OPTIMIZERS[optimizer](), loss)
    return model


def the_long_way(model):
    """Make the model look everything up, as in the first step."""
    if model.trainer.again is not None:
        model.trainer.again = None


def assert_same(one, two):
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.trainer.step == two.trainer.step


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_short_way_has_the_bits_of_the_long_one(optimizer, loss, dtype):
    one, two = (build(optimizer, loss, dtype, dropout=0.3) for _ in range(2))
    targets = Y.astype(dtype) if loss == "mse" else LABELS
    for n in (1, 1, 1, 5, 5, 1, 5, 8, 8, 40, 40, 1, 1):
        rows = X[:n].astype(dtype)
        losses = one.train_on_batch(rows, targets[:n]), two.train_on_batch(rows, targets[:n])
        assert losses[0] == losses[1]
        the_long_way(two)
    assert_same(one, two)


def test_short_way_is_taken():
    model = build()
    model.train_on_batch(X[:1], Y[:1])
    again = model.trainer.again
    assert again is not None
    for _ in range(3):
        model.train_on_batch(X[:1], Y[:1])
    assert model.trainer.again is again
    assert again(X[:2], Y[:2]) is None  # another number of rows
    assert again(X[:1].astype("float64"), Y[:1]) is None
    assert again(X[:1].tolist(), Y[:1]) is None


BETWEEN = {
    "predict": lambda m: m.predict(X[:1]),
    "evaluate": lambda m: m.evaluate(X, Y),
    "gradients": lambda m: m.gradients(X[:3], Y[:3]),
    "fit": lambda m: m.fit(X, Y, batch_size=8, verbose=0),
    "set_weights": lambda m: m.set_weights([W + 0.5 for W in m.get_weights()]),
    "learning rate": lambda m: setattr(m, "learning_rate", 0.3),
    "compile": lambda m: m.compile(fastbp.SGD(0.1), "mse"),
    "weights of rows": lambda m: m.train_on_batch(X[:1], Y[:1], sample_weight=[0.5]),
    "more rows": lambda m: m.train_on_batch(X[:30], Y[:30]),
    "a list": lambda m: m.train_on_batch(X[:1].tolist(), Y[:1].tolist()),
    "a view": lambda m: m.train_on_batch(X[::2][:1], np.asfortranarray(Y)[:1]),
    "a step of many threads": lambda m: m.train_on_batch(X, Y),
}


@pytest.mark.parametrize("optimizer", ["adam", "adam, schedule"])
@pytest.mark.parametrize("between", BETWEEN)
def test_anything_may_come_between(between, optimizer):
    one, two = build(optimizer), build(optimizer)
    for model in (one, two):
        for _ in range(2):
            for row in range(3):
                if model is two:
                    the_long_way(two)
                model.train_on_batch(X[row : row + 1], Y[row : row + 1])
            BETWEEN[between](model)
    assert_same(one, two)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
@pytest.mark.parametrize("where", ["X", "y"])
def test_numbers_that_are_not_finite_are_refused(bad, where):
    model = build()
    for _ in range(3):
        model.train_on_batch(X[:1], Y[:1])
    rows, targets, before = X[:1].copy(), Y[:1].copy(), model.get_weights()
    (rows if where == "X" else targets)[0, 1] = bad
    if np.isfinite(bad):  # its square is not, but it may be trained on: the loss overflows, and the step is dropped
        with pytest.warns(fastbp.DivergenceWarning) if where == "y" else np.errstate():
            model.train_on_batch(rows, targets)
        return
    with pytest.raises(ValueError, match=rf"^{where} must be finite"):
        model.train_on_batch(rows, targets)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.trainer.step == 3


def test_labels_out_of_range_are_refused():
    model = build(loss="cross_entropy")
    for _ in range(3):
        model.train_on_batch(X[:2], LABELS[:2])
    with pytest.raises(ValueError, match="y must"):
        model.train_on_batch(X[:2], np.array([0, 7]))
    assert model.trainer.step == 3
    assert np.isfinite(model.train_on_batch(X[:2], LABELS[:2]))


def test_divergence_is_told():
    """A step whose update is refused counts, one whose loss is not finite does not."""
    models = [build("sgd"), build("sgd")]
    for model in models:
        model.train_on_batch(X[:1], Y[:1])
        model.learning_rate = 1e38
        found = []
        for _ in range(4):
            if model is models[1]:
                the_long_way(model)
            with pytest.warns() as caught:
                loss = model.train_on_batch(X[:1], Y[:1] * 1e4)
            found.append((loss, *(str(w.message) for w in caught)))
        model.told = found
    assert str(models[0].told) == str(models[1].told)
    assert_same(*models)


def test_callback_of_a_fit_may_make_steps():
    one, two = build(), build()

    class Step(fastbp.Callback):
        def on_epoch_end(self, epoch, logs):
            for _ in range(3):
                if self.model is two:
                    the_long_way(two)
                self.model.train_on_batch(X[:1], Y[:1])

    for model in (one, two):
        model.fit(X, Y, epochs=3, callbacks=[Step()], verbose=0)
    assert_same(one, two)
