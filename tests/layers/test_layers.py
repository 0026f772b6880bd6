"""Layers other than Dense: their graph, weights, files, copies, training, and folding."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

import fastbp
from fastbp import (
    L1,
    L1L2,
    L2,
    SGD,
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    GaussianNoise,
    LayerNorm,
    MaxNorm,
    Residual,
    Scale,
    Sequential,
    regularizers,
)
from fastbp.layers import graph as network
from fastbp.reference import ReferenceEngine
from fastbp.spec import LayerSpec, Report
from fastbp.storage import checkpoint, snapshot
from fastbp.util import random_streams as seeds

N = 20
X = np.random.default_rng(8).normal(size=(N, 3)).astype(np.float32)
LABELS = np.arange(N) % 4


class Reference(ReferenceEngine):
    """With the names of the compiled engine's methods, which make their change aside; this one makes it in place."""

    def configured(self, loss, rule, n_states, **options):
        self.configure(loss, rule, **options)
        self.reset_state(n_states)
        return self

    def restored(self, weights, states, steps_trained):
        self.write_weights(weights)
        self.write_states(states)
        self.steps_trained = steps_trained
        return self

    def write_weights(self, weights):
        self.set_weights(list(weights))

    def write_states(self, states):
        self.set_state(states)

    def warm_up(self):
        pass


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    """The reference engine in the compiled one's place: the layers are looked at here, not the kernels."""
    monkeypatch.setattr("fastbp.engine.engine.Engine", Reference)


def everything():
    return [
        GaussianNoise(0.1),
        Dense(6, use_bias=False, kernel_initializer="he_normal"),
        BatchNorm(0.2),
        Activation("relu"),
        Residual([LayerNorm(), Dense(8, "gelu", learning_rate_multiplier=0.5), Dropout(0.25), Dense(6)]),
        Residual([Dense(5, "tanh"), Residual([BatchNorm(), Activation("silu")]), BatchNorm(trainable=False), Scale()]),
        Activation("elu"),
        Dropout(0.5),
        Dense(4, "softmax", kernel_regularizer=L1L2(1e-4, 1e-3), kernel_constraint=MaxNorm(3)),
    ]


def trained(epochs=2, **options):
    model = Sequential(everything(), **options)
    model.compile(SGD(0.1, momentum=0.9), "cross_entropy", ["accuracy"])
    if epochs:
        model.fit(X, LABELS, batch_size=6, epochs=epochs)
    return model


def state_of(model):
    """All that training changes."""
    trainer = model._trainer
    counters = [trainer.step, trainer.epoch, model._engine.steps_trained]
    return [*model.get_weights(), *counters, *itertools.chain(*model._engine.get_state())]


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- the graph

