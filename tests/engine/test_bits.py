"""Bit-identical results for any number of workers, row position, chunk size and division into slices."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import isa
from fastbp.engine import engine as engine_module
from fastbp.engine.engine import Engine
from fastbp.engine.planning import plan
from fastbp.kernels import parallel
from fastbp.kernels.schema import operations
from fastbp.kernels.schema.fields import Layer
from fastbp.spec import Report
from tests.engine.cases import (
    OPTIMIZERS,
    assert_same_bits,
    everything,
    make_data,
    make_engine,
    predict,
    run_threads,
    spec,
    train,
    with_codes,
)
from tests.engine.test_bfloat16 import supported
from tests.engine.threads import CASES, WORKERS

pytestmark = pytest.mark.jit
fast = supported and isa.table().bfloat16 != "loops"  # which take minutes for 2,048 rows


# -- workers -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def bits() -> dict:
    return run_threads("bits")


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_workers_is_bit_identical_to_one(name: str, workers: int, bits: dict) -> None:
    """For weights, states, losses, training outputs, predictions, mean loss and gradients."""
    found, alone = bits[f"{name} {workers}"], bits[f"{name} 1"]
    assert found["arrivals"] == [workers, workers, parallel.TOGETHER]
    assert found["report"] == [6, 0, -1]
    assert found["digest"] == alone["digest"]


def test_digests_differ_between_networks(bits: dict) -> None:
    assert len({found["digest"] for found in bits.values()}) == len(CASES)


# Chains whose workers take their panels of the batch through all layers and back before they meet.
@pytest.mark.parametrize(("compute", "rows"), [("float32", 128), *[("bfloat16", 2048)] * fast])
def test_no_worker_s_deltas_lie_where_another_one_s_do(compute: str, rows: int) -> None:
    """Deltas of several layers share a buffer: those of a panel must stay in the panel's own part of it."""
    layers = [spec(130, "relu"), spec(200, "relu"), spec(7), spec(90, "relu"), spec(3)]
    engine = make_engine(40, layers)
    deltas = [Layer.D, Layer.DPITCH]
    if compute == "bfloat16":
        engine = Engine(40, layers, compute=compute)
        deltas = [Layer.DELTA_PAIRS, Layer.DELTA_PAIRS_PITCH]
    X, y = make_data(rows, 40, 3)
    train(engine, X, y, "sgd", [0, rows])
    steps = [what for what, *_ in engine._training.programs["train"].tolist()]
    assert plan.updates_wait(engine._layers, rows // 16) or operations.CHAIN in steps
    pitches: dict[int, set[int]] = {}
    for place, pitch in engine._training.plan.layers[: len(layers), deltas].tolist():
        pitches.setdefault(place, set()).add(pitch)
    pitches.pop(-1, None)
    assert len(pitches) < len(layers)
    assert all(len(found) == 1 for found in pitches.values())


def test_any_number_of_workers_drops_the_same_step() -> None:
    found = run_threads("divergence")
    assert found["1"]["report"] == [2, 1, -1]
    assert all(other == found["1"] for other in found.values())


def test_number_of_workers_depends_on_the_work() -> None:
    """A step of microseconds runs on one worker however many are allowed; a large one on up to n_threads."""
    found = run_threads("n_workers")
    assert [found[f"small {wanted}"] for wanted in (None, 2, 16)] == [1, 1, 1]
    assert found["wide 2"] == 2
    assert found["wide 16"] > 2
    assert 1 <= found["wide None"] <= 16


# -- reproducibility and slices -------------------------------------------------------------------------------------
def fresh(name: str):
    inputs, layers, loss, optimizer, dtype, rows, *update_spec = CASES[name]
    engine = make_engine(inputs, layers, loss=loss, optimizer=optimizer, dtype=dtype,
                         update_spec=next(iter(update_spec), None))  # fmt: skip
    X, y = make_data(5 * rows, inputs, layers[-1].units, loss=loss, dtype=dtype)
    return engine, with_codes(X, layers), y, optimizer, rows


@pytest.mark.parametrize("name", CASES)
def test_two_engines_are_bit_identical(name: str) -> None:
    results = []
    for _ in range(2):
        engine, X, y, optimizer, rows = fresh(name)
        _, losses = train(engine, X, y, optimizer, [0, rows, 2 * rows, 5 * rows])
        results.append([*everything(engine), losses, predict(engine, X)])
    assert_same_bits(*results)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_several_slices_are_bit_identical_to_one(name: str, weighted: bool) -> None:
    """Also if another engine takes over weights and states in between."""
    whole, X, y, optimizer, rows = fresh(name)
    order = np.random.default_rng(8).permutation(5 * rows)
    bounds = [0, rows, 2 * rows, 2 * rows + 1, 3 * rows, 5 * rows]
    options = {"sample_weight": np.random.default_rng(9).random(5 * rows).astype(X.dtype)} if weighted else {}
    report, losses = train(whole, X, y, optimizer, bounds, order=order, **options)
    assert report == Report(5, 0, -1)
    first_part = fresh(name)[0]
    _, first_losses = train(first_part, X, y, optimizer, bounds[:3], order=order, **options)
    resumed = fresh(name)[0]
    resumed.set_weights(first_part.get_weights())
    resumed.set_state(first_part.get_state())
    resumed.steps_trained = first_part.steps_trained
    parts = [first_losses]
    for step in (2, 3, 4):
        parts.append(train(resumed, X, y, optimizer, bounds[step : step + 2], order=order, first=step, **options)[1])
    assert_same_bits([*everything(resumed), np.concatenate(parts)], [*everything(whole), losses])


@pytest.mark.parametrize("name", CASES)
def test_earlier_larger_batches_change_no_bits(name: str) -> None:
    """The workspace kept from a larger batch still holds its values."""
    engine, X, y, optimizer, rows = fresh(name)
    twin = fresh(name)[0]
    kept = engine.get_weights()
    train(engine, X, y, optimizer, [0, 5 * rows])
    predict(engine, X)
    engine.set_weights(kept)
    engine.reset_state(engine.n_states)
    engine.steps_trained = 0
    results = []
    for one in (engine, twin):
        _, losses = train(one, X, y, optimizer, [0, 1, 3, 3 + rows])
        results.append([*everything(one), losses, predict(one, X[:3])])
    assert_same_bits(*results)


# -- rows ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CASES)
def test_prediction_of_a_row_does_not_depend_on_its_batch(name: str) -> None:
    engine, X, _, _, _ = fresh(name)
    X = np.ascontiguousarray(np.resize(X, (50, X.shape[1])))
    whole = predict(engine, X)
    alone = np.concatenate([predict(engine, X[i : i + 1]) for i in range(50)])
    assert_same_bits([alone], [whole])
    for size in (1, 2, 7, 8, 9, 15, 16, 17, 31, 33):
        for start in (0, 1, 50 - size):
            assert_same_bits([predict(engine, X[start : start + size])], [whole[start : start + size]])


@pytest.mark.parametrize("name", CASES)
def test_chunk_size_changes_no_bits_of_predictions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, X, _, _, _ = fresh(name)
    X = np.ascontiguousarray(np.resize(X, (1100, X.shape[1])))
    whole = predict(engine, X)
    for chunk in (1, 15, 16, 17, 100, 1100, 4096):
        monkeypatch.setattr(engine_module, "CHUNK", chunk)
        assert_same_bits([predict(engine, X)], [whole])


def test_chunk_size_changes_evaluation_only_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, X, y, _, _ = fresh("softmax")
    weight = np.random.default_rng(0).random(len(X)).astype("float32")
    loss = engine.evaluate(X, y, sample_weight=weight)
    for chunk in (1, 16, 17, 1000):
        monkeypatch.setattr(engine_module, "CHUNK", chunk)
        # float32 row losses and weights: each chunk rounds its 1 / sum of weights
        assert engine.evaluate(X, y, sample_weight=weight) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 31])
