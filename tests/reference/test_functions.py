"""The reference trainer: gradients match central differences; activations, losses and steps match PyTorch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from fastbp.reference import ACTIVATIONS, LOSSES, ReferenceEngine
from fastbp.spec import LayerSpec, Report

EPS = 2.0**-52
ALPHAS = {"leaky_relu": 0.01, "elu": 0.7, "celu": 0.5}  # PyTorch rounds 1 / alpha of celu to float32
# Every activation with every loss; then as the last layer, which determines what the loss is computed from.
BASIC = ("mse", "cross_entropy", "binary_cross_entropy")  # test_losses covers the others
HIDDEN = [(name, loss, None) for name in ACTIVATIONS for loss in BASIC]
LAST = [("tanh", "mse", name) for name in [*ACTIVATIONS, "softmax"]]
FUSED = [("tanh", loss, name) for loss in BASIC for name in LOSSES[loss].fused]


def make_engine(
    layers: Sequence[LayerSpec], *, inputs: int = 4, dtype: str = "float64", seed: int = 0
) -> ReferenceEngine:
    rng = np.random.default_rng(seed)
    engine = ReferenceEngine(inputs, layers, dtype=dtype)
    engine.set_weights([rng.normal(0, 0.7, W.shape) for W in engine.get_weights()])
    return engine


def make_data(loss: str, *, rows: int = 7, inputs: int = 4, outputs: int = 3, seed: int = 1):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, inputs))
    if loss == "cross_entropy":
        return X, rng.integers(0, outputs, rows)
    return X, rng.random((rows, outputs))


def spec(units: int, activation: str, **options: Any) -> LayerSpec:
    return LayerSpec(units, activation, ALPHAS.get(activation, 0.0), **options)


def central_differences(engine: ReferenceEngine, loss_of: Callable[[], float]) -> list[np.ndarray]:
    """(L(w + h) - L(w - h)) / 2h for every weight, h = cbrt(eps) max(1, |w|), which balances the two errors below."""
    weights = engine.get_weights()
    result = [np.empty_like(W) for W in weights]
    for W, dW in zip(weights, result, strict=True):
        for i in np.ndindex(W.shape):
            kept, ends = W[i], []
            h = EPS ** (1 / 3) * max(1.0, abs(kept))
            for W[i] in (kept + h, kept - h):
                engine.set_weights(weights)
                ends.append(loss_of())
            dW[i] = (ends[0] - ends[1]) / (2 * h)
            W[i] = kept
    engine.set_weights(weights)
    return result


def assert_gradients_match(engine: ReferenceEngine, X, y, sample_weight=None) -> None:  # type: ignore[no-untyped-def]
    loss, gradient = engine.gradients(X, y, sample_weight=sample_weight)
    assert loss == pytest.approx(engine.evaluate(X, y, sample_weight=sample_weight), rel=20 * EPS)
    expected = central_differences(engine, lambda: engine.evaluate(X, y, sample_weight=sample_weight))
    # Truncation h^2 L'''/6 and rounding eps L/h are both eps^(2/3) = 4e-11 times problem-dependent constants: L of
    # order 1, third derivatives of order 100 with inputs and weights of order 1. The seeds keep |z| > h at kinks.
    for dW, expected_dW in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(dW, expected_dW, rtol=0, atol=100 * EPS ** (2 / 3))


@pytest.mark.parametrize(("hidden", "loss", "last"), HIDDEN + LAST + FUSED)
def test_gradients_match_central_differences(hidden: str, loss: str, last: str | None) -> None:
    engine = make_engine([spec(5, hidden), spec(4, hidden), spec(3, last or (*LOSSES[loss].fused, "tanh")[0])])
    engine.configure(loss, "sgd")
    X, y = make_data(loss)
    assert_gradients_match(engine, X, y)
    assert_gradients_match(engine, X, y, np.random.default_rng(2).random(len(X)))


@pytest.mark.parametrize("loss", BASIC)
def test_gradients_of_standalone_activations_and_layers_without_bias(loss: str) -> None:
    last = (*LOSSES[loss].fused, "softmax")[0]
    layers = [
        spec(4, "tanh", kind="activation"),
        spec(5, "identity", use_bias=False),
        spec(5, "relu", kind="activation"),
        spec(5, "softmax", kind="activation"),
        spec(3, "relu"),
        spec(3, "identity", kind="activation"),
        spec(3, last, kind="activation"),
    ]
    engine = make_engine(layers)
    engine.configure(loss, "sgd")
    assert [W.shape for W in engine.get_weights()] == [(4, 5), (5, 3), (3,)]
    assert engine.n_parameters == 38
    assert_gradients_match(engine, *make_data(loss))


TORCH_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": lambda z: z * 1,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, ALPHAS["leaky_relu"]),
    "elu": lambda z: torch.nn.functional.elu(z, ALPHAS["elu"]),
    "selu": torch.nn.functional.selu,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "mish": torch.nn.functional.mish,
    "softsign": torch.nn.functional.softsign,
    "relu6": torch.nn.functional.relu6,
    "celu": lambda z: torch.nn.functional.celu(z, ALPHAS["celu"]),
    "hard_swish": torch.nn.functional.hardswish,
    "softplus": lambda z: torch.nn.functional.softplus(z, threshold=700),  # its default drops exp(-z) above 20
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_derivatives_match_pytorch(name: str) -> None:
    Z = np.concatenate([np.linspace(-30, 30, 1201), [-1e4, -100.0, 100.0, 1e4]])
    z = torch.tensor(Z, requires_grad=True)
    a = TORCH_ACTIVATIONS[name](z)
    a.sum().backward()
    alpha = ALPHAS.get(name, 0.0)
    A = ACTIVATIONS[name].f(Z, alpha)
    # A few operations of relative error eps; PyTorch's 1 + erf and 1 + tanh cancel below 0, up to eps |z| absolute.
    np.testing.assert_allclose(A, a.detach().numpy(), rtol=16 * EPS, atol=30 * 4 * EPS)
    assert z.grad is not None
    # z^3 inside tanh costs |2 u'' z| eps <= 30 eps where the derivative is not yet flat.
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(Z, A, alpha), z.grad.numpy(), rtol=16 * EPS, atol=64 * EPS)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_activations_keep_the_dtype_and_do_not_warn(name: str, dtype: str) -> None:
    Z = np.array([-30, -1, -0.0, 0, 1e-3, 1, 30], dtype)
    A = ACTIVATIONS[name].f(Z, ALPHAS.get(name, 0.0))
    D = ACTIVATIONS[name].derivative(Z, A, ALPHAS.get(name, 0.0))
    assert A.dtype == dtype
    assert D.dtype in (dtype, bool)
    assert np.isfinite(A).all()
    assert np.isfinite(D).all()


def test_gelu_tail_does_not_suffer_cancellation() -> None:
    # Phi(-10) to 17 digits, DLMF 7.12.1; (1 + erf) / 2 would give 0
    A = ACTIVATIONS["gelu"].f(np.array([-10.0]), 0.0)
    assert A[0] / -10 == pytest.approx(7.6198530241605261e-24, rel=1e-13)  # error of z^2/2: 50 eps, times 2 for safety


EXTREME = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [30.0, -30.0, 1e-8]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_of_extreme_logits_match_pytorch(dtype: str) -> None:
    Z = EXTREME.astype(dtype)
    z = torch.tensor(Z, requires_grad=True)
    eps = float(np.finfo(dtype).eps)
    for labels in ([0, 1, 2, 0], [1, 0, 0, 2]):
        z.grad = None
        expected = torch.nn.functional.cross_entropy(z, torch.tensor(labels), reduction="none")
        expected.sum().backward()
        row_losses, D = LOSSES["cross_entropy"].f(Z, np.array(labels))
        # one exp, one sum of 3, one log and one subtraction
        np.testing.assert_allclose(row_losses, expected.detach().numpy(), rtol=8 * eps, atol=2 * eps)
        np.testing.assert_allclose(D, z.grad.numpy(), rtol=8 * eps, atol=2 * eps)  # type: ignore[union-attr]
    for Y in (np.zeros_like(Z), np.ones_like(Z), np.full_like(Z, 0.3)):
        z.grad = None
        expected = torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(Y), reduction="none").mean(1)
        expected.sum().backward()
        row_losses, D = LOSSES["binary_cross_entropy"].f(Z, Y)
        np.testing.assert_allclose(row_losses, expected.detach().numpy(), rtol=8 * eps, atol=2 * eps)
        np.testing.assert_allclose(D, z.grad.numpy(), rtol=8 * eps, atol=2 * eps)  # type: ignore[union-attr]


# ---------------------------------------------------------------- optimizers

Parameters = list[torch.nn.Parameter]
OPTIMIZERS: dict[str, tuple[str, int, list[float], Callable[[Parameters], torch.optim.Optimizer]]] = {
    "sgd": ("sgd", 0, [0.1, 0.0], lambda p: torch.optim.SGD(p, 0.1)),
    "sgd decay": ("sgd", 0, [0.1, 0.01], lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01)),
    "momentum": ("momentum", 1, [0.1, 0.01, 0.9], lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.01)),
    "nesterov": (
        "nesterov",
        1,
        [0.1, 0.01, 0.9],
        lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.01, nesterov=True),
    ),
    "adam": ("adam", 2, [0.01, 0.0, 0.9, 0.999, 1e-8], lambda p: torch.optim.Adam(p, 0.01)),
    "adam decay": (
        "adam",
        2,
        [0.01, 0.1, 0.8, 0.95, 1e-3],
        lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-3, weight_decay=0.1),
    ),
    "adamw": (
        "adamw",
        2,
        [0.01, 0.1, 0.9, 0.999, 1e-8],
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    ),
}


def scalars_of(row: list[float], steps: int, *, first: int = 0) -> np.ndarray:
    """Rows as an optimizer produces them: lr, decay, then momentum, first; or beta_1, beta_2, epsilon, 1 - beta^t."""
    scalars = np.zeros((steps, 8))
    scalars[:, : len(row)] = row
    t = np.arange(first, first + steps) + 1
    if len(row) == 3:
        scalars[:, 3] = t == 1
    elif len(row) == 5:
        scalars[:, 5], scalars[:, 6] = 1 - row[2] ** t, 1 - row[3] ** t
    return scalars


def torch_steps(engine: ReferenceEngine, X, y, batches, make_optimizer) -> tuple[list[float], list[np.ndarray]]:  # type: ignore[no-untyped-def]
    """Losses and final weights of a tanh and softmax network that PyTorch trains from the engine's weights."""
    weights = [torch.nn.Parameter(torch.tensor(W)) for W in engine.get_weights()]
    optimizer, losses = make_optimizer(weights), []
    for batch in batches:
        A = torch.tensor(X[batch])
        for i in range(0, len(weights), 2):
            A = (torch.tanh(A) if i else A) @ weights[i] + weights[i + 1]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(A, torch.tensor(y[batch]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [W.detach().numpy() for W in weights]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_steps_match_pytorch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastbp.reference.optimizers.BLOCK", 11)  # several blocks and a shorter last one
    rule, n_states, row, make_optimizer = OPTIMIZERS[name]
    engine = make_engine([spec(6, "tanh"), spec(5, "tanh"), spec(3, "softmax")])
    X, y = make_data("cross_entropy", rows=40)
    order = np.random.default_rng(3).permutation(np.tile(np.arange(40), 3))
    bounds = np.arange(0, 121, 12)
    batches = np.split(order, bounds[1:-1])
    expected_losses, expected_weights = torch_steps(engine, X, y, batches, make_optimizer)
    engine.configure("cross_entropy", rule)
    engine.reset_state(n_states)
    losses = np.empty(10)
    report = engine.train(X, y, order, bounds, scalars_of(row, 10), losses)
    assert report == Report(10, 0, -1)
    # Ten steps, each with about 100 roundings of values of order 1. Adam divides a gradient by its own magnitude, so
    # the error of a 1e-4 gradient grows 1e4 times: hence 1e-11, not 1e-13.
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-11)
    for W, expected in zip(engine.get_weights(), expected_weights, strict=True):
        np.testing.assert_allclose(W, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_training_is_bit_identical(name: str) -> None:
    rule, n_states, row, _ = OPTIMIZERS[name]
    X, y = make_data("mse", rows=30)
    order, scalars, losses = np.arange(30), scalars_of(row, 6), np.empty(6)

    def fresh() -> ReferenceEngine:
        engine = make_engine([spec(6, "silu"), spec(3, "identity")])
        engine.configure("mse", rule)
        engine.reset_state(n_states)
        return engine

    uninterrupted, stopped, resumed = fresh(), fresh(), fresh()
    bounds = np.arange(0, 31, 5)
    uninterrupted.train(X, y, order, bounds, scalars, losses)
    stopped.train(X, y, order, bounds[:4], scalars[:3], losses[:3])
    resumed.set_weights(stopped.get_weights())
    resumed.set_state(stopped.get_state())
    resumed.train(X, y, order, bounds[3:], scalars[3:], losses[3:])
    for W, expected in zip(resumed.get_weights(), uninterrupted.get_weights(), strict=True):
        np.testing.assert_array_equal(W, expected)
    for state, expected_state in zip(resumed.get_state(), uninterrupted.get_state(), strict=True):
        for v, expected in zip(state, expected_state, strict=True):
            np.testing.assert_array_equal(v, expected)