BN, LN = {"kind": "batch_norm", "values": (0.1, 1e-5)}, {"kind": "layer_norm", "values": (1e-5,)}
GRAPHS = {  # the layers, on 3 inputs: the labels, the specs, the names of the weights
    "an activation becomes part of what computes": (
        [Dense(5), Activation("relu"), BatchNorm(), Activation("tanh"), LayerNorm(), Activation("elu"),
         Activation("relu"), Scale(), Activation("gelu")],
        ["Dense(5, relu)", "BatchNorm(tanh)", "LayerNorm(elu)", "Activation(relu)", "Scale(gelu)"],
        [LayerSpec(5, "relu"), LayerSpec(5, "tanh", **BN), LayerSpec(5, "elu", 1.0, **LN),
         LayerSpec(5, "relu", use_bias=False, kind="activation"), LayerSpec(5, "gelu", kind="scale")],
        "0.kernel 0.bias 1.gamma 1.beta 1.moving_mean 1.moving_variance 2.gamma 2.beta 4.scale",
    ),
    "but not of dropout, noise or what is outside of its block": (
        [Dense(5), Dropout(0.5), Activation("relu"), GaussianNoise(0.1), Activation("relu"), Dense(4),
         Residual([Activation("tanh")])],
        ["Dense(5, identity)", "Dropout(0.5)", "Activation(relu)", "GaussianNoise(0.1)", "Activation(relu)",
         "Dense(4, identity)", "Activation(tanh)", "Residual"],
        [LayerSpec(5), LayerSpec(5, kind="dropout", values=(0.5,)),
         LayerSpec(5, "relu", use_bias=False, kind="activation"), LayerSpec(5, kind="noise", values=(0.1,)),
         LayerSpec(5, "relu", use_bias=False, kind="activation"), LayerSpec(4),
         LayerSpec(4, "tanh", use_bias=False, kind="activation"), LayerSpec(4, kind="add", skip=5)],
        "0.kernel 0.bias 5.kernel 5.bias",
    ),
    "a block on the input, an activation of the sum": (
        [Residual([Dense(7), Dense(3)]), Activation("relu")],
        ["Dense(7, identity)", "Dense(3, identity)", "Residual(relu)"],
        [LayerSpec(7), LayerSpec(3), LayerSpec(3, "relu", kind="add", skip=-1)],
        "0.0.kernel 0.0.bias 0.1.kernel 0.1.bias",
    ),
    "a projection, of the input and of a node": (
        [Residual([Dense(7)]), Residual([LayerNorm(), Dense(2, "relu"), Dense(4)]), Dense(1)],
        ["Dense(7, identity)", "Projection(7)", "Residual", "LayerNorm", "Dense(2, relu)", "Dense(4, identity)",
         "Projection(4)", "Residual", "Dense(1, identity)"],
        [LayerSpec(7), LayerSpec(7, use_bias=False, below=-1), LayerSpec(7, kind="add", skip=0),
         LayerSpec(7, **LN), LayerSpec(2, "relu"), LayerSpec(4), LayerSpec(4, use_bias=False, below=2),
         LayerSpec(4, kind="add", skip=5), LayerSpec(1)],
        "0.0.kernel 0.0.bias 0.projection.kernel 1.0.gamma 1.0.beta 1.1.kernel 1.1.bias 1.2.kernel 1.2.bias "
        "1.projection.kernel 2.kernel 2.bias",
    ),
    "a block first in a block": (
        [Dense(4), Residual([Residual([Dense(4)]), Activation("relu"), Dropout(0.1)]), Dense(2)],
        ["Dense(4, identity)", "Dense(4, identity)", "Residual(relu)", "Dropout(0.1)", "Residual",
         "Dense(2, identity)"],
        [LayerSpec(4), LayerSpec(4), LayerSpec(4, "relu", kind="add", skip=0),
         LayerSpec(4, kind="dropout", values=(0.1,)), LayerSpec(4, kind="add", skip=0), LayerSpec(2)],
        "0.kernel 0.bias 1.0.0.kernel 1.0.0.bias 2.kernel 2.bias",
    ),
    "what a layer says of its training": (
        [Dense(4, kernel_regularizer=L1L2(0.1, 0.2), trainable=False), BatchNorm(0.3, 0.01, trainable=False),
         Dense(4, kernel_regularizer="l2", kernel_constraint=MaxNorm(5), learning_rate_multiplier=3),
         LayerNorm(0.5, learning_rate_multiplier=0), Scale(trainable=False, learning_rate_multiplier=2)],
        ["Dense(4, identity)", "BatchNorm", "Dense(4, identity)", "LayerNorm", "Scale"],
        [LayerSpec(4, l1=0.1, l2=0.2, trainable=False),
         LayerSpec(4, kind="batch_norm", values=(0.3, 0.01), trainable=False),
         LayerSpec(4, l2=0.01, max_norm=5.0, multiplier=3.0),
         LayerSpec(4, kind="layer_norm", values=(0.5,), multiplier=0.0),
         LayerSpec(4, kind="scale", multiplier=2.0, trainable=False)],
        "0.kernel 0.bias 1.gamma 1.beta 1.moving_mean 1.moving_variance 2.kernel 2.bias 3.gamma 3.beta 4.scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GRAPHS)
def test_layers_make_a_graph(case):
    layers, labels, specs, names = GRAPHS[case]
    blocks = network.blocks_of(layers, 3)
    assert [block.label for block in blocks] == labels
    assert network.specs_of(blocks) == specs
    parameters = network.parameters(blocks)
    assert [parameter.name for parameter in parameters] == names.split()
    weights = Sequential(layers, input_size=3).get_weights()
    assert [W.shape for W in weights] == [parameter.shape for parameter in parameters]
    unknown = network.blocks_of(layers)
    assert unknown[-1].units == blocks[-1].units
    assert unknown[-1].activation == blocks[-1].activation


def test_weights_start_where_they_should():
    model = Sequential([BatchNorm(), LayerNorm(), Scale(), Residual([Dense(5)])], input_size=3)
    gamma, beta, mean, variance, scale, shift, factors, kernel, bias, projection = model.get_weights()
    for ones in (gamma, variance, scale, factors):
        np.testing.assert_array_equal(ones, np.ones(3))
    for zeros in (beta, mean, shift):
        np.testing.assert_array_equal(zeros, np.zeros(3))
    np.testing.assert_array_equal(bias, np.zeros(5))
    for W in (kernel, projection):
        assert W.shape == (3, 5)
        assert 0 < np.abs(W).max() <= np.sqrt(6 / 8)  # Glorot uniform
    assert (kernel != projection).any()


def test_the_key_of_the_masks_comes_from_the_seed():
    expected = np.random.SeedSequence([5, 2]).generate_state(2, np.uint32)
    assert seeds.mask_key(5) == tuple(expected.tolist())
    assert Sequential([Dense(1)], input_size=1, seed=5)._engine.key == seeds.mask_key(5)


NOTHING = "at least one layer"
BAD_LAYERS = {
    "dropout 1": (lambda: Dropout(1), ValueError, "rate must be at least 0 and below 1, got 1"),
    "dropout negative": (lambda: Dropout(-0.1), ValueError, "such as 0.5"),
    "dropout NaN": (lambda: Dropout(float("nan")), ValueError, "rate"),
    "dropout a text": (lambda: Dropout("0.5"), TypeError, "rate must be a number"),
    "dropout a flag": (lambda: Dropout(True), TypeError, "rate must be a number"),
    "stddev negative": (lambda: GaussianNoise(-1), ValueError, "stddev must be at least 0 and finite"),
    "stddev infinite": (lambda: GaussianNoise(np.inf), ValueError, "stddev"),
    "momentum": (lambda: BatchNorm(1.1), ValueError, "momentum must be at least 0 and at most 1"),
    "epsilon": (lambda: BatchNorm(epsilon=0), ValueError, "epsilon must be at least 1e-30"),
    "epsilon of rows": (lambda: LayerNorm(-1e-5), ValueError, "epsilon"),
    "trainable": (lambda: LayerNorm(trainable=1), TypeError, "trainable must be True or False"),
    "trainable scale": (lambda: Scale(trainable="no"), TypeError, "trainable must be True or False"),
    "multiplier of a scale": (lambda: Scale(learning_rate_multiplier=-1), ValueError, "trainable=False"),
    "multiplier": (lambda: Dense(3, learning_rate_multiplier=-1), ValueError, "trainable=False"),
    "regularizer": (lambda: Dense(3, kernel_regularizer="l3"), ValueError, "one of l1, l2, got 'l3'"),
    "regularizer uncalled": (lambda: Dense(3, kernel_regularizer=L2), TypeError, "such as L2(1e-4)"),
    "penalty negative": (lambda: L1(-0.1), ValueError, "l1 must be at least 0"),
    "constraint": (lambda: Dense(3, kernel_constraint=3), TypeError, "None or MaxNorm(…)"),
    "bound 0": (lambda: MaxNorm(0), ValueError, "max_value must be above 0"),
    "block of nothing": (lambda: Residual([]), ValueError, NOTHING),
    "block of no list": (lambda: Residual(Dense(3)), TypeError, "must be a list"),
    "block of a class": (lambda: Residual([Dense(3), BatchNorm]), TypeError, "write BatchNorm(…)"),
    "block of a number": (lambda: Residual([3]), TypeError, "layers[0] is 3"),
    "nothing dense": (lambda: Sequential([BatchNorm(), Residual([LayerNorm()])]), ValueError, "at least one Dense"),
    "softmax below": (lambda: Sequential([Dense(3, "softmax"), Dropout(0.1)]), ValueError, "last layer"),
    "softmax in a block": (lambda: Sequential([Residual([Dense(3, "softmax")])]), ValueError, "Dense(3, softmax)"),
}


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_what_is_no_layer_is_refused(case):
    make, error, text = BAD_LAYERS[case]
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)


def test_a_regularizer_by_name_has_keras_default():
    assert regularizers.get("l1") == L1() == L1L2(l1=0.01)
    assert regularizers.get("l2") == L2() == L1L2(l2=0.01)


def test_summary_indents_what_is_within_blocks():
    model = Sequential(everything())
    assert model.summary().splitlines()[-1].split() == ["total", "?"]
    model.predict(X)
    table = """\
layer                 output shape  parameters
GaussianNoise(0.1)    (n, 3)                 0
Dense(6, identity)    (n, 6)                18
BatchNorm(relu)       (n, 6)                24
Residual              (n, 6)                 0
  LayerNorm           (n, 6)                12
  Dense(8, gelu)      (n, 8)                56
  Dropout(0.25)       (n, 8)                 0
  Dense(6, identity)  (n, 6)                54
Residual(elu)         (n, 5)                 0
  Dense(5, tanh)      (n, 5)                35
  Residual            (n, 5)                 0
    BatchNorm(silu)   (n, 5)                20
  BatchNorm           (n, 5)                20
  Scale               (n, 5)                 5
  Projection(5)       (n, 5)                30
Dropout(0.5)          (n, 5)                 0
Dense(4, softmax)     (n, 4)                24
total                                      298
non-trainable                               42"""
    assert model.summary() == table


# ---------------------------------------------------------------- weights, gradients, training


def test_gradients_are_those_of_the_next_step_and_none_for_statistics():
    model = trained(dtype="float64")
    model.compile(SGD(0.0), "cross_entropy")
    names = [parameter.name for parameter in network.parameters(model._blocks)]
    before = state_of(model)
    gradients = model.gradients(X, LABELS)
    assert_same(state_of(model), before)
    for name, W, dW in zip(names, model.get_weights(), gradients, strict=True):
        assert (dW is None) == ("moving" in name)
        assert dW is None or dW.shape == W.shape
    loss = model._engine.gradients(X.astype(np.float64), LABELS)[0]
    assert model.train_on_batch(X, LABELS) == loss
    assert (model.gradients(X, LABELS)[0] != gradients[0]).any()  # the masks of another step


BAD_WEIGHTS = {
    "too few": (lambda weights: weights[:-1], "arrays, got"),
    "another shape": (lambda weights: [weights[0].T, *weights[1:]], "1.kernel"),
    "a negative variance": (lambda weights: [*weights[:4], -weights[4], *weights[5:]], "2.moving_variance must not be"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_weights_that_do_not_fit_are_refused(case):
    spoil, text = BAD_WEIGHTS[case]
    model = trained(1)
    before = state_of(model)
    with pytest.raises(ValueError, match=text):
        model.set_weights(spoil(model.get_weights()))
    assert_same(state_of(model), before)
    model.set_weights(model.get_weights())
    assert_same(state_of(model), before)


def test_two_fits_of_an_epoch_are_one_of_two_and_another_seed_is_another_run():
    whole, parts = trained(2), trained(1)
    parts.fit(X, LABELS, batch_size=6)
    assert_same(state_of(whole), state_of(parts))
    assert whole._engine.steps_trained == 8
    assert (trained(2, seed=1).get_weights()[0] != whole.get_weights()[0]).any()


def test_compiling_again_goes_on_with_the_masks_and_keeps_the_statistics():
    model = trained()
    kept = model.get_weights()
    model.compile("sgd", "cross_entropy")
    assert model._engine.steps_trained == 8
    assert_same(model.get_weights(), kept)


def test_predictions_have_no_randomness_and_depend_on_no_other_row():
    model = trained(dtype="float64")
    whole = model.predict(X)
    np.testing.assert_array_equal(whole, model.predict(X))
    for row in range(N):  # NumPy's products may sum in another order for one row
        np.testing.assert_allclose(model.predict(X[row : row + 1]), whole[row : row + 1], rtol=1e-12)


def test_a_residual_network_trains_as_pytorch_does():
    layers = [Dense(6), BatchNorm(), Activation("relu"), Residual([Dense(5, "tanh"), LayerNorm(), Dense(8)]), Dense(4)]
    model = Sequential(layers, input_size=3, dtype="float64")
    model.compile(SGD(0.1), "cross_entropy")

    linear = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in ((3, 6), (6, 5), (5, 8), (6, 8), (8, 4))]
    first, inner, outer, projection, last = linear
    batch, layer = torch.nn.BatchNorm1d(6, dtype=torch.float64), torch.nn.LayerNorm(5, dtype=torch.float64)
    weights = [first.weight, first.bias, batch.weight, batch.bias, batch.running_mean, batch.running_var]
    weights += [inner.weight, inner.bias, layer.weight, layer.bias, outer.weight, outer.bias, projection.weight]
    weights += [last.weight, last.bias]
    with torch.no_grad():
        projection.bias.zero_()
        for theirs, ours in zip(weights, model.get_weights(), strict=True):
            theirs.copy_(torch.tensor(ours.T))

    def outputs(x):
        x = torch.relu(batch(first(x)))
        return last(x @ projection.weight.T + outer(layer(torch.tanh(inner(x)))))

    parameters = [w for w in weights if w.requires_grad]
    optimizer, x, y = torch.optim.SGD(parameters, 0.1), torch.tensor(X.astype(np.float64)), torch.tensor(LABELS)
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(outputs(x), y)
        loss.backward()
        optimizer.step()
        # Five steps of some 200 roundings on values of order 1.
        assert model.train_on_batch(X, LABELS) == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy().T, rtol=1e-11, atol=1e-12)
    batch.eval()
    np.testing.assert_allclose(model.predict(X), outputs(x).detach().numpy(), rtol=1e-11, atol=1e-12)


# ---------------------------------------------------------------- files and copies


def saved(model, tmp_path):
    model.save(tmp_path / "model")
    return fastbp.load(tmp_path / "model")


COPIES = {
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "file": saved,
}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_goes_on_as_the_model_would(way, tmp_path):
    model = trained()
    other = COPIES[way](model, tmp_path)
    assert other.layers == model.layers
    assert other.summary() == model.summary()
    assert_same(state_of(model), state_of(other))
    assert model.fit(X, LABELS, batch_size=6).history == other.fit(X, LABELS, batch_size=6).history
    assert_same(state_of(model), state_of(other))


def test_tensors_in_files_are_named_by_layers(tmp_path):
    trained().save(tmp_path / "model")
    contents, _ = checkpoint.read(tmp_path / "model")
    names = {"1.kernel", "2.moving_mean", "3.0.gamma", "4.1.0.beta", "4.3.scale", "4.projection.kernel"}
    assert names <= set(contents.tensors)
    assert {"optimizer.0.4.projection.kernel", "optimizer.0.4.3.scale"} <= set(contents.tensors)
    assert "optimizer.0.2.moving_mean" not in contents.tensors
    assert contents.model["steps_trained"] == 8


def test_a_file_of_an_earlier_version_loads(tmp_path):
    """It has neither a counter for masks nor fields for what Dense has since got."""
    model = Sequential([Dense(5), Activation("relu"), Dense(4, "softmax")])
    model.compile("adam", "cross_entropy")
    model.fit(X, LABELS, batch_size=6)
    model.save(tmp_path / "model")
    contents, _ = checkpoint.read(tmp_path / "model")
    del contents.model["steps_trained"]
    for layer in contents.model["layers"]:
        for name in ("kernel_regularizer", "kernel_constraint", "trainable", "learning_rate_multiplier"):
            layer["config"].pop(name, None)
    checkpoint.write(tmp_path / "old", contents)
    old = fastbp.load(tmp_path / "old")
    assert old.layers == model.layers
    assert_same(state_of(old), state_of(model))
    assert {"0.kernel", "0.bias", "1.kernel", "1.bias", "optimizer.1.0.kernel"} <= set(contents.tensors)


def residual(contents):
    return contents.model["layers"][4]["config"]["layers"]


SPOILT = {
    "a negative variance": lambda c: c.tensors["2.moving_variance"].__imul__(-1),
    "a variance too few": lambda c: c.tensors.pop("2.moving_variance"),
    "a kernel of another shape": lambda c: c.tensors.update({"5.projection.kernel": np.zeros((2, 2), np.float32)}),
    "an empty block": lambda c: residual(c).clear(),
    "a block of text": lambda c: c.model["layers"][4]["config"].update(layers="Dense"),
    "a block of numbers": lambda c: residual(c).append(3),
    "a block that holds a function": lambda c: residual(c).append({"class": "layers.checked", "config": {}}),
    "a dropout of 1": lambda c: residual(c)[2]["config"].update(rate=1),
    "another layer": lambda c: residual(c).append({"class": "layers.Dense", "config": {"units": 6}}),
    "a counter": lambda c: c.model.update(steps_trained=-1),
    "a counter too large": lambda c: c.model.update(steps_trained=1 << 63),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_file_that_cannot_be_is_refused(case, tmp_path):
    trained(1).save(tmp_path / "model")
    contents, _ = checkpoint.read(tmp_path / "model")
    SPOILT[case](contents)
    checkpoint.write(tmp_path / "spoilt", contents)
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(tmp_path / "spoilt")


@pytest.mark.parametrize("depth", [300, 5000])
def test_a_file_of_blocks_in_blocks_without_end_is_refused(depth, tmp_path):
    trained(1).save(tmp_path / "model")
    contents, _ = checkpoint.read(tmp_path / "model")
    deep = {"class": "layers.Dense", "config": {"units": 3}}
    for _ in range(depth):
        deep = {"class": "layers.Residual", "config": {"layers": [deep]}}
    contents.model["layers"] = [deep]
    with pytest.raises(fastbp.CheckpointError):
        snapshot.from_contents(contents)


@pytest.mark.parametrize(("node", "label"), [(2, "BatchNorm(relu)"), (4, "Dense(8, gelu)"), (13, "Projection(5)")])
def test_a_warning_names_the_operation_that_diverged(node, label):
    trainer = trained(0, input_size=3)._trainer
    with pytest.warns(fastbp.DivergenceWarning) as caught:
        trainer.warn(Report(1, 2, node), stacklevel=1)
    assert f" at layer {node}, {label};" in str(caught[0].message)


# ---------------------------------------------------------------- folding


def with_random_weights(layers, dtype="float64", seed=0):
    model = Sequential(layers, input_size=3, dtype=dtype)
    rng = np.random.default_rng(seed)
    names = [parameter.name for parameter in network.parameters(model._blocks)]
    model.set_weights(
        [
            rng.uniform(0.5, 2, W.shape) if "variance" in name else rng.uniform(-1, 1, W.shape)
            for name, W in zip(names, model.get_weights(), strict=True)
        ]
    )
    return model


FOLDED = {  # the layers, and those of the copy
    "after": ([Dense(5, use_bias=False), BatchNorm(), Activation("relu"), Dense(2)],
              [Dense(5), Activation("relu"), Dense(2)]),
    "before": ([BatchNorm(), Dense(5, "tanh"), Dense(2)], [Dense(5, "tanh"), Dense(2)]),
    "both sides": ([Dense(5, "relu"), BatchNorm(), Dense(4), BatchNorm(), BatchNorm()], [Dense(5, "relu"), Dense(4)]),
    "a run of them": ([BatchNorm(), BatchNorm(), Dense(5, "relu")], [Dense(5, "relu")]),
    "an activation between": ([Dense(5, "relu"), BatchNorm(), Activation("tanh"), Dense(2)],
                              [Dense(5, "relu"), BatchNorm(), Activation("tanh"), Dense(2)]),
    "nothing to fold": ([Dense(5), LayerNorm(), Dense(2)], [Dense(5), LayerNorm(), Dense(2)]),
    "scales stay": ([Dense(5), Scale(), BatchNorm()], [Dense(5), Scale(), BatchNorm()]),
    "within blocks": (
        [Dense(5), Residual([BatchNorm(), Dense(7), Activation("relu"), Dense(5), BatchNorm()]), BatchNorm(),
         Residual([Dropout(0.1), BatchNorm()]), Residual([Residual([Dense(4), BatchNorm()]), LayerNorm()]), Dense(1)],
        [Dense(5), Residual([Dense(7), Activation("relu"), Dense(5)]), BatchNorm(),
         Residual([Dropout(0.1), BatchNorm()]), Residual([Residual([Dense(4)]), LayerNorm()]), Dense(1)],
    ),
    "arguments stay, but those on the kernel": (
        [Dense(5, kernel_initializer="zeros", kernel_regularizer="l2", kernel_constraint=MaxNorm(), trainable=False),
         BatchNorm(), Dropout(0.5), Dense(2, kernel_regularizer="l2")],
        [Dense(5, kernel_initializer="zeros", trainable=False), Dropout(0.5), Dense(2, kernel_regularizer="l2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_folding_leaves_out_batch_norms_and_keeps_the_predictions(case):
    layers, expected = FOLDED[case]
    model = with_random_weights(layers)
    model.metadata["note"] = "mine"
    before = model.get_weights()
    folded = fastbp.fold(model)
    assert folded.layers == tuple(expected)
    assert folded.metadata == {"note": "mine"}
    # Some 60 roundings of values of order 1 to 10 in either network.
    np.testing.assert_allclose(folded.predict(X), model.predict(X), rtol=1e-12, atol=1e-12)
    assert_same(model.get_weights(), before)
    assert fastbp.fold(folded).layers == folded.layers


@pytest.mark.parametrize("after", [True, False])
def test_folded_predictions_are_within_their_bound(after):
    layers = [Dense(40), BatchNorm()] if after else [BatchNorm(), Dense(40)]
    model = Sequential(layers, input_size=30)
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(50, 30)).astype(np.float32)
    model.set_weights([rng.uniform(0.01, 2, W.shape) for W in model.get_weights()])
    outputs, folded = model.predict(rows), fastbp.fold(model)
    W, b, gamma, beta, mean, variance = (
        array.astype(np.float64)
        for array in (model.get_weights() if after else [*model.get_weights()[4:], *model.get_weights()[:4]])
    )
    s, k, u = gamma / np.sqrt(variance + 1e-5), 30, 2.0**-24
    size = np.abs(rows.astype(np.float64))
    # A sum of k products and a bias rounds by at most (k + 1) u of the sum of their sizes; the difference from the
    # mean, its two factors and the shift by 6 u of what goes through them; folded weights by another u.
    if after:
        through = (size @ np.abs(W) + np.abs(b) + np.abs(mean)) * np.abs(s) + np.abs(beta)
        inside = size @ np.abs(W * s) + np.abs(b * s + beta - s * mean)
    else:
        through = ((size + np.abs(mean)) * np.abs(s) + np.abs(beta)) @ np.abs(W) + np.abs(b)
        inside = size @ np.abs(s[:, np.newaxis] * W) + np.abs(b + (beta - s * mean) @ W)
    bound = (k + 7) * u * (through + inside)
    assert (np.abs(folded.predict(rows).astype(np.float64) - outputs) <= bound).all()


def test_what_would_not_be_finite_stays():
    model = with_random_weights([Dense(4), BatchNorm(), Dense(2)], "float32")
    weights = model.get_weights()
    for W, size in zip(weights, (1e30, 1, 1e30, 1, 1, 1, 1e30, 1), strict=True):  # kernel, bias, gamma, …
        W[:] = size
    model.set_weights(weights)
    assert fastbp.fold(model).layers == (Dense(4), BatchNorm(), Dense(2))


def test_a_folded_model_is_compiled_as_the_model_was():
    model = Sequential([Dense(5, use_bias=False), BatchNorm(), Activation("relu"), Dense(4, "softmax")])
    model.compile("sgd", "cross_entropy", ["accuracy"])
    model.fit(X, LABELS, batch_size=5, epochs=3)
    folded = fastbp.fold(model)
    ours, theirs = folded.evaluate(X, LABELS), model.evaluate(X, LABELS)
    assert ours["accuracy"] == theirs["accuracy"]
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)  # float32, products of at most 5
    folded.fit(X, LABELS)


@pytest.mark.parametrize(
    ("thing", "error", "text"),
    [(3, TypeError, "takes a Sequential"), (Sequential([Dense(1)]), ValueError, "input_size=")],
)
def test_what_cannot_be_folded_is_refused(thing, error, text):
    with pytest.raises(error, match=text):
        fastbp.fold(thing)
