"""`diagnose`, `check_gradients`, `find_learning_rate` on networks whose state is known."""

import copy
import dataclasses
import math
import time

import numpy as np
import pytest

import fastbp
from fastbp import SGD, Dense, Sequential
from fastbp.datasets import load_digits
from fastbp.diagnosis import gradient_check, inspection
from fastbp.diagnosis import layer_health as diagnosis
from fastbp.initializers import Constant, VarianceScaling
from fastbp.spec import LayerSpec

DIGITS = load_digits()
X, Y = DIGITS.X / 16, DIGITS.y
N_LAYERS = 200


def classifier(*hidden, optimizer="adam", **options):
    model = Sequential([*hidden, Dense(10, "softmax")], input_size=64, **options)
    model.compile(optimizer, "cross_entropy", ["accuracy"])
    return model


def scaled(scale):
    """Weights that multiply the mean square of a layer's input by `scale` (half of it after a ReLU)."""
    return VarianceScaling(scale, "fan_in", "normal")


def state_of(model):
    trainer = model._trainer
    states = [array for state in model._engine.get_state() for array in state]
    return [*model.get_weights(), *states, trainer.step, trainer.epoch]


@pytest.fixture(params=["diagnose", "check_gradients", "find_learning_rate"])
def tool(request):
    return {
        "diagnose": fastbp.diagnose,
        "check_gradients": lambda model, X, y, **o: fastbp.check_gradients(model, X, y, n=2, **o),
        "find_learning_rate": lambda model, X, y: fastbp.find_learning_rate(model, X, y, steps=20),
    }[request.param]


# ---------------------------------------------------------------- what all three share


@pytest.mark.jit
def test_model_is_not_changed(tool):
    model = classifier(Dense(16, "relu"))
    model.fit(X, Y, epochs=2)
    before = state_of(model)
    tool(model, X, Y)
    for a, b in zip(before, state_of(model), strict=True):
        np.testing.assert_array_equal(a, b)
    twin = copy.copy(model)
    np.testing.assert_array_equal(model.fit(X, Y).history["loss"], twin.fit(X, Y).history["loss"])


@pytest.mark.jit
def test_unbuilt_model_stays_unbuilt(tool):
    model = Sequential([Dense(5, "tanh"), Dense(10, "softmax")], seed=3)
    model.compile("sgd", "cross_entropy")
    first = str(tool(model, X, Y))
    assert model.input_size is None
    model.predict(X[:1])
    assert str(tool(model, X, Y)) == first


def test_bad_data_are_rejected(tool):
    model = classifier(Dense(4))
    with pytest.raises(ValueError, match="X must have 64 columns"):
        tool(model, X[:, :3], Y)
    with pytest.raises(ValueError, match="y must have one entry"):
        tool(model, X, Y[:5])


def test_uncompiled_model_is_rejected(tool):
    with pytest.raises(RuntimeError, match="call compile first"):
        tool(Sequential([Dense(3)]), X, Y)


def test_evenly_spaced_rows_are_sampled():
    model = classifier()
    chosen, labels = inspection.some_rows(model, np.repeat(np.arange(100.0)[:, None], 64, axis=1), np.zeros(100), 12)
    np.testing.assert_array_equal(chosen[:, 0], np.arange(0, 100, 9))
    assert labels.shape == (12,)
    with pytest.raises(ValueError, match="rows must be at least 1"):
        fastbp.diagnose(model, X, Y, rows=0)


def test_sample_weights_apply_to_loss_gradients_and_updates():
    """Rows of weight 0 do not count; the common weight of the others does not matter."""
    model = classifier(Dense(16, "tanh"), Dense(16, "relu"))
    weight = np.where(np.arange(200) % 2, 0.0, 3.0)
    found = fastbp.diagnose(model, X[:200], Y[:200], sample_weight=weight)
    alone, plain = fastbp.diagnose(model, X[:200:2], Y[:200:2]), fastbp.diagnose(model, X[:200], Y[:200])
    assert found.loss == pytest.approx(alone.loss, rel=1e-5)
    assert found.loss != pytest.approx(plain.loss, rel=1e-3)
    for layer, same, other in zip(found.layers, alone.layers, plain.layers, strict=True):
        assert (layer.gradient, layer.update) == pytest.approx((same.gradient, same.update), rel=1e-3)
        assert (layer.activation, layer.dead) == pytest.approx((other.activation, other.dead), nan_ok=True)
    few = inspection.some_weighted_rows(model, X[:200], Y[:200], np.arange(200.0), 3).weight
    np.testing.assert_array_equal(few, [0, 100, 199])
    with pytest.raises(ValueError, match="sample_weight must have shape"):
        fastbp.diagnose(model, X[:200], Y[:200], sample_weight=weight[1:])


