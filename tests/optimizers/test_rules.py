"""Every update rule over 1,000 steps: both engines against PyTorch, or the published rule where it has none; the
low-level update against the engine bit by bit, and float32 against float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fastbp import kernels, optimizers
from fastbp.engine.engine import Engine
from fastbp.kernels.microkernels import PORTABLE
from fastbp.reference import ReferenceEngine
from fastbp.reference import update as reference_update
from fastbp.schedules import FlatCosine
from fastbp.spec import LayerSpec, Report
from tests.engine.cases import OPTIMIZERS as CASES
from tests.engine.cases import assert_same_bits, make_data, spec, train
from tests.engine.cases import make_engine as make_compiled

jit = pytest.mark.jit
STEPS = 1000
LAYERS = [spec(9, "tanh"), spec(7, "tanh"), spec(3)]
Parameters = list[torch.nn.Parameter]


class Published(torch.optim.Optimizer):
    """A published rule that PyTorch lacks; rule(W, g, state, t) returns the new W, t = 1, 2, ..."""

    def __init__(self, parameters: Parameters, rule: Callable[..., torch.Tensor]) -> None:
        super().__init__(parameters, {})
        self.rule = rule

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for W in self.param_groups[0]["params"]:
            state = self.state[W]
            state["t"] = state.get("t", 0) + 1
            W.copy_(self.rule(W, W.grad, state, state["t"]))


def lion(rate: float, beta_1: float, beta_2: float, decay: float) -> Callable[[Parameters], Published]:
    def rule(W, g, state, t):  # type: ignore[no-untyped-def]
        m = state.get("m", torch.zeros_like(W))
        step = torch.sign(beta_1 * m + (1 - beta_1) * g)
        state["m"] = beta_2 * m + (1 - beta_2) * g
        return W - rate * (step + decay * W)

    return lambda parameters: Published(parameters, rule)


def adam_ratio(g, state, t, beta_1: float, beta_2: float, epsilon: float):  # type: ignore[no-untyped-def]
    state["m"] = beta_1 * state.get("m", torch.zeros_like(g)) + (1 - beta_1) * g
    state["v"] = beta_2 * state.get("v", torch.zeros_like(g)) + (1 - beta_2) * g * g
    return state["m"] / (1 - beta_1**t) / (torch.sqrt(state["v"] / (1 - beta_2**t)) + epsilon)


def lamb(rate: float, decay: float) -> Callable[[Parameters], Published]:
    def rule(W, g, state, t):  # type: ignore[no-untyped-def]
        r = adam_ratio(g, state, t, 0.9, 0.999, 1e-6) + decay * W
        trust = W.norm() / r.norm() if W.norm() > 0 and r.norm() > 0 else 1.0
        return W - rate * trust * r

    return lambda parameters: Published(parameters, rule)


def orthogonal(U):  # type: ignore[no-untyped-def]
    X = U / U.norm().clamp(min=1e-7)
    for _ in range(5):
        XX = X @ X.T
        X = 3.4445 * X - 4.7750 * XX @ X + 2.0315 * XX @ XX @ X
    return X


def muon(rate: float, ratio: float, decay: float) -> Callable[[Parameters], Published]:
    """For the network of LAYERS, whose only hidden kernel is the third array, stored as (in, out)."""

    def make(parameters: Parameters) -> Published:
        def rule(W, g, state, t):  # type: ignore[no-untyped-def]
            if W is not parameters[2]:
                return (1 - ratio * rate * decay) * W - ratio * rate * adam_ratio(g, state, t, 0.9, 0.999, 1e-8)
            state["m"] = 0.95 * state.get("m", torch.zeros_like(g)) + 0.05 * g
            n_in, n_out = W.shape
            step = orthogonal((0.95 * state["m"] + 0.05 * g).T).T
            return (1 - rate * decay) * W - rate * max(1, n_out / n_in) ** 0.5 * step

        return Published(parameters, rule)

    return make


def decayed(make: Any, decay: Callable[[int], float]) -> Any:
    """PyTorch's optimizer, with another weight decay in every step."""

    def made(parameters: Parameters) -> torch.optim.Optimizer:
        optimizer, done = make(parameters), itertools.count()
        step = optimizer.step

        def planned() -> None:
            optimizer.param_groups[0]["weight_decay"] = decay(next(done))
            step()

        optimizer.step = planned
        return optimizer

    return made


