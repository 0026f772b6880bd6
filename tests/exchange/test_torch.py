"""PyTorch: modules that compute what models do, in training too, and models made of modules and of weights."""

import copy
import importlib
import io
import sys

import numpy as np
import pytest

import fastbp
from fastbp import Activation, CustomActivation, Dense, Dropout, LayerNorm, Residual, Sequential, exchange
from fastbp.exchange import ExchangeError, torch_modules
from tests.exchange.cases import CASES, INPUTS, assert_alike, assert_same_weights, make, rows

torch = pytest.importorskip("torch")
torch_layers = importlib.import_module("fastbp.exchange.torch_layers")
nn = torch.nn
F = nn.functional

RANDOM = ("Dropout", "GaussianNoise", "within", "Residual of no weights", "deep")  # in training
CANONICAL = {  # an Activation above a Dense that has none becomes one with it: other layers, the same function
    "two activations", "Activation leaky_relu 0.3", "Activation elu 0.7", "Activation elu 1.5", "one by one",
    "first identity", "Activation celu 0.5",
}  # fmt: skip
# PyTorch's softplus is log1p(exp(z)), its mish and its tanh form of gelu compute in few roundings more than ours do.
OWN = dict.fromkeys(("softplus", "mish", "gelu", "gelu_tanh", "selu", "softmax"), 4.0)


def outputs(module, X):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case, dtype):
    model, X = make(case, dtype), rows(dtype)
    module = exchange.to_torch(model)
    assert not module.training
    assert_alike(model, X, outputs(module, X), dtype, OWN)
    again = exchange.from_torch(module, seed=3)
    assert_same_weights(model, again)
    if case not in CANONICAL:
        assert repr(again) == repr(model)
    elif dtype == "float64":
        assert_alike(again, X, outputs(module, X), dtype, OWN)


def deterministic(case, dtype):
    model = make(case, dtype)
    if case not in RANDOM:
        return model
    layers = fastbp.exchange.layer_weights.parts_of(model, "a test")

    def without(parts):
        for part in parts:
            if isinstance(part.layer, Residual):
                within = tuple(without(part.within)) or (
                    part._replace(layer=Activation("tanh"), weights={}, within=()),
                )
                yield part._replace(layer=Residual(each.layer for each in within), within=within)
            elif not isinstance(part.layer, fastbp.Dropout | fastbp.GaussianNoise):
                yield part

    return fastbp.exchange.layer_weights.model_of(without(layers))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_a_step_of_training_is_the_same(case, dtype):
    """Loss, gradients, and the weights and statistics after a step of SGD."""
    model, X = deterministic(case, dtype), rows(dtype)
    model.compile(fastbp.SGD(0.1), "mse")
    y = np.random.default_rng(7).random((len(X), model.output_size)).astype(dtype)
    module = exchange.to_torch(model).train()
    loss = F.mse_loss(module(torch.from_numpy(X)), torch.from_numpy(y))
    loss.backward()
    # Each is within some 100 u of the exact one where none is ill-conditioned; normalizing divides by sigma, and
    # cancels. A formula that is not the same would be off by 1e-2 and more.
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
def test_the_state_of_a_module_is_the_models(case):
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


def test_the_number_of_batches_is_kept():
    model = Sequential([fastbp.BatchNorm(), Dense(1)], input_size=2)
    model.compile("sgd", "mse")
    model.fit(np.ones((10, 2)), np.ones(10), batch_size=5, epochs=3)
    assert exchange.state_dict(model)["0.num_batches_tracked"].item() == 6


def test_modules_are_pickled_and_copied():
    module = exchange.to_torch(make("deep"))
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    X = rows()
    for other in (torch.load(file, weights_only=False), copy.deepcopy(module)):
        np.testing.assert_array_equal(outputs(other, X), outputs(module, X))
    assert "GaussianNoise(stddev=0.1)" in repr(module)
    assert "Scale(6)" in repr(exchange.to_torch(make("Scale")))


def test_noise_is_drawn_in_training_alone():
    module = exchange.to_torch(Sequential([fastbp.GaussianNoise(0.5), Dense(1)], input_size=2)).train()
    X = torch.zeros(4000, 2)
    noise = module[0](X)
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(module.eval()[0](X), X)


def test_what_is_held_needs_no_gradient():
    module = exchange.to_torch(make("held"))
    held = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    assert held == {f"{place}.{name}": place == 3 for place in (0, 2, 3) for name in ("weight", "bias")}


