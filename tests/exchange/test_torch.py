"""PyTorch: modules compute and train like the models; models are made from modules and from state dicts."""

import copy
import importlib
import io
import sys

import numpy as np
import pytest

import fastbp
from fastbp import Activation, CustomActivation, Dense, Dropout, LayerNorm, Residual, Sequential, exchange
from fastbp.exchange import ExchangeError, torch_modules
from tests.exchange.cases import CASES, INPUTS, assert_close, assert_same_weights, make, rows

torch = pytest.importorskip("torch")
torch_layers = importlib.import_module("fastbp.exchange.torch_layers")
nn = torch.nn
F = nn.functional

RANDOM = ("Dropout", "GaussianNoise", "nested blocks", "Residual without weights", "deep")  # random in training
CANONICAL = {  # an Activation after a Dense without one is merged into it: different layers, the same function
    "two activations", "Activation leaky_relu 0.3", "Activation elu 0.7", "Activation elu 1.5", "single unit",
    "leading identity", "Activation celu 0.5",
}  # fmt: skip
# PyTorch's softplus is log1p(exp(z)); its mish and its tanh form of gelu take a few more roundings than ours.
EXTRA = dict.fromkeys(("softplus", "mish", "gelu", "gelu_tanh", "selu", "softmax"), 4.0)


def outputs(module, X):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_round_trip(case, dtype):
    model, X = make(case, dtype), rows(dtype)
    module = exchange.to_torch(model)
    assert not module.training
    assert_close(model, X, outputs(module, X), dtype, EXTRA)
    again = exchange.from_torch(module, seed=3)
    assert_same_weights(model, again)
    if case not in CANONICAL:
        assert repr(again) == repr(model)
    elif dtype == "float64":
        assert_close(again, X, outputs(module, X), dtype, EXTRA)


def deterministic(case, dtype):
    model = make(case, dtype)
    if case not in RANDOM:
        return model
    layers = fastbp.exchange.layer_weights.parts_of(model, "a test")

    def without_random_layers(parts):
        for part in parts:
            if isinstance(part.layer, Residual):
                within = tuple(without_random_layers(part.within)) or (
                    part._replace(layer=Activation("tanh"), weights={}, within=()),
                )
                yield part._replace(layer=Residual(each.layer for each in within), within=within)
            elif not isinstance(part.layer, fastbp.Dropout | fastbp.GaussianNoise):
                yield part

    return fastbp.exchange.layer_weights.model_of(without_random_layers(layers))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_one_training_step_matches(case, dtype):
    """Loss, gradients, and the weights and statistics after a step of SGD."""
    model, X = deterministic(case, dtype), rows(dtype)
    model.compile(fastbp.SGD(0.1), "mse")
    y = np.random.default_rng(7).random((len(X), model.output_size)).astype(dtype)
    module = exchange.to_torch(model).train()
    loss = F.mse_loss(module(torch.from_numpy(X)), torch.from_numpy(y))
    loss.backward()
    # Each is within about 100 u of the exact value where nothing is ill-conditioned; normalization divides by sigma,
    # and cancels. A different formula would be off by 1e-2 or more.
    limit = {"float32": 2e-4, "float64": 1e-12}[dtype]
    gradients = model.gradients(X, y)
    entries = list(torch_modules._entries(exchange.layer_weights.parts_of(model, "a test")))
    named = dict(module.named_parameters())
    for entry, gradient in zip(entries, gradients, strict=True):
        if gradient is None or not named[entry.key].requires_grad:
            continue
        theirs = named[entry.key].grad.numpy()
        theirs = theirs.T if entry.transposed else theirs
        np.testing.assert_allclose(gradient, theirs, rtol=limit, atol=limit * max(1, np.abs(theirs).max()))
    assert model.train_on_batch(X, y) == pytest.approx(loss.item(), rel=limit)
    torch.optim.SGD(module.parameters(), 0.1).step()
    after = copy.deepcopy(model)
    exchange.load_state_dict(after, module.state_dict())
    for ours, theirs in zip(model.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=limit, atol=limit * max(1, np.abs(theirs).max()))