# With learning rates at which 1,000 steps on noisy targets neither diverge nor converge to gradients of pure rounding.
RuleAndPeer = tuple[optimizers.Optimizer, Callable[[Parameters], torch.optim.Optimizer]]
ELEMENTWISE: dict[str, RuleAndPeer] = {
    "sgd": (optimizers.SGD(0.02, weight_decay=0.01), lambda p: torch.optim.SGD(p, 0.02, weight_decay=0.01)),
    "momentum": (optimizers.SGD(0.01, momentum=0.9), lambda p: torch.optim.SGD(p, 0.01, 0.9)),
    "nesterov": (
        optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.01, 0.9, nesterov=True),
    ),
    "adam": (optimizers.Adam(), lambda p: torch.optim.Adam(p)),
    "adam decay": (
        optimizers.Adam(1e-3, 0.8, 0.95, 1e-3, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 1e-3, (0.8, 0.95), 1e-3, weight_decay=0.1),
    ),
    "adamw": (optimizers.AdamW(), lambda p: torch.optim.AdamW(p)),
    "amsgrad": (optimizers.Adam(amsgrad=True), lambda p: torch.optim.Adam(p, amsgrad=True)),
    "amsgrad decay": (
        optimizers.Adam(1e-3, 0.8, 0.95, weight_decay=0.1, amsgrad=True),
        lambda p: torch.optim.Adam(p, 1e-3, (0.8, 0.95), weight_decay=0.1, amsgrad=True),
    ),
    "amsgradw": (
        optimizers.AdamW(weight_decay=0.1, amsgrad=True),
        lambda p: torch.optim.AdamW(p, weight_decay=0.1, amsgrad=True),
    ),
    "nadam": (optimizers.NAdam(), lambda p: torch.optim.NAdam(p)),
    "nadam decay": (
        optimizers.NAdam(1e-3, 0.8, 0.95, 1e-3, momentum_decay=0.1, weight_decay=0.1),
        lambda p: torch.optim.NAdam(p, 1e-3, (0.8, 0.95), 1e-3, 0.1, 0.1),
    ),
    "rmsprop": (optimizers.RMSprop(1e-3), lambda p: torch.optim.RMSprop(p, 1e-3)),
    "rmsprop decay": (
        optimizers.RMSprop(1e-3, 0.9, 0.0, 1e-3, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, 1e-3, 0.9, 1e-3, 0.1),
    ),
    "rmsprop momentum": (optimizers.RMSprop(1e-4, momentum=0.9), lambda p: torch.optim.RMSprop(p, 1e-4, momentum=0.9)),
    "rmsprop centered": (
        optimizers.RMSprop(1e-3, centered=True),
        lambda p: torch.optim.RMSprop(p, 1e-3, centered=True),
    ),
    "rmsprop centered momentum decay": (
        optimizers.RMSprop(1e-4, 0.95, 0.9, 1e-6, centered=True, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, 1e-4, 0.95, 1e-6, 0.1, 0.9, centered=True),
    ),
    "adam, decay by schedule": (
        optimizers.Adam(1e-3, weight_decay=FlatCosine(0.1, STEPS)),
        decayed(lambda p: torch.optim.Adam(p, 1e-3), lambda t: float(FlatCosine(0.1, STEPS)(t))),
    ),
    "adamw, decay by schedule": (
        optimizers.AdamW(1e-3, weight_decay=lambda t: 0.2 / (1 + t)),
        decayed(lambda p: torch.optim.AdamW(p, 1e-3), lambda t: 0.2 / (1 + t)),
    ),
    "adagrad": (optimizers.Adagrad(), lambda p: torch.optim.Adagrad(p)),
    "adagrad decay": (
        optimizers.Adagrad(lambda t: 0.05 / (1 + 0.01 * t), 0.1, 1e-3, weight_decay=0.1),
        lambda p: torch.optim.Adagrad(p, 0.05, 0.01, 0.1, 0.1, 1e-3),
    ),
    "adadelta": (optimizers.Adadelta(), lambda p: torch.optim.Adadelta(p)),
    "adadelta decay": (
        optimizers.Adadelta(0.5, 0.95, 1e-3, weight_decay=0.1),
        lambda p: torch.optim.Adadelta(p, 0.5, 0.95, 1e-3, 0.1),
    ),
    "lion": (optimizers.Lion(), lion(1e-4, 0.9, 0.99, 0.0)),
    "lion decay": (optimizers.Lion(1e-3, 0.8, 0.95, weight_decay=0.1), lion(1e-3, 0.8, 0.95, 0.1)),
}
WHOLE_ARRAYS: dict[str, RuleAndPeer] = {
    "lamb": (optimizers.LAMB(weight_decay=0.0), lamb(1e-3, 0.0)),
    "lamb decay": (optimizers.LAMB(weight_decay=0.1), lamb(1e-3, 0.1)),
    "muon": (optimizers.Muon(weight_decay=0.0), muon(1e-3, 1.0, 0.0)),
    "muon decay": (optimizers.Muon(1e-3, adam_lr_ratio=0.3), muon(1e-3, 0.3, 0.1)),
}


