"""Normalization, dropout, noise and residual sums in the reference trainer: gradients, PyTorch, random masks."""

import numpy as np
import pytest
import torch

from fastbp.exchange import torch_layers
from fastbp.reference import ReferenceEngine
from fastbp.reference.random import Draw, dropout_mask, normal, philox, random_words
from fastbp.spec import LayerSpec, Report, Waves
from tests.reference.test_functions import EPS, central_differences, make_data

BATCH_NORM = {"kind": "batch_norm", "values": (0.1, 1e-5)}
LAYER_NORM = {"kind": "layer_norm", "values": (1e-5,)}
DROPOUT = {"kind": "dropout", "values": (0.3,)}
NOISE = {"kind": "noise", "values": (0.5,)}
SCALE = {"kind": "scale"}
PRELU = {"kind": "prelu"}
PARAMETRIC = {"kind": "parametric", "function": "mish", "values": (0.0,)}
KINDS = {"batch_norm": BATCH_NORM, "layer_norm": LAYER_NORM, "dropout": DROPOUT, "noise": NOISE, "scale": SCALE,
         "prelu": PRELU, "parametric": PARAMETRIC}  # fmt: skip


def node(units: int, options: dict, activation: str = "identity", **more) -> LayerSpec:
    return LayerSpec(units, activation, **options, **more)


# Four inputs, three outputs; the node under test follows layers with weights, so that its derivative matters.
NETWORKS: dict[str, list[LayerSpec]] = {
    name: [LayerSpec(5, "tanh"), node(5, options), LayerSpec(3)] for name, options in KINDS.items()
}
NETWORKS |= {f"{name} on the input": [node(4, options), LayerSpec(3)] for name, options in KINDS.items()}
NETWORKS |= {f"{name} last": [LayerSpec(3), node(3, options)] for name, options in KINDS.items()}
NETWORKS |= {
    f"{name} with activation": [LayerSpec(5), node(5, options, "silu"), LayerSpec(3)]
    for name, options in (("batch_norm", BATCH_NORM), ("layer_norm", LAYER_NORM), ("scale", SCALE))
}
NETWORKS |= {
    f"{name} in a block": [LayerSpec(5), LayerSpec(5), node(5, options), LayerSpec(5), node(5, {"kind": "add"}, skip=0),
                           LayerSpec(3)]
    for name, options in KINDS.items()
}  # fmt: skip
NETWORKS |= {
    "block on the input": [LayerSpec(4, "tanh"), node(4, {"kind": "add"}, "softplus", skip=-1), LayerSpec(3)],
    "block without weights": [LayerSpec(5), node(5, DROPOUT), node(5, {"kind": "add"}, skip=0), LayerSpec(3)],
    "nested blocks": [
        LayerSpec(5),
        *(LayerSpec(5, "tanh"), LayerSpec(5), node(5, {"kind": "add"}, "gelu", skip=1)),
        *(node(5, LAYER_NORM, "tanh"), node(5, {"kind": "add"}, "tanh", skip=0)),
        LayerSpec(3),
    ],
    "projection": [
        *(LayerSpec(5, "tanh"), LayerSpec(2, "tanh"), LayerSpec(6)),
        *(LayerSpec(6, use_bias=False, below=0), node(6, {"kind": "add"}, "tanh", below=2, skip=3)),
        LayerSpec(3),
    ],
    "projection of the input": [
        *(LayerSpec(6), LayerSpec(6, use_bias=False, below=-1)),
        *(node(6, {"kind": "add"}, "tanh", below=0, skip=1), LayerSpec(3)),
    ],
    "one output with four readers": [
        LayerSpec(3, "tanh"),
        *(LayerSpec(3, "tanh"), node(3, {"kind": "add"}, skip=0), node(3, {"kind": "add"}, skip=0)),
        node(3, {"kind": "add"}, below=0, skip=0),
        node(3, {"kind": "add"}, skip=3),
    ],
    "input added to itself": [LayerSpec(4), node(4, {"kind": "add"}, below=-1, skip=-1), LayerSpec(3)],
}


PBLD = {"kind": "periodic", "use_bias": False, "waves": Waves((0, 2), 3, 2, True, True, False)}
PLR = {"kind": "periodic", "use_bias": False, "waves": Waves((1,), 2, 3, False, False, True)}
NETWORKS |= {
    "waves": [LayerSpec(3, "tanh"), node(7, PBLD), LayerSpec(3)],
    "waves on the input": [node(8, PBLD), LayerSpec(3)],
    "cosines and sines": [LayerSpec(3, "tanh"), node(5, PLR), node(5, LAYER_NORM), LayerSpec(3)],
    "cosines and sines on the input": [
        node(6, PLR), node(12, PBLD | {"waves": Waves((0, 2, 5), 3, 2, True, True, True)}), LayerSpec(3, "tanh"),
        node(3, SCALE)],
}  # fmt: skip


