"""Callbacks, signals and lack of memory: nothing is read or written outside, and no model is left half made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp import Dense, MLPClassifier, Sequential
from fastbp.data.arrays import Rows
from fastbp.engine.workspace import WORD
from fastbp.training.batch_norm_statistics import renew_statistics
from tests.engine.cases import assert_same_bits

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 8)).astype("f4")
Y = X[:, :2] - X[:, 2:4]


def made(optimizer: Any = "adam", dtype: str = "float32") -> Sequential:
    model = Sequential([Dense(6, "tanh"), fastbp.BatchNorm(), Dense(2)], input_size=8, dtype=dtype)
    model.compile(optimizer, "mse")
    return model


class At(fastbp.Callback):
    """Does something at the end of the first epoch; keeps the weights of that moment."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action, self.kept = action, None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 0:
            self.kept = self.model.get_weights()
            self.result = self.action()


# ---------------------------------------------------------------- data that change after they were checked


def put(array: np.ndarray, value: float) -> None:
    array[...] = value


@pytest.mark.parametrize("label", [3, 50, 10**7, -1, -(10**9), 2**62, -(2**63)])
@pytest.mark.parametrize("loss", ["cross_entropy", fastbp.CrossEntropy(label_smoothing=0.1), "categorical_hinge"])
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_labels_changed_in_mid_fit_end_it_with_the_weights_of_the_last_step(label: int, loss: Any, optimizer: str):
    y = RNG.integers(0, 3, len(X))
    model = Sequential([Dense(5, "tanh"), Dense(3, "identity" if loss == "categorical_hinge" else "softmax")])
    model.compile(optimizer, loss)
    at = At(lambda: put(y[50:], label))
    with pytest.raises(ValueError, match=f"labels from 0 to 2, got {label} at row 50, which was changed"):
        model.fit(X, y, epochs=3, batch_size=50, shuffle=False, callbacks=[at])
    assert all(np.isfinite(W).all() for W in model.get_weights())
    model.fit(X, np.zeros(len(X), int))


def test_the_steps_before_a_label_that_was_changed_are_made_and_counted() -> None:
    y = RNG.integers(0, 3, len(X))
    models = [Sequential([Dense(5, "tanh"), Dense(3, "softmax")], input_size=8) for _ in range(2)]
    for model in models:
        model.compile("adam", "cross_entropy")
        model.fit(X, y, epochs=1, batch_size=50, shuffle=False)
    spoilt = y.copy()
    with pytest.raises(ValueError, match="at row 120"):
        models[0].fit(X, spoilt, epochs=2, batch_size=50, shuffle=False,
                      callbacks=[fastbp.LambdaCallback(on_train_begin=lambda logs: put(spoilt[120:], 9))])  # fmt: skip
    models[1].fit(X[:100], y[:100], batch_size=50, shuffle=False)
    assert_same_bits(models[0].get_weights(), models[1].get_weights())
    assert models[0].trainer.step == models[1].trainer.step == 6


@pytest.mark.parametrize("code", [5, 10**6, -1, 1e30, np.inf, -np.inf, np.nan])
def test_codes_changed_in_mid_fit_end_it_with_the_weights_of_the_last_step(code: float) -> None:
    data = X.copy()
    data[:, 0] = RNG.integers(0, 5, len(X))
    model = Sequential([fastbp.ColumnEmbedding({0: 5}, 4), Dense(2)])
    model.compile("adam", "mse")
    at = At(lambda: put(data[:, 0], code))
    with pytest.raises(ValueError, match=r"codes from 0 to 4 in column 0, got .* at row 0, which was changed"):
        model.fit(data, Y, epochs=3, batch_size=50, callbacks=[at])
    assert_same_bits(model.get_weights(), at.kept)


def test_held_out_labels_that_change_are_told_too() -> None:
    y = RNG.integers(0, 3, len(X))
    model = Sequential([Dense(3, "softmax")])
    model.compile("adam", "cross_entropy", ["accuracy"])
    with pytest.raises(ValueError, match="got 7 at row 0, which was changed"):
        model.fit(X, y.copy(), epochs=3, validation_data=(X, y), callbacks=[At(lambda: put(y, 7))])


@pytest.mark.parametrize("layers", [[Dense(6, "tanh")], [Dense(6, "relu")], [Dense(6), fastbp.BatchNorm()]])
def test_nan_in_mid_fit_is_divergence_and_weights_stay_finite(layers: list[Any]) -> None:
    data = X.copy()
    model = Sequential([*layers, Dense(2)])
    model.compile("adam", "mse")
    with pytest.warns(fastbp.DivergenceWarning):
        history = model.fit(data, Y, epochs=3, callbacks=[At(lambda: put(data[7], np.nan))])
    assert history.stopped == "diverged"
    assert all(np.isfinite(W).all() for W in model.get_weights())