# ---------------------------------------------------------------- modules that are not ours


class SimpleNN(nn.Module):
    """As tutorials have it."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(INPUTS, 5)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(5, 1)

    def forward(self, x):
        return self.fc2(self.relu(self.fc1(x)))


class Everything(nn.Module):
    """Functions, methods, a residual block with a projection, one without, a module within."""

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
def test_a_module_of_ones_own_is_followed(make_module):
    torch.manual_seed(0)
    module = make_module().double()
    module(torch.from_numpy(rows("float64")))  # moves the statistics
    module.eval()
    before = copy.deepcopy(module.state_dict())
    model, X = exchange.from_torch(module), rows("float64", 20)
    assert_alike(model, X, outputs(module, X), "float64", OWN | {"softplus": 1e8})  # linear above 20: 2e-9
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    if make_module is SimpleNN:
        assert repr(model.layers) == repr((Dense(5, "relu"), Dense(1)))


def test_the_state_of_a_module_of_ones_own_goes_in_by_order():
    torch.manual_seed(0)
    module, model = SimpleNN(), Sequential([Dense(5, "relu"), Dense(1)], input_size=INPUTS)
    exchange.load_state_dict(model, module.state_dict(), by="order")
    assert_alike(model, rows(), outputs(module, rows()), "float32")


LAYERS = {
    "no affine weights": (nn.BatchNorm1d(4, affine=False), fastbp.BatchNorm(trainable=False)),
    "momentum": (nn.BatchNorm1d(4, 1e-3, 0.25), fastbp.BatchNorm(0.25, 1e-3)),
    "row norms": (nn.LayerNorm(4, 1e-4, elementwise_affine=False), LayerNorm(1e-4, trainable=False)),
    "dropout": (nn.Dropout(0.25), Dropout(0.25)),
    "scale": (torch_layers.Scale(4), fastbp.Scale()),
    "leaky": (nn.LeakyReLU(0.2), Activation(fastbp.LeakyReLU(0.2))),
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
def test_short_floats_become_float32(kind):
    linear = nn.Linear(3, 2).to(getattr(torch, kind))
    W, _ = exchange.from_torch(linear).get_weights()
    assert W.dtype == ("float64" if kind == "float64" else "float32")
    np.testing.assert_array_equal(W.T, linear.weight.detach().double().numpy())


def test_an_output_activation_is_appended():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model = exchange.from_torch(module, output_activation="softmax")
    assert repr(model.layers) == repr((Dense(4, "relu"), Dense(2, "softmax")))


def test_a_frozen_module_is_not_trained():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    module[1].requires_grad_(False)
    assert [layer.trainable for layer in exchange.from_torch(module).layers] == [False, False, True]
    module[2].bias.requires_grad_(False)
    with pytest.warns(UserWarning, match="'2' has some trainable and some frozen weights"):
        exchange.from_torch(module)


def test_a_missing_bias_is_told():
    with pytest.warns(UserWarning, match="'1' has no bias: fastbp's layer has one, 0, and trains it"):
        model = exchange.from_torch(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4, bias=False)))
    assert not model.get_weights()[3].any()


# ---------------------------------------------------------------- what is refused


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Of(nn.Module):
    """A forward that is given, with one linear layer."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.fc, self.layers = function, nn.Linear(4, 4), nn.ModuleList(layers)

    def forward(self, x):
        return self.function(self, x)


def of(function, *layers):
    return lambda: Of(function, *layers)