STEPS = {"kind": "piecewise", "use_bias": False, "tables": ((1, 5, 2), (3, 3, 2)),
         "edges": ((-0.4, 0.1, 0.3, 0.9), (-1.0, 1.0))}  # fmt: skip
NETWORKS |= {
    "piecewise": [LayerSpec(5, "tanh"), node(7, STEPS), LayerSpec(3)],
    "piecewise on the input": [node(6, STEPS), LayerSpec(4, "tanh"), node(6, STEPS, trainable=False), LayerSpec(3)],
}


def make_engine(specs: list[LayerSpec], *, seed: int = 0, dtype: str = "float64", **options) -> ReferenceEngine:
    rng = np.random.default_rng(seed)
    engine = ReferenceEngine(4, specs, dtype=dtype, key=(3, 4))
    engine.set_weights([rng.uniform(0.2, 1.2, W.shape) * rng.choice([-1, 1], W.shape) for W in engine.get_weights()])
    weights = engine.get_weights()
    for place, array in statistics_of(engine):
        weights[place] = np.abs(array)
    engine.set_weights(weights)
    engine.configure(options.get("loss", "mse"), options.get("rule", "sgd"))
    return engine


def statistics_of(engine: ReferenceEngine) -> list[tuple[int, np.ndarray]]:
    """The indices of moving statistics in get_weights(), and the statistics."""
    result: list[tuple[int, np.ndarray]] = []
    place = 0
    for spec in (layer.spec for layer in engine._layers):
        own = {"dense": 1 + spec.use_bias, "batch_norm": 2, "layer_norm": 2, "scale": 1, "prelu": 1, "parametric": 1,
               "periodic": len(spec.parameters), "piecewise": len(spec.parameters)}
        place += own.get(spec.kind, 0)
        if spec.kind == "batch_norm":
            result += [(place, engine.get_weights()[place]), (place + 1, engine.get_weights()[place + 1])]
            place += 2
    return result


def train(engine: ReferenceEngine, X, y, *, steps: int = 1, learning_rate: float = 0.0, batches=None) -> np.ndarray:
    """The losses of steps on all rows, or on the given batches."""
    batches = [np.arange(len(X))] * steps if batches is None else batches
    scalars, losses = np.zeros((len(batches), 8)), np.empty(len(batches))
    scalars[:, 0] = learning_rate
    bounds = np.cumsum([0, *map(len, batches)])
    assert engine.train(X, y, np.concatenate(batches), bounds, scalars, losses) == Report(len(batches), 0, -1)
    return losses


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("case", NETWORKS)
def test_gradients_match_central_differences(case: str, loss: str) -> None:
    """The loss is that of a step with learning rate 0, which uses the same masks as `gradients`."""
    engine = make_engine(NETWORKS[case], loss=loss)
    X, y = make_data(loss)
    step = engine.steps_trained = 2**32 + 5
    kept_statistics = [array for _, array in statistics_of(engine)]

    def loss_of() -> float:
        engine.steps_trained = step
        return float(train(engine, X, y)[0])

    value, gradients = engine.gradients(X, y)
    assert engine.steps_trained == step
    for (_, array), kept_array in zip(statistics_of(engine), kept_statistics, strict=True):
        np.testing.assert_array_equal(array, kept_array)
    assert value == loss_of()
    for dW, expected in zip(gradients, central_differences(engine, loss_of), strict=True):
        # As in test_functions, with the third derivatives of a few more layers; those of waves are still larger.
        third = (2 * np.pi) ** 3 if any(spec.waves for spec in NETWORKS[case]) else 1
        np.testing.assert_allclose(0 if dW is None else dW, expected, rtol=0, atol=300 * third * EPS ** (2 / 3))


def test_backward_skips_nodes_with_no_weights_below() -> None:
    engine = make_engine([node(4, DROPOUT), node(4, NOISE), LayerSpec(4), node(4, {"kind": "add"}, skip=1)])
    assert [layer.passes for layer in engine._layers] == [(False, False)] * 3 + [(True, False)]


# ---------------------------------------------------------------- agreement with PyTorch