def test_rows_of_weight_zero_have_no_effect(rows: int) -> None:
    """Even if they share a panel with weighted rows and compute 0 / 0 themselves."""
    X, y = make_data(32, 12, 5)
    X[rows:] = 1e5
    weight = (np.arange(32) < rows).astype("float32")
    engine = make_engine(12, [spec(20, "tanh"), spec(5)])
    total, gradients = engine.gradients(X, y, sample_weight=weight)
    expected_total, expected = engine.gradients(X[:rows], y[:rows], sample_weight=weight[:rows])
    assert total == expected_total
    for dW, expected_dW in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(dW, expected_dW)


# -- few rows ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_few_rows_give_the_bits_of_many(activation: str, dtype: str) -> None:
    """Forward of up to 8 rows puts the outputs along the lanes; units behind the last full panel, biases and slopes
    come out alike."""
    layers = [spec(70, activation), spec(128, activation), spec(33, activation, use_bias=False), spec(3)]
    engine = make_engine(90, layers, dtype=dtype)
    X, y = make_data(40, 90, 3, dtype=dtype)
    many = predict(engine, X)
    for rows in range(1, 18):
        assert_same_bits([predict(engine, X[:rows])], [many[:rows]])
    for rows in (1, 2, 5, 8, 9):  # a row without weight counts for nothing, so that 40 rows are as good as a few
        weight = np.zeros(40, dtype)
        weight[:rows] = 1
        few, all_rows = (engine.gradients(X[:n], y[:n], sample_weight=weight[:n]) for n in (rows, 40))
        assert few[0] == all_rows[0]
        assert_same_bits([g for g in few[1] if g is not None], [g for g in all_rows[1] if g is not None])


