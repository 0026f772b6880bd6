"""Clipping, penalties, accumulation and averaging in the compiled engine, alone and combined, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastbp import optimizers
from fastbp.engine.engine import Engine
from fastbp.reference import ReferenceEngine
from fastbp.spec import LayerSpec, Report, UpdateSpec
from tests.engine.cases import ADD, BATCH_NORM, DROPOUT, LAYER_NORM, SCALE, make_data, spec
from tests.reference.test_updates import CASES

jit = pytest.mark.jit
Array = np.ndarray
RULES = {
    "sgd": optimizers.SGD(0.1, weight_decay=0.1),
    "momentum": optimizers.SGD(0.05, momentum=0.9),
    "adam": optimizers.Adam(0.01, epsilon=1e-3, weight_decay=0.1),
    "adamw": optimizers.AdamW(0.01, epsilon=1e-3, weight_decay=0.1),
    "rmsprop": optimizers.RMSprop(0.01, epsilon=1e-3, weight_decay=0.1),
    "lamb": optimizers.LAMB(0.01, epsilon=1e-3, weight_decay=0.1),
    "muon": optimizers.Muon(0.01),
}
# Two layers in each take the options of a case.
NETWORKS: dict[str, list[LayerSpec]] = {
    "plain": [spec(6, "tanh"), spec(3)],
    "all nodes": [
        spec(37, **DROPOUT), spec(33, "tanh"), spec(33, "tanh", **LAYER_NORM), spec(40, use_bias=False),
        spec(40, "gelu", **BATCH_NORM), spec(40, **SCALE), spec(33), spec(33, skip=2, **ADD), spec(17),
    ],
}  # fmt: skip
PLACES = {"plain": (0, 1), "all nodes": (1, 6)}
INPUTS = {"plain": 4, "all nodes": 37}
BOUNDS = np.array([0, 20, 40, 57, 58, 75, 90, 110, 130, 140])
FIRST = 5  # steps of the first of two calls, so that it ends between two updates


def make_engines(name: str, case: str, rule: str, dtype: str) -> list[Any]:
    lower, upper, update_spec = CASES[case]
    layers = list(NETWORKS[name])
    for place, options in zip(PLACES[name], (lower, upper), strict=True):
        layers[place] = layers[place]._replace(**options)
    rng, weights, engines = np.random.default_rng(0), None, []
    for kind, own in ((Engine, dtype), (ReferenceEngine, "float64")):
        engine = kind(INPUTS[name], layers, dtype=own, key=(1, 2))
        if weights is None:
            shapes = [W.shape for W in engine.get_weights()]
            weights = [rng.normal(0, s[0] ** -0.5, s) if len(s) == 2 else rng.uniform(0.3, 1, s) for s in shapes]
            weights = [W.astype(dtype) for W in weights]
        engine.set_weights([W.astype(own) for W in weights])
        engine.configure("mse", RULES[rule].rule, update_spec=UpdateSpec(**update_spec))
        engine.reset_state(RULES[rule].n_states)
        engines.append(engine)
    return engines


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", ["plain", "all nodes"])
def test_losses_include_the_decay_penalty(layers: str, dtype: str, rule: str) -> None:
    engines, update_spec = make_engines(layers, "default", rule, dtype), UpdateSpec(decay_kernels_only=True)
    X, y = make_data(140, INPUTS[layers], NETWORKS[layers][-1].units)
    found = []
    for engine in engines:
        features, targets = X.astype(engine.dtype), y.astype(engine.dtype)
        weights = engine.get_weights()
        for factor in (0.0, 1.0, 3.0):
            engine.configure("mse", RULES[rule].rule, update_spec=update_spec._replace(reported_decay=factor))
            engine.reset_state(RULES[rule].n_states)
            engine.set_weights(weights)
            engine.steps_trained = 0
            scalars, losses = RULES[rule].scalars(np.arange(len(BOUNDS) - 1)).copy(), np.zeros(len(BOUNDS) - 1)
            scalars[:, 1] = np.linspace(0.1, 0.3, len(scalars))
            engine.train(features, targets, np.arange(140), BOUNDS, scalars, losses)
            found.append(losses)
    got, reference = found[:3], found[3:]
    for losses, expected in zip(got, reference, strict=True):
        np.testing.assert_allclose(losses, expected, rtol=LIMITS[dtype])
    extra = got[1] - got[0]  # the weights do not depend on what is reported
    np.testing.assert_allclose(got[2] - got[0], 3 * extra, rtol=LIMITS[dtype])
    assert extra.min() > 0.01


def slices(engine: Any, X: Array, y: Array, rule: str) -> tuple[list[Array], list[Array]]:
    """Losses, average, loss and gradients after nine steps in two calls, and weights; and the gradients accumulated
    between the calls, without the penalties, which are added when they are applied."""
    X, y = X.astype(engine.dtype), y.astype(engine.dtype)
    order, update_spec = np.random.default_rng(1).integers(0, len(X), BOUNDS[-1]), engine_update_spec(engine)
    n, found = update_spec.accumulation, []
    for start, end in ((0, FIRST), (FIRST, len(BOUNDS) - 1)):
        losses = np.zeros(end - start)
        scalars = RULES[rule].scalars(np.arange(start, end) // n)
        report = engine.train(X, y, order, BOUNDS[start : end + 1], scalars, losses)
        assert report == Report(end - start, 0, -1)
        found.append(losses)
        if start == 0:
            between = engine.get_state()[-1] if n > 1 else []
    if update_spec.ema_momentum:
        found += engine.get_state()[RULES[rule].n_states]
    total, gradients = engine.gradients(X[:30], y[:30])
    found += [np.array([total]), *(dW for dW in gradients if dW is not None), np.array([engine.evaluate(X, y)])]
    return [*found, *engine.get_weights()], between


def engine_update_spec(engine: Any) -> UpdateSpec:
    return engine._update_spec if isinstance(engine, Engine) else engine._updates.update_spec


def assert_matches_reference(name: str, case: str, rule: str, dtype: str, limit: float) -> None:
    engines = make_engines(name, case, rule, dtype)
    X, y = make_data(50, INPUTS[name], NETWORKS[name][-1].units, dtype=dtype)
    (got, between), (expected, expected_between) = (slices(engine, X, y, rule) for engine in engines)
    if not any("l1" in options or "l2" in options for options in CASES[case][:2]):
        got, expected = [*got, *between], [*expected, *expected_between]
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit, err_msg=f"array {i}")


# Nine steps of a hundred roundings each on numbers of order 1, one of them on one row; an active bound, or dividing by
# the magnitude of a gradient plus 1e-3, magnifies them up to a thousand times.
LIMITS = {"float64": 1e-11, "float32": 2e-3}


@pytest.mark.parametrize("rule", ["sgd", "adamw", "lamb", "muon"])
@pytest.mark.parametrize("case", CASES)
def test_plain_networks_match_the_reference(case: str, rule: str) -> None:
    assert_matches_reference("plain", case, rule, "float32", LIMITS["float32"])


@jit
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES)
def test_float64_matches_the_reference(case: str, rule: str, name: str) -> None:
    assert_matches_reference(name, case, rule, "float64", LIMITS["float64"])


def test_lamb_without_epsilon_handles_zero_gradients() -> None:
    """An input that is always 0 has zero gradients, which without epsilon are divided by 0; the trust ratio and all
    other weights are unaffected."""
    X, y = make_data(20, 4, 3)
    X[:, 2] = 0
    found = []
    for kind, dtype in ((Engine, "float32"), (ReferenceEngine, "float64")):
        engine, rng = kind(4, [spec(6, "tanh"), spec(3)], dtype=dtype), np.random.default_rng(0)
        engine.set_weights([rng.normal(0, 2, W.shape).astype(dtype) for W in engine.get_weights()])
        engine.configure("mse", "lamb")
        engine.reset_state(2)
        scalars = optimizers.LAMB(0.01, epsilon=0.0, weight_decay=0.1).scalars(np.arange(4))
        order, bounds = np.tile(np.arange(20), 4), np.arange(5) * 20
        report = engine.train(X.astype(dtype), y.astype(dtype), order, bounds, scalars, np.zeros(4))
        assert report == Report(4, 0, -1)
        found.append(engine.get_weights())
    for got, expected in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=LIMITS["float32"], atol=LIMITS["float32"])


@pytest.mark.parametrize(
    "update_spec", [UpdateSpec(global_clipnorm=0.1), UpdateSpec(clipnorm=0.1, global_clipnorm=0.1)]
)
def test_non_finite_gradient_norm_changes_no_bits(update_spec: UpdateSpec) -> None:
    """With finite losses, if inputs of weight 0 overflow in products; arrays with finite gradients are kept as well."""
    engine = Engine(4, [spec(6, "tanh"), spec(3)])
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=W.shape).astype("float32") for W in engine.get_weights()]
    weights[0][2] = 0
    engine.set_weights(weights)
    engine.configure("mse", "sgd", update_spec=update_spec)
    engine.reset_state(0)
    X, y = make_data(20, 4, 3)
    for value in (np.array([3e38]), np.array([3e38, -3e38])):
        X[:, 2], y[:] = np.resize(value, 20), np.resize(-10 * value / 3e38, (20, 1))
        losses = np.zeros(1)
        report = engine.train(X, y, np.arange(20), np.array([0, 20]), optimizers.SGD(0.1).scalars(np.arange(1)), losses)
        assert np.isfinite(losses).all()
        assert report == Report(1, 2, 0)
        for got, expected in zip(engine.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(got, expected)