EMBEDDINGS = {
    "piecewise": torch_layers.PiecewiseLinearEmbedding(4, (1, 3), STEPS["edges"], 2, dtype=torch.float64),
    "waves": torch_layers.PeriodicEmbedding(4, (0, 2), 3, 2, True, True, False, dtype=torch.float64),
    "cosines and sines": torch_layers.PeriodicEmbedding(4, (1,), 2, 3, False, False, True, dtype=torch.float64),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_waves_have_the_gradients_of_pytorch(name: str) -> None:
    module, head = EMBEDDINGS[name], torch.nn.Linear(PLR_OR_PBLD[name][0], 3, dtype=torch.float64)
    engine = make_engine([node(*PLR_OR_PBLD[name]), LayerSpec(3)])
    *own, V, c = engine.get_weights()
    with torch.no_grad():
        for place, array in zip([*module.parameters(), head.weight, head.bias], [*own, V.T, c], strict=True):
            place.copy_(torch.tensor(array))
    X, Y = make_data("mse", rows=40)
    loss = torch.nn.functional.mse_loss(head(module(torch.tensor(X))), torch.tensor(Y))
    module.zero_grad()
    loss.backward()
    value, gradients = engine.gradients(X, Y)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    for found, parameter in zip(gradients, module.parameters(), strict=False):
        np.testing.assert_allclose(found, parameter.grad, rtol=1e-9, atol=1e-12)


PLR_OR_PBLD = {"piecewise": (6, STEPS), "waves": (8, PBLD), "cosines and sines": (6, PLR)}
TORCH = {"batch_norm": torch.nn.BatchNorm1d, "layer_norm": torch.nn.LayerNorm, "scale": torch_layers.Scale,
         "prelu": torch.nn.PReLU, "parametric": lambda *how, dtype: torch_layers.ParametricActivation(
             *how, torch.nn.Mish(), dtype)}  # fmt: skip


@pytest.mark.parametrize("kind", TORCH)
def test_normalization_trains_and_predicts_like_pytorch(kind: str) -> None:
    engine = make_engine([LayerSpec(5), node(5, KINDS[kind], "tanh"), LayerSpec(3)])
    W, b, *own, V, c = engine.get_weights()
    norm = TORCH[kind](5, dtype=torch.float64)
    model = torch.nn.Sequential(
        *(torch.nn.Linear(4, 5, dtype=torch.float64), norm, torch.nn.Tanh(), torch.nn.Linear(5, 3, dtype=torch.float64))
    )
    theirs = [*norm.parameters(), *norm.buffers()][: len(own)]  # PyTorch counts batches as well
    places = [model[0].weight, model[0].bias, *theirs, model[3].weight, model[3].bias]
    with torch.no_grad():
        for place, array in zip(places, [W.T, b, *own, V.T, c], strict=True):
            place.copy_(torch.tensor(array))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    X, Y = make_data("mse", rows=40)
    order = np.random.default_rng(5).permutation(40)
    batches = np.split(order, [2, 9, 30])  # of 2, 7, 21 and 10 rows
    expected = []
    for batch in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(torch.tensor(X[batch])), torch.tensor(Y[batch]))
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    # Four steps of about 100 roundings of values of order 1; for two rows that differ by d, X_hat is accurate to
    # eps / d, and d is above 1e-2 here.
    np.testing.assert_allclose(train(engine, X, Y, learning_rate=0.1, batches=batches), expected, rtol=1e-12)
    for ours, place in zip(engine.get_weights(), places, strict=True):
        theirs = place.detach().numpy()
        np.testing.assert_allclose(ours, theirs.T, rtol=1e-11, atol=1e-12)
    model.eval()
    outputs = np.empty((40, 3))
    engine.predict(X, outputs)
    np.testing.assert_allclose(outputs, model(torch.tensor(X)).detach().numpy(), rtol=1e-11, atol=1e-12)
    expected_loss = torch.nn.functional.mse_loss(model(torch.tensor(X)), torch.tensor(Y)).item()
    assert engine.evaluate(X, Y) == pytest.approx(expected_loss, rel=1e-11)


def test_moving_statistics_after_a_single_row_and_a_skipped_step() -> None:
    engine = make_engine([node(4, BATCH_NORM), LayerSpec(3)])
    X, y = make_data("mse")
    (_, mean), (_, variance) = statistics_of(engine)
    train(engine, X[:1], y[:1])
    (_, moved), (_, same) = statistics_of(engine)
    np.testing.assert_allclose(moved, 0.9 * mean + 0.1 * X[0], rtol=4 * EPS)
    np.testing.assert_array_equal(same, variance)
    before, losses = engine.get_weights(), np.empty(1)
    report = engine.train(X, y * np.inf, np.arange(7), np.array([0, 7]), np.zeros((1, 8)), losses)
    assert report == Report(0, 1, -1)
    assert engine.steps_trained == 1
    for array, kept_array in zip(engine.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, kept_array)


