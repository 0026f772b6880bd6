"""Every weight of a foreign network is converted with its full effect, or the network is refused."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pytest

from fastbp import Dense, Scale, Sequential
from fastbp.exchange import ExchangeError, from_keras, from_torch, load_state_dict
from fastbp.exchange.layer_weights import as_floats

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:__array__ implementation:DeprecationWarning")


def assert_same_outputs(model, module):
    """The converted model computes the same outputs as the module."""
    with torch.no_grad():
        np.testing.assert_allclose(model.predict(X), module.eval()(torch.from_numpy(X)).numpy(), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- tensors


def complex_numbers():
    real, imaginary = torch.arange(6.0).reshape(2, 3), torch.arange(6.0, 12.0).reshape(2, 3)
    return torch.complex(real, imaginary)


TENSORS = {
    "negative bit": lambda: (complex_numbers().conj().imag, -np.arange(6.0, 12).reshape(2, 3)),
    "transposed": lambda: (torch.arange(6.0).reshape(3, 2).T, np.arange(6.0).reshape(3, 2).T),
    "expanded": lambda: (torch.ones(1, 3).expand(2, 3), np.ones((2, 3))),
    "sparse": lambda: (torch.eye(2, 3).to_sparse(), np.eye(2, 3)),
    "bfloat16": lambda: (torch.eye(2, 3, dtype=torch.bfloat16), np.eye(2, 3)),
    "requires a gradient": lambda: (nn.Parameter(torch.eye(2, 3)), np.eye(2, 3)),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_are_read_by_value(case):
    tensor, expected = TENSORS[case]()
    np.testing.assert_array_equal(as_floats(tensor), expected)
    model = Sequential([Dense(2, use_bias=False)], input_size=3)
    load_state_dict(model, {"0.weight": tensor})
    np.testing.assert_array_equal(model.get_weights()[0], expected.T)


@pytest.mark.parametrize("case", ["complex", "conjugate", "meta", "complex array", "strings"])
def test_tensors_without_real_values_are_refused(case):
    tensor = {
        "complex": complex_numbers(),
        "conjugate": complex_numbers().conj(),
        "meta": torch.empty(2, 3, device="meta"),
        "complex array": np.ones((2, 3), complex),
        "strings": np.array([["a"]]),
    }[case]
    with pytest.raises(ExchangeError, match="weights must be real numbers"):
        as_floats(tensor)


def test_long_messages_are_truncated():
    model = Sequential([Dense(2)], input_size=3)
    with pytest.raises(ExchangeError) as caught:
        load_state_dict(model, {f"layer.{i}.weight": np.zeros(1) for i in range(10_000)})
    assert len(str(caught.value).encode()) < 2000


# ---------------------------------------------------------------- PyTorch


def namesake():
    class Linear(nn.Linear):
        """A class of the same name that computes something else."""

        def forward(self, A):
            return super().forward(A) * 2

    Linear.__module__ = "torch.ao.nn.qat"
    return Linear(3, 2)


def hooked(kind):
    module = nn.Linear(3, 2)
    getattr(module, kind)(lambda *arguments: None)
    return module


def with_inner_hook():
    module = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    module.register_forward_hook(lambda module, inputs, output: output * 2)
    return nn.Sequential(module, nn.Linear(2, 2))


class UnusedLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.other = nn.Linear(3, 2), nn.Linear(3, 5)

    def forward(self, A):
        return self.head(A)


class UnusedParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.temperature = nn.Linear(3, 2), nn.Parameter(torch.ones(()))

    def forward(self, A):
        return self.head(A)


def with_buffer():
    module = nn.Linear(3, 2)
    module.register_buffer("mask", torch.ones(2, 3))
    return module


TORCH = {
    "weight_norm": (lambda: nn.utils.weight_norm(nn.Linear(3, 2)), "remove_weight_norm"),
    "spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(3, 2)), "remove_spectral_norm"),
    "parametrized weight_norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), "remove_parametrizations",
    ),
    "parametrized orthogonal": (
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)), "remove_parametrizations",
    ),
    "pruned": (
        lambda: prune.l1_unstructured(nn.Linear(3, 2), "weight", amount=2), "prune.remove",
    ),
    "forward hook": (lambda: hooked("register_forward_hook"), "forward hook"),
    "forward pre-hook": (lambda: hooked("register_forward_pre_hook"), "forward hook"),
    "hook of an inner module": (with_inner_hook, "forward hook"),
    "class of the same name": (namesake, "is Linear"),
    "unused layer": (UnusedLayer, "'other.weight' has none"),
    "unused parameter": (UnusedParameter, "'temperature' has none"),
    "custom buffer": (with_buffer, "'mask' has none"),
}  # fmt: skip


@pytest.mark.parametrize("case", TORCH)
@pytest.mark.parametrize("nested", [False, True])
def test_modified_modules_are_refused(case, nested):
    make, message = TORCH[case]
    module = make()
    with pytest.raises(ExchangeError, match=message):
        from_torch(nn.Sequential(module) if nested else module)


def test_suggested_remedies_work():
    module = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        module[0].weight_g.mul_(3)
    nn.utils.remove_weight_norm(module[0])
    assert_same_outputs(from_torch(module), module)
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    nn.utils.parametrize.remove_parametrizations(module[0], "weight")
    assert_same_outputs(from_torch(module), module)


@pytest.mark.parametrize("wrap", [False, True])
def test_supported_modules_are_read(wrap):
    module = nn.Sequential(
        nn.BatchNorm1d(3), nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4, affine=False), nn.Dropout(0.1),
        nn.LayerNorm(4), nn.Linear(4, 2, bias=False),
    ).eval()  # fmt: skip
    assert_same_outputs(from_torch(nn.Sequential(module) if wrap else module), module)


# ---------------------------------------------------------------- Keras


def network(*layers, shape=(3,)):
    return keras.Sequential([keras.Input(shape), *layers])


def outputs(model, rows=X):
    return model(rows).detach().numpy()


def filled(model):
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def test_lora_is_merged_into_the_kernel():
    layer = keras.layers.Dense(4, "tanh")
    theirs = network(layer, keras.layers.Dense(2))
    layer.enable_lora(2, lora_alpha=3)
    theirs = filled(theirs)
    ours = from_keras(theirs)
    np.testing.assert_allclose(ours.predict(X), outputs(theirs), rtol=1e-5, atol=1e-6)


def test_quantized_layers_are_refused():
    layer = keras.layers.Dense(4)
    theirs = network(layer)
    layer.quantize("int8")
    with pytest.raises(ExchangeError, match="is quantized"):
        from_keras(theirs)


def test_weights_outside_the_graph_are_refused():
    class Model(keras.Model):
        def __init__(self):
            inputs = keras.Input((3,))
            super().__init__(inputs, keras.layers.Dense(2)(inputs))
            self.other = keras.layers.Dense(4)
            self.other.build((None, 3))

    with pytest.raises(ExchangeError, match="find a use for every weight"):
        from_keras(Model())


def test_extra_weights_are_refused():
    layer = keras.layers.Dense(2)
    theirs = network(layer)
    layer._tracker.unlock()
    layer.extra = layer.add_weight(shape=(2,), name="extra")
    with pytest.raises(ExchangeError, match="has the weights extra"):
        from_keras(theirs)


def adapted():
    layer = keras.layers.Normalization()
    layer.adapt(X * 3 + 2)
    return layer


SCALED = {
    "Rescaling": lambda: [keras.layers.Rescaling(1 / 255)],
    "Rescaling with an offset": lambda: [keras.layers.Rescaling(2.0, offset=-1.0)],
    "Rescaling per feature": lambda: [keras.layers.Rescaling([1.0, 2.0, 3.0], offset=[0.1, 0.2, 0.3])],
    "Normalization": lambda: [keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 0.25, 0.0])],
    "inverse Normalization": lambda: [keras.layers.Normalization(mean=1.0, variance=4.0, invert=True)],
    "scalar mean": lambda: [keras.layers.Normalization(axis=None, mean=0.5, variance=2.0)],
    "adapted": lambda: [adapted()],
    "both": lambda: [keras.layers.Rescaling(0.5), adapted()],
}


@pytest.mark.parametrize("case", SCALED)
@pytest.mark.parametrize("bias", [False, True])
def test_normalization_and_rescaling_are_read(case, bias):
    dense = keras.layers.Dense(4, "tanh", use_bias=bias)
    theirs = network(*SCALED[case](), dense, keras.layers.Dense(2))
    for layer in theirs.layers[-2:]:
        layer.set_weights([np.random.default_rng(2).normal(size=W.shape) for W in layer.get_weights()])
    scale = 1 if "Normalization" not in case else 1e-3  # a variance of 0 becomes 1e-14
    rows = X * scale
    ours = from_keras(theirs)
    np.testing.assert_allclose(ours.predict(rows), outputs(theirs, rows), rtol=1e-3, atol=2e-3)
    assert isinstance(ours.layers[0], Scale)
    assert not ours.layers[0].trainable


def test_rescaling_before_flatten_is_read():
    theirs = network(keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2), shape=(2, 2, 1))
    images = np.random.default_rng(3).integers(0, 256, (5, 2, 2, 1)).astype(np.float32)
    expected = outputs(theirs, images)
    np.testing.assert_allclose(from_keras(theirs).predict(images.reshape(5, 4)), expected, rtol=1e-5, atol=1e-6)


REFUSED = {
    "shift without Dense": (lambda: [keras.layers.Dense(3), adapted(), keras.layers.Activation("tanh")], "no Dense"),
    "shift at the end": (lambda: [keras.layers.Dense(3), keras.layers.Rescaling(1.0, 1.0)], "no Dense"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_shifts_without_a_following_dense_are_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ExchangeError, match=message):
        from_keras(network(*make()))