@pytest.mark.parametrize("case", CASES)
def test_state_dict_matches_that_of_the_module(case):
    model = make(case)
    state, theirs = exchange.state_dict(model), exchange.to_torch(model).state_dict()
    assert set(state) == set(theirs)
    assert all(torch.equal(state[name], theirs[name]) and state[name].is_contiguous() for name in state)
    for given in (state, {name: tensor.numpy() for name, tensor in state.items()}):
        other = Sequential(CASES[case], input_size=INPUTS)
        exchange.load_state_dict(other, given)
        assert_same_weights(model, other)
    other = Sequential(CASES[case], input_size=INPUTS)
    exchange.load_state_dict(other, {f"layer{k}": tensor for k, tensor in enumerate(state.values())
                                     if tensor.ndim}, by="order")  # fmt: skip
    assert_same_weights(model, other)


def test_num_batches_tracked_is_exported():
    model = Sequential([fastbp.BatchNorm(), Dense(1)], input_size=2)
    model.compile("sgd", "mse")
    model.fit(np.ones((10, 2)), np.ones(10), batch_size=5, epochs=3)
    assert exchange.state_dict(model)["0.num_batches_tracked"].item() == 6


def test_modules_can_be_pickled_and_copied():
    module = exchange.to_torch(make("deep"))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    X = rows()
    for other in (torch.load(file, weights_only=False), copy.deepcopy(module)):
        np.testing.assert_array_equal(outputs(other, X), outputs(module, X))
    assert "GaussianNoise(stddev=0.1)" in repr(module)
    assert "Scale(6)" in repr(exchange.to_torch(make("Scale")))


def test_noise_is_drawn_in_training_only():
    module = exchange.to_torch(Sequential([fastbp.GaussianNoise(0.5), Dense(1)], input_size=2)).train()
    X = torch.zeros(4000, 2)
    noise = module[0](X)
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(module.eval()[0](X), X)


def test_frozen_parameters_require_no_gradient():
    module = exchange.to_torch(make("frozen"))
    trainable = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    assert trainable == {f"{place}.{name}": place == 3 for place in (0, 2, 3) for name in ("weight", "bias")}


# ---------------------------------------------------------------- modules made with PyTorch


class SimpleNN(nn.Module):
    """As in tutorials."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(INPUTS, 5)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(5, 1)

    def forward(self, x):
        return self.fc2(self.relu(self.fc1(x)))


class Everything(nn.Module):
    """Functions, methods, residual blocks with and without a projection, a nested module."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, 8), nn.Sequential(nn.BatchNorm1d(8), nn.Identity()))
        self.up, self.down, self.skip = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 3, bias=False)
        self.norm, self.act, self.head = nn.LayerNorm(8), nn.SiLU(inplace=True), SimpleHead()

    def forward(self, x):
        x = torch.flatten(x, 1)
        x = self.stem(x.view(x.size(0), -1)).reshape((x.shape[0], INPUTS + 2))
        h = F.dropout(F.gelu(self.up(self.norm(x)), approximate="tanh"), 0.2, training=self.training)
        x = x + self.down(self.act(F.leaky_relu(h, 0.3))).tanh()
        return F.softmax(self.skip(x) + self.head(x), dim=1)


class SimpleHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        return F.softplus(self.fc(F.elu(x, alpha=0.5)))


@pytest.mark.parametrize("make_module", [SimpleNN, Everything])
def test_custom_modules_are_traced(make_module):
    torch.manual_seed(0)
    module = make_module().double()
    module(torch.from_numpy(rows("float64")))  # updates the statistics
    module.eval()
    before = copy.deepcopy(module.state_dict())
    model, X = exchange.from_torch(module), rows("float64", 20)
    assert_close(model, X, outputs(module, X), "float64", EXTRA | {"softplus": 1e8})  # linear above 20: 2e-9
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    if make_module is SimpleNN:
        assert repr(model.layers) == repr((Dense(5, "relu"), Dense(1)))


def test_state_dict_of_a_custom_module_loads_by_order():
    torch.manual_seed(0)
    module, model = SimpleNN(), Sequential([Dense(5, "relu"), Dense(1)], input_size=INPUTS)
    exchange.load_state_dict(model, module.state_dict(), by="order")
    assert_close(model, rows(), outputs(module, rows()), "float32")


