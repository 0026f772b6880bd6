"""The update spec in the reference trainer against PyTorch: penalties, accumulation, clipping, learning rates and decay
per layer, norm constraints, weight averages; one at a time and all together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fastbp import optimizers
from fastbp.reference import RULES, ReferenceEngine
from fastbp.reference.layerwise import norm
from fastbp.spec import LayerSpec, Report, UpdateSpec

BATCH, ROWS = 5, 40
NO_OPTIONS: dict[str, Any] = {}
# name -> options of the two layers, update spec
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "default": (NO_OPTIONS, NO_OPTIONS, {}),
    "clipvalue": (NO_OPTIONS, NO_OPTIONS, {"clipvalue": 0.05}),
    "clipnorm": (NO_OPTIONS, NO_OPTIONS, {"clipnorm": 0.1}),
    "global_clipnorm": (NO_OPTIONS, NO_OPTIONS, {"global_clipnorm": 0.2}),
    "limits above all norms": (NO_OPTIONS, NO_OPTIONS, {"clipnorm": 1e3, "global_clipnorm": 1e3, "clipvalue": 1e3}),
    "accumulation": (NO_OPTIONS, NO_OPTIONS, {"accumulation": 3}),
    "average": (NO_OPTIONS, NO_OPTIONS, {"ema_momentum": 0.8}),
    "decay of kernels only": (NO_OPTIONS, NO_OPTIONS, {"decay_kernels_only": True}),
    "multipliers": ({"multiplier": 0.3}, {"multiplier": 2.0}, {}),
    "multipliers of biases": ({"bias_multiplier": 0.3}, {"multiplier": 2.0, "bias_multiplier": 0.0}, {}),
    "multipliers of decay": ({"decay": 3.0}, {"decay": 0.0}, {}),
    "decay of one kernel": ({"decay": 2.0, "multiplier": 0.5}, NO_OPTIONS, {"decay_kernels_only": True}),
    "zero multiplier": (NO_OPTIONS, {"multiplier": 0.0}, {}),
    "lower layer frozen": ({"trainable": False}, NO_OPTIONS, {"global_clipnorm": 0.2}),
    "upper layer frozen": (NO_OPTIONS, {"trainable": False}, {"ema_momentum": 0.5}),
    "l1": ({"l1": 0.03}, NO_OPTIONS, {}),
    "l2": (NO_OPTIONS, {"l2": 0.03}, {}),
    "max_norm": ({"max_norm": 0.9}, {"max_norm": 2.0}, {}),
    "all options": (
        {"l1": 0.01, "l2": 0.02, "max_norm": 0.9, "multiplier": 0.5},
        {"l2": 0.03, "multiplier": 1.5},
        {"clipvalue": 0.1, "clipnorm": 0.2, "global_clipnorm": 0.25, "accumulation": 2, "ema_momentum": 0.9,
         "decay_kernels_only": True},
    ),
}  # fmt: skip
RULES_IN_TORCH = {
    "sgd": (optimizers.SGD(0.2, weight_decay=0.1), lambda p: torch.optim.SGD(p, 0.2, weight_decay=0.1)),
    "momentum": (optimizers.SGD(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
    "adamw": (optimizers.AdamW(0.02, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1)),
    "rmsprop": (optimizers.RMSprop(0.02, weight_decay=0.1), lambda p: torch.optim.RMSprop(p, 0.02, weight_decay=0.1)),
}


def make_specs(lower: dict[str, Any], upper: dict[str, Any]) -> list[LayerSpec]:
    return [LayerSpec(6, "tanh", **lower), LayerSpec(3, **upper)]


def make_engine(
    specs: list[LayerSpec], optimizer: optimizers.Optimizer, update_spec: UpdateSpec, dtype: str = "float64"
) -> ReferenceEngine:
    rng = np.random.default_rng(0)
    engine = ReferenceEngine(4, specs, dtype=dtype)
    engine.set_weights([rng.normal(0, 0.7, W.shape) for W in engine.get_weights()])
    engine.reset_state(optimizer.n_states)
    engine.configure("mse", optimizer.rule, update_spec=update_spec)
    return engine


def make_data(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(ROWS, 4)).astype(dtype), rng.normal(size=(ROWS, 3)).astype(dtype)


def train(engine: ReferenceEngine, optimizer: optimizers.Optimizer, steps: int, first: int = 0) -> np.ndarray:
    """Run steps first, first + 1, ... on successive batches and return their losses."""
    X, y = make_data(engine.dtype.name)
    order = np.arange(BATCH * first, BATCH * (first + steps)) % ROWS
    updates = np.arange(first, first + steps) // engine._updates.update_spec.accumulation
    losses, bounds = np.full(steps, -1.0), np.arange(0, BATCH * steps + 1, BATCH)
    assert engine.train(X, y, order, bounds, optimizer.scalars(updates), losses) == Report(steps, 0, -1)
    return losses


class TorchTwin:
    """The same network, penalties and update spec, written with PyTorch's own functions."""

    def __init__(self, weights: list[np.ndarray], specs: list[LayerSpec], update_spec: UpdateSpec, make: Any) -> None:
        self.W = [torch.nn.Parameter(torch.tensor(W)) for W in weights]
        self.specs, self.update_spec = specs, update_spec
        self.trained = [W for i, W in enumerate(self.W) if specs[i // 2].trainable]
        self.update = make([{"params": [W]} for W in self.trained])
        for group in self.update.param_groups:
            index = next(i for i, W in enumerate(self.W) if W is group["params"][0])
            group["lr"] *= specs[index // 2].multiplier_of(index % 2)
            if update_spec.decay_kernels_only and index % 2:
                group["weight_decay"] = 0.0
            own = specs[index // 2].decay
            group["weight_decay"] *= 1.0 if own is None or index % 2 else own
        self.averages = [W.detach().clone() for W in self.W]
        self.losses: list[float] = []
        self.updates = 0

    def loss(self, X: np.ndarray, y: np.ndarray) -> torch.Tensor:
        A = torch.tanh(torch.tensor(X) @ self.W[0] + self.W[1]) @ self.W[2] + self.W[3]
        total = torch.nn.functional.mse_loss(A, torch.tensor(y))
        for spec, W in zip(self.specs, self.W[::2], strict=True):
            total = total + spec.l1 * W.abs().sum() + spec.l2 * W.square().sum()
        return total

    def steps(self, steps: int) -> None:
        X, y = make_data()
        n = self.update_spec.accumulation
        for step in range(steps):
            rows = np.arange(BATCH * step, BATCH * step + BATCH) % ROWS
            loss = self.loss(X[rows], y[rows])
            self.losses.append(loss.item())
            (loss / n).backward()
            if step % n == n - 1:
                self.step()

    def step(self) -> None:
        for W in self.W:
            W.grad = None if all(W is not trained for trained in self.trained) else W.grad
        value, own, together = self.update_spec[:3]
        if value:
            torch.nn.utils.clip_grad_value_(self.trained, value)
        if own:
            for W in self.trained:
                torch.nn.utils.clip_grad_norm_([W], own)
        if together:
            torch.nn.utils.clip_grad_norm_(self.trained, together)
        self.update.step()
        self.update.zero_grad()
        with torch.no_grad():
            for spec, W in zip(self.specs, self.W[::2], strict=True):
                if spec.max_norm:
                    lengths = W.norm(dim=0)
                    W.mul_(torch.where(lengths > spec.max_norm, spec.max_norm / lengths, 1.0))
            momentum = self.update_spec.ema_momentum if self.updates else 0.0
            for average, W in zip(self.averages, self.W, strict=True):
                average.mul_(momentum).add_(W, alpha=1 - momentum)
        self.updates += 1


@pytest.mark.parametrize("rule", RULES_IN_TORCH)
@pytest.mark.parametrize("case", CASES)
def test_update_specs_match_pytorch(case: str, rule: str) -> None:
    lower, upper, options = CASES[case]
    specs, update_spec = make_specs(lower, upper), UpdateSpec(**options)
    optimizer, make = RULES_IN_TORCH[rule]
    engine = make_engine(specs, optimizer, update_spec)
    twin = TorchTwin(engine.get_weights(), specs, update_spec, make)
    losses = train(engine, optimizer, 60)
    twin.steps(60)
    # about 100 roundings per step of values of order 1; Adam and RMSprop amplify those of small gradients
    np.testing.assert_allclose(losses, twin.losses, rtol=1e-10)
    for W, expected in zip(engine.get_weights(), twin.W, strict=True):
        np.testing.assert_allclose(W, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
    if update_spec.ema_momentum:
        for average, expected_average in zip(engine.get_state()[optimizer.n_states], twin.averages, strict=True):
            np.testing.assert_allclose(average, expected_average.numpy(), rtol=1e-10, atol=1e-10)


def test_penalties_are_part_of_the_loss_and_its_gradient() -> None:
    specs = make_specs({"l1": 0.3, "l2": 0.2}, {"l2": 0.5, "trainable": False})
    engine, X, y = make_engine(specs, optimizers.SGD(), UpdateSpec()), *make_data()
    bare = make_engine(make_specs({}, {}), optimizers.SGD(), UpdateSpec())
    kernels = engine.get_weights()[::2]
    penalty = 0.3 * np.abs(kernels[0]).sum() + 0.2 * np.square(kernels[0]).sum() + 0.5 * np.square(kernels[1]).sum()
    loss, gradient = engine.gradients(X, y)
    assert loss == pytest.approx(bare.gradients(X, y)[0] + penalty, rel=1e-14)
    assert engine.evaluate(X, y) == pytest.approx(loss, rel=1e-14)
    twin = TorchTwin(engine.get_weights(), specs, UpdateSpec(), RULES_IN_TORCH["sgd"][1])
    twin.loss(X, y).backward()
    for dW, W in zip(gradient, twin.W, strict=True):
        np.testing.assert_allclose(dW, W.grad.numpy(), rtol=1e-12, atol=1e-14)  # type: ignore[union-attr]


@pytest.mark.parametrize("rule", [*RULES, "lamb", "muon"])
def test_frozen_layers_stay_bit_identical_with_every_rule(rule: str) -> None:
    optimizer = next(each for each in ALL_OPTIMIZERS if each.rule == rule)
    specs = [LayerSpec(6, "tanh", trainable=False), LayerSpec(5, "tanh"), LayerSpec(3, trainable=False, max_norm=0.1)]
    engine = make_engine(specs, optimizer, UpdateSpec(clipnorm=0.1, ema_momentum=0.9))
    before = engine.get_weights()
    train(engine, optimizer, 5)
    for index, (W, old) in enumerate(zip(engine.get_weights(), before, strict=True)):
        assert np.array_equal(W, old) is (index not in (2, 3))
    for state in engine.get_state()[: optimizer.n_states]:
        assert all((state[i] == 0).all() for i in (0, 1, 4, 5))


ALL_OPTIMIZERS = [
    optimizers.SGD(0.1), optimizers.SGD(0.1, momentum=0.9), optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    optimizers.Adam(), optimizers.AdamW(), optimizers.Adam(amsgrad=True), optimizers.NAdam(), optimizers.RMSprop(),
    optimizers.RMSprop(momentum=0.9), optimizers.RMSprop(centered=True), optimizers.Adagrad(), optimizers.Adadelta(),
    optimizers.Lion(), optimizers.LAMB(), optimizers.Muon(),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", ALL_OPTIMIZERS, ids=repr)
def test_resuming_during_accumulation_is_bit_identical(optimizer: optimizers.Optimizer) -> None:
    specs, update_spec = make_specs({"l2": 0.01}, {"max_norm": 1.0}), UpdateSpec(accumulation=3, ema_momentum=0.9)
    full, stopped, resumed = (make_engine(specs, optimizer, update_spec) for _ in range(3))
    train(full, optimizer, 11)
    train(stopped, optimizer, 7)
    assert stopped.steps_since_compile == 7
    resumed.set_weights(stopped.get_weights())
    resumed.set_state(stopped.get_state())
    resumed.steps_since_compile = 7
    train(resumed, optimizer, 4, first=7)
    assert len(full.get_state()) == optimizer.n_states + 2
    for state, expected in zip(
        [resumed.get_weights(), *resumed.get_state()], [full.get_weights(), *full.get_state()], strict=True
    ):
        for W, expected_W in zip(state, expected, strict=True):
            np.testing.assert_array_equal(W, expected_W)


def test_accumulated_batches_equal_one_large_batch() -> None:
    optimizer = optimizers.Adam(0.01)
    engine = make_engine(make_specs({}, {}), optimizer, UpdateSpec(accumulation=ROWS // BATCH))
    twin, (X, y) = make_engine(make_specs({}, {}), optimizer, UpdateSpec()), make_data()
    train(engine, optimizer, 3 * ROWS // BATCH)
    order, bounds = np.tile(np.arange(ROWS), 3), np.arange(0, 3 * ROWS + 1, ROWS)
    twin.train(X, y, order, bounds, optimizer.scalars(np.arange(3)), np.empty(3))
    for W, expected in zip(engine.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(W, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("optimizer", ALL_OPTIMIZERS, ids=repr)
def test_overflowing_gradient_leaves_weights_and_states_finite(optimizer: optimizers.Optimizer) -> None:
    """The gradient overflows in the lower kernel, with clipping, accumulation and averages."""
    for options in ({"clipvalue": 1.0}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"accumulation": 2}):
        update_spec = UpdateSpec(**options, ema_momentum=0.9)  # type: ignore[arg-type]
        engine = make_engine(make_specs({"max_norm": 2.0}, {}), optimizer, update_spec, "float32")
        W0, b0, W1, b1 = engine.get_weights()
        engine.set_weights([0 * W0, b0, 1e20 * W1, b1])
        X, y = make_data("float32")
        X[0], y[:] = 1e20, 0
        X[0, 0] = 0
        report = engine.train(X, y, np.zeros(2, np.int64), np.arange(3), optimizer.scalars(np.arange(2)), np.empty(2))
        assert report.status in (0, 1, 2)
        arrays = [*engine.get_weights(), *(v for state in engine.get_state() for v in state)]
        assert all(np.isfinite(v).all() for v in arrays)


def test_overflowing_gradient_is_not_accumulated() -> None:
    engine = make_engine(make_specs({}, {}), optimizers.SGD(), UpdateSpec(accumulation=2), "float32")
    total = [np.full(W.shape, 1e38, "float32") for W in engine.get_weights()]
    engine.set_state([total])
    engine.steps_since_compile = 0
    engine._dW[:] = 3e38
    engine._dW[0] = 1e38
    with np.errstate(over="ignore"):
        layer = engine._updates.step(engine._W, engine._dW, engine._states, [0.1, 0, 0, 0, 0, 0, 0, 0], engine._scratch)
    assert layer == 0
    kept = engine.get_state()[0]
    assert kept[0][0, 0] == np.float32(2e38)
    assert all((v == np.float32(1e38)).all() for v in (kept[0].ravel()[1:], *kept[1:]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_norms_neither_overflow_nor_underflow(dtype: str) -> None:
    largest = np.finfo(dtype).max / 4
    assert norm(np.array([3, 4], dtype)) == pytest.approx(5, rel=1e-15)
    if dtype != "longdouble":  # whose range exceeds that of float
        assert norm(np.array([largest, largest], dtype)) == pytest.approx(float(largest) * 2**0.5, rel=1e-3)
        small = np.array([np.finfo(dtype).tiny] * 4, dtype)
        assert norm(small) == pytest.approx(2 * float(small[0]), rel=1e-3)
    assert norm(np.zeros(3, dtype)) == norm(np.zeros(0, dtype)) == 0
    assert np.isnan(norm(np.array([1, np.nan], dtype)))


def test_max_norm_bounds_every_units_incoming_weights() -> None:
    specs = make_specs({"max_norm": 0.5}, {"max_norm": 0.25})
    engine = make_engine(specs, optimizers.SGD(0.5), UpdateSpec(), "float32")
    W0, *rest = engine.get_weights()
    W0[:, 1], W0[:, 2] = 0, 1e30  # a dead unit, and one whose squares overflow
    engine.set_weights([W0, *rest])
    X, y = make_data("float32")
    engine.train(X, y, np.arange(5), np.array([0, 5]), optimizers.SGD(0.5).scalars(np.arange(1)), np.empty(1))
    for W, most in zip(engine.get_weights()[::2], (0.5, 0.25), strict=True):
        assert np.isfinite(W).all()
        assert (np.linalg.norm(W.astype(float), axis=0) <= most * (1 + 1e-6)).all()