def test_predictions_of_few_rows_follow_the_weights() -> None:
    """Their rows are copied to where the last such prediction's were, whatever was called in between."""
    layers = [spec(40, "relu"), spec(3)]
    engine = make_engine(20, layers, optimizer="adam")
    X, y = make_data(64, 20, 3)

    def check() -> None:
        fresh = make_engine(20, layers)
        fresh.set_weights(engine.get_weights())
        expected = predict(fresh, np.repeat(X, 2, axis=0))[::2]
        for rows in (1, 3, 16, 17, 64, 2):
            assert_same_bits([predict(engine, X[:rows])], [expected[:rows]])
            assert_same_bits([predict(engine, X[5 : 5 + rows])], [expected[5 : 5 + rows]])

    check()
    train(engine, X, y, "adam", [0, 32, 64])
    check()
    engine.evaluate(X, y)
    check()
    engine.set_weights([W + 1 for W in engine.get_weights()])
    check()
    engine.configure("mse", "sgd")
    engine.reset_state(0)
    check()


# The first row of a step, how many there are, and what is done besides.
STEPS = (
    (0, 4, ""), (4, 4, ""), (8, 2, ""), (9, 1, ""), (10, 16, ""), (26, 5, ""), (31, 3, "predict"),
    (34, 3, "other order"), (37, 3, ""), (40, 3, "decay"), (43, 3, ""), (46, 3, "weights"), (49, 3, ""),
    (52, 3, "gradients"), (55, 3, ""), (58, 3, ""),
)  # fmt: skip


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_steps_of_few_rows_are_those_of_copies(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step like the last one but for its rows copies these; it is told apart from one with other arrays."""
    X, y = make_data(64, 20, 3, loss=loss)
    order, losses, bounds = np.arange(16), np.zeros(1), np.array([0, 0])
    scalars = OPTIMIZERS["adam"].scalars(np.arange(1))
    found = []
    for most in (4096, 0):
        monkeypatch.setattr(engine_module, "WORTH_COPYING", most)
        engine, seen = make_engine(20, [spec(40, "relu"), spec(3)], loss=loss, optimizer="adam"), []
        for i, (start, rows, what) in enumerate(STEPS):
            part, target = X[start : start + rows], y[start : start + rows]
            options, own = {}, order
            if what == "predict":
                seen.append(predict(engine, X[:7]))
            elif what == "other order":
                own = np.arange(16)[rows - 1 :: -1].copy()
            elif what == "weights":
                options["sample_weight"] = np.arange(1, rows + 1, dtype=np.float32)
            elif what == "gradients":
                seen += engine.gradients(X, y)[1]
            bounds[1], scalars[0, 1] = rows, 0.1 * (what == "decay")
            engine.steps_since_compile = i
            report = engine.train(part, target, own, bounds, scalars, losses, **options)
            seen += [np.array(report), losses.copy()]
        found.append([*seen, *everything(engine)])
    assert_same_bits(*found)
    assert found[0][0].tolist() == [1, 0, -1]


def test_a_step_of_few_rows_that_diverges_is_dropped() -> None:
    X, y = make_data(8, 20, 3)
    engine = make_engine(20, [spec(40, "relu"), spec(3)])
    order, losses, bounds = np.arange(8), np.zeros(1), np.array([0, 8])
    scalars = OPTIMIZERS["sgd"].scalars(np.arange(1))
    for _ in range(3):
        assert engine.train(X, y, order, bounds, scalars, losses) == Report(1, 0, -1)
        before = engine.get_weights()
        assert engine.train(X * np.float32(1e38), y, order, bounds, scalars, losses) == Report(0, 1, -1)
        assert_same_bits(engine.get_weights(), before)
    assert engine.steps_trained == 3