LAYERS = {
    "no affine weights": (nn.BatchNorm1d(4, affine=False), fastbp.BatchNorm(trainable=False)),
    "momentum": (nn.BatchNorm1d(4, 1e-3, 0.25), fastbp.BatchNorm(0.25, 1e-3)),
    "layer norm without weights": (nn.LayerNorm(4, 1e-4, elementwise_affine=False), LayerNorm(1e-4, trainable=False)),
    "dropout": (nn.Dropout(0.25), Dropout(0.25)),
    "scale": (torch_layers.Scale(4), fastbp.Scale()),
    "prelu": (nn.PReLU(), fastbp.PReLU()),
    "prelus": (nn.PReLU(4), fastbp.PReLU()),
    "parametric": (torch_layers.ParametricActivation(4, nn.Mish()), fastbp.ParametricActivation("mish")),
    "leaky relu": (nn.LeakyReLU(0.2), Activation(fastbp.LeakyReLU(0.2))),
    "elu": (nn.ELU(0.2), Activation(fastbp.ELU(0.2))),
    "celu": (nn.CELU(0.2), Activation(fastbp.CELU(0.2))),
    "softplus": (nn.Softplus(), Activation("softplus")),
    "softmax": (nn.Softmax(-1), Activation("softmax")),
    "gelu": (nn.GELU("tanh"), Activation("gelu_tanh")),
    "identity": (nn.Identity(), None),
    "flatten": (nn.Flatten(), None),
    "nested": (nn.Sequential(nn.Sequential(nn.Tanh())), Activation("tanh")),
}


@pytest.mark.parametrize("case", LAYERS)
def test_modules_are_read(case):
    module, layer = LAYERS[case]
    model = exchange.from_torch(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), module))
    assert model.layers == (Dense(4), LayerNorm(), *([layer] if layer else []))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_half_precision_becomes_float32(kind):
    linear = nn.Linear(3, 2).to(getattr(torch, kind))
    W, _ = exchange.from_torch(linear).get_weights()
    assert W.dtype == ("float64" if kind == "float64" else "float32")
    np.testing.assert_array_equal(W.T, linear.weight.detach().double().numpy())


def test_output_activation_is_appended():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model = exchange.from_torch(module, output_activation="softmax")
    assert repr(model.layers) == repr((Dense(4, "relu"), Dense(2, "softmax")))


def test_frozen_modules_stay_frozen():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    module[1].requires_grad_(False)
    assert [layer.trainable for layer in exchange.from_torch(module).layers] == [False, False, True]
    module[2].bias.requires_grad_(False)
    with pytest.warns(UserWarning, match="'2' has some trainable and some frozen weights"):
        exchange.from_torch(module)


def test_missing_bias_warns():
    with pytest.warns(UserWarning, match="'1' has no bias: fastbp's layer has one, 0, and trains it"):
        model = exchange.from_torch(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4, bias=False)))
    assert not model.get_weights()[3].any()