def test_moving_statistics_stay_finite() -> None:
    engine = make_engine([node(4, BATCH_NORM), LayerSpec(3)], dtype="float32")
    X, y = (array.astype(np.float32) for array in make_data("mse"))
    X[:, 1] *= 1e30  # whose squares overflow; the normalized values are 0
    (_, before) = statistics_of(engine)[1]
    train(engine, X, y)
    (_, after) = statistics_of(engine)[1]
    assert np.isfinite(after).all()
    assert after[1] == before[1]
    assert after[0] != before[0]


def test_states_and_gradients_exclude_moving_statistics() -> None:
    engine = make_engine([LayerSpec(5), node(5, BATCH_NORM), LayerSpec(3)], rule="momentum")
    assert [W.shape for W in engine.get_weights()] == [(4, 5), (5,), (5,), (5,), (5,), (5,), (5, 3), (3,)]
    _, gradients = engine.gradients(*make_data("mse"))
    assert [gradient is None for gradient in gradients] == [False] * 4 + [True] * 2 + [False] * 2
    assert engine.n_parameters == 4 * 5 + 5 + 5 + 5 + 5 * 3 + 3
    engine.reset_state(1)
    (state,) = engine.get_state()
    assert [v.shape for v in state] == [(4, 5), (5,), (5,), (5,), (5, 3), (3,)]
    engine.set_state([[v + 1 for v in state]])
    assert all((v == 1).all() for v in engine.get_state()[0])


# ---------------------------------------------------------------- random masks