def test_targets_of_the_call_before_are_not_read_again() -> None:
    """Rows of probabilities first, so large that they are let go; then labels, from which the loss must come."""
    rows = RNG.normal(size=(4000, 8)).astype("f4")
    soft = RNG.random((4000, 40)).astype("f4")
    labels = RNG.integers(0, 40, 4000)
    model = Sequential([Dense(40, "softmax")])
    model.compile("sgd", "cross_entropy")
    model.train_on_batch(rows, soft / soft.sum(axis=1, keepdims=True))
    expected = model.evaluate(rows, labels)["loss"]
    assert model.train_on_batch(rows, labels) == pytest.approx(expected, rel=1e-5)
    words, arrays = model._engine._training.context, model._engine._training._arrays
    for name, array in arrays.items():
        assert (words[WORD[name]], words[WORD[name] + 1]) == (array.ctypes.data, len(array))


# ---------------------------------------------------------------- callbacks


def refused(call: Callable[[], Any], what: str) -> None:
    with pytest.raises(RuntimeError, match=f"{what} must not be called while the same model is in fit"):
        call()


def test_callbacks_may_not_fit_or_compile() -> None:
    plain, odd = made(), made()
    plain.fit(X, Y, epochs=3)

    def tries() -> None:
        refused(lambda: odd.fit(X[:10], Y[:10]), "fit")
        refused(lambda: odd.compile("sgd", "mae"), "compile")

    odd.fit(X, Y, epochs=3, callbacks=[At(tries)])
    assert_same_bits(odd.get_weights(), plain.get_weights())
    odd.compile("sgd", "mse")
    odd.fit(X, Y)
    with pytest.raises(ZeroDivisionError):
        odd.fit(X, Y, callbacks=[At(lambda: 1 / 0)])
    odd.compile("adam", "mse")
    odd.fit(X, Y)


def test_callbacks_may_look_and_save(tmp_path) -> None:
    plain, odd = made(), made()
    plain.fit(X, Y, epochs=3)
    other = made("sgd")

    def look() -> None:
        odd.predict(X[:3])
        odd.evaluate(X, Y)
        odd.gradients(X[:5], Y[:5])
        odd.save(tmp_path / "model.safetensors")
        fastbp.load(tmp_path / "model.safetensors").fit(X, Y)
        other.compile("adam", "mse")
        other.fit(X, Y)

    odd.fit(X, Y, epochs=3, callbacks=[At(look)])
    assert_same_bits(odd.get_weights(), plain.get_weights())


def test_weights_set_in_mid_fit_are_trained_on_with_the_states_there_are() -> None:
    odd, even, start = made(), made(), made().get_weights()
    odd.fit(X, Y, epochs=3, callbacks=[At(lambda: odd.set_weights(start))])
    even.fit(X, Y)
    even.set_weights(start)
    even.fit(X, Y, epochs=2)
    assert_same_bits(odd.get_weights(), even.get_weights())


def test_steps_of_a_callback_come_in_between() -> None:
    odd, even = made(), made()
    odd.fit(X, Y, epochs=3, callbacks=[At(lambda: odd.train_on_batch(X[:9], Y[:9]))])
    even.fit(X, Y)
    even.train_on_batch(X[:9], Y[:9])
    even.fit(X, Y, epochs=2)
    assert_same_bits(odd.get_weights(), even.get_weights())
    assert (odd.trainer.step, odd.trainer.epoch) == (even.trainer.step, even.trainer.epoch) == (7, 3)


def test_estimators_refuse_to_be_fitted_by_their_callbacks() -> None:
    y = (X[:, 0] > 0).astype(int)
    estimator = MLPClassifier((4,), max_iter=3, tol=0, n_iter_no_change=9)
    at = At(lambda: refused(lambda: estimator.fit(X, y), "fit"))
    with pytest.warns(match="Maximum iterations"):
        estimator.set_params(callbacks=[at]).fit(X, y)
    assert at.kept is not None


# ---------------------------------------------------------------- what is raised in the middle


class Struck:
    """Runs a call that is struck by an error before the n-th line of fastbp's own; says whether it was."""

    def __init__(self, n: int, error: type[BaseException]) -> None:
        self.n, self.error, self.lines = n, error, 0

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if "/fastbp/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.n:
                raise self.error("struck")
        return self.trace

    def run(self, call: Callable[[], Any]) -> bool:
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            call()
        except (self.error, fastbp.CheckpointError):  # which reading a file may make of it
            return True
        finally:
            sys.settrace(before)
        return False