# ---------------------------------------------------------------- refused modules


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Net(nn.Module):
    """A module with the given forward function and one linear layer."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.fc, self.layers = function, nn.Linear(4, 4), nn.ModuleList(layers)

    def forward(self, x):
        return self.function(self, x)


def net(function, *layers):
    return lambda: Net(function, *layers)


REFUSED = {
    "convolution": (lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(4, 2)), "reads Linear, .* but '0' is Conv1d"),
    "nested layer": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Hardshrink())), "'1.0' is Hardshrink"),
    "module list": (lambda: nn.ModuleList([nn.Linear(4, 2)]), "'ModuleList' is ModuleList: use"),
    "control flow": (lambda: nn.Sequential(nn.Linear(4, 4), Branching()), "torch.fx says: .*control flow"),
    "log-softmax": (lambda: nn.Sequential(nn.Linear(4, 2), nn.LogSoftmax(1)), "'1' is LogSoftmax"),
    "softmax axis": (lambda: nn.Sequential(nn.Linear(4, 2), nn.Softmax(0)), "along the axis 0.*pass dim=1"),
    "softplus beta": (lambda: nn.Sequential(nn.Linear(4, 2), nn.Softplus(2.0)), "beta=2.0"),
    "no statistics": (
        lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False)), "track_running_stats=True"
    ),
    "average": (lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, momentum=None)), "pass a number such"),
    "two axes": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm([2, 4])), r"over the shape \(2, 4\)"),
    "mismatched widths": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 2)), "takes 5 features, but .* gives 4"),
    "norm width": (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(5)), "takes 5 features, but .* gives 4"),
    "flattened axes": (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(4, 4)), "flattens from 0 to -1"),
    "dtypes": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).double()), "one dtype, got float32, float64"),
    "nothing to train": (lambda: nn.Sequential(nn.ReLU()), "at least one Dense"),
    "only a norm": (lambda: nn.Sequential(nn.LayerNorm(3)), "at least one Dense"),
    "layer used twice": (net(lambda self, x: self.fc(self.fc(x))), "'fc' is used more than once: use a copy"),
    "product": (net(lambda self, x: self.fc(x) * x), "'mul' is mul"),
    "added number": (net(lambda self, x: self.fc(x) + 1), "'add' is add"),
    "weighted sum": (net(lambda self, x: torch.add(self.fc(x), x, alpha=2)), "'add' is add"),
    "doubled output": (net(lambda self, x: (y := self.fc(x)) + y), "a sum must be X \\+ F"),
    "two branches": (net(lambda self, x: self.fc(x) + self.layers[0](x), nn.Linear(4, 4)), "a sum must be X \\+ F"),
    "biased branch": (net(lambda self, x: self.fc(x) + self.layers[0](x), nn.Linear(4, 3)), "a sum must be X \\+ F"),
    "changed shape": (net(lambda self, x: self.fc(x).view(-1, 2)), "changes the shape"),
    "function": (net(lambda self, x: torch.exp(self.fc(x))), "'exp' is exp"),
    "weight used directly": (net(lambda self, x: self.fc(x) @ self.fc.weight), "'fc_weight' is|'matmul' is|one input"),
    "several outputs": (net(lambda self, x: (self.fc(x), x)), "returns one tensor"),
    "in-place": (net(lambda self, x: (y := self.fc(x)) + self.layers[0](y), nn.ReLU(inplace=True)), "works in place"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_unsupported_modules_are_refused(case):
    module, message = REFUSED[case]
    with pytest.raises(ExchangeError, match=message):
        exchange.from_torch(module())


STATES = {
    "missing": (
        lambda s: s.pop("2.bias"),
        "must hold 0.weight, .* but '2.bias' is missing; .*by='order' for 4 entries",
    ),
    "extra": (lambda s: s.update({"3.weight": s["0.weight"]}), "the model has no '3.weight', which the state has"),
    "transposed": (
        lambda s: s.update({"2.weight": s["2.weight"].T}),
        r"2.weight of layer 1, Dense\(2\).*\(2, 5\), .*\(5,",
    ),
    "not finite": (lambda s: s["0.bias"].fill_(float("nan")), "finite"),
}


@pytest.mark.parametrize("case", STATES)
def test_mismatched_state_dict_changes_nothing(case):
    model = Sequential([Dense(5, "relu"), Dense(2)], input_size=3)
    before, state = model.get_weights(), exchange.state_dict(model)
    change, message = STATES[case]
    change(state)
    with pytest.raises(ValueError, match=message):
        exchange.load_state_dict(model, state)
    for W, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(W, old)


def test_invalid_calls_are_refused():
    model = Sequential([Dense(5, CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square"))], input_size=3)
    with pytest.raises(ExchangeError, match=r"PyTorch does not support custom functions, but layer 0"):
        exchange.to_torch(model)
    with pytest.raises(ValueError, match="by must be 'name' or 'order', got 'number'"):
        exchange.load_state_dict(model, {}, by="number")
    with pytest.raises(TypeError, match=r"takes a torch.nn.Module, got str"):
        exchange.from_torch("model")
    with pytest.raises(ValueError, match="to_torch needs the weights"):
        exchange.to_torch(Sequential([Dense(2)]))


def test_unsupported_layer_is_named(monkeypatch):
    monkeypatch.delitem(torch_modules.LAYERS, Residual)
    with pytest.raises(ExchangeError, match=r"PyTorch must be given .* got layer 0, Residual\(7\)"):
        exchange.to_torch(Sequential([Residual([Dense(7)]), Dense(1)], input_size=7))


@pytest.mark.parametrize("call", [exchange.to_torch, exchange.state_dict, exchange.from_torch])
def test_missing_torch_names_the_pip_command(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'needs torch, which is missing: pip install "fastbp\[torch\]"'):
        call(make("frozen"))