KNOWN = {  # Random123 1.09, kat_vectors, philox4x32 10
    "zeros": ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "digits of pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}


@pytest.mark.parametrize("case", KNOWN)
def test_philox_matches_published_vectors(case: str) -> None:
    counter, key, expected = KNOWN[case]
    assert tuple(int(word) for word in philox(counter, key)) == expected  # type: ignore[arg-type]


def test_random_words_depend_only_on_row_unit_step_and_node() -> None:
    draw = Draw((5, 6), 7 + (9 << 32))
    words = random_words(draw, 3, (5, 11))
    for row, unit in np.ndindex(words.shape):
        counter = (row, unit // 4, 7, 3 ^ (9 << 16))
        assert int(words[row, unit]) == int(philox(counter, (5, 6))[unit % 4])  # type: ignore[arg-type]
    np.testing.assert_array_equal(random_words(draw, 3, (2, 6)), words[:2, :6])
    for other in (random_words(draw._replace(step=7), 3, (5, 11)), random_words(draw, 4, (5, 11))):
        assert (other != words).all()


def test_dropout_keeps_the_expected_fraction() -> None:
    n = 10**6
    for rate in (0.0, 0.1, 0.5, 0.9):
        share = dropout_mask(Draw((1, 2), 3), 0, (1000, 1000), rate).mean()
        assert abs(share - (1 - rate)) <= 4 * np.sqrt(rate * (1 - rate) / n)  # four standard deviations
    assert (~dropout_mask(Draw((1, 2), 3), 0, (10, 10), 1 - 2.0**-33)).all()


def test_dropout_rescales_kept_units_and_is_off_in_predict() -> None:
    engine = make_engine([node(4, DROPOUT), LayerSpec(4, use_bias=False)])
    engine.set_weights([np.eye(4)])
    X, outputs = np.ones((7, 4)), np.empty((7, 4))
    scalars, losses = np.zeros((1, 8)), np.empty(1)
    engine.train(X, X, np.arange(7), np.array([0, 7]), scalars, losses, outputs=outputs)
    keeps = dropout_mask(Draw((3, 4), 0), 0, (7, 4), 0.3)
    np.testing.assert_array_equal(outputs, np.where(keeps, 1 / 0.7, 0))
    assert 0 < keeps.mean() < 1
    engine.predict(X, outputs)
    np.testing.assert_array_equal(outputs, X)
    assert engine.evaluate(X, X) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_has_the_moments_of_a_normal_distribution(dtype: str) -> None:
    n = normal(Draw((1, 2), 3), 0, (1000, 1000), dtype)
    assert n.dtype == dtype
    n = n.astype(np.float64)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # of n^power, with mean moment
        assert abs((n**power).mean() - moment) <= 4 * np.sqrt(variance / n.size)
    columns = np.corrcoef(n[:, :8].T) - np.eye(8)
    assert np.abs(columns).max() <= 4.5 / np.sqrt(1000)  # 28 correlations of standard deviation 1 / sqrt(1000)


@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 4e-7), ("float64", 0.0)])
def test_noise_matches_the_inverse_normal_cdf_and_is_finite(
    dtype: str, rounding: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    r = np.concatenate([np.arange(200), np.arange(0, 2**31, 2**20), 2**31 - np.arange(1, 100)])
    r = np.unique(np.concatenate([r, 2**32 - 1 - r])).astype(np.uint32)
    monkeypatch.setattr("fastbp.reference.random.random_words", lambda *_: r[np.newaxis])
    n = normal(Draw((0, 0), 0), 0, (1, len(r)), dtype)[0]
    expected = torch.special.ndtri(torch.tensor((r + 0.5) * 2.0**-32)).numpy()
    # Giles' erfinv is accurate to 3.5e-7 where float32 resolves its argument, and to 4e-4 in the tails beyond.
    within = np.abs(expected) < 5
    np.testing.assert_allclose(n[within], expected[within], rtol=3.5e-7 + rounding, atol=rounding)
    np.testing.assert_allclose(n[~within], expected[~within], rtol=5e-4)
    np.testing.assert_array_equal(n, -n[::-1])


def test_noise_is_added_in_training_only() -> None:
    engine = make_engine([node(4, NOISE), LayerSpec(4, use_bias=False)])
    engine.set_weights([np.eye(4)])
    X, outputs = np.ones((7, 4)), np.empty((7, 4))
    engine.train(X, X, np.arange(7), np.array([0, 7]), np.zeros((1, 8)), np.empty(1), outputs=outputs)
    np.testing.assert_array_equal(outputs, 1 + 0.5 * normal(Draw((3, 4), 0), 0, (7, 4), "float64"))
    engine.predict(X, outputs)
    np.testing.assert_array_equal(outputs, X)


MIXED = [
    node(4, NOISE), LayerSpec(5), node(5, BATCH_NORM, "relu"), node(5, DROPOUT), LayerSpec(5),
    node(5, LAYER_NORM, "gelu"), node(5, DROPOUT), node(5, {"kind": "add"}, skip=2), LayerSpec(3, "softmax"),
]  # fmt: skip


def test_training_in_one_call_equals_several_calls() -> None:
    X, y = make_data("cross_entropy", rows=30)
    batches = np.split(np.random.default_rng(1).permutation(30), 6)
    whole, stopped = (make_engine(MIXED, loss="cross_entropy") for _ in range(2))
    losses = train(whole, X, y, learning_rate=0.1, batches=batches)
    first = train(stopped, X, y, learning_rate=0.1, batches=batches[:2])
    resumed = make_engine(MIXED, loss="cross_entropy", seed=1)
    resumed.set_weights(stopped.get_weights())
    resumed.steps_trained = stopped.steps_trained
    np.testing.assert_array_equal(losses, [*first, *train(resumed, X, y, learning_rate=0.1, batches=batches[2:])])
    assert whole.steps_trained == resumed.steps_trained == 6
    for W, expected in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(W, expected)
    other = make_engine(MIXED, loss="cross_entropy")
    other.key = (3, 5)
    assert (train(other, X, y, learning_rate=0.1, batches=batches) != losses).all()


def test_chunked_predict_equals_a_single_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(MIXED)
    X, _ = make_data("mse", rows=20)
    whole, apart = np.empty((20, 3)), np.empty((20, 3))
    engine.predict(X, whole)
    monkeypatch.setattr("fastbp.reference.engine.CHUNK", 3)
    engine.predict(X, apart)
    # NumPy may sum products in a different order for another number of rows.
    np.testing.assert_allclose(apart, whole, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_and_gradients_have_the_dtype_of_the_engine(dtype: str) -> None:
    engine = make_engine([*MIXED[:-1], LayerSpec(3)], dtype=dtype)
    X, y = (array.astype(dtype) for array in make_data("mse"))
    train(engine, X, y, learning_rate=0.1)
    assert {W.dtype for W in engine.get_weights()} == {np.dtype(dtype)}
    _, gradients = engine.gradients(X, y)
    assert {dW.dtype for dW in gradients if dW is not None} == {np.dtype(dtype)}
