"""Callbacks, signals and lack of memory: nothing is accessed out of bounds, no model is left half-updated."""

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


def make_model(optimizer: Any = "adam", dtype: str = "float32") -> Sequential:
    model = Sequential([Dense(6, "tanh"), fastbp.BatchNorm(), Dense(2)], input_size=8, dtype=dtype)
    model.compile(optimizer, "mse")
    return model


class FirstEpoch(fastbp.Callback):
    """Runs an action at the end of the first epoch; keeps the weights at that moment."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action, self.kept = action, None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 0:
            self.kept = self.model.get_weights()
            self.result = self.action()


# ---------------------------------------------------------------- data that change after validation


def put(array: np.ndarray, value: float) -> None:
    array[...] = value


@pytest.mark.parametrize("label", [3, 50, 10**7, -1, -(10**9), 2**62, -(2**63)])
@pytest.mark.parametrize("loss", ["cross_entropy", fastbp.CrossEntropy(label_smoothing=0.1), "categorical_hinge"])
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_labels_changed_during_fit_raise_and_leave_finite_weights(label: int, loss: Any, optimizer: str):
    y = RNG.integers(0, 3, len(X))
    model = Sequential([Dense(5, "tanh"), Dense(3, "identity" if loss == "categorical_hinge" else "softmax")])
    model.compile(optimizer, loss)
    at = FirstEpoch(lambda: put(y[50:], label))
    with pytest.raises(ValueError, match=f"labels from 0 to 2, got {label} at row 50, which was changed"):
        model.fit(X, y, epochs=3, batch_size=50, shuffle=False, callbacks=[at])
    assert all(np.isfinite(W).all() for W in model.get_weights())
    model.fit(X, np.zeros(len(X), int))


def test_steps_before_a_changed_label_are_kept_and_counted() -> None:
    y = RNG.integers(0, 3, len(X))
    models = [Sequential([Dense(5, "tanh"), Dense(3, "softmax")], input_size=8) for _ in range(2)]
    for model in models:
        model.compile("adam", "cross_entropy")
        model.fit(X, y, epochs=1, batch_size=50, shuffle=False)
    changed = y.copy()
    with pytest.raises(ValueError, match="at row 120"):
        models[0].fit(X, changed, epochs=2, batch_size=50, shuffle=False,
                      callbacks=[fastbp.LambdaCallback(on_train_begin=lambda logs: put(changed[120:], 9))])  # fmt: skip
    models[1].fit(X[:100], y[:100], batch_size=50, shuffle=False)
    assert_same_bits(models[0].get_weights(), models[1].get_weights())
    assert models[0].trainer.step == models[1].trainer.step == 6


@pytest.mark.parametrize("code", [5, 10**6, -1, 1e30, np.inf, -np.inf, np.nan])
def test_codes_changed_during_fit_raise_and_keep_the_last_step(code: float) -> None:
    data = X.copy()
    data[:, 0] = RNG.integers(0, 5, len(X))
    model = Sequential([fastbp.ColumnEmbedding({0: 5}, 4), Dense(2)])
    model.compile("adam", "mse")
    at = FirstEpoch(lambda: put(data[:, 0], code))
    with pytest.raises(ValueError, match=r"codes from 0 to 4 in column 0, got .* at row 0, which was changed"):
        model.fit(data, Y, epochs=3, batch_size=50, callbacks=[at])
    assert_same_bits(model.get_weights(), at.kept)


def test_changed_validation_labels_raise() -> None:
    y = RNG.integers(0, 3, len(X))
    model = Sequential([Dense(3, "softmax")])
    model.compile("adam", "cross_entropy", ["accuracy"])
    with pytest.raises(ValueError, match="got 7 at row 0, which was changed"):
        model.fit(X, y.copy(), epochs=3, validation_data=(X, y), callbacks=[FirstEpoch(lambda: put(y, 7))])


@pytest.mark.parametrize("layers", [[Dense(6, "tanh")], [Dense(6, "relu")], [Dense(6), fastbp.BatchNorm()]])
def test_nan_during_fit_is_divergence_with_finite_weights(layers: list[Any]) -> None:
    data = X.copy()
    model = Sequential([*layers, Dense(2)])
    model.compile("adam", "mse")
    with pytest.warns(fastbp.DivergenceWarning):
        history = model.fit(data, Y, epochs=3, callbacks=[FirstEpoch(lambda: put(data[7], np.nan))])
    assert history.stopped == "diverged"
    assert all(np.isfinite(W).all() for W in model.get_weights())


def test_targets_of_the_previous_call_are_not_reused() -> None:
    """First probabilities, so large that they are released; then labels, which the loss must use."""
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


def assert_refused(call: Callable[[], Any], what: str) -> None:
    with pytest.raises(RuntimeError, match=f"{what} must not be called while the same model is in fit"):
        call()


def test_callbacks_may_not_fit_or_compile() -> None:
    plain, watched = make_model(), make_model()
    plain.fit(X, Y, epochs=3)

    def try_both() -> None:
        assert_refused(lambda: watched.fit(X[:10], Y[:10]), "fit")
        assert_refused(lambda: watched.compile("sgd", "mae"), "compile")

    watched.fit(X, Y, epochs=3, callbacks=[FirstEpoch(try_both)])
    assert_same_bits(watched.get_weights(), plain.get_weights())
    watched.compile("sgd", "mse")
    watched.fit(X, Y)
    with pytest.raises(ZeroDivisionError):
        watched.fit(X, Y, callbacks=[FirstEpoch(lambda: 1 / 0)])
    watched.compile("adam", "mse")
    watched.fit(X, Y)


def test_callbacks_may_evaluate_and_save(tmp_path) -> None:
    plain, watched = make_model(), make_model()
    plain.fit(X, Y, epochs=3)
    other = make_model("sgd")

    def look() -> None:
        watched.predict(X[:3])
        watched.evaluate(X, Y)
        watched.gradients(X[:5], Y[:5])
        watched.save(tmp_path / "model.safetensors")
        fastbp.load(tmp_path / "model.safetensors").fit(X, Y)
        other.compile("adam", "mse")
        other.fit(X, Y)

    watched.fit(X, Y, epochs=3, callbacks=[FirstEpoch(look)])
    assert_same_bits(watched.get_weights(), plain.get_weights())


def test_weights_set_during_fit_keep_the_optimizer_states() -> None:
    watched, expected, start = make_model(), make_model(), make_model().get_weights()
    watched.fit(X, Y, epochs=3, callbacks=[FirstEpoch(lambda: watched.set_weights(start))])
    expected.fit(X, Y)
    expected.set_weights(start)
    expected.fit(X, Y, epochs=2)
    assert_same_bits(watched.get_weights(), expected.get_weights())


def test_callbacks_may_take_training_steps() -> None:
    watched, expected = make_model(), make_model()
    watched.fit(X, Y, epochs=3, callbacks=[FirstEpoch(lambda: watched.train_on_batch(X[:9], Y[:9]))])
    expected.fit(X, Y)
    expected.train_on_batch(X[:9], Y[:9])
    expected.fit(X, Y, epochs=2)
    assert_same_bits(watched.get_weights(), expected.get_weights())
    assert (watched.trainer.step, watched.trainer.epoch) == (expected.trainer.step, expected.trainer.epoch) == (7, 3)


def test_estimator_callbacks_may_not_fit_it() -> None:
    y = (X[:, 0] > 0).astype(int)
    estimator = MLPClassifier((4,), max_iter=3, tol=0, n_iter_no_change=9)
    at = FirstEpoch(lambda: assert_refused(lambda: estimator.fit(X, y), "fit"))
    with pytest.warns(match="Maximum iterations"):
        estimator.set_params(callbacks=[at]).fit(X, y)
    assert at.kept is not None


# ---------------------------------------------------------------- errors in the middle of a call


class Fault:
    """Runs a call and raises an error before its n-th line of fastbp code; returns whether it did."""

    def __init__(self, n: int, error: type[BaseException]) -> None:
        self.n, self.error, self.lines = n, error, 0

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if "/fastbp/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.n:
                raise self.error("injected")
        return self.trace

    def run(self, call: Callable[[], Any]) -> bool:
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            call()
        except (self.error, fastbp.CheckpointError):  # which reading a file may turn it into
            return True
        finally:
            sys.settrace(before)
        return False


def faults(error: type[BaseException], call: Callable[[], Any], most: int = 60) -> Iterator[Fault]:
    """Faults evenly spaced over the lines of a call, and at all of the last ones, where state is replaced."""
    lines = Fault(0, error)
    assert not lines.run(call)
    n = lines.lines
    for place in sorted({*np.linspace(1, n, most).astype(int).tolist(), *range(max(1, n - 60), n + 1)}):
        yield Fault(place, error)


def consistent_state(model: Sequential) -> tuple[Any, ...]:
    """The state of a model, whose parts must belong together."""
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
    "recompile": lambda model: model.compile(model.optimizer, model.loss),
    "compile lamb": lambda model: model.compile(fastbp.LAMB(use_ema=True), "mse"),
    "compile muon": lambda model: model.compile("muon", "mse"),
    "set_weights": lambda model: model.set_weights([W * 0.5 for W in model.get_weights()]),
    "learning_rate": lambda model: setattr(model, "learning_rate", 0.125),
    "restore": lambda model: model.restore(OTHER.snapshot()),
}
OTHER = make_model(fastbp.SGD(0.1, momentum=0.9))
OTHER.fit(X, Y, epochs=3)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("what", CHANGES)
def test_error_during_a_change_leaves_the_old_or_the_new_model(what: str, error: type[BaseException]) -> None:
    change = CHANGES[what]

    def fitted() -> Sequential:
        model = make_model(fastbp.SGD(0.1, momentum=0.9))
        model.fit(X, Y, batch_size=50)
        return model

    old, new, trial = fitted(), fitted(), fitted()
    before = consistent_state(old)
    change(new)
    after = consistent_state(new)
    assert before != after or what == "recompile"
    hits = 0
    for fault in faults(error, lambda: change(trial)):
        model = fitted()
        hits += fault.run(lambda model=model: change(model))
        found = consistent_state(model)
        assert found in (before, after)
        model.fit(X, Y, batch_size=50)
        twin = fitted()
        if found == after:
            change(twin)
        twin.fit(X, Y, batch_size=50)
        assert_same_bits(model.get_weights(), twin.get_weights())
    assert hits > 10


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_error_during_build_leaves_a_buildable_model(error: type[BaseException]) -> None:
    expected = make_model().get_weights()

    def unbuilt() -> Sequential:
        model = Sequential(make_model().layers)
        model.compile("adam", "mse")
        return model

    for fault in faults(error, lambda: unbuilt().build(8)):
        model = unbuilt()
        fault.run(lambda model=model: model.build(8))
        model.fit(X, Y)
        other = make_model()
        other.fit(X, Y)
        assert_same_bits(model.get_weights(), other.get_weights())
    assert_same_bits(make_model().get_weights(), expected)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_error_during_resume_leaves_the_old_or_the_saved_model(error: type[BaseException], tmp_path) -> None:
    path = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        make_model().fit(X, Y, epochs=4, callbacks=[fastbp.BackupAndRestore(path), Interrupt()])
    assert path.exists()
    expected = make_model()
    expected.fit(X, Y, epochs=4)

    def resume(model: Sequential) -> None:
        model.fit(X, Y, epochs=4, resume_from=path)

    for fault in faults(error, lambda: resume(make_model()), 80):
        model = make_model()
        fault.run(lambda model=model: resume(model))
        consistent_state(model)
        resume(model)
        assert_same_bits(model.get_weights(), expected.get_weights())


class Interrupt(fastbp.Callback):
    """Interrupts after a checkpoint has been written."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_error_during_renewal_leaves_old_or_new_statistics(error: type[BaseException]) -> None:
    """An error in the middle leaves no mixture of old and new statistics."""

    def fitted() -> Sequential:
        model = make_model()
        model.fit(X, Y)
        return model

    def renew(model: Sequential) -> None:
        renew_statistics(model.trainer, Rows(X, Y, None), 50)

    trial = fitted()
    before = consistent_state(trial)
    renew(trial)
    after = consistent_state(trial)
    for fault in faults(error, lambda: renew(trial)):
        model = fitted()
        fault.run(lambda model=model: renew(model))
        assert consistent_state(model) in (before, after)