REFUSED = {
    "convolution": (lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(4, 2)), "reads Linear, .* but '0' is Conv1d"),
    "within": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Hardshrink())), "'1.0' is Hardshrink"),
    "no list": (lambda: nn.ModuleList([nn.Linear(4, 2)]), "'ModuleList' is ModuleList: use"),
    "branches": (lambda: nn.Sequential(nn.Linear(4, 4), Branching()), "torch.fx says: .*control flow"),
    "logarithms": (lambda: nn.Sequential(nn.Linear(4, 2), nn.LogSoftmax(1)), "'1' is LogSoftmax"),
    "axis": (lambda: nn.Sequential(nn.Linear(4, 2), nn.Softmax(0)), "along the axis 0.*pass dim=1"),
    "softplus": (lambda: nn.Sequential(nn.Linear(4, 2), nn.Softplus(2.0)), "beta=2.0"),
    "no statistics": (
        lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, track_running_stats=False)), "track_running_stats=True"
    ),
    "plain average": (lambda: nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2, momentum=None)), "pass a number such"),
    "two axes": (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm([2, 4])), r"over the shape \(2, 4\)"),
    "widths": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 2)), "takes 5 features, but .* gives 4"),
    "norm's width": (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(5)), "takes 5 features, but .* gives 4"),
    "axes": (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(4, 4)), "flattens from 0 to -1"),
    "types": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).double()), "one dtype, got float32, float64"),
    "nothing to train": (lambda: nn.Sequential(nn.ReLU()), "at least one Dense"),
    "norm alone": (lambda: nn.Sequential(nn.LayerNorm(3)), "at least one Dense"),
    "twice": (of(lambda self, x: self.fc(self.fc(x))), "'fc' is used more than once: use a copy"),
    "product": (of(lambda self, x: self.fc(x) * x), "'mul' is mul"),
    "number": (of(lambda self, x: self.fc(x) + 1), "'add' is add"),
    "weighed sum": (of(lambda self, x: torch.add(self.fc(x), x, alpha=2)), "'add' is add"),
    "doubled": (of(lambda self, x: (y := self.fc(x)) + y), "a sum must be X \\+ F"),
    "two layers": (of(lambda self, x: self.fc(x) + self.layers[0](x), nn.Linear(4, 4)), "a sum must be X \\+ F"),
    "a bias": (of(lambda self, x: self.fc(x) + self.layers[0](x), nn.Linear(4, 3)), "a sum must be X \\+ F"),
    "shape": (of(lambda self, x: self.fc(x).view(-1, 2)), "changes the shape"),
    "a function": (of(lambda self, x: torch.exp(self.fc(x))), "'exp' is exp"),
    "a weight": (of(lambda self, x: self.fc(x) @ self.fc.weight), "'fc_weight' is|'matmul' is|one input"),
    "several": (of(lambda self, x: (self.fc(x), x)), "returns one tensor"),
    "in place": (of(lambda self, x: (y := self.fc(x)) + self.layers[0](y), nn.ReLU(inplace=True)), "works in place"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_fastbp_has_not_is_refused(case):
    module, text = REFUSED[case]
    with pytest.raises(ExchangeError, match=text):
        exchange.from_torch(module())


STATES = {
    "missing": (
        lambda s: s.pop("2.bias"),
        "must hold 0.weight, .* but '2.bias' is missing; .*by='order' for 4 entries",
    ),
    "too many": (lambda s: s.update({"3.weight": s["0.weight"]}), "the model has no '3.weight', which the state has"),
    "transposed": (
        lambda s: s.update({"2.weight": s["2.weight"].T}),
        r"2.weight of layer 1, Dense\(2\).*\(2, 5\), .*\(5,",
    ),
    "not finite": (lambda s: s["0.bias"].fill_(float("nan")), "finite"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_does_not_fit_changes_nothing(case):
    model = Sequential([Dense(5, "relu"), Dense(2)], input_size=3)
    before, state = model.get_weights(), exchange.state_dict(model)
    change, text = STATES[case]
    change(state)
    with pytest.raises(ValueError, match=text):
        exchange.load_state_dict(model, state)
    for W, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(W, old)


def test_other_mistakes():
    model = Sequential([Dense(5, CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square"))], input_size=3)
    with pytest.raises(ExchangeError, match=r"PyTorch does not support custom functions, but layer 0"):
        exchange.to_torch(model)
    with pytest.raises(ValueError, match="by must be 'name' or 'order', got 'number'"):
        exchange.load_state_dict(model, {}, by="number")
    with pytest.raises(TypeError, match=r"takes a torch.nn.Module, got str"):
        exchange.from_torch("model")
    with pytest.raises(ValueError, match="to_torch needs the weights"):
        exchange.to_torch(Sequential([Dense(2)]))


def test_a_layer_that_the_table_lacks_is_named(monkeypatch):
    monkeypatch.delitem(torch_modules.LAYERS, Residual)
    with pytest.raises(ExchangeError, match=r"PyTorch must be given .* got layer 0, Residual\(7\)"):
        exchange.to_torch(Sequential([Residual([Dense(7)]), Dense(1)], input_size=7))


@pytest.mark.parametrize("call", [exchange.to_torch, exchange.state_dict, exchange.from_torch])
def test_without_torch_the_message_says_how_to_get_it(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'needs torch, which is missing: pip install "fastbp\[torch\]"'):
        call(make("held"))
