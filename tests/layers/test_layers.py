"""Layers other than Dense: their graph, weights, files, copies, training, and folding."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

import fastbp
from fastbp import (
    ELU,
    L1,
    L1L2,
    L2,
    SGD,
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    FlatCosine,
    GaussianNoise,
    LayerNorm,
    MaxNorm,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    PReLU,
    Residual,
    Scale,
    Sequential,
    regularizers,
)
from fastbp.layers import graph as network
from fastbp.reference import ReferenceEngine
from fastbp.spec import LayerSpec, Report, Waves
from fastbp.storage import checkpoint, snapshot
from fastbp.util import random_streams as seeds

N = 20
X = np.random.default_rng(8).normal(size=(N, 3)).astype(np.float32)
LABELS = np.arange(N) % 4


class Reference(ReferenceEngine):
    """Has the methods of the compiled engine, which change a copy first; this class changes itself in place."""

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
    """Replaces the compiled engine by the reference, since these tests are about layers, not kernels."""
    monkeypatch.setattr("fastbp.engine.engine.Engine", Reference)


def layers_of_all_kinds():
    return [
        GaussianNoise(0.1),
        Dense(6, use_bias=False, kernel_initializer="he_normal"),
        BatchNorm(0.2),
        Activation("relu"),
        Residual([LayerNorm(), Dense(8, "gelu", learning_rate_multiplier=0.5), Dropout(0.25), Dense(6)]),
        Residual([Dense(5, "tanh"), Residual([BatchNorm(), Activation("silu")]), BatchNorm(trainable=False), Scale()]),
        Activation("elu"),
        Dropout(FlatCosine(0.5, 100)),
        Dense(4, "softmax", kernel_regularizer=L1L2(1e-4, 1e-3), kernel_constraint=MaxNorm(3)),
    ]


def trained(epochs=2, **options):
    model = Sequential(layers_of_all_kinds(), **options)
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
    "activations are fused into the layer before": (
        [Dense(5), Activation("relu"), BatchNorm(), Activation("tanh"), LayerNorm(), Activation("elu"),
         Activation("relu"), Scale(), Activation("gelu")],
        ["Dense(5, relu)", "BatchNorm(tanh)", "LayerNorm(elu)", "Activation(relu)", "Scale(gelu)"],
        [LayerSpec(5, "relu"), LayerSpec(5, "tanh", **BN), LayerSpec(5, "elu", 1.0, **LN),
         LayerSpec(5, "relu", use_bias=False, kind="activation"), LayerSpec(5, "gelu", kind="scale")],
        "0.kernel 0.bias 1.gamma 1.beta 1.moving_mean 1.moving_variance 2.gamma 2.beta 4.scale",
    ),
    "but not into dropout, noise or layers outside their block": (
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
    "block on the input, activation of the sum": (
        [Residual([Dense(7), Dense(3)]), Activation("relu")],
        ["Dense(7, identity)", "Dense(3, identity)", "Residual(relu)"],
        [LayerSpec(7), LayerSpec(3), LayerSpec(3, "relu", kind="add", skip=-1)],
        "0.0.kernel 0.0.bias 0.1.kernel 0.1.bias",
    ),
    "projections of the input and of a node": (
        [Residual([Dense(7)]), Residual([LayerNorm(), Dense(2, "relu"), Dense(4)]), Dense(1)],
        ["Dense(7, identity)", "Projection(7)", "Residual", "LayerNorm", "Dense(2, relu)", "Dense(4, identity)",
         "Projection(4)", "Residual", "Dense(1, identity)"],
        [LayerSpec(7), LayerSpec(7, use_bias=False, below=-1), LayerSpec(7, kind="add", skip=0),
         LayerSpec(7, **LN), LayerSpec(2, "relu"), LayerSpec(4), LayerSpec(4, use_bias=False, below=2),
         LayerSpec(4, kind="add", skip=5), LayerSpec(1)],
        "0.0.kernel 0.0.bias 0.projection.kernel 1.0.gamma 1.0.beta 1.1.kernel 1.1.bias 1.2.kernel 1.2.bias "
        "1.projection.kernel 2.kernel 2.bias",
    ),
    "block first in a block": (
        [Dense(4), Residual([Residual([Dense(4)]), Activation("relu"), Dropout(0.1)]), Dense(2)],
        ["Dense(4, identity)", "Dense(4, identity)", "Residual(relu)", "Dropout(0.1)", "Residual",
         "Dense(2, identity)"],
        [LayerSpec(4), LayerSpec(4), LayerSpec(4, "relu", kind="add", skip=0),
         LayerSpec(4, kind="dropout", values=(0.1,)), LayerSpec(4, kind="add", skip=0), LayerSpec(2)],
        "0.kernel 0.bias 1.0.0.kernel 1.0.0.bias 2.kernel 2.bias",
    ),
    "training options of layers": (
        [Dense(4, kernel_regularizer=L1L2(0.1, 0.2), trainable=False), BatchNorm(0.3, 0.01, trainable=False),
         Dense(4, kernel_regularizer="l2", kernel_constraint=MaxNorm(5), learning_rate_multiplier=3,
               bias_learning_rate_multiplier=0.5, weight_decay_multiplier=4),
         LayerNorm(0.5, learning_rate_multiplier=0),
         Scale(trainable=False, learning_rate_multiplier=2, weight_decay_multiplier=0),
         PReLU(trainable=False), ParametricActivation(ELU(0.3), learning_rate_multiplier=0.1),
         PeriodicEmbedding(2, 5, [3, 1], relu=True, trainable=False)],
        ["Dense(4, identity)", "BatchNorm", "Dense(4, identity)", "LayerNorm", "Scale", "PReLU",
         "ParametricActivation(elu)", "PeriodicEmbedding(2, 5)"],
        [LayerSpec(4, l1=0.1, l2=0.2, trainable=False),
         LayerSpec(4, kind="batch_norm", values=(0.3, 0.01), trainable=False),
         LayerSpec(4, l2=0.01, max_norm=5.0, multiplier=3.0, bias_multiplier=0.5, decay=4.0),
         LayerSpec(4, kind="layer_norm", values=(0.5,), multiplier=0.0),
         LayerSpec(4, kind="scale", multiplier=2.0, decay=0.0, trainable=False),
         LayerSpec(4, kind="prelu", trainable=False),
         LayerSpec(4, kind="parametric", values=(0.3,), function="elu", multiplier=0.1),
         LayerSpec(8, kind="periodic", use_bias=False, waves=Waves((1, 3), 5, 2, True, True, True), trainable=False)],
        "0.kernel 0.bias 1.gamma 1.beta 1.moving_mean 1.moving_variance 2.kernel 2.bias 3.gamma 3.beta 4.scale "
        "5.alpha 6.alpha 7.frequencies 7.phases 7.kernel 7.bias",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GRAPHS)
def test_layers_build_the_expected_graph(case):
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


def test_initial_weights_are_as_expected():
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


def test_mask_key_is_derived_from_the_seed():
    expected = np.random.SeedSequence([5, 2]).generate_state(2, np.uint32)
    assert seeds.mask_key(5) == tuple(expected.tolist())
    assert Sequential([Dense(1)], input_size=1, seed=5)._engine.key == seeds.mask_key(5)


NO_LAYERS = "at least one layer"
BAD_LAYERS = {
    "dropout by a function": (lambda: Dropout(lambda updates: 0.1), TypeError, "one of fastbp.schedules"),
    "dropout by a schedule": (lambda: Dropout(FlatCosine(1.5, 10)), ValueError, "below 1, got 1.5"),
    "dropout 1": (lambda: Dropout(1), ValueError, "rate must be at least 0 and below 1, got 1"),
    "dropout negative": (lambda: Dropout(-0.1), ValueError, "such as 0.5"),
    "dropout NaN": (lambda: Dropout(float("nan")), ValueError, "rate"),
    "dropout string": (lambda: Dropout("0.5"), TypeError, "rate must be a number"),
    "dropout bool": (lambda: Dropout(True), TypeError, "rate must be a number"),
    "stddev negative": (lambda: GaussianNoise(-1), ValueError, "stddev must be at least 0 and finite"),
    "stddev infinite": (lambda: GaussianNoise(np.inf), ValueError, "stddev"),
    "momentum": (lambda: BatchNorm(1.1), ValueError, "momentum must be at least 0 and at most 1"),
    "epsilon": (lambda: BatchNorm(epsilon=0), ValueError, "epsilon must be at least 1e-30"),
    "layer norm epsilon": (lambda: LayerNorm(-1e-5), ValueError, "epsilon"),
    "trainable": (lambda: LayerNorm(trainable=1), TypeError, "trainable must be True or False"),
    "trainable scale": (lambda: Scale(trainable="no"), TypeError, "trainable must be True or False"),
    "alpha of prelu": (lambda: PReLU(float("nan")), ValueError, "alpha must be finite"),
    "multiplier of prelu": (lambda: PReLU(learning_rate_multiplier=-1), ValueError, "trainable=False"),
    "softmax of single units": (lambda: ParametricActivation("softmax"), ValueError, "function of single numbers"),
    "unknown function": (lambda: ParametricActivation("mesh"), ValueError, "did you mean 'mish'"),
    "outputs of waves": (lambda: PeriodicEmbedding(0), ValueError, "outputs must be at least 1"),
    "frequencies of waves": (lambda: PeriodicEmbedding(2, 1.5), TypeError, "frequencies must be an int"),
    "columns of waves": (lambda: PeriodicEmbedding(columns=[1, 1]), ValueError, "one or more different columns"),
    "scale of waves": (lambda: PeriodicEmbedding(frequency_scale=-1), ValueError, "frequency_scale"),
    "missing column of waves": (
        lambda: Sequential([PeriodicEmbedding(columns=[4]), Dense(1)], input_size=4), ValueError,
        "needs at least 5 inputs, got 4",
    ),
    "no edges": (lambda: PiecewiseLinearEmbedding({}), ValueError, "edges for each of one or more"),
    "edges out of order": (lambda: PiecewiseLinearEmbedding([(0.0, 2.0, 1.0)]), ValueError, "in ascending order"),
    "one edge": (lambda: PiecewiseLinearEmbedding({3: [1.0]}), ValueError, "edges of column 3"),
    "columns twice": (lambda: PiecewiseLinearEmbedding({3: [0, 1]}, 4, [3]), TypeError, "whose keys are the columns"),
    "multiplier of a scale": (lambda: Scale(learning_rate_multiplier=-1), ValueError, "trainable=False"),
    "multiplier of decay": (lambda: Dense(3, weight_decay_multiplier=-1), ValueError, "pass 0 for no weight decay"),
    "multiplier of biases": (lambda: Dense(3, bias_learning_rate_multiplier=-1), ValueError, "bias_learning_rate"),
    "multiplier": (lambda: Dense(3, learning_rate_multiplier=-1), ValueError, "trainable=False"),
    "regularizer": (lambda: Dense(3, kernel_regularizer="l3"), ValueError, "one of l1, l2, got 'l3'"),
    "regularizer class": (lambda: Dense(3, kernel_regularizer=L2), TypeError, "such as L2(1e-4)"),
    "penalty negative": (lambda: L1(-0.1), ValueError, "l1 must be at least 0"),
    "constraint": (lambda: Dense(3, kernel_constraint=3), TypeError, "None or MaxNorm(…)"),
    "max_value 0": (lambda: MaxNorm(0), ValueError, "max_value must be above 0"),
    "empty block": (lambda: Residual([]), ValueError, NO_LAYERS),
    "block not a list": (lambda: Residual(Dense(3)), TypeError, "must be a list"),
    "block of a class": (lambda: Residual([Dense(3), BatchNorm]), TypeError, "write BatchNorm(…)"),
    "block of a number": (lambda: Residual([3]), TypeError, "layers[0] is 3"),
    "no Dense": (lambda: Sequential([BatchNorm(), Residual([LayerNorm()])]), ValueError, "at least one Dense"),
    "softmax not last": (lambda: Sequential([Dense(3, "softmax"), Dropout(0.1)]), ValueError, "last layer"),
    "softmax in a block": (lambda: Sequential([Residual([Dense(3, "softmax")])]), ValueError, "Dense(3, softmax)"),
}


@pytest.mark.parametrize("case", BAD_LAYERS)
def test_invalid_layers_are_refused(case):
    make, error, message = BAD_LAYERS[case]
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


def test_regularizer_by_name_has_the_keras_default():
    assert regularizers.get("l1") == L1() == L1L2(l1=0.01)
    assert regularizers.get("l2") == L2() == L1L2(l2=0.01)


def test_summary_indents_layers_within_blocks():
    model = Sequential(layers_of_all_kinds())
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
Dropout(FlatCosine)   (n, 5)                 0
Dense(4, softmax)     (n, 4)                24
total                                      298
non-trainable                               42"""
    assert model.summary() == table


