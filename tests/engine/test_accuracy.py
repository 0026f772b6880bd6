"""Numerical accuracy of the engine: predictions, losses and gradients within the derived bound, gradients against
central differences, training steps against PyTorch and the reference's update rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fastbp.reference import ACTIVATIONS
from fastbp.reference import update as reference_update
from fastbp.spec import LayerSpec, Report
from tests.engine.cases import (
    OPTIMIZERS,
    Wide,
    assert_same_bits,
    everything,
    excess,
    make_data,
    make_engine,
    predict,
    spec,
    train,
)

jit = pytest.mark.jit
NAMES = [*ACTIVATIONS, "softmax"]
WIDTHS = [*range(1, 71), 127, 128, 129]
EPS = 2.0**-52
LOGITS = {"cross_entropy": ("softmax", "identity"), "binary_cross_entropy": ("sigmoid", "identity"), "mse": ()}


def batch_size_of(case: int) -> int:
    """1 to 130; any 130 consecutive cases cover all of them, since 47 and 130 are coprime."""
    return 1 + case * 47 % 130


def assert_within(worst: dict, limit: float = 1.0) -> None:
    """Assert that no case is farther from the high-precision result than its bound."""
    over = {case: value for case, value in worst.items() if not value <= limit}
    assert not over


# -- within the bound ----------------------------------------------------------------------------------------------
@jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_within_the_bound_at_every_width_and_batch_size(name: str, dtype: str) -> None:
    worst = {}
    start = 75 * NAMES.index(name)
    for case, width in enumerate(WIDTHS, start):
        inputs, layers = WIDTHS[(case * 29) % len(WIDTHS)], [spec(width, name)]
        X, _ = make_data(batch_size_of(case), inputs, 1, dtype=dtype, seed=case)
        engine = make_engine(inputs, layers, dtype=dtype, seed=case)
        expected = Wide(layers, engine.get_weights(), dtype).forward(3 * X)
        worst[inputs, width, len(X)] = excess(predict(engine, 3 * X), expected)
    # the reference's GELU is float64 at best, so its own error may be as large
    assert_within(worst, 2.0 if (name, dtype) == ("gelu", "float64") else 1.0)


@jit
@pytest.mark.parametrize("name", ["relu", "gelu_tanh", "softmax"])
@pytest.mark.parametrize(("inputs", "width"), [(1000, 129), (127, 1000), (1000, 1000), (1, 1000), (1000, 1)])
def test_wide_layers_are_within_the_bound(name: str, inputs: int, width: int) -> None:
    layers, worst = [spec(width, name)], {}
    engine = make_engine(inputs, layers)
    for rows in (1, 16, 33, 130):
        X, _ = make_data(rows, inputs, 1)
        worst[rows] = excess(predict(engine, X), Wide(layers, engine.get_weights(), "float32").forward(X))
    assert_within(worst)


@jit
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_are_within_the_bound_at_every_width_and_batch_size(name: str) -> None:
    worst, losses = {}, list(LOGITS)
    for case, width in enumerate(WIDTHS, 75 * NAMES.index(name)):
        inputs, outputs, loss = WIDTHS[case * 29 % len(WIDTHS)], 1 + case * 11 % 37, losses[case % 3]
        last = LOGITS[loss][case // 3 % 2] if LOGITS[loss] else name
        layers = [spec(width, name), spec(outputs, last)]
        X, y = make_data(batch_size_of(case), inputs, outputs, loss=loss, seed=case)
        weight = np.random.default_rng(case).random(len(X)).astype("float32") if case % 2 else None
        engine = make_engine(inputs, layers, loss=loss, seed=case)
        total, gradients = engine.gradients(X, y, sample_weight=weight)
        expected_loss, expected = Wide(layers, engine.get_weights(), "float32").gradients(X, y, loss, weight)
        errors = [excess(dW, bounded) for dW, bounded in zip(gradients, expected, strict=True)]
        worst[inputs, width, outputs, len(X), loss, last] = max(excess(total, expected_loss), *errors)
    assert_within(worst)


@jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", ["softmax", "tanh"])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 130])
def test_gradients_of_a_deep_network_are_within_the_bound(rows: int, last: str, dtype: str) -> None:
    layers = [spec(300, "relu"), spec(70, "silu"), spec(129, "elu", use_bias=False),
              spec(129, "mish", kind="activation"), spec(33, "sigmoid"), spec(20, last)]  # fmt: skip
    loss = "cross_entropy" if last == "softmax" else "mse"
    X, y = make_data(rows, 257, 20, loss=loss, dtype=dtype)
    engine = make_engine(257, layers, loss=loss, dtype=dtype)
    total, gradients = engine.gradients(X, y)
    expected_loss, expected = Wide(layers, engine.get_weights(), dtype).gradients(X, y, loss)
    worst = {"loss": excess(total, expected_loss)}
    worst |= {i: excess(dW, bounded) for i, (dW, bounded) in enumerate(zip(gradients, expected, strict=True))}
    assert_within(worst)


@jit
def test_gradients_for_one_hot_and_soft_targets_are_within_the_bound() -> None:
    layers = [spec(20, "tanh"), spec(19, "softmax")]
    X, labels = make_data(70, 9, 19, loss="cross_entropy")
    engine = make_engine(9, layers, loss="cross_entropy")
    soft = np.random.default_rng(5).dirichlet(np.ones(19), 70).astype("float32")
    for y in (np.eye(19, dtype="float32")[labels], soft):
        total, gradients = engine.gradients(X, y)
        expected_loss, expected = Wide(layers, engine.get_weights(), "float32").gradients(X, y, "cross_entropy")
        assert excess(total, expected_loss) <= 1
        assert_within({i: excess(*pair) for i, pair in enumerate(zip(gradients, expected, strict=True))})


def test_bound_is_tight_enough_to_catch_small_mistakes() -> None:
    """An error of 1 % in one of 1,200 weights, or one of 33 rows left out, exceeds it."""
    layers = [spec(40, "tanh"), spec(3)]
    X, y = make_data(33, 30, 3)
    engine = make_engine(30, layers)
    weights = engine.get_weights()
    wide = Wide(layers, weights, "float32")
    exact = [bounded.value for bounded in wide.gradients(X, y, "mse")[1]]
    weights[0][2, 3] *= 1.01
    other_weight = Wide(layers, weights, "float32").gradients(X, y, "mse")[1]
    for changed in (other_weight, wide.gradients(X[:32], y[:32], "mse")[1]):
        assert max(excess(dW, bounded) for dW, bounded in zip(exact, changed, strict=True)) > 1


# -- central differences -------------------------------------------------------------------------------------------
def central_differences(engine, X, y, weight) -> list[np.ndarray]:
    """(L(w + h) - L(w - h)) / 2h for every weight, h = cbrt(eps) max(1, |w|), which balances the errors."""
    weights = engine.get_weights()
    result = [np.empty_like(W) for W in weights]
    for W, dW in zip(weights, result, strict=True):
        for i in np.ndindex(W.shape):
            kept, ends = W[i], []
            h = EPS ** (1 / 3) * max(1.0, abs(kept))
            for W[i] in (kept + h, kept - h):
                engine.set_weights(weights)
                ends.append(engine.evaluate(X, y, sample_weight=weight))
            dW[i] = (ends[0] - ends[1]) / (2 * h)
            W[i] = kept
    engine.set_weights(weights)
    return result


HIDDEN = [(name, loss, (*LOGITS[loss], "tanh")[0]) for name in ACTIVATIONS for loss in LOGITS]
LAST = [("tanh", "mse", name) for name in NAMES] + [("tanh", loss, last) for loss in LOGITS for last in LOGITS[loss]]


def assert_gradients_match_differences(layers: list[LayerSpec], loss: str, *, soft: bool = False) -> None:
    engine = make_engine(4, layers, dtype="float64", loss=loss, seed=3)
    X, y = make_data(7, 4, layers[-1].units, loss="mse" if soft else loss, dtype="float64")
    for weight in (None, np.random.default_rng(2).random(7)):
        total, gradients = engine.gradients(X, y, sample_weight=weight)
        assert total == pytest.approx(engine.evaluate(X, y, sample_weight=weight), rel=20 * EPS)
        # Truncation h^2 L'''/6 and rounding eps L/h are both eps^(2/3) = 4e-11 times constants of the network: L of
        # order 1, third derivatives of order 100 for inputs and weights of order 1. The seeds keep |z| > h at kinks.
        for dW, expected in zip(gradients, central_differences(engine, X, y, weight), strict=True):
            np.testing.assert_allclose(dW, expected, rtol=0, atol=100 * EPS ** (2 / 3))


@jit
@pytest.mark.parametrize(("hidden", "loss", "last"), HIDDEN + LAST)
def test_gradients_match_central_differences(hidden: str, loss: str, last: str) -> None:
    assert_gradients_match_differences([spec(5, hidden), spec(4, hidden), spec(3, last)], loss)


@jit
@pytest.mark.parametrize("last", ["softmax", "identity"])
def test_gradients_match_central_differences_for_soft_targets(last: str) -> None:
    assert_gradients_match_differences([spec(5, "tanh"), spec(3, last)], "cross_entropy", soft=True)


@jit
@pytest.mark.parametrize("loss", LOGITS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_match_central_differences_through_activation_layers(name: str, loss: str) -> None:
    last = (*LOGITS[loss], "softmax")[0]
    layers = [spec(4, name, kind="activation"), spec(5, use_bias=False), spec(5, name, kind="activation"),
              spec(5, "tanh", kind="activation"), spec(3, name), spec(3, "tanh", kind="activation"),
              spec(3, last, kind="activation")]  # fmt: skip
    assert_gradients_match_differences(layers, loss)


# -- training steps ------------------------------------------------------------------------------------------------
TORCH = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "sgd decay": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, 0.9),
    "momentum decay": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True),
    "nesterov decay": lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.1, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adam decay": lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-3, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
}


def torch_steps(weights, X, y, batches, optimizer: str) -> tuple[list[float], list[np.ndarray]]:
    """The losses and final weights of a tanh network with softmax and cross-entropy trained by PyTorch."""
    parameters = [torch.nn.Parameter(torch.tensor(W)) for W in weights]
    update, losses = TORCH[optimizer](parameters), []
    for batch in batches:
        A = torch.tensor(X[batch])
        for i in range(0, len(parameters), 2):
            A = (torch.tanh(A) if i else A) @ parameters[i] + parameters[i + 1]
        update.zero_grad()
        loss = torch.nn.functional.cross_entropy(A, torch.tensor(y[batch]))
        loss.backward()
        update.step()
        losses.append(loss.item())
    return losses, [W.detach().numpy() for W in parameters]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=jit)])
@pytest.mark.parametrize("optimizer", TORCH)
def test_ten_steps_match_pytorch(optimizer: str, dtype: str) -> None:
    engine = make_engine(11, [spec(21, "tanh"), spec(18, "tanh"), spec(5, "softmax")], dtype=dtype,
                         loss="cross_entropy", optimizer=optimizer)  # fmt: skip
    X, y = make_data(40, 11, 5, loss="cross_entropy", dtype=dtype)
    order = np.random.default_rng(3).permutation(np.tile(np.arange(40), 4))
    bounds = [0, 17, 33, 48, 65, 66, 80, 99, 116, 133, 150]
    batches = np.split(order, bounds[1:-1])[:10]
    batches[-1] = order[133:150]
    expected_losses, expected = torch_steps(engine.get_weights(), X, y, batches, optimizer)
    report, losses = train(engine, X, y, optimizer, bounds, order=order)
    assert report == Report(10, 0, -1)
    # Ten steps of some 100 roundings each on values of order 1: 1,000 u = 1e-13 and 6e-5 at worst, about a thirtieth of
    # that with random signs. Adam divides a gradient by its own magnitude, so for one of 1e-4 the relative error, and
    # with it that of a step of 0.01, grows by a factor of 1e4: 1e-11, and in float32 one step in a hundred.
    adam = optimizer.startswith("adam")
    limit = {"float64": 1e-11, "float32": 2e-4 if adam else 2e-6}[dtype]
    np.testing.assert_allclose(losses, expected_losses, rtol=limit)
    for W, expected_W in zip(engine.get_weights(), expected, strict=True):
        np.testing.assert_allclose(W, expected_W, rtol=limit, atol=limit)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=jit)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fused_update_matches_gradient_and_rule(optimizer: str, dtype: str) -> None:
    """Five steps of train against gradients() and the reference's rule, each step from the engine's own weights."""
    engine = make_engine(9, [spec(17, "relu"), spec(4)], dtype=dtype, optimizer=optimizer)
    X, y = make_data(20, 9, 4, dtype=dtype)
    flat = np.concatenate([W.ravel() for W in engine.get_weights()])
    states = [np.zeros_like(flat) for _ in engine.get_state()]
    for step in range(5):
        gradient = np.concatenate([dW.ravel() for dW in engine.gradients(X, y)[1]])
        flat = np.concatenate([W.ravel() for W in engine.get_weights()])
        row = OPTIMIZERS[optimizer].scalars(np.array([step]))[0].tolist()
        reference_update(OPTIMIZERS[optimizer].rule, flat, gradient, states, row, np.empty_like(flat))
        train(engine, X, y, optimizer, [0, 20], first=step)
        got = np.concatenate([W.ravel() for W in engine.get_weights()])
        # a dozen roundings of a step of at most 1 and one of the weight, each with states rounded twice
        np.testing.assert_allclose(got, flat, rtol=0, atol=32 * np.finfo(dtype).eps)


@jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "widths"), [(1, (10, 5, 1)), (33, (70, 65, 3)), (128, (300, 129, 10))])
def test_fused_gradient_is_bit_identical_to_unfused(rows: int, widths: tuple[int, ...], dtype: str) -> None:
    """After one momentum step from zero velocity without decay, the velocity is the gradient."""
    inputs, *units = widths
    layers = [spec(units[0], "gelu"), spec(units[0], "tanh"), spec(units[1])]
    engine = make_engine(inputs, layers, dtype=dtype, optimizer="momentum")
    X, y = make_data(rows, inputs, units[-1], dtype=dtype)
    _, gradients = engine.gradients(X, y)
    train(engine, X, y, "momentum", [0, rows])
    assert_same_bits([v + dW.dtype.type(0) for v, dW in zip(engine.get_state()[0], gradients, strict=True)],
                     [dW + dW.dtype.type(0) for dW in gradients])  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zero_gradients_change_weights_only_by_decay(optimizer: str) -> None:
    engine = make_engine(9, [spec(17, "relu"), spec(4)], optimizer=optimizer)
    X, y = make_data(20, 9, 4)
    before = everything(engine)
    report, losses = train(engine, X, y, optimizer, [0, 10, 20], sample_weight=np.zeros(20, "float32"))
    assert report == Report(2, 0, -1)
    np.testing.assert_array_equal(losses, 0)
    if "decay" not in optimizer and optimizer != "adamw":
        n = len(engine.get_weights())
        assert_same_bits(engine.get_weights(), before[:n])
        # Adam adds a constant far below any gradient to its second moment instead of testing for 0 / 0
        assert all((np.abs(v) < 1e-30).all() for v in everything(engine)[n:])
        return
    flat, states = np.concatenate([W.ravel() for W in before[: len(engine.get_weights())]]), None
    states = [np.zeros_like(flat) for _ in engine.get_state()]
    for row in OPTIMIZERS[optimizer].scalars(np.arange(2)).tolist():
        reference_update(OPTIMIZERS[optimizer].rule, flat, np.zeros_like(flat), states, row, np.empty_like(flat))
    got = np.concatenate([W.ravel() for W in engine.get_weights()])
    # five roundings per step of a weight near 1
    np.testing.assert_allclose(got, flat, rtol=10 * np.finfo("float32").eps, atol=10 * np.finfo("float32").eps)


@jit
@pytest.mark.parametrize("loss", LOGITS)
def test_sample_weights_summing_to_zero_give_zero_loss_and_gradients(loss: str) -> None:
    engine = make_engine(9, [spec(17, "relu"), spec(4)], loss=loss)
    X, y = make_data(20, 9, 4, loss=loss)
    weight = np.zeros(20, "float32")
    total, gradients = engine.gradients(X, y, sample_weight=weight)
    assert total == 0
    assert all((dW == 0).all() for dW in gradients)
    assert engine.evaluate(X, y, sample_weight=weight) == 0


@jit
@pytest.mark.parametrize("loss", LOGITS)
def test_outputs_of_training_and_evaluation_equal_predictions(loss: str) -> None:
    last = (*LOGITS[loss], "tanh")[0]
    engine = make_engine(9, [spec(17, "relu"), spec(4, last)], loss=loss)
    X, y = make_data(700, 9, 4, loss=loss)
    order, outputs = np.random.default_rng(0).permutation(700), np.zeros((700, 4), "float32")
    expected = predict(engine, X)
    total = engine.evaluate(X, y, outputs=outputs)
    # evaluation sums the losses of chunks of rows; the same rows in one batch differ by rounding
    assert total == pytest.approx(engine.gradients(X, y)[0], rel=1e-5)
    assert_same_bits([outputs], [expected])
    outputs[:] = 0
    report, losses = train(engine, X, y, "sgd", [0, 700], order=order, outputs=outputs)
    assert report == Report(1, 0, -1)
    assert losses[0] == pytest.approx(total, rel=1e-5)
    assert_same_bits([outputs], [expected[order]])


def test_sample_weights_follow_the_rows_of_each_step() -> None:
    """Also if the bounds end before the order does, as when a run is stopped between steps."""
    X, y = make_data(30, 9, 4)
    weight = np.random.default_rng(4).random(30).astype("float32")
    engine, twin = (make_engine(9, [spec(17, "tanh"), spec(4)]) for _ in range(2))
    order = np.random.default_rng(5).permutation(30)
    _, losses = train(engine, X, y, "sgd", [0, 10, 20], order=order, sample_weight=weight)
    for step in range(2):
        rows = order[10 * step : 10 * step + 10]
        assert losses[step] == pytest.approx(twin.evaluate(X[rows], y[rows], sample_weight=weight[rows]), rel=1e-6)
        train(twin, X[rows], y[rows], "sgd", [0, 10], sample_weight=weight[rows])
    for W, expected in zip(engine.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(W, expected, rtol=1e-6, atol=1e-6)  # same arithmetic; two steps of order 0.1


def test_each_layer_uses_its_own_alpha() -> None:
    """Two layers with the same activation but different parameters."""
    layers = [LayerSpec(20, "elu", 0.3), LayerSpec(20, "leaky_relu", 0.2, kind="activation"),
              LayerSpec(20, "elu", 1.7, kind="activation")]  # fmt: skip
    engine = make_engine(7, layers)
    X, _ = make_data(19, 7, 1)
    W, b = (w.astype(float) for w in engine.get_weights())
    A = X.astype(float) @ W + b
    for layer in layers:
        A = ACTIVATIONS[layer.activation].f(A, layer.alpha)
    # 7 products and three functions: at most 30 roundings of numbers near 1
    np.testing.assert_allclose(predict(engine, X), A, rtol=1e-5, atol=1e-5)