# ---------------------------------------------------------------- nodes

LAYERS = {
    "dense": (Dense(7, "tanh"), "Dense(7, tanh)", 2),
    "no bias": (Dense(7, "relu", use_bias=False), "Dense(7, relu)", 1),
    "activation": (fastbp.Activation("elu"), "Activation(elu)", 0),
    "batch_norm": (fastbp.BatchNorm(), "BatchNorm", 4),
    "layer_norm": (fastbp.LayerNorm(), "LayerNorm", 2),
    "dropout": (fastbp.Dropout(0.25), "Dropout(0.25)", 0),
    "scale": (fastbp.Scale(), "Scale", 1),
    "prelu": (fastbp.PReLU(), "PReLU", 1),
    "parametric": (fastbp.ParametricActivation("mish"), "ParametricActivation(mish)", 1),
    "periodic": (fastbp.PeriodicEmbedding(2, 5), "PeriodicEmbedding(2, 5)", 4),
    "piecewise": (fastbp.PiecewiseLinearEmbedding([(0.0, 1.0)], 2), "PiecewiseLinearEmbedding(2)", 1),
    "noise": (fastbp.GaussianNoise(0.1), "GaussianNoise(0.1)", 0),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_nodes_of_every_kind_have_labels_and_arrays(kind):
    layer, label, n_arrays = LAYERS[kind]
    below, node, above = inspection.nodes_of(Sequential([Dense(7, "selu"), layer, Dense(2)], input_size=3))
    assert (below.label, node.label, above.label) == ("Dense(7, selu)", label, "Dense(2, identity)")
    assert (node.arrays, above.arrays) == (slice(2, 2 + n_arrays), slice(2 + n_arrays, 4 + n_arrays))


DEEP = [
    Dense(16, kernel_initializer="he_normal"), fastbp.BatchNorm(), fastbp.Activation("relu"),
    fastbp.Residual([Dense(16, "tanh"), fastbp.Dropout(0.2), Dense(16)]), fastbp.LayerNorm(),
    fastbp.Scale(), fastbp.PeriodicEmbedding(2, 3, [0, 5]),
    fastbp.PiecewiseLinearEmbedding({2: (0.0, 0.5, 1.0)}, 3),
    fastbp.Residual([Dense(12, "gelu", kernel_regularizer=fastbp.L2(1e-3)), fastbp.GaussianNoise(0.1)]),
]  # fmt: skip


@pytest.mark.jit
def test_networks_of_all_layer_kinds_are_supported():
    model = classifier(*DEEP, dtype="float64")
    assert fastbp.diagnose(model, X, Y).healthy
    checked = fastbp.check_gradients(model, X, Y, n=4)
    assert checked.ok, str(checked)
    engine = model._engine
    for _ in range(2):  # set the moving statistics to those of the batch, with the biased variance
        found = inspection.outputs(inspection.nodes_of(model), model.get_weights(), X[:256])
        names = [name.rpartition(".")[2] for name in checked_names(model)]
        moments = {"moving_mean": found[0].Z.mean(0), "moving_variance": found[0].Z.var(0)}
        engine.set_weights([moments.get(n, w) for n, w in zip(names, model.get_weights(), strict=True)])
    np.testing.assert_allclose(found[-1].A, model.predict(X[:256]), rtol=1e-10)
    model.fit(X, Y, epochs=20, batch_size=64)
    assert fastbp.diagnose(model, X, Y).healthy
    assert fastbp.check_gradients(model, X, Y, n=4).ok


def checked_names(model):
    return [name for _, name, *_ in fastbp.layers.graph.parameters(model._blocks)]


def test_outputs_of_every_kind_match_the_formulas(rng):
    """Compared with the formulas written out, including a residual block with a projection."""
    specs = [
        LayerSpec(5, "tanh"),  # 0
        LayerSpec(4, kind="dense"),  # 1
        LayerSpec(4, "relu", kind="batch_norm", values=(0.1, 1e-5)),  # 2
        LayerSpec(4, kind="dropout", values=(0.5,)),  # 3
        LayerSpec(4, use_bias=False, below=0),  # 4: the projection
        LayerSpec(4, "relu", kind="add", below=3, skip=4),  # 5
        LayerSpec(4, kind="layer_norm", values=(1e-5,)),  # 6
        LayerSpec(4, "tanh", kind="scale"),  # 7
        LayerSpec(4, kind="prelu"),  # 8
        LayerSpec(4, kind="parametric", function="tanh", values=(0.0,)),  # 9
    ]
    shapes = [(3, 5), (5,), (5, 4), (4,), (4,), (4,), (4,), (4,), (5, 4), (4,), (4,), (4,), (4,), (4,)]
    weights = [rng.normal(size=shape) for shape in shapes]
    X = rng.normal(size=(20, 3))
    got = inspection.outputs(inspection.nodes(specs), weights, X)
    W0, b0, W1, b1, gamma, beta, _, _, W4, scale, shift, factors, slopes, parts = weights
    A0 = np.tanh(X @ W0 + b0)
    Z1 = A0 @ W1 + b1
    A2 = np.maximum((Z1 - Z1.mean(0)) / np.sqrt(Z1.var(0) + 1e-5) * gamma + beta, 0)
    A4 = A0 @ W4
    A5 = np.maximum(A2 + A4, 0)
    A6 = (A5 - A5.mean(1)[:, None]) / np.sqrt(A5.var(1)[:, None] + 1e-5) * scale + shift
    A7 = np.tanh(A6 * factors)
    A8 = np.where(A7 > 0, A7, slopes * A7)
    A9 = (1 - parts) * A8 + parts * np.tanh(A8)
    for output, expected in zip(got, [A0, Z1, A2, A2, A4, A5, A6, A7, A8, A9], strict=True):
        np.testing.assert_allclose(output.A, expected, rtol=1e-12, atol=1e-12)
    assert got[4].below is got[0].A


@pytest.mark.jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_match_the_engine(dtype):
    """To 10 of the 16 digits of float64 and 5 of the 7 of float32: sums of 64 rounded terms lose no more."""
    model = classifier(Dense(16, "gelu"), fastbp.Activation("elu"), Dense(8, "sigmoid"), dtype=dtype)
    last = inspection.outputs(inspection.nodes_of(model), model.get_weights(), X.astype(dtype))[-1].A
    np.testing.assert_allclose(last, model.predict(X), rtol=1e-5 if dtype == "float32" else 1e-10)


# ---------------------------------------------------------------- diagnose


@pytest.mark.timing
@pytest.mark.jit
def test_200_sigmoid_layers_vanish():
    model = classifier(*[Dense(64, "sigmoid")] * N_LAYERS)
    fastbp.diagnose(model, X[:8], Y[:8])  # compiles
    began = time.perf_counter()
    found = fastbp.diagnose(model, X, Y)
    assert time.perf_counter() - began < 5  # 0.1 s measured; a separate pass per layer would take 100 times that
    assert found.verdict == "vanishing"
    assert not found.healthy
    assert found.rows == 256
    assert found.ill("vanishing") == tuple(range(N_LAYERS))
    assert found.layers[0].gradient == 0.0
    assert found.findings[0].startswith("vanishing: layers 0–199 (Dense(64, sigmoid)); the gradient passed back is")
    assert "he_normal" in found.findings[0]
    assert "residual" in found.findings[0]


UNHEALTHY = {
    "vanishing: five sigmoid layers": ([Dense(64, "sigmoid")] * 5, "vanishing", {0}),
    "vanishing: small weights": ([Dense(64, "tanh", kernel_initializer=scaled(1e-4))] * 6, "vanishing", {2, 3, 4, 5}),
    "vanishing: 30 ReLU layers, Glorot": ([Dense(64, "relu")] * 30, "vanishing", {0, 1, 2, 27, 28, 29}),
    "exploding: ReLU": ([Dense(64, "relu", kernel_initializer=scaled(20.0))] * 10, "exploding", {0, 7, 8, 9}),
    "exploding: overflow": ([Dense(64, kernel_initializer=scaled(1e18))] * 5, "exploding", {0, 4, 5}),
    "exploding: tanh": ([Dense(64, "tanh", kernel_initializer=scaled(40.0))] * 25, "exploding", {0, 1, 2}),
    "dead: ReLU": ([Dense(64, "relu", bias_initializer=Constant(-10.0))] * 3, "dead", {0, 1, 2}),
    "dead: GELU": ([Dense(64, "gelu", bias_initializer=Constant(-20.0)), Dense(9, "tanh")], "dead", {0}),
    "saturated: tanh": ([Dense(64, "tanh", kernel_initializer=scaled(400.0)), Dense(20, "tanh")], "saturated", {0}),
    "saturated: sigmoid": ([Dense(64, "sigmoid", bias_initializer=Constant(9.0))], "saturated", {0}),
}


@pytest.mark.jit
@pytest.mark.parametrize("case", UNHEALTHY)
def test_problems_are_named_with_their_layers(case):
    hidden, verdict, layers = UNHEALTHY[case]
    found = fastbp.diagnose(classifier(*hidden), X, Y)
    assert found.verdict == verdict
    assert layers <= set(found.ill(verdict))
    (finding,) = [text for text in found.findings if text.startswith(verdict)]
    assert "Remedy: " in finding


HEALTHY = {
    "ReLU and tanh": [Dense(64, "relu"), Dense(32, "tanh")],
    "sigmoid": [Dense(32, "sigmoid")],
    "GELU, He": [Dense(64, "gelu", kernel_initializer="he_normal")] * 4,
    "20 ReLU layers, He": [Dense(128, "relu", kernel_initializer="he_normal")] * 20,
    "SELU": [Dense(64, "selu", kernel_initializer="lecun_normal")] * 10,
    "no hidden layer": [],
}


@pytest.mark.jit
@pytest.mark.parametrize("case", HEALTHY)
@pytest.mark.parametrize("epochs", [0, 40])
def test_good_network_is_healthy_before_and_after_training(case, epochs):
    model = classifier(*HEALTHY[case])
    if epochs:
        history = model.fit(X, Y, batch_size=64, epochs=epochs)
        assert history.history["accuracy"][-1] > 0.9  # otherwise it is not a good network
    found = fastbp.diagnose(model, X, Y)
    assert found.healthy, str(found)
    assert found.findings == ()


def test_measurements_match_values_by_hand():
    """One unit, y = 2 x, x of ±1: L = mean (2 x)^2 = 4, dL/dW = mean 2 (2 x) x = 4; the step makes W 2 - 0.1 · 4."""
    model = Sequential([Dense(1, use_bias=False)], input_size=1, dtype="float64")
    model.set_weights([[[2.0]]])
    model.compile(SGD(0.1), "mse")
    found = fastbp.diagnose(model, [[1.0], [-1.0]], [0.0, 0.0])
    layer = found.layers[0]
    measurements = [found.loss, layer.activation, layer.signal, layer.gradient, layer.passed_back, layer.update]
    np.testing.assert_allclose(measurements, [4, 2, 1, 4, 4, 0.2], rtol=1e-12)
    assert math.isnan(layer.dead)
    assert math.isnan(layer.saturated)


def test_penalties_do_not_hide_vanishing_gradients():
    node = inspection.Node(0, "0", "Dense", LayerSpec(2, l1=0.5, l2=0.25), slice(0, 2))
    W, A = np.array([[1.0, -2.0]]), np.ones((3, 1))
    penalty = 0.5 * np.sign(W) + 0.5 * W
    output = inspection.Output(A, A @ W, A @ W)
    layer = diagnosis._measurements(node, output, [W], [W], [penalty + 1e-9], (math.nan, math.nan))
    assert layer.gradient == pytest.approx(1e-9, rel=1e-6)


def test_saturated_output_is_healthy_with_cross_entropy_alone():
    y = (Y > 4).astype(float)
    for loss, healthy in (("binary_cross_entropy", True), ("mse", False)):
        model = Sequential([Dense(1, "sigmoid", bias_initializer=Constant(8.0))], input_size=64)
        model.compile("sgd", loss)
        assert fastbp.diagnose(model, X, y).healthy == healthy


@pytest.mark.jit
def test_large_update_and_bad_scale_are_reported():
    found = fastbp.diagnose(classifier(Dense(16, "relu"), optimizer=SGD(1e3)), X, Y)
    assert found.healthy
    assert "lower the learning rate" in found.findings[0]
    found = fastbp.diagnose(classifier(Dense(16, "relu")), X * 1e5, Y)
    assert any("standardize the features" in text for text in found.findings)


def test_single_row_and_perfect_fit_are_healthy():
    assert fastbp.diagnose(classifier(Dense(16, "relu")), X[:1], Y[:1]).healthy
    model = Sequential([Dense(4), Dense(1)], input_size=2)
    model.set_weights([np.ones((2, 4)), np.zeros(4), np.ones((4, 1)), np.zeros(1)])
    model.compile("sgd", "mse")
    found = fastbp.diagnose(model, [[1.0, 2.0], [3.0, 4.0]], [12.0, 28.0])
    assert (found.loss, found.verdict) == (0.0, "healthy")


@pytest.mark.jit
def test_table_has_a_line_per_layer():
    text = str(fastbp.diagnose(classifier(Dense(64, "relu"), Dense(32, "tanh")), X, Y))
    lines = text.splitlines()
    assert lines[0].startswith("healthy: loss 2.")
    assert lines[2].split() == [
        *("layer", "activation", "signal", "gradient", "passed", "back", "dead", "saturated", "update", "verdict")
    ]
    assert [line.split()[0] for line in lines[3:]] == ["0", "1", "2"]
    assert lines[5].split()[1:3] == ["Dense(10,", "softmax)"]
    long = str(fastbp.diagnose(classifier(*[Dense(8, "sigmoid")] * N_LAYERS), X, Y)).splitlines()
    assert len(long) < 40
    assert any("more like these" in line for line in long)


@pytest.mark.jit
def test_table_of_equal_blocks_is_short():
    blocks = [fastbp.Residual([fastbp.LayerNorm(), Dense(8, "relu"), Dense(8)]) for _ in range(50)]
    lines = str(fastbp.diagnose(classifier(Dense(8), *blocks), X, Y)).splitlines()
    assert len(lines) < 30
    (left_out,) = [i for i, line in enumerate(lines) if "more like these" in line]
    shown = [int(line.split()[0]) for line in lines[3:left_out]]
    assert shown == list(range(9))  # the first two blocks of four
    assert lines[left_out].split()[1] == str(int(lines[left_out + 1].split()[0]) - 9)


def test_layers_are_named_in_ranges():
    layers = [
        diagnosis.LayerDiagnosis(i, label, *[1.0] * 7)
        for i, label in enumerate(["Dense(4, relu)"] * 3 + ["Dense(2, tanh)"] + ["Dense(4, relu)"] * 2)
    ]
    assert diagnosis._names(layers[:4], 6) == "layers 0–2 (Dense(4, relu)), 3 (Dense(2, tanh))"
    assert diagnosis._names([layers[1], layers[4]], 6) == "layers 1, 4 (Dense(4, relu))"
    assert diagnosis._names(layers[3:4], 6) == "layer 3 (Dense(2, tanh))"
    assert diagnosis._names(layers, 6) == "all 6 layers"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([4], "4"),
        ([4, 5], "4–5"),
        ([1, 4], "1, 4"),
        ([1, 3, 5], "1, 3, 5"),
        ([0, *range(1, 60, 2)], "0–1, 3, 5, …, 59"),
        ([*range(2, 61, 2), 61, 62], "2, 4, …, 60, 61–62"),
        ([0, 1, 2, 9, 13, 14], "0–2, 9, 13–14"),
        ([n * n for n in range(20)], "0–1, 4, 9, 16, 25, 36, 49, 64, …"),
    ],
)
def test_layer_numbers_are_abbreviated(numbers, text):
    assert diagnosis._numbers(numbers) == text


