"""Normalization, dropout, noise and residual sums in the compiled engine, against reference and central differences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from fastbp import optimizers
from fastbp.engine.engine import Engine
from fastbp.reference import ReferenceEngine
from fastbp.reference.random import Draw, dropout_mask, normal
from fastbp.spec import LayerSpec, Report, UpdateSpec
from tests.engine.cases import (
    ADD,
    BATCH_NORM,
    DROPOUT,
    FALLING,
    LAYER_NORM,
    LEAKY,
    MISH,
    NOISE,
    PRELU,
    SCALE,
    SELU,
    assert_same_bits,
    everything,
    make_data,
    make_engine,
    periodic,
    piecewise,
    predict,
    spec,
    train,
)
from tests.reference.test_network import NETWORKS as FOUR_INPUTS

jit = pytest.mark.jit
Array = np.ndarray
EPS = 2.0**-52
DTYPES = ("float32", pytest.param("float64", marks=jit))


class Network(NamedTuple):
    inputs: int
    layers: list[LayerSpec]
    loss: str = "mse"


LOSSES = ("mse", "cross_entropy", "binary_cross_entropy")
SMALL = {name: Network(4, layers, LOSSES[i % 3]) for i, (name, layers) in enumerate(FOUR_INPUTS.items())}
PENALIZED = [spec(5, "tanh", l1=0.01, l2=0.1), spec(5, "gelu", **BATCH_NORM), spec(3, l2=0.2)]
SMALL |= {
    "penalties": Network(4, PENALIZED),
    "frozen": Network(4, [spec(5, "tanh", l1=0.1, trainable=False), spec(5, trainable=False, **BATCH_NORM), spec(3)]),
    "batch norm and softmax": Network(4, [spec(3), spec(3, "softmax", **BATCH_NORM)], "cross_entropy"),
    "layer norm and softmax": Network(4, [spec(3), spec(3, "softmax", **LAYER_NORM)], "mse"),
    "scale and softmax": Network(4, [spec(3), spec(3, "softmax", **SCALE)], "cross_entropy"),
    "frozen scale": Network(4, [spec(4, **SCALE), spec(5), spec(5, "tanh", trainable=False, **SCALE), spec(3)]),
    "rates by schedule": Network(4, [
        spec(4, **FALLING), spec(5, "tanh"), spec(5, **DROPOUT), spec(5, **FALLING), spec(3)]),
    "learned activations": Network(4, [spec(4, **SELU), spec(5), spec(5, **MISH), spec(3), spec(3, **PRELU)]),
    "frozen learned activations": Network(4, [
        spec(5), spec(5, trainable=False, **PRELU), spec(5, multiplier=0.5, **LEAKY), spec(3, "softmax")],
        "cross_entropy"),
    "scales with multipliers": Network(4, [spec(4, multiplier=0.5, **SCALE), spec(5), spec(5, multiplier=2.0, **SCALE),
                                           spec(3)]),
    "frozen waves": Network(4, [periodic(4, (1, 3), 5, 2, True, True, False, trainable=False), spec(3)]),
    "waves with multiplier": Network(4, [spec(3), periodic(3, (0, 1, 2), 5, 2, False, True, True, multiplier=0.5),
                                         spec(3)]),
    "sum and sigmoid": Network(3, [spec(3), spec(3, "sigmoid", skip=-1, **ADD)], "binary_cross_entropy"),
    "masks on softmax logits": Network(4, [spec(5), spec(5, **DROPOUT), spec(5, **NOISE)], "cross_entropy"),
    "one unit": Network(1, [spec(1, "tanh"), spec(1, **BATCH_NORM), spec(1), spec(1, **DROPOUT), spec(1, skip=1, **ADD),
                            spec(1, **LAYER_NORM), spec(1, **NOISE)]),
}  # fmt: skip


def block(first: int, width: int, norm: dict[str, Any], activation: str) -> list[LayerSpec]:
    """A residual block as nodes first, first + 1, ..., on a layer of the same width."""
    return [spec(width, activation, **norm), spec(width // 2 + 1, activation), spec(width // 2 + 1, **DROPOUT),
            spec(width), spec(width, skip=first - 1, **ADD)]  # fmt: skip


def projected(first: int, width: int, norm: dict[str, Any], activation: str) -> list[LayerSpec]:
    """A residual block that changes the width: its shortcut is a projection of its input, just before the sum."""
    return [spec(width, use_bias=False), spec(width, activation, **norm), spec(width),
            spec(width, use_bias=False, below=first - 1),
            spec(width, activation, below=first + 2, skip=first + 3, **ADD)]  # fmt: skip


LARGE = {
    "blocks": Network(17, [spec(130, "silu"), *block(1, 130, BATCH_NORM, "softplus"),
                           *block(6, 130, LAYER_NORM, "gelu"), *block(11, 130, BATCH_NORM, "tanh"), spec(17)],
                      "cross_entropy"),
    "projections": Network(130, [*projected(0, 17, LAYER_NORM, "tanh"), *projected(5, 300, BATCH_NORM, "gelu"),
                                 *projected(10, 130, BATCH_NORM, "softplus"), spec(1)]),
    "projections and blocks": Network(300, [
        spec(17), *block(1, 17, BATCH_NORM, "silu"), *projected(6, 130, LAYER_NORM, "tanh"),
        *block(11, 130, BATCH_NORM, "mish"), spec(130, **LAYER_NORM), spec(17, "sigmoid")], "binary_cross_entropy"),
    "dropout first": Network(130, [spec(130, **DROPOUT), spec(300, "tanh"), spec(300, **DROPOUT), spec(1, "tanh"),
                                   spec(1, **NOISE), spec(17)]),
    "noise first": Network(300, [spec(300, **NOISE), spec(130, "gelu"), spec(130, "silu", **BATCH_NORM), spec(17),
                                 spec(17, "softmax")], "cross_entropy"),
    "input normalized": Network(300, [spec(300, **BATCH_NORM), spec(300, "tanh", **LAYER_NORM), spec(130),
                                      spec(130, "tanh", **BATCH_NORM)]),
    "learned activations": Network(17, [
        spec(17, **PRELU), spec(130), spec(130, **MISH), *block(3, 130, PRELU, "identity"), spec(300),
        spec(300, **DROPOUT), spec(300, **LEAKY), spec(300, **PRELU)]),
    "scales": Network(17, [
        spec(17, **SCALE), spec(130, "tanh"), spec(130, "gelu", **SCALE), *block(3, 130, SCALE, "tanh"),
        *projected(8, 17, SCALE, "silu"), spec(300), spec(300, **DROPOUT), spec(300, **SCALE), spec(300, **SCALE)]),
    "bins": Network(17, [
        piecewise(17, 5, {j: tuple(np.linspace(-1, 2, 2 + 3 * j)) for j in range(0, 16, 3)}), spec(130, "tanh"),
        piecewise(130, 16, dict.fromkeys(range(40), (-0.5, 0.0, 0.25))), spec(730, **LAYER_NORM), spec(17)]),
    "waves": Network(37, [periodic(37, tuple(range(0, 36, 2)), 17, 3, True, True, False), spec(130, "tanh"),
                          periodic(130, tuple(range(5, 40)), 3, 2, False, False, True), spec(165, **LAYER_NORM),
                          spec(17)]),
    "waves of one column": Network(17, [periodic(17, (16,), 33, 5, False, True, False), spec(30, "tanh"), spec(1)]),
    "bottleneck": Network(17, [spec(1, "tanh"), spec(1, **BATCH_NORM), spec(300, "tanh"), spec(300, **LAYER_NORM),
                               spec(1), spec(1, skip=1, **ADD)]),
}  # fmt: skip


# -- against the reference -----------------------------------------------------------------------------------------
# With lower learning rates than in `cases`, at which the large networks would diverge.
SLOW_OPTIMIZERS = {"momentum": optimizers.SGD(0.01, momentum=0.9), "adam": optimizers.Adam(0.01)}


class Results(NamedTuple):
    loss: Array
    gradients: list[Array | None]
    losses: Array
    outputs: Array
    weights: list[Array]
    predictions: Array
    evaluated: Array
    report: Report


def results(engine: Any, X: Array, y: Array, weight: Array, optimizer: str, rows: int) -> Results:
    """Four steps on batches of `rows`, the last of two thirds as many; gradients before them, predictions after."""
    X, weight = X.astype(engine.dtype), weight.astype(engine.dtype)
    y = y if y.dtype == np.int64 else y.astype(engine.dtype)
    loss, gradients = engine.gradients(X[:rows], y[:rows], sample_weight=weight[:rows])
    bounds = np.array([0, rows, 2 * rows, 3 * rows, len(X)])
    losses, outputs = np.zeros(4), np.zeros((len(X), engine.output_size), engine.dtype)
    order = np.random.default_rng(3).permutation(len(X))
    scalars = SLOW_OPTIMIZERS[optimizer].scalars(np.arange(4))
    report = engine.train(X, y, order, bounds, scalars, losses, sample_weight=weight, outputs=outputs)
    evaluated = engine.evaluate(X, y, sample_weight=weight)
    return Results(np.array([loss]), gradients, losses, outputs, engine.get_weights(), predict(engine, X),
                   np.array([evaluated]), report)  # fmt: skip


def assert_close(got: list, expected: list, limit: float, label: str) -> None:
    """Within limit, relative to an array's largest element or a tenth of the largest of all arrays: what is 0 in exact
    arithmetic, such as the gradient of biases before a batch normalization, has no scale of its own."""
    assert [x is None for x in got] == [x is None for x in expected]
    pairs = [(a, b) for a, b in zip(got, expected, strict=True) if a is not None]
    largest = max((np.abs(b).max() for _, b in pairs), default=0.0)
    for i, (a, b) in enumerate(pairs):
        assert a.shape == b.shape
        size = max(np.abs(b).max(), 0.1 * largest)
        np.testing.assert_allclose(a, b, rtol=0, atol=limit * size, err_msg=f"{label} {i}")


def assert_matches_reference(network: Network, rows: int, dtype: str, optimizer: str, limit: float) -> None:
    inputs, layers, loss = network
    options = {"loss": loss, "optimizer": optimizer, "seed": 2}
    engine = make_engine(inputs, layers, dtype=dtype, **options)
    reference = make_engine(inputs, layers, dtype="float64", kind=ReferenceEngine, **options)
    reference.set_weights([W.astype("float64") for W in engine.get_weights()])
    engine.steps_trained = reference.steps_trained = 2**32 + 11
    X, y = make_data(3 * rows + rows - rows // 3, inputs, layers[-1].units, loss=loss, dtype=dtype)
    weight = np.random.default_rng(4).uniform(0.1, 1, len(X)).astype(dtype)
    got, expected = (results(one, X, y, weight, optimizer, rows) for one in (engine, reference))
    assert got.report == expected.report == Report(4, 0, -1)
    assert engine.steps_trained == reference.steps_trained == 2**32 + 15
    for name in Results._fields[:-1]:
        values = [getattr(result, name) for result in (got, expected)]
        assert_close(*(value if isinstance(value, list) else [value] for value in values), limit, name)


# About 20 nodes and four steps of up to a few hundred roundings each on values of order 1: 1e4 u, a hundredth of that
# with random signs; normalizing over a few rows with a small variance makes it ten times larger.
LIMITS = {"float64": 1e3 * EPS / 2, "float32": 1e3 * 2.0**-24}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_match_the_reference(name: str, dtype: str) -> None:
    for rows in (7, 1, 17):
        assert_matches_reference(SMALL[name], rows, dtype, "momentum", LIMITS[dtype])


def dropping(**rate: Any) -> list[LayerSpec]:
    return [spec(20, "relu"), spec(20, kind="dropout", **rate), spec(3)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_by_a_schedule_has_the_bits_of_its_rates(dtype: str) -> None:
    """In training, and in the gradients of the next step."""
    X, y = make_data(40, 18, 3, dtype=dtype)
    rates, options = np.array([0.25, 0.5, 0.0]), {"dtype": dtype, "optimizer": "adamw"}
    engine = make_engine(18, dropping(values=(0.25,), schedule=lambda updates: rates[updates]), **options)
    expected = make_engine(18, dropping(values=(0.25,)), **options)
    for step, rate in enumerate(rates.tolist()):
        constant = make_engine(18, dropping(values=(rate,)), **options)
        constant.set_weights(expected.get_weights())
        constant.set_state(expected.get_state())
        constant.steps_trained = step
        assert_same_bits(*(one.gradients(X, y)[1] for one in (engine, constant)))
        expected = constant
        for one in (engine, constant):
            train(one, X, y, "adamw", [0, 40], first=step)
        assert_same_bits(everything(engine), everything(constant))
    once = make_engine(18, dropping(values=(0.25,), schedule=lambda updates: rates[updates]), **options)
    train(once, X, y, "adamw", [0, 40, 80, 120], order=np.tile(np.arange(40), 3))
    assert_same_bits(everything(once), everything(engine))


def test_a_schedule_of_dropout_counts_updates() -> None:
    seen: list[int] = []
    layers = dropping(values=(0.1,), schedule=lambda updates: [seen.extend(updates.tolist()), 0.1][1])
    engine = make_engine(18, layers, update_spec=UpdateSpec(accumulation=2))
    X, y = make_data(40, 18, 3)
    train(engine, X, y, "sgd", [0, 10, 20, 30])
    train(engine, X, y, "sgd", [0, 10, 20], first=3)
    assert seen == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("bad", [1.0, -0.1, np.nan])
def test_rates_out_of_range_are_refused(bad: float) -> None:
    engine = make_engine(18, dropping(values=(0.1,), schedule=lambda updates: bad + 0 * updates))
    (X, y), before = make_data(40, 18, 3), engine.get_weights()
    with pytest.raises(ValueError, match="dropout's rate must stay at least 0 and below 1"):
        train(engine, X, y, "sgd", [0, 20])
    assert_same_bits(engine.get_weights(), before)


NONZERO_GRADIENTS = [name for name, network in SMALL.items() if all(x.kind != "batch_norm" for x in network.layers)]


@jit
@pytest.mark.parametrize("name", NONZERO_GRADIENTS)
def test_adam_matches_the_reference(name: str) -> None:
    """Adam divides a gradient by its own magnitude, so none may be 0; for one of 1e-4 the error grows by a factor of
    1e4."""
    assert_matches_reference(SMALL[name], 7, "float64", "adam", 1e4 * LIMITS["float64"])


@jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 130])
@pytest.mark.parametrize("name", LARGE)
def test_large_networks_match_the_reference(name: str, rows: int, dtype: str) -> None:
    assert_matches_reference(LARGE[name], rows, dtype, "momentum", LIMITS[dtype])


# -- central differences -------------------------------------------------------------------------------------------
@jit
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", [*FOUR_INPUTS, "penalties"])
def test_gradients_match_central_differences(name: str, loss: str) -> None:
    """Of the loss that a step with learning rate 0 reports, which uses the same masks as gradients()."""
    layers = FOUR_INPUTS.get(name, PENALIZED)
    engine = make_engine(4, layers, dtype="float64", loss=loss, seed=3)
    X, y = make_data(7, 4, 3, loss=loss, dtype="float64")
    weight = np.random.default_rng(2).uniform(0.1, 1, 7)
    third = (2 * np.pi) ** 3 if any(layer.waves for layer in layers) else 1
    step = engine.steps_trained = 2**32 + 5
    losses, scalars, weights = np.zeros(1), np.zeros((1, 8)), engine.get_weights()

    def loss_at() -> float:
        engine.set_weights(weights)
        engine.steps_trained = step
        engine.train(X, y, np.arange(7), np.array([0, 7]), scalars, losses, sample_weight=weight)
        return float(losses[0])

    total, gradients = engine.gradients(X, y, sample_weight=weight)
    assert total == pytest.approx(loss_at(), rel=20 * EPS)  # weights are summed in another order
    for W, dW in zip(weights, gradients, strict=True):
        for i in np.ndindex(W.shape):
            kept_weight, ends = W[i], []
            h = EPS ** (1 / 3) * max(1.0, abs(kept_weight))
            for W[i] in (kept_weight + h, kept_weight - h):
                ends.append(loss_at())
            W[i] = kept_weight
            # As in test_accuracy, with larger third derivatives for more layers, and still larger ones of waves.
            difference = (ends[0] - ends[1]) / (2 * h)
            assert abs((0 if dW is None else dW[i]) - difference) <= 300 * third * EPS ** (2 / 3)


# -- masks ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_match_the_reference(dtype: str) -> None:
    """For any node, row, unit and step; dropout is bit-identical."""
    layers = [spec(37, **DROPOUT), spec(37, **NOISE), spec(37, **DROPOUT), spec(37, use_bias=False)]
    X, outputs = np.ones((35, 37), dtype), np.zeros((35, 37), dtype)
    for node, kind in ((0, "dropout"), (1, "noise"), (2, "dropout")):
        chosen = [layers[i] if i == node else spec(37, kind="activation") for i in range(3)]
        engine = Engine(37, [*chosen, layers[3]], dtype=dtype, key=(2**32 - 1, 4))
        engine.set_weights([np.eye(37, dtype=dtype)])
        engine.steps_trained = 2**33 - 1
        for step in range(2**33 - 1, 2**33 + 1):
            draw = Draw((2**32 - 1, 4), step)
            engine.train(X, X, np.arange(35), np.array([0, 35]), np.zeros((1, 8)), np.zeros(1), outputs=outputs)
            if kind == "dropout":
                scale = np.dtype(dtype).type(1 / (1 - 0.3))
                expected = np.where(dropout_mask(draw, node, (35, 37), 0.3), scale, scale.dtype.type(0))
                np.testing.assert_array_equal(outputs, expected)
                assert 0.5 < (expected > 0).mean() < 0.9
            else:
                expected = 1 + 0.5 * normal(draw, node, (35, 37), "float64")
                # a dozen roundings of numbers up to 3, each propagated by a derivative of order 1
                np.testing.assert_allclose(outputs, expected, rtol=0, atol=30 * np.finfo(dtype).eps)
    predictions = predict(engine, X)
    np.testing.assert_array_equal(predictions, X)
    assert engine.evaluate(X, X) == 0


def test_masks_differ_between_keys() -> None:
    outputs = []
    for key in ((0, 0), (1, 0), (0, 1)):
        engine = Engine(20, [spec(20, **DROPOUT), spec(20)], key=key)
        engine.set_weights([np.eye(20, dtype="float32"), np.zeros(20, "float32")])
        outputs.append(np.zeros((9, 20), "float32"))
        X = np.ones((9, 20), "float32")
        engine.train(X, X, np.arange(9), np.array([0, 9]), np.zeros((1, 8)), np.zeros(1), outputs=outputs[-1])
    assert len({array.tobytes() for array in outputs}) == 3


# -- moving statistics ---------------------------------------------------------------------------------------------
NORMALIZED = [spec(19, "tanh"), spec(19, "relu", **BATCH_NORM), spec(3)]
MEAN, VARIANCE = 4, 5  # indices among the weights


def normalized_inputs(engine: Engine, X: Array) -> Array:
    """The inputs of the batch normalization in NORMALIZED."""
    W, b = (array.astype("float64") for array in engine.get_weights()[:2])
    return np.tanh(X.astype("float64") @ W + b)


@pytest.mark.parametrize("update_spec", [None, UpdateSpec(clipnorm=1.0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_moving_statistics_change_only_in_completed_steps(dtype: str, update_spec: UpdateSpec | None) -> None:
    engine = make_engine(7, NORMALIZED, dtype=dtype, update_spec=update_spec)
    X, y = make_data(23, 7, 3, dtype=dtype)
    before, steps = everything(engine), engine.steps_trained
    engine.gradients(X, y)
    engine.evaluate(X, y)
    predict(engine, X)
    infinite = np.full_like(y, np.inf)
    report, _ = train(engine, X, infinite, "sgd", [0, 23])
    assert report == Report(0, 1, -1)
    assert engine.steps_trained == steps
    assert_same_bits(everything(engine), before)
    A = normalized_inputs(engine, X[:10])
    y[10:] = np.inf  # the second step is dropped
    report, _ = train(engine, X, y, "sgd", [0, 10, 23])
    assert report == Report(1, 1, -1)
    after = engine.get_weights()
    expected = [0.9 * before[MEAN] + 0.1 * A.mean(0), 0.9 * before[VARIANCE] + 0.1 * A.var(0, ddof=1)]
    for array, moved in zip(after[MEAN : VARIANCE + 1], expected, strict=True):
        assert array.dtype == engine.dtype
        # values of order 1: sums of 7 products, a tanh, and a sum of 10
        np.testing.assert_allclose(array, moved, rtol=0, atol=30 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moving_variance_ignores_batches_of_one_row(dtype: str) -> None:
    engine = make_engine(7, NORMALIZED, dtype=dtype)
    X, y = make_data(1, 7, 3, dtype=dtype)
    before, A = engine.get_weights(), normalized_inputs(engine, X)
    assert train(engine, X, y, "sgd", [0, 1])[0] == Report(1, 0, -1)
    after = engine.get_weights()
    assert_same_bits([after[VARIANCE]], [before[VARIANCE]])
    np.testing.assert_allclose(after[MEAN], 0.9 * before[MEAN] + 0.1 * A[0], rtol=0, atol=20 * np.finfo(dtype).eps)


def test_non_finite_statistics_are_ignored() -> None:
    engine = make_engine(4, [spec(4, **BATCH_NORM), spec(3)])
    X, y = make_data(7, 4, 3)
    X[:, 1] *= 1e30  # whose squares overflow
    *_, mean, variance, _, _ = engine.get_weights()
    assert train(engine, X, y, "sgd", [0, 7])[0] == Report(1, 0, -1)
    *_, moved_mean, moved_variance, _, _ = engine.get_weights()
    assert np.isfinite([moved_mean, moved_variance]).all()
    assert moved_variance[1] == variance[1]
    assert (moved_mean != mean).all()
    assert (np.delete(moved_variance, 1) != np.delete(variance, 1)).all()


# -- learning rate multipliers and frozen nodes ---------------------------------------------------------------------
FROZEN = [
    spec(19, "tanh"), spec(18, trainable=False), spec(18, trainable=False, **BATCH_NORM), spec(18, "relu"),
    spec(18, trainable=False, **LAYER_NORM), spec(18, trainable=False, **SCALE), spec(3),
]  # fmt: skip
FROZEN_WEIGHTS = [2, 3, 4, 5, 10, 11, 12]  # indices of frozen weights; 6 and 7 are moving statistics
UPDATE_SPECS = {
    "fused": None, "clipped": UpdateSpec(clipvalue=0.1, clipnorm=0.5), "global": UpdateSpec(global_clipnorm=0.1),
    "accumulated": UpdateSpec(accumulation=2), "averaged": UpdateSpec(ema_momentum=0.9),
}  # fmt: skip


@pytest.mark.parametrize("optimizer", ["sgd decay", "adamw"])
@pytest.mark.parametrize("update_spec", UPDATE_SPECS)
def test_frozen_weights_keep_their_bits(update_spec: str, optimizer: str) -> None:
    """Moving statistics are updated all the same."""
    engine = make_engine(7, FROZEN, optimizer=optimizer, update_spec=UPDATE_SPECS[update_spec])
    X, y = make_data(40, 7, 3)
    before = engine.get_weights()
    assert train(engine, X, y, optimizer, [0, 20, 40])[0] == Report(2, 0, -1)
    after = engine.get_weights()
    assert_same_bits([after[i] for i in FROZEN_WEIGHTS], [before[i] for i in FROZEN_WEIGHTS])
    assert all((after[i] != before[i]).any() for i in range(len(after)) if i not in FROZEN_WEIGHTS)


@pytest.mark.parametrize("update_spec", [None, UpdateSpec(clipvalue=1e6)])
def test_biases_have_a_multiplier_of_their_own(update_spec: UpdateSpec | None) -> None:
    layers = [spec(20, "relu", multiplier=0.5, bias_multiplier=2.0), spec(5, bias_multiplier=0.0), spec(3)]
    X, y = make_data(16, 18, 3)
    options = {} if update_spec is None else {"update_spec": update_spec}
    steps = []
    for own in (layers, [layer._replace(multiplier=1.0, bias_multiplier=None) for layer in layers]):
        engine = make_engine(18, own, **options)
        before = engine.get_weights()
        train(engine, X, y, "sgd", [0, 16])
        steps.append([after - W for W, after in zip(before, engine.get_weights(), strict=True)])
    for step, whole, factor in zip(*steps, (0.5, 2.0, 1.0, 0.0, 1.0, 1.0), strict=True):
        # a weight of order 1 is rounded to 6e-8, before and after
        np.testing.assert_allclose(step, factor * whole, rtol=1e-4, atol=2e-7)


@pytest.mark.parametrize("optimizer", ["adamw", "lion decay"])
@pytest.mark.parametrize("update_spec", [UpdateSpec(), UpdateSpec(clipvalue=1e6, decay_kernels_only=True)])
def test_multipliers_of_decay_match_the_reference(update_spec: UpdateSpec, optimizer: str) -> None:
    layers = [spec(7, decay=3.0, **SCALE), spec(20, "tanh", decay=0.0), periodic(20, (1, 3), 5, 2, True, True, False),
              spec(3, decay=10.0)]  # fmt: skip
    X, y = make_data(60, 7, 3, dtype="float64")
    options = {"dtype": "float64", "optimizer": optimizer, "update_spec": update_spec}
    engine, reference = (make_engine(7, layers, kind=kind, **options) for kind in (Engine, ReferenceEngine))
    for each in (engine, reference):
        train(each, X, y, optimizer, [0, 20, 40, 60])
    for W, expected in zip(engine.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(W, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("update_spec", [None, UpdateSpec(clipvalue=1e6)])
def test_multiplier_scales_the_step(update_spec: UpdateSpec | None) -> None:
    """For every array, up to four roundings of a weight of about 1 and a few of the step."""
    layers = [spec(19, "tanh"), spec(19, **BATCH_NORM), spec(19, **LAYER_NORM), spec(19, **SCALE), spec(3)]
    X, y = make_data(20, 7, 3)
    steps = []
    for factors in ((1, 1, 1, 1, 1), (0.5, 2, 3, 1.5, 0)):
        scaled = [layer._replace(multiplier=factor) for layer, factor in zip(layers, factors, strict=True)]
        engine = make_engine(7, scaled, update_spec=update_spec)
        before = engine.get_weights()
        train(engine, X, y, "sgd", [0, 20])
        steps.append([b - a for a, b in zip(before, engine.get_weights(), strict=True)])
    for factor, indices in zip((0.5, 2, 3, 1.5, 0), ((0, 1), (2, 3), (6, 7), (8,), (9, 10)), strict=True):
        for i in indices:
            plain, scaled_step = steps[0][i], steps[1][i]
            np.testing.assert_allclose(scaled_step, factor * plain, rtol=0, atol=8 * np.finfo("float32").eps)
            assert (plain != 0).any()
