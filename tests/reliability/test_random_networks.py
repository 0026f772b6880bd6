"""Random networks trained in float64 alongside PyTorch: the same outputs after a few steps."""

import numpy as np
import pytest

import fastbp
from fastbp import Activation, BatchNorm, Dense, LayerNorm, PeriodicEmbedding, Residual, Scale, Sequential, exchange

torch = pytest.importorskip("torch")
nn = torch.nn

STEPS = 5
HIDDEN = [name for name in fastbp.activations.NAMES if name not in ("softmax", "identity")]
OPTIMIZERS = {
    "SGD": (lambda: fastbp.SGD(0.05), lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": (lambda: fastbp.SGD(0.05, momentum=0.9), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)),
    "Nesterov": (
        lambda: fastbp.SGD(0.05, momentum=0.8, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True),
    ),
    "Adam": (lambda: fastbp.Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "AMSGrad": (lambda: fastbp.Adam(0.01, amsgrad=True), lambda p: torch.optim.Adam(p, 0.01, amsgrad=True)),
    "AdamW": (lambda: fastbp.AdamW(0.01, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
    "NAdam": (lambda: fastbp.NAdam(0.01), lambda p: torch.optim.NAdam(p, 0.01)),
    "RMSprop": (lambda: fastbp.RMSprop(0.01), lambda p: torch.optim.RMSprop(p, 0.01)),
    "Adagrad": (lambda: fastbp.Adagrad(0.05), lambda p: torch.optim.Adagrad(p, 0.05)),
    "Adadelta": (lambda: fastbp.Adadelta(1.0), lambda p: torch.optim.Adadelta(p, 1.0)),
}
# By name: the last activation and PyTorch's loss, which takes logits for softmax and sigmoid.
LOSSES = {
    "cross_entropy": ("softmax", nn.functional.cross_entropy),
    "binary_cross_entropy": ("sigmoid", nn.functional.binary_cross_entropy_with_logits),
    "mse": ("identity", nn.functional.mse_loss),
    "mae": ("identity", nn.functional.l1_loss),
    "huber": ("tanh", nn.functional.huber_loss),
}


def hidden_layers(rng, depth):
    """A few narrow layers with weights."""
    layers = []
    for _ in range(depth):
        units, name = int(rng.integers(1, 40)), str(rng.choice(HIDDEN))
        match rng.integers(7):
            case 0:
                layers.append(Dense(units, name, use_bias=bool(rng.integers(2))))
            case 1:
                layers += [Dense(units, use_bias=False), BatchNorm(), Activation(name)]
            case 2:
                layers += [LayerNorm(), Dense(units, name)]
            case 3:
                layers.append(Residual([Dense(units, name), Dense(int(rng.integers(1, 40)))]))
            case 4:
                layers += [Dense(units), Scale(), Activation(name)]
            case 6:
                layers += [Dense(units, name), PeriodicEmbedding(2, 3, [units - 1], phases=bool(rng.integers(2)))]
            case 5:
                layers += [Dense(units, name), Residual([LayerNorm(), Dense(units, name)])]
    return layers


def make(seed):
    """A model, its data, and the names of its loss and optimizer."""
    rng = np.random.default_rng(seed)
    loss, optimizer = str(rng.choice(list(LOSSES))), str(rng.choice(list(OPTIMIZERS)))
    inputs, outputs, rows = int(rng.integers(1, 30)), int(rng.integers(2, 12)), int(rng.integers(9, 70))
    layers = [*hidden_layers(rng, int(rng.integers(0, 5))), Dense(outputs, LOSSES[loss][0])]
    model = Sequential(layers, input_size=inputs, dtype="float64", seed=seed)
    model.compile(OPTIMIZERS[optimizer][0](), loss)
    X = rng.normal(size=(rows, inputs))
    y = rng.normal(size=(rows, outputs))
    if loss == "cross_entropy":
        y = rng.integers(0, outputs, rows)
    elif loss == "binary_cross_entropy":
        y = (y > 0).astype(float)
    return model, X, y, loss, optimizer


def assert_trains_like_pytorch(seed):
    model, X, y, loss, optimizer = make(seed)
    module = exchange.to_torch(model).double().train()
    steps = OPTIMIZERS[optimizer][1]([p for p in module.parameters() if p.requires_grad])
    compute, target = LOSSES[loss][1], torch.from_numpy(y)
    inner = module[:-1] if isinstance(module[-1], nn.Softmax | nn.Sigmoid) else module
    assert (inner is not module) == (LOSSES[loss][0] in ("softmax", "sigmoid"))
    for _ in range(STEPS):
        steps.zero_grad()
        expected = compute(inner(torch.from_numpy(X)), target)
        expected.backward()
        steps.step()
        found = model.train_on_batch(X, y)
        assert found == pytest.approx(expected.item(), rel=1e-7, abs=1e-12), (seed, loss, optimizer, model)
    with torch.no_grad():
        outputs = module.eval()(torch.from_numpy(X)).numpy()
    # Rounding, 1e-16 of a gradient, is amplified by small square roots in adaptive rules and small deviations in norms.
    np.testing.assert_allclose(model.predict(X), outputs, rtol=1e-6, atol=1e-7, err_msg=f"{seed} {loss} {optimizer}")


@pytest.mark.jit
@pytest.mark.parametrize("seed", range(20))
def test_random_networks_train_like_pytorch(seed):
    assert_trains_like_pytorch(seed)


@pytest.mark.jit
@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_300_random_networks_train_like_pytorch(seed):
    assert_trains_like_pytorch(seed)