def strikes(error: type[BaseException], call: Callable[[], Any], most: int = 60) -> Iterator[Struck]:
    """Evenly spaced over the lines of a call, with all of the last ones, where things are put into place."""
    lines = Struck(0, error)
    assert not lines.run(call)
    n = lines.lines
    for place in sorted({*np.linspace(1, n, most).astype(int).tolist(), *range(max(1, n - 60), n + 1)}):
        yield Struck(place, error)


def whole(model: Sequential) -> tuple[Any, ...]:
    """What must belong together."""
    engine, trainer = model.require_engine("this test"), model.trainer
    assert trainer.engine is engine
    assert trainer.optimizer is model.optimizer
    assert engine.rule == model.optimizer.rule
    assert engine.n_states == model.optimizer.n_states
    assert len(engine.parameters.values) >= (1 + engine.n_states) * engine.parameters.stride
    arrays = [*model.get_weights(), *(array for state in engine.get_state() for array in state)]
    counters = trainer.step, trainer.epoch, engine.steps_trained, trainer.rates.changed
    return model.optimizer, model.loss, *counters, *(array.tobytes() for array in arrays)


CHANGES: dict[str, Callable[[Sequential], Any]] = {
    "compile": lambda model: model.compile("adam", "mae"),
    "compile alike": lambda model: model.compile(model.optimizer, model.loss),
    "compile lamb": lambda model: model.compile(fastbp.LAMB(use_ema=True), "mse"),
    "compile muon": lambda model: model.compile("muon", "mse"),
    "set_weights": lambda model: model.set_weights([W * 0.5 for W in model.get_weights()]),
    "learning_rate": lambda model: setattr(model, "learning_rate", 0.125),
    "restore": lambda model: model.restore(OTHER.snapshot()),
}
OTHER = made(fastbp.SGD(0.1, momentum=0.9))
OTHER.fit(X, Y, epochs=3)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("what", CHANGES)
def test_an_error_in_the_middle_leaves_the_old_model_or_the_new_one(what: str, error: type[BaseException]) -> None:
    change = CHANGES[what]

    def fitted() -> Sequential:
        model = made(fastbp.SGD(0.1, momentum=0.9))
        model.fit(X, Y, batch_size=50)
        return model

    old, new, trial = fitted(), fitted(), fitted()
    before = whole(old)
    change(new)
    after = whole(new)
    assert before != after or what == "compile alike"
    hits = 0
    for strike in strikes(error, lambda: change(trial)):
        model = fitted()
        hits += strike.run(lambda model=model: change(model))
        found = whole(model)
        assert found in (before, after)
        model.fit(X, Y, batch_size=50)
        twin = fitted()
        if found == after:
            change(twin)
        twin.fit(X, Y, batch_size=50)
        assert_same_bits(model.get_weights(), twin.get_weights())
    assert hits > 10


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_error_while_building_leaves_a_model_that_can_be_built(error: type[BaseException]) -> None:
    expected = made().get_weights()

    def unbuilt() -> Sequential:
        model = Sequential(made().layers)
        model.compile("adam", "mse")
        return model

    for strike in strikes(error, lambda: unbuilt().build(8)):
        model = unbuilt()
        strike.run(lambda model=model: model.build(8))
        model.fit(X, Y)
        other = made()
        other.fit(X, Y)
        assert_same_bits(model.get_weights(), other.get_weights())
    assert_same_bits(made().get_weights(), expected)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_error_while_resuming_leaves_the_old_model_or_the_saved_one(error: type[BaseException], tmp_path) -> None:
    path = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        made().fit(X, Y, epochs=4, callbacks=[fastbp.BackupAndRestore(path), Interrupt()])
    assert path.exists()
    expected = made()
    expected.fit(X, Y, epochs=4)

    def resume(model: Sequential) -> None:
        model.fit(X, Y, epochs=4, resume_from=path)

    for strike in strikes(error, lambda: resume(made()), 80):
        model = made()
        strike.run(lambda model=model: resume(model))
        whole(model)
        resume(model)
        assert_same_bits(model.get_weights(), expected.get_weights())


class Interrupt(fastbp.Callback):
    """Strikes when a checkpoint has been written."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_statistics_are_renewed_aside(error: type[BaseException]) -> None:
    """An error in the middle leaves weights and statistics as they were."""

    def fitted() -> Sequential:
        model = made()
        model.fit(X, Y)
        return model

    def renew(model: Sequential) -> None:
        renew_statistics(model.trainer, Rows(X, Y, None), 50)

    trial = fitted()
    before = whole(trial)
    renew(trial)
    after = whole(trial)
    for strike in strikes(error, lambda: renew(trial)):
        model = fitted()
        strike.run(lambda model=model: renew(model))
        assert whole(model) in (before, after)