@pytest.fixture(autouse=True)
def _torch_defaults_to_float64():  # type: ignore[no-untyped-def]
    """NAdam keeps its product of mu in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def make_batches() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X, y, and 1,000 batches of 8 rows: the targets are noise, so that gradients never vanish."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(64, 5)), rng.normal(size=(64, 3))
    return X, y, rng.integers(0, 64, 8 * STEPS), np.arange(0, 8 * STEPS + 1, 8)


def torch_weights(weights: list[np.ndarray], make: Callable[[Parameters], torch.optim.Optimizer]) -> list[np.ndarray]:
    X, y, order, _ = make_batches()
    parameters = [torch.nn.Parameter(torch.tensor(W)) for W in weights]
    update, features, targets = make(parameters), torch.tensor(X), torch.tensor(y)
    for batch in order.reshape(-1, 8):
        A = features[batch]
        for i in range(0, len(parameters), 2):
            A = (torch.tanh(A) if i else A) @ parameters[i] + parameters[i + 1]
        update.zero_grad()
        ((A - targets[batch]) ** 2).mean().backward()
        update.step()
    return [W.detach().numpy() for W in parameters]


def make_engine(kind: Any, optimizer: optimizers.Optimizer, layers: list[LayerSpec] = LAYERS, dtype="float64") -> Any:
    """Either engine, with the same weights."""
    rng = np.random.default_rng(0)
    engine = kind(5, layers, dtype=dtype)
    engine.set_weights([rng.normal(0, W.shape[0] ** -0.5, W.shape).astype(dtype) for W in engine.get_weights()])
    engine.configure("mse", optimizer.rule)
    engine.reset_state(optimizer.n_states)
    return engine


def assert_matches_torch(kinds: list[Any], optimizer: optimizers.Optimizer, make: Any) -> None:
    X, y, order, bounds = make_batches()
    expected = torch_weights(make_engine(kinds[0], optimizer).get_weights(), make)
    for kind in kinds:
        engine = make_engine(kind, optimizer)
        report = engine.train(X, y, order, bounds, optimizer.scalars(np.arange(STEPS)), np.empty(STEPS))
        assert report == Report(STEPS, 0, -1)
        # A step rounds some 100 numbers of order 1: with random signs 1e-14 after 1,000 steps, which contracting
        # training does not magnify; a rule that divides a gradient by its own magnitude may do so where that is small.
        for W, expected_W in zip(engine.get_weights(), expected, strict=True):
            np.testing.assert_allclose(W, expected_W, rtol=1e-12, atol=1e-12 * np.abs(expected_W).max())


@jit
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_1000_steps_of_both_engines_match_pytorch(name: str) -> None:
    assert_matches_torch([ReferenceEngine, Engine], *ELEMENTWISE[name])


@jit
@pytest.mark.parametrize("name", WHOLE_ARRAYS)
def test_1000_steps_of_whole_array_rules_match_the_published_rules(name: str) -> None:
    assert_matches_torch([ReferenceEngine, Engine], *WHOLE_ARRAYS[name])


@jit
@pytest.mark.parametrize("name", WHOLE_ARRAYS)
def test_1000_steps_of_whole_array_rules_in_float32_match_float64(name: str) -> None:
    """Training runs of the compiled engine, float32 against float64."""
    (X, y, order, bounds), optimizer, ends = make_batches(), WHOLE_ARRAYS[name][0], []
    for dtype in ("float32", "float64"):
        engine = make_engine(Engine, optimizer, dtype=dtype)
        rows = (X.astype(dtype), y.astype(dtype))
        engine.train(*rows, order, bounds, optimizer.scalars(np.arange(STEPS)), np.empty(STEPS))
        ends.append(engine.get_weights())
    # 1,000 steps that round weights of order 1 a few times each, with random signs: 1000^0.5 4 u = 8e-6, magnified up
    # to ten times by small gradients in Adam's ratio and small singular values in Muon's five iterations.
    for narrow, wide in zip(*ends, strict=True):
        np.testing.assert_allclose(narrow, wide, rtol=0, atol=1e-4 * np.abs(wide).max())


@pytest.mark.parametrize("shape", [(12, 12), (12, 30), (30, 12)])
def test_muon_matches_pytorch(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's Muon for the hidden kernel, without its rounding to bfloat16, and its AdamW for the other arrays."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    rng, steps = np.random.default_rng(2), 100
    optimizer = optimizers.Muon(0.02, adam_lr_ratio=0.1)
    engine = ReferenceEngine(4, [spec(n, "tanh", use_bias=n == 2) for n in (*shape, 2)], dtype="float64")
    weights = [rng.normal(size=W.shape) for W in engine.get_weights()]
    engine.set_weights(weights)
    engine.configure("mse", "muon")
    engine.reset_state(2)
    parameters = [torch.nn.Parameter(torch.tensor(W.T.copy())) for W in weights]
    peers = [torch.optim.Muon([parameters[1]], 0.02), torch.optim.AdamW([*parameters[:1], *parameters[2:]], 0.002)]
    peers[1].param_groups[0]["weight_decay"] = 0.1
    X, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 2))
    for step in range(steps):
        for W, dW in zip(parameters, engine.gradients(X, y)[1], strict=True):
            W.grad = torch.tensor(dW.T.copy())
        for peer in peers:
            peer.step()
        engine.train(X, y, np.arange(20), np.array([0, 20]), optimizer.scalars(np.array([step])), np.empty(1))
    # 15 products of 30 terms per step; the iterations magnify errors by 3.4445^5 = 500 for small singular values
    for W, expected in zip(engine.get_weights(), parameters, strict=True):
        np.testing.assert_allclose(W, expected.detach().numpy().T, rtol=1e-10, atol=1e-10)


# -- float32 -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_1000_steps_in_float32_match_float64(name: str) -> None:
    """The low-level update against the reference in float64, on the same float32 gradients."""
    optimizer, rng = ELEMENTWISE[name][0], np.random.default_rng(7)
    W = rng.normal(size=300).astype("float32")
    state, wide = kernels.init_state(optimizer, W), W.astype(float)
    states, rows = [np.zeros(300) for _ in state.arrays], optimizer.scalars(np.arange(STEPS)).tolist()
    distance, largest = np.zeros(300), np.abs(wide)
    for row in rows:
        g = rng.normal(1, 1, 300).astype("float32")
        before = wide.copy()
        reference_update(optimizer.rule, wide, g.astype(float), states, row, np.empty(300))
        assert kernels.update(optimizer, W, g, state)
        distance, largest = distance + np.abs(wide - before), np.maximum(largest, np.abs(wide))
    # A step is rounded at most 16 times (including its states, whose errors decay), and the weight twice per step, by
    # 1 - learning rate x decay and by the step: 16 u of the distance and 2,000 u |W|, since all may have one sign.
    # Differences of squares, v - a^2 > v / 10, magnify the steps' errors ten times.
    u, factor = 2.0**-24, 10 if "centered" in name else 1
    assert (np.abs(W - wide) <= 16 * factor * u * distance + 2 * STEPS * u * largest).all()


# -- the low-level update and the engine ----------------------------------------------------------------------------
@jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_fused_update_is_bit_identical_to_unfused(name: str, dtype: str) -> None:
    """train, which never stores a gradient, against gradients followed by kernels.update.

    Except for the plain-loop twins: they are inlined into each of their callers, where LLVM chooses which
    multiplications to fuse with an addition.
    """

    def assert_match(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
        if not PORTABLE:
            assert_same_bits(got, expected)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=32 * np.finfo(dtype).eps * max(1, np.abs(b).max()))

    engine = make_compiled(9, [spec(17, "relu"), spec(4)], dtype=dtype, optimizer=name)
    X, y = make_data(20, 9, 4, dtype=dtype)
    weights = engine.get_weights()
    states = [kernels.init_state(CASES[name], W) for W in weights]
    for step in range(4):
        _, gradients = engine.gradients(X, y)
        for W, dW, state in zip(weights, gradients, states, strict=True):
            kernels.update(CASES[name], W, np.ascontiguousarray(dW), state)
        train(engine, X, y, name, [0, 20], first=step)
        assert_match(engine.get_weights(), weights)
    for index, arrays in enumerate(engine.get_state()):
        assert_match(arrays, [state.arrays[index] for state in states])


@pytest.mark.parametrize("optimizer", [optimizers.LAMB(), "muon"])
def test_low_level_update_refuses_whole_layer_rules(optimizer: Any) -> None:
    W = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"weight by weight, got '(lamb|muon)'.*: train a fastbp.Sequential"):
        kernels.update(optimizer, W, W.copy(), kernels.State())


# -- zero gradients ------------------------------------------------------------------------------------------------
NO_EPSILON = {"epsilon": 0.0}
ZERO = [
    *(optimizer for name, optimizer in CASES.items() if "decay" not in name and name != "adamw"),
    *(kind(**NO_EPSILON) for kind in (optimizers.Adam, optimizers.NAdam, optimizers.RMSprop, optimizers.Adagrad)),
    optimizers.Adam(amsgrad=True, **NO_EPSILON),
    optimizers.RMSprop(centered=True, **NO_EPSILON),
    optimizers.Adadelta(**NO_EPSILON),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ZERO, ids=repr)
def test_zero_gradients_change_no_weights(optimizer: optimizers.Optimizer, dtype: str) -> None:
    W = np.random.default_rng(3).normal(size=50).astype(dtype)
    before, state = W.copy(), kernels.init_state(optimizer, W)
    for _ in range(3):
        assert kernels.update(optimizer, W, np.zeros_like(W), state)
    assert_same_bits([W], [before])
    assert all((np.abs(a) < 1e-30).all() for a in state.arrays)