# ---------------------------------------------------------------- weights, gradients, training


def test_gradients_use_the_masks_of_the_next_step_and_are_none_for_statistics():
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
    assert (model.gradients(X, LABELS)[0] != gradients[0]).any()  # with the masks of the next step


BAD_WEIGHTS = {
    "too few": (lambda weights: weights[:-1], "arrays, got"),
    "wrong shape": (lambda weights: [weights[0].T, *weights[1:]], "1.kernel"),
    "negative variance": (lambda weights: [*weights[:4], -weights[4], *weights[5:]], "2.moving_variance must not be"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_invalid_weights_are_refused(case):
    corrupt, message = BAD_WEIGHTS[case]
    model = trained(1)
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.set_weights(corrupt(model.get_weights()))
    assert_same(state_of(model), before)
    model.set_weights(model.get_weights())
    assert_same(state_of(model), before)


def test_two_fits_of_one_epoch_equal_one_of_two_and_seeds_differ():
    whole, parts = trained(2), trained(1)
    parts.fit(X, LABELS, batch_size=6)
    assert_same(state_of(whole), state_of(parts))
    assert whole._engine.steps_trained == 8
    assert (trained(2, seed=1).get_weights()[0] != whole.get_weights()[0]).any()


def test_recompiling_keeps_the_mask_counter_and_the_statistics():
    model = trained()
    kept = model.get_weights()
    model.compile("sgd", "cross_entropy")
    assert model._engine.steps_trained == 8
    assert_same(model.get_weights(), kept)


def test_predictions_are_deterministic_and_independent_of_other_rows():
    model = trained(dtype="float64")
    whole = model.predict(X)
    np.testing.assert_array_equal(whole, model.predict(X))
    for row in range(N):  # NumPy may sum products in another order for a single row
        np.testing.assert_allclose(model.predict(X[row : row + 1]), whole[row : row + 1], rtol=1e-12)


def test_residual_network_matches_pytorch():
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
        # Five steps of some 200 roundings each on values of order 1.
        assert model.train_on_batch(X, LABELS) == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy().T, rtol=1e-11, atol=1e-12)
    batch.eval()
    np.testing.assert_allclose(model.predict(X), outputs(x).detach().numpy(), rtol=1e-11, atol=1e-12)


# ---------------------------------------------------------------- files and copies


def saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model")
    return fastbp.load(tmp_path / "model")


COPIES = {
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "file": saved_and_loaded,
}


@pytest.mark.parametrize("method", COPIES)
def test_copies_train_like_the_model(method, tmp_path):
    model = trained()
    other = COPIES[method](model, tmp_path)
    assert other.layers == model.layers
    assert other.summary() == model.summary()
    assert_same(state_of(model), state_of(other))
    assert model.fit(X, LABELS, batch_size=6).history == other.fit(X, LABELS, batch_size=6).history
    assert_same(state_of(model), state_of(other))


def test_tensors_in_files_are_named_after_layers(tmp_path):
    trained().save(tmp_path / "model")
    contents, _ = checkpoint.read(tmp_path / "model")
    names = {"1.kernel", "2.moving_mean", "3.0.gamma", "4.1.0.beta", "4.3.scale", "4.projection.kernel"}
    assert names <= set(contents.tensors)
    assert {"optimizer.0.4.projection.kernel", "optimizer.0.4.3.scale"} <= set(contents.tensors)
    assert "optimizer.0.2.moving_mean" not in contents.tensors
    assert contents.model["steps_trained"] == 8


def test_file_of_an_earlier_version_loads(tmp_path):
    """It has neither a mask counter nor fields for arguments that Dense has gained since."""
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


CORRUPTIONS = {
    "negative variance": lambda c: c.tensors["2.moving_variance"].__imul__(-1),
    "missing variance": lambda c: c.tensors.pop("2.moving_variance"),
    "wrong kernel shape": lambda c: c.tensors.update({"5.projection.kernel": np.zeros((2, 2), np.float32)}),
    "empty block": lambda c: residual(c).clear(),
    "block is a string": lambda c: c.model["layers"][4]["config"].update(layers="Dense"),
    "block holds a number": lambda c: residual(c).append(3),
    "block holds a function": lambda c: residual(c).append({"class": "layers.checked", "config": {}}),
    "dropout 1": lambda c: residual(c)[2]["config"].update(rate=1),
    "extra layer": lambda c: residual(c).append({"class": "layers.Dense", "config": {"units": 6}}),
    "negative counter": lambda c: c.model.update(steps_trained=-1),
    "counter too large": lambda c: c.model.update(steps_trained=1 << 63),
}


@pytest.mark.parametrize("case", CORRUPTIONS)
def test_corrupt_files_are_refused(case, tmp_path):
    trained(1).save(tmp_path / "model")
    contents, _ = checkpoint.read(tmp_path / "model")
    CORRUPTIONS[case](contents)
    checkpoint.write(tmp_path / "corrupt", contents)
    with pytest.raises(fastbp.CheckpointError):
        fastbp.load(tmp_path / "corrupt")


@pytest.mark.parametrize("depth", [300, 5000])
def test_files_with_deeply_nested_blocks_are_refused(depth, tmp_path):
    trained(1).save(tmp_path / "model")
    contents, _ = checkpoint.read(tmp_path / "model")
    deep = {"class": "layers.Dense", "config": {"units": 3}}
    for _ in range(depth):
        deep = {"class": "layers.Residual", "config": {"layers": [deep]}}
    contents.model["layers"] = [deep]
    with pytest.raises(fastbp.CheckpointError):
        snapshot.from_contents(contents)


@pytest.mark.parametrize(("node", "label"), [(2, "BatchNorm(relu)"), (4, "Dense(8, gelu)"), (13, "Projection(5)")])
def test_divergence_warning_names_the_layer(node, label):
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


FOLDED = {  # the layers of the model and of the folded copy
    "after": ([Dense(5, use_bias=False), BatchNorm(), Activation("relu"), Dense(2)],
              [Dense(5), Activation("relu"), Dense(2)]),
    "before": ([BatchNorm(), Dense(5, "tanh"), Dense(2)], [Dense(5, "tanh"), Dense(2)]),
    "both sides": ([Dense(5, "relu"), BatchNorm(), Dense(4), BatchNorm(), BatchNorm()], [Dense(5, "relu"), Dense(4)]),
    "consecutive": ([BatchNorm(), BatchNorm(), Dense(5, "relu")], [Dense(5, "relu")]),
    "activation between": ([Dense(5, "relu"), BatchNorm(), Activation("tanh"), Dense(2)],
                           [Dense(5, "relu"), BatchNorm(), Activation("tanh"), Dense(2)]),
    "nothing to fold": ([Dense(5), LayerNorm(), Dense(2)], [Dense(5), LayerNorm(), Dense(2)]),
    "scales are kept": ([Dense(5), Scale(), BatchNorm()], [Dense(5), Scale(), BatchNorm()]),
    "within blocks": (
        [Dense(5), Residual([BatchNorm(), Dense(7), Activation("relu"), Dense(5), BatchNorm()]), BatchNorm(),
         Residual([Dropout(0.1), BatchNorm()]), Residual([Residual([Dense(4), BatchNorm()]), LayerNorm()]), Dense(1)],
        [Dense(5), Residual([Dense(7), Activation("relu"), Dense(5)]), BatchNorm(),
         Residual([Dropout(0.1), BatchNorm()]), Residual([Residual([Dense(4)]), LayerNorm()]), Dense(1)],
    ),
    "arguments are kept except those of the kernel": (
        [Dense(5, kernel_initializer="zeros", kernel_regularizer="l2", kernel_constraint=MaxNorm(), trainable=False),
         BatchNorm(), Dropout(0.5), Dense(2, kernel_regularizer="l2")],
        [Dense(5, kernel_initializer="zeros", trainable=False), Dropout(0.5), Dense(2, kernel_regularizer="l2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_folding_removes_batch_norms_and_keeps_predictions(case):
    layers, expected = FOLDED[case]
    model = with_random_weights(layers)
    model.metadata["note"] = "mine"
    before = model.get_weights()
    folded = fastbp.fold(model)
    assert folded.layers == tuple(expected)
    assert folded.metadata == {"note": "mine"}
    # Some 60 roundings of values of order 1 to 10 in each network.
    np.testing.assert_allclose(folded.predict(X), model.predict(X), rtol=1e-12, atol=1e-12)
    assert_same(model.get_weights(), before)
    assert fastbp.fold(folded).layers == folded.layers


@pytest.mark.parametrize("after", [True, False])
def test_predictions_of_a_folded_model_are_within_the_bound(after):
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
    # A sum of k products and a bias rounds by at most (k + 1) u times the sum of their magnitudes; subtracting the
    # mean, two factors and the shift by 6 u times the values passing through; folded weights by another u.
    if after:
        through = (size @ np.abs(W) + np.abs(b) + np.abs(mean)) * np.abs(s) + np.abs(beta)
        inside = size @ np.abs(W * s) + np.abs(b * s + beta - s * mean)
    else:
        through = ((size + np.abs(mean)) * np.abs(s) + np.abs(beta)) @ np.abs(W) + np.abs(b)
        inside = size @ np.abs(s[:, np.newaxis] * W) + np.abs(b + (beta - s * mean) @ W)
    bound = (k + 7) * u * (through + inside)
    assert (np.abs(folded.predict(rows).astype(np.float64) - outputs) <= bound).all()


def test_batch_norm_is_kept_if_folding_would_overflow():
    model = with_random_weights([Dense(4), BatchNorm(), Dense(2)], "float32")
    weights = model.get_weights()
    for W, size in zip(weights, (1e30, 1, 1e30, 1, 1, 1, 1e30, 1), strict=True):  # kernel, bias, gamma, …
        W[:] = size
    model.set_weights(weights)
    assert fastbp.fold(model).layers == (Dense(4), BatchNorm(), Dense(2))


def test_folded_model_is_compiled_like_the_model():
    model = Sequential([Dense(5, use_bias=False), BatchNorm(), Activation("relu"), Dense(4, "softmax")])
    model.compile("sgd", "cross_entropy", ["accuracy"])
    model.fit(X, LABELS, batch_size=5, epochs=3)
    folded = fastbp.fold(model)
    ours, theirs = folded.evaluate(X, LABELS), model.evaluate(X, LABELS)
    assert ours["accuracy"] == theirs["accuracy"]
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)  # float32, products of at most 5
    folded.fit(X, LABELS)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [(3, TypeError, "takes a Sequential"), (Sequential([Dense(1)]), ValueError, "input_size=")],
)
def test_folding_refuses_unsupported_arguments(model, error, message):
    with pytest.raises(error, match=message):
        fastbp.fold(model)
