"""Column embeddings: the engine against the reference, the reference against finite differences, training against
PyTorch, and models.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse
import torch

import fastbp
from fastbp.engine.engine import Engine
from fastbp.reference import ReferenceEngine
from fastbp.spec import Report, UpdateSpec
from tests.engine.cases import (
    ADD,
    BATCH_NORM,
    DROPOUT,
    OPTIMIZERS,
    SCALE,
    assert_same_bits,
    embedding,
    everything,
    make_data,
    make_engine,
    predict,
    spec,
    train,
    with_codes,
)
from tests.reference.test_functions import EPS, central_differences

DTYPES = ["float64", "float32"]
# Codes in the first, the last and all columns; tables of one code, of less than a line and of several work units; nodes
# other than Dense that read an embedding.
NETWORKS = {
    "some": (4, [embedding(4, (1, 5, 3), (2, 30, 4)), spec(9, "tanh"), spec(3)]),
    "first and last": (4, [embedding(4, (0, 1, 1), (3, 2, 9)), spec(9, "tanh"), spec(3)]),
    "all": (3, [embedding(3, (0, 7, 2), (1, 40, 17), (2, 3, 1)), spec(9, "tanh"), spec(3)]),
    "large": (2, [embedding(2, (1, 3000, 3)), spec(5, "tanh"), spec(3)]),
    "wide": (2, [embedding(2, (0, 4, 300)), spec(3, "tanh"), spec(3)]),
    "activated": (3, [embedding(3, (2, 6, 4)), spec(6, "silu", kind="activation"), spec(3)]),
    "normalized": (3, [embedding(3, (0, 6, 4)), spec(6, "relu", **BATCH_NORM), spec(3)]),
    "scaled": (3, [embedding(3, (0, 6, 4)), spec(6, "relu", **SCALE), spec(3)]),
    "dropout": (3, [embedding(3, (0, 6, 4)), spec(6, **DROPOUT), spec(3)]),
    "residual": (3, [embedding(3, (0, 6, 4)), spec(6, "tanh"), spec(6, skip=0, **ADD), spec(3)]),
    "penalized": (3, [embedding(3, (0, 6, 4), (1, 9, 2), l1=0.01, l2=0.02), spec(9, "tanh"), spec(3)]),
}


def make(name: str, dtype: str, rows: int = 37, **options):
    inputs, layers = NETWORKS[name]
    X, y = make_data(rows, inputs, 3, dtype=dtype)
    return make_engine(inputs, layers, dtype=dtype, **options), with_codes(X, layers), y


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_gradients_match_central_differences(name: str) -> None:
    engine, X, y = make(name, "float64", kind=ReferenceEngine)

    def loss_of() -> float:
        return float(engine.gradients(X, y)[0])

    if name == "large":  # of 9,000 weights only those in use, and some others
        X[:, 1] %= 3
        engine.set_weights([W * (np.arange(len(W)) < 5)[:, np.newaxis] if len(W) == 3000 else W
                            for W in engine.get_weights()])  # fmt: skip
        dE = engine.gradients(X, y)[1][0]
        assert dE is not None
        assert dE[:3].all()
        assert not dE[3:].any()
        return
    _, gradients = engine.gradients(X, y)
    for dW, expected in zip(gradients, central_differences(engine, loss_of), strict=True):
        # as in tests/reference/test_network.py, for the same losses
        np.testing.assert_allclose(0 if dW is None else dW, expected, rtol=0, atol=300 * EPS ** (2 / 3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_engine_matches_the_reference(name: str, dtype: str) -> None:
    """Predictions, gradients and five steps, up to the rounding of sums of up to 300 terms of order 1."""
    results = []
    for kind in (Engine, ReferenceEngine):
        engine, X, y = make(name, dtype, kind=kind)
        total, gradients = engine.gradients(X, y)
        report, losses = train(engine, X, y, "sgd", [0, 37, 38, 45, 61, 74], order=np.arange(74) % 37)
        assert report == Report(5, 0, -1)
        known = [np.array([total, engine.evaluate(X, y)]), losses, *(g for g in gradients if g is not None)]
        results.append([*known, predict(engine, X), *engine.get_weights()])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=300 * np.finfo(dtype).eps)


UPDATE_SPECS = {
    "clipped": UpdateSpec(clipvalue=0.1, clipnorm=0.05), "clipped together": UpdateSpec(global_clipnorm=0.1),
    "accumulated": UpdateSpec(accumulation=2), "averaged": UpdateSpec(ema_momentum=0.9),
    "decay of kernels only": UpdateSpec(decay_kernels_only=True),
}  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "update_spec"),
    [(name, None) for name in OPTIMIZERS] + [("adamw", name) for name in UPDATE_SPECS] + [("sgd decay", "clipped")],
)
def test_every_rule_and_update_spec_matches_the_reference(optimizer: str, update_spec: str | None) -> None:
    """Six steps in float64: quotients of small gradients and their roots magnify rounding most."""
    results = []
    for kind in (Engine, ReferenceEngine):
        chosen = {} if update_spec is None else {"update_spec": UPDATE_SPECS[update_spec]}
        engine, X, y = make("all", "float64", kind=kind, optimizer=optimizer, **chosen)
        report, losses = train(engine, X, y, optimizer, [0, 20, 37, 40, 60, 70, 74], order=np.arange(74) % 37)
        assert report == Report(6, 0, -1)
        results.append([losses, *engine.get_weights()])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("optimizer", [fastbp.LAMB(0.01), fastbp.Muon(0.01)])
def test_whole_array_rules_match_the_reference(optimizer) -> None:
    """LAMB in the engine, with norms of each table; Muon, which leaves tables to AdamW."""
    results = []
    for kind in (Engine, ReferenceEngine):
        engine, X, y = make("all", "float64", kind=kind)
        engine.configure("mse", optimizer.rule, update_spec=optimizer.update_spec)
        engine.reset_state(optimizer.n_states)
        losses = np.zeros(4)
        engine.train(X, y, np.arange(36), np.arange(0, 37, 9), optimizer.scalars(np.arange(4)), losses)
        results.append([losses, *engine.get_weights()])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-7)


def test_weights_and_states_round_trip() -> None:
    engine, X, y = make("some", "float32", optimizer="adam")
    train(engine, X, y, "adam", [0, 20, 37])
    other = make("some", "float32", optimizer="adam")[0]
    other.set_weights(engine.get_weights())
    other.set_state(engine.get_state())
    assert_same_bits(everything(other), everything(engine))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_non_finite_steps_leave_finite_weights_and_states(optimizer: str) -> None:
    """A non-finite loss changes nothing; of non-finite gradients, only table entries that stay finite are updated."""
    engine, X, y = make("some", "float32", optimizer=optimizer)
    before = everything(engine)
    assert train(engine, X, np.full_like(y, np.nan), optimizer, [0, 37])[0] == Report(0, 1, -1)
    assert_same_bits(everything(engine), before)
    weights = engine.get_weights()
    weights[-2][:] = 1e30
    engine.set_weights(weights)
    y[:] = 0
    train(engine, X * np.float32(1), y, optimizer, [0, 37])
    assert all(np.isfinite(array).all() for array in everything(engine))


# ---------------------------------------------------------------- PyTorch


class TorchModel(torch.nn.Module):
    """Two tables and a hidden layer."""

    def __init__(self, weights) -> None:
        super().__init__()
        *tables, W0, b0, W1, b1 = (torch.tensor(array) for array in weights)
        self.tables = torch.nn.ModuleList(torch.nn.Embedding.from_pretrained(E, freeze=False) for E in tables)
        self.hidden, self.last = torch.nn.Linear(*W0.shape, dtype=W0.dtype), torch.nn.Linear(*W1.shape, dtype=W0.dtype)
        for linear, W, b in ((self.hidden, W0, b0), (self.last, W1, b1)):
            linear.weight.data, linear.bias.data = W.T.clone(), b.clone()

    def forward(self, X):
        vectors = [E(X[:, column].long()) for E, column in zip(self.tables, (1, 2), strict=True)]
        return self.last(torch.tanh(self.hidden(torch.cat([X[:, [0, 3]], *vectors], dim=1))))

    def arrays(self) -> list[np.ndarray]:
        tables = [E.weight.detach().numpy() for E in self.tables]
        return [*tables, *(a for linear in (self.hidden, self.last)
                           for a in (linear.weight.detach().numpy().T, linear.bias.detach().numpy()))]  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fastbp.SGD(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        (fastbp.AdamW(0.01), lambda p: torch.optim.AdamW(p, 0.01)),
    ],
    ids=["momentum", "adamw"],
)
def test_training_matches_pytorch(ours, theirs) -> None:
    """All weights after 50 steps in float64, up to a few roundings per step."""
    inputs, layers = NETWORKS["some"]
    X = with_codes(np.random.default_rng(0).normal(size=(200, inputs)), layers)
    y = np.random.default_rng(1).integers(0, 3, 200)
    model = fastbp.Sequential(
        [fastbp.ColumnEmbedding({1: 5, 2: 30}, [3, 4]), fastbp.Dense(9, "tanh"), fastbp.Dense(3)],
        input_size=inputs, dtype="float64",
    )  # fmt: skip
    model.compile(ours, "cross_entropy")
    peer = TorchModel(model.get_weights())
    optimizer = theirs(peer.parameters())
    for step in range(50):
        batch = np.arange(20 * step, 20 * step + 20) % 200
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(peer(torch.tensor(X[batch])), torch.tensor(y[batch]))
        loss.backward()
        optimizer.step()
        assert model.train_on_batch(X[batch], y[batch]) == pytest.approx(loss.item(), abs=1e-10)
    for got, expected in zip(model.get_weights(), peer.arrays(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


# ---------------------------------------------------------------- the layer


def test_columns_cardinalities_and_dimensions_of_the_layer() -> None:
    layer = fastbp.ColumnEmbedding({7: 20, 2: 3}, [8, 4])
    assert (layer.columns, layer.cardinalities, layer.dimensions) == ((2, 7), (3, 20), (4, 8))
    assert layer == fastbp.ColumnEmbedding([20, 3], [8, 4], [7, 2])
    assert fastbp.ColumnEmbedding([3, 20], 5).tables == ((0, 3, 5), (1, 20, 5))
    assert fastbp.ColumnEmbedding(np.array([9, 9])).columns == (0, 1)


def test_default_dimension_matches_fastai() -> None:
    sizes = [1, 2, 10, 100, 10_000, 1_000_000]
    assert fastbp.ColumnEmbedding(sizes).dimensions == tuple(min(600, round(1.6 * n**0.56)) for n in sizes)
    assert fastbp.ColumnEmbedding(sizes).dimensions == (2, 2, 6, 21, 278, 600)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "one or more different columns"),
        (([3, 3], None, [1, 1]), ValueError, r"one or more different columns, got \[3, 3\] for the columns"),
        (([3, 3], None, [1]), ValueError, "different columns"),
        (([0],), ValueError, "at least 1"),
        (([2.5],), TypeError, "must be an integer"),
        (({-1: 3},), ValueError, "a column must be at least 0"),
        (({0: 3}, None, [0]), TypeError, "must not be given with a dict"),
        (([3], [2, 2]), ValueError, "one for each of 1 columns, got 2"),
        (([3], 0), ValueError, "a dimension must be at least 1"),
        (([(1 << 24) + 1],), ValueError, "merge rare categories"),
    ],
)
def test_invalid_arguments_are_refused(arguments, error, message: str) -> None:
    with pytest.raises(error, match=message):
        fastbp.ColumnEmbedding(*arguments)


def test_embedding_must_be_first_and_find_its_columns() -> None:
    with pytest.raises(ValueError, match="must be the first layer"):
        fastbp.Sequential([fastbp.Dense(3), fastbp.ColumnEmbedding([3]), fastbp.Dense(1)])
    with pytest.raises(ValueError, match="must be the first layer"):
        fastbp.Sequential([fastbp.Residual([fastbp.ColumnEmbedding([3]), fastbp.Dense(1)])])
    with pytest.raises(ValueError, match=r"needs at least 6 columns of X, got 5"):
        fastbp.Sequential([fastbp.ColumnEmbedding({5: 3}), fastbp.Dense(1)], input_size=5)
    model = fastbp.Sequential([fastbp.ColumnEmbedding({5: 3}), fastbp.Dense(1)])
    with pytest.raises(ValueError, match="needs at least 6 columns"):
        model.predict(np.zeros((3, 5)))


# ---------------------------------------------------------------- models

LAYERS = (fastbp.ColumnEmbedding({1: 5, 3: 40}), fastbp.Dense(8, "relu"), fastbp.Dense(3, "softmax"))


def make_rows(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    X = np.column_stack([rng.normal(size=n), rng.integers(0, 5, n), rng.normal(size=n), rng.integers(0, 40, n)])
    return X, (X[:, 3] % 3).astype(int)


def make_model(*between, dtype: str = "float32", **options) -> fastbp.Sequential:
    first = fastbp.ColumnEmbedding({1: 5, 3: 40}, **options)
    model = fastbp.Sequential([first, *between, *LAYERS[1:]], input_size=4, dtype=dtype)
    model.compile(fastbp.Adam(0.01), "cross_entropy", ["accuracy"])
    return model


def test_tables_learn_to_distinguish_categories() -> None:
    X, y = make_rows()
    model = make_model()
    model.fit(X, y, epochs=40, batch_size=16)
    assert model.evaluate(X, y)["accuracy"] == 1.0


def test_loaded_model_resumes_bit_for_bit(tmp_path) -> None:
    X, y = make_rows()
    whole, first_part = make_model(), make_model()
    whole.fit(X, y, epochs=2, batch_size=32)
    whole.fit(X, y, epochs=2, batch_size=32)
    first_part.fit(X, y, epochs=2, batch_size=32)
    first_part.save(tmp_path / "model.safetensors")
    loaded = fastbp.load(tmp_path / "model.safetensors")
    assert loaded.layers == first_part.layers
    assert_same_bits([loaded.predict(X)], [first_part.predict(X)])
    loaded.fit(X, y, epochs=2, batch_size=32)
    assert_same_bits(loaded.get_weights(), whole.get_weights())


def test_weights_round_trip_and_summary_shows_dimensions() -> None:
    model = make_model()
    assert [W.shape for W in model.get_weights()[:3]] == [(5, 4), (40, 13), (19, 8)]
    weights = [np.full_like(W, number) for number, W in enumerate(model.get_weights())]
    model.set_weights(weights)
    assert_same_bits(model.get_weights(), weights)
    with pytest.raises(ValueError, match=r"0.embedding_3, must have shape \(40, 13\)"):
        model.set_weights([weights[0], weights[1][:3], *weights[2:]])
    assert "ColumnEmbedding(4, 13)  (n, 19)              540" in model.summary()
    assert "ColumnEmbedding(4, 13)  (n, ?)" in fastbp.Sequential(LAYERS).summary()


def test_tables_can_be_frozen_scaled_and_penalized() -> None:
    X, y = make_rows()
    first = make_model().get_weights()[0]
    steps, frozen, half = {}, {"trainable": False}, {"learning_rate_multiplier": 0.5}
    for name, options in {"plain": {}, "frozen": frozen, "half": half}.items():
        model = make_model(**options)
        model.compile(fastbp.SGD(0.1), "cross_entropy")
        model.train_on_batch(X, y)
        steps[name] = model.get_weights()[0] - first
    assert not steps["frozen"].any()
    np.testing.assert_allclose(steps["half"], steps["plain"] / 2, rtol=1e-3, atol=1e-8)
    model = make_model(embeddings_regularizer=fastbp.L2(0.5))
    plain, penalized = make_model().evaluate(X, y)["loss"], model.evaluate(X, y)["loss"]
    expected = 0.5 * sum(float((E.astype(float) ** 2).sum()) for E in model.get_weights()[:2])
    assert penalized - plain == pytest.approx(expected, rel=1e-4)


def test_plain_sgd_updates_only_rows_of_codes_in_the_batch() -> None:
    X, y = make_rows()
    X[:, 3] %= 7
    model = make_model()
    model.compile(fastbp.SGD(0.1), "cross_entropy")
    before = model.get_weights()[1]
    model.train_on_batch(X, y)
    changed = (model.get_weights()[1] != before).any(axis=1)
    assert changed.nonzero()[0].tolist() == list(range(7))


def test_diagnostics_and_folding_support_embeddings() -> None:
    X, y = make_rows()
    model = make_model(fastbp.BatchNorm(), embeddings_regularizer="l2")
    check = fastbp.check_gradients(model, X, y, n=4)
    assert check.ok, check
    assert [array.name for array in check.arrays[:2]] == ["0.embedding_1", "0.embedding_3"]
    diagnosis = fastbp.diagnose(model, X, y)
    assert diagnosis.healthy, diagnosis
    assert diagnosis.layers[0].gradient > 0
    model.fit(X, y, epochs=2, callbacks=[fastbp.StochasticWeightAveraging(start_epoch=0)])
    folded = fastbp.fold(model)
    assert [type(layer).__name__ for layer in folded.layers] == ["ColumnEmbedding", "Dense", "Dense"]
    np.testing.assert_allclose(folded.predict(X), model.predict(X), rtol=0, atol=1e-5)


def test_sparse_and_dense_rows_train_alike() -> None:
    X, y = make_rows()
    X[::2, 1] = X[::3, 0] = 0
    dense, sparse = make_model(), make_model()
    dense.fit(X, y, batch_size=32)
    sparse.fit(scipy.sparse.csr_array(X), y, batch_size=32)
    assert_same_bits(sparse.get_weights(), dense.get_weights())


@pytest.mark.parametrize(
    ("code", "printed"), [(-1, "-1"), (40, "40"), (2.5, "2.5"), (-0.5, "-0.5"), (1e30, "1e+30")]
)  # fmt: skip
@pytest.mark.parametrize("container", [np.asarray, scipy.sparse.csr_array])
def test_invalid_codes_are_refused_before_anything_changes(container, code: float, printed: str) -> None:
    X, y = make_rows()
    model = make_model()
    model.fit(X, y)
    before = everything(model._engine)
    bad = X.copy()
    bad[11, 3] = code
    calls = (
        lambda: model.fit(container(bad), y), lambda: model.predict(container(bad)),
        lambda: model.evaluate(container(bad), y), lambda: model.train_on_batch(container(bad), y),
        lambda: model.gradients(container(bad), y),
        lambda: model.fit(X, y, validation_data=(container(bad), y)),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=r"codes from 0 to 39 in column 3.*, got \S+ at row 11: number") as caught:
            call()
        assert f"got {printed} at" in str(caught.value)
    assert_same_bits(everything(model._engine), before)


def test_mixup_of_codes_is_refused() -> None:
    X, y = make_rows()
    with pytest.raises(ValueError, match="ColumnEmbedding reads codes"):
        make_model().fit(X, y, mixup=0.2)


def test_float32_distinguishes_all_codes() -> None:
    """The largest allowed table has 2^24 codes, all of which float32 represents exactly."""
    assert len({np.float32((1 << 24) - i) for i in range(1, 100)}) == 99
    assert math.floor(np.float32((1 << 24) - 1)) == (1 << 24) - 1