# ---------------------------------------------------------------- check_gradients


@pytest.mark.jit
@pytest.mark.parametrize("name", [name for name in fastbp.activations.NAMES if name != "softmax"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_correct_gradients_pass(name, loss):
    model = Sequential([Dense(9, name), Dense(7, name), Dense(10, "softmax")], input_size=64)
    model.compile("adam", loss)
    y = Y if loss == "cross_entropy" else np.eye(10)[Y]
    found = fastbp.check_gradients(model, X, y, n=4)
    assert found.ok, str(found)
    assert [array.name for array in found.arrays] == [f"{i}.{part}" for i in range(3) for part in ("kernel", "bias")]
    assert sum(array.too_small for array in found.arrays) < 3
    found.raise_if_wrong()


@pytest.mark.jit
def test_wrong_gradients_are_found(monkeypatch):
    model = classifier(Dense(8, "tanh"), dtype="float64")
    right = type(model._engine).gradients

    def wrong(self, *arguments, **options):
        loss, gradients = right(self, *arguments, **options)
        gradients[2][3, 4] *= 1 + 1e-4  # above the tolerance, too little to notice
        return loss, gradients

    monkeypatch.setattr(type(model._engine), "gradients", wrong)
    found = fastbp.check_gradients(model, X, Y, n=80)
    assert not found.ok
    assert [array.name for array in found.arrays if array.error > found.tolerance] == ["1.kernel"]
    assert found.arrays[2].index == (3, 4)
    assert found.error == pytest.approx(1e-4, rel=0.01)
    assert "WRONG" in str(found)
    assert "1.kernel[3, 4]" in str(found)
    with pytest.raises(AssertionError, match="disagree"):
        found.raise_if_wrong()


@pytest.mark.jit
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_gradients_are_wrong(monkeypatch, value):
    model = classifier(Dense(8, "tanh"))
    right = type(model._engine).gradients

    def wrong(self, *arguments, **options):
        loss, gradients = right(self, *arguments, **options)
        gradients[0][:] = value
        return loss, gradients

    monkeypatch.setattr(type(model._engine), "gradients", wrong)
    assert not fastbp.check_gradients(model, X, Y, n=2).ok


def test_kinks_are_not_errors():
    """All z are 0, where ReLU has no derivative; the gradient, which is the left derivative, is not an error."""
    model = Sequential([Dense(5, "relu"), Dense(1)], input_size=3)
    model.compile("sgd", "mse")
    found = fastbp.check_gradients(model, np.zeros((4, 3)), np.ones(4))
    assert found.ok
    assert {array.name: array.kinks for array in found.arrays} == {
        "0.kernel": 0, "0.bias": 5, "1.kernel": 0, "1.bias": 0,
    }  # fmt: skip
    assert "ReLU at 0" in str(found)


@pytest.mark.jit
def test_deep_network_is_checked_as_far_as_rounding_allows():
    found = fastbp.check_gradients(classifier(*[Dense(8, "relu")] * 40), X, Y, n=2, rows=16)
    assert found.ok, str(found)
    assert "hidden by rounding" in str(found)


def test_sample_starts_with_the_largest_gradient(rng):
    dW = rng.normal(size=(6, 5))
    dW[2, 3] = 9.0
    places = gradient_check._sample(dW, 4, rng)
    assert places[0] == 13
    assert len(set(places)) == 4
    assert sorted(gradient_check._sample(dW, 100, rng)) == list(range(30))
    assert len(gradient_check._sample(np.zeros(1 << 17), 5, rng)) == 5


def test_arrays_without_gradient_are_skipped():
    specs = [LayerSpec(4, trainable=False), LayerSpec(4, kind="batch_norm", values=(0.1, 1e-5)), LayerSpec(2)]
    found = gradient_check._trainable(inspection.nodes(specs))
    assert found == [(1, "1.gamma", 2), (1, "1.beta", 3), (2, "2.kernel", 6), (2, "2.bias", 7)]


# ---------------------------------------------------------------- find_learning_rate


@pytest.mark.jit
@pytest.mark.parametrize("optimizer", ["sgd", "adam", SGD(0.1, momentum=0.9)])
@pytest.mark.parametrize("batch_size", [32, 128])
def test_suggested_learning_rate_trains(optimizer, batch_size):
    model = classifier(Dense(64, "relu"), optimizer=optimizer)
    found = fastbp.find_learning_rate(model, X, Y, batch_size=batch_size)
    optimizer = dataclasses.replace(model.optimizer, learning_rate=found.suggestion)
    model.compile(optimizer, "cross_entropy", ["accuracy"])
    assert model.fit(X, Y, batch_size=batch_size, epochs=15).history["accuracy"][-1] > 0.93
    assert found.suggestion == min(found.steepest, found.tenth_of_minimum)
    assert f"{found.suggestion:.1e}" in str(found)


@pytest.mark.jit
def test_search_matches_manual_steps():
    """The same batches, rates and losses by hand."""
    model = classifier(Dense(8, "tanh"), optimizer="sgd")
    found = fastbp.find_learning_rate(model, X, Y, low=1e-4, high=0.1, steps=20, batch_size=512, seed=5)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 0.1, 20), rtol=1e-12)
    shuffler, smoothed = fastbp.util.random_streams.Shuffler(5, len(X)), 0.0
    for step, rate in enumerate(found.rates):
        model.compile(SGD(rate), "cross_entropy")
        rows = shuffler.order(step // 3)[512 * (step % 3) :][:512]  # 1797 rows: three full batches per epoch
        loss = model.train_on_batch(X[rows], Y[rows])
        assert found.losses[step] == loss
        smoothed = 0.98 * smoothed + 0.02 * loss
        assert found.smoothed[step] == pytest.approx(smoothed / (1 - 0.98 ** (step + 1)), rel=1e-12)
    assert not found.diverged


@pytest.mark.jit
@pytest.mark.parametrize("seed", range(4))
def test_noisy_batches_do_not_mislead(seed, rng):
    """At first the loss of 32 rows varies by a fifth between batches, and the learning rate has no effect yet."""
    features = rng.normal(size=(256, 4))
    model = Sequential([Dense(1)])
    model.compile("sgd", "mse")
    found = fastbp.find_learning_rate(model, features, features.sum(axis=1), batch_size=32, seed=seed)
    assert 0.02 < found.steepest < 0.5  # the largest that converges is 1 / (largest eigenvalue of X'X / n), about 0.8


@pytest.mark.jit
def test_fruitless_search_says_so():
    model = classifier(Dense(8, "relu"), optimizer="sgd")
    assert "hardly falls" in str(fastbp.find_learning_rate(model, X, Y, low=1e-9, high=1e-7))
    assert "hardly falls" not in str(fastbp.find_learning_rate(model, X, Y))


@pytest.mark.jit
def test_search_is_determined_by_seed():
    model = classifier(Dense(8, "relu"))
    first, again, other = (fastbp.find_learning_rate(model, X, Y, steps=30, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.losses != other.losses


@pytest.mark.jit
@pytest.mark.parametrize("high", [1e3, 1e30])
def test_search_stops_where_training_diverges(high):
    model = Sequential([Dense(1)])
    model.compile("sgd", "mse")
    found = fastbp.find_learning_rate(model, X, X.sum(axis=1), high=high)
    assert found.diverged
    assert len(found.rates) < 100
    assert np.isfinite(found.losses).all()


BAD_SEARCHES = {
    "low 0": ({"low": 0}, ValueError, "0 < low < high"),
    "low above high": ({"low": 1, "high": 0.1}, ValueError, "0 < low < high"),
    "high infinite": ({"high": math.inf}, ValueError, "0 < low < high"),
    "high a string": ({"high": "1"}, TypeError, "high must be a number"),
    "steps": ({"steps": 5}, ValueError, "steps must be at least 20"),
    "batch_size": ({"batch_size": 0}, ValueError, "batch_size"),
    "seed": ({"seed": -1}, ValueError, "seed"),
}


@pytest.mark.parametrize("case", BAD_SEARCHES)
def test_invalid_searches_are_rejected(case):
    options, error, text = BAD_SEARCHES[case]
    with pytest.raises(error) as caught:
        fastbp.find_learning_rate(classifier(), X, Y, **options)
    assert text in str(caught.value)


@pytest.mark.jit
def test_loss_that_is_never_finite_is_an_error():
    model = classifier(*[Dense(64, kernel_initializer=scaled(1e18))] * 5)
    with pytest.raises(ValueError, match=r"not finite from step 1 on.*fastbp\.diagnose"):
        fastbp.find_learning_rate(model, X, Y)
