"""Sparse rows: the same training as on dense rows, and the same bits for any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

import fastbp
from fastbp.data import csr
from fastbp.data.csr import SparseRows
from fastbp.engine.engine import Engine
from fastbp.engine.planning import tuning
from tests.engine.cases import ADD, BATCH_NORM, DROPOUT, assert_same_bits, everything, spec

WIDTH, ROWS, STEPS = 211, 37, 5
NETWORKS = {
    "dense": [spec(37, "relu"), spec(20, "gelu"), spec(5)],
    "wide": [spec(130, "tanh", use_bias=False), spec(5)],
    "normalized": [spec(48, use_bias=False), spec(48, "relu", **BATCH_NORM), spec(5)],
    "one layer": [spec(3)],
    "dropout first": [spec(WIDTH, **DROPOUT), spec(30, "tanh"), spec(5)],  # cannot read the sparse rows in place
    "residual on the input": [spec(WIDTH, "tanh"), spec(WIDTH, skip=-1, **ADD), spec(5)],
}
OPTIMIZERS = {
    "sgd": fastbp.SGD(0.01),
    "decay": fastbp.SGD(0.01, weight_decay=0.1),
    "momentum": fastbp.SGD(0.01, momentum=0.9),
    "adam": fastbp.Adam(0.01),
    "clipped": fastbp.AdamW(0.01, global_clipnorm=0.1, gradient_accumulation_steps=2),
}


def make_rows(dtype: str, rows: int = ROWS * STEPS, width: int = WIDTH) -> SparseRows:
    """Up to 19 values per row; some rows are empty, some have duplicate columns."""
    rng = np.random.default_rng(0)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 20, rows))])
    columns = rng.integers(0, width, starts[-1]).astype(np.int32)
    return SparseRows(starts, columns, rng.normal(size=starts[-1]).astype(dtype), width)


def trained(name: str, optimizer: fastbp.optimizers.Optimizer, dtype: str, *, sparse: bool, workers: int = 1) -> list:
    """Gradients, losses, weights and states, predictions and loss after some steps."""
    rows = make_rows(dtype)
    X = rows if sparse else rows.toarray()
    layers, rng = NETWORKS[name], np.random.default_rng(1)
    engine = Engine(WIDTH, layers, dtype=dtype, key=(1, 2))
    engine.configure("mse", optimizer.rule, update_spec=optimizer.update_spec)
    engine.reset_state(optimizer.n_states)
    weights = [rng.normal(0, 0.3, W.shape) if W.ndim == 2 else rng.uniform(0.5, 1.5, W.shape) for W in
               engine.get_weights()]  # fmt: skip
    engine.set_weights([W.astype(dtype) for W in weights])
    y = rng.normal(size=(len(X), layers[-1].units)).astype(dtype)
    total, gradients = engine.gradients(X, y)
    losses, order = np.zeros(STEPS), rng.permutation(len(X))
    scalars = optimizer.scalars(np.arange(STEPS) // optimizer.update_spec.accumulation)
    report = engine.train(X, y, order, np.arange(STEPS + 1) * ROWS, scalars, losses, n_threads=workers)
    assert report.steps == STEPS
    predictions = np.zeros((len(X), layers[-1].units), dtype)
    engine.predict(X, predictions, n_threads=workers)
    known = [gradient for gradient in gradients if gradient is not None]
    found = [np.array([total, engine.evaluate(X, y)]), losses, predictions, *known, *everything(engine)]
    return [np.ascontiguousarray(array) for array in found]


@pytest.mark.jit
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_sparse_training_matches_dense(name: str, optimizer: str, dtype: str) -> None:
    """Except for the order of summation, which Adam magnifies most by dividing small gradients."""
    sparse, dense = (trained(name, OPTIMIZERS[optimizer], dtype, sparse=sparse) for sparse in (True, False))
    tolerance = 1e-10 if dtype == "float64" else 2e-3
    for got, expected in zip(sparse, dense, strict=True):
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.jit
@pytest.mark.parametrize("optimizer", ["sgd", "clipped"])
@pytest.mark.parametrize("name", NETWORKS)
def test_two_workers_give_the_bits_of_one(name: str, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "chosen", tuning.current()._replace(worth_sharing=1))
    alone, both = (trained(name, OPTIMIZERS[optimizer], "float32", sparse=True, workers=n) for n in (1, 2))
    assert_same_bits(both, alone)


def test_only_weights_of_nonzero_features_change() -> None:
    X = scipy.sparse.csr_array(([1.0, 2.0], ([0, 1], [3, 5])), shape=(2, 9), dtype=np.float32)
    model = fastbp.Sequential([fastbp.Dense(4, "tanh"), fastbp.Dense(1)])
    model.compile(fastbp.SGD(0.1), "mse")
    model.predict(X)
    before = model.get_weights()[0]
    model.train_on_batch(X, [1.0, 2.0])
    changed = (model.get_weights()[0] != before).any(axis=1)
    assert changed.nonzero()[0].tolist() == [3, 5]


# ---------------------------------------------------------------- through the model
def make_matrix(rows: int = 200) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    rng = np.random.default_rng(3)
    X = scipy.sparse.random_array((rows, 300), density=0.05, format="csr", rng=rng, dtype=np.float32)
    return X, (X[:, [0]].toarray()[:, 0] + X.sum(axis=1) > 6).astype(np.int64)


def make_model() -> fastbp.Sequential:
    model = fastbp.Sequential([fastbp.Dense(16, "relu"), fastbp.Dense(2, "softmax")], dtype="float64")
    model.compile(fastbp.Adam(0.01), "cross_entropy", ["accuracy"])
    return model


@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "csc_array", "coo_array", "lil_array"])
def test_fit_predict_and_evaluate_accept_any_sparse_format(form: str) -> None:
    X, y = make_matrix()
    results = []
    for data in (getattr(scipy.sparse, form)(X), X.toarray()):
        model = make_model()
        history = model.fit(data, y, epochs=3, batch_size=32, validation_split=0.2)
        results.append((history.history, model.predict(data), model.evaluate(data, y), model.gradients(data, y)[0]))
    (history, *found), (expected_history, *expected) = results
    assert history.keys() == expected_history.keys()
    for name in history:
        np.testing.assert_allclose(history[name], expected_history[name], rtol=1e-9)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-8)
    assert found[1] == pytest.approx(expected[1], rel=1e-9)
    np.testing.assert_allclose(found[2], expected[2], atol=1e-12)


def test_valid_matrix_is_not_copied() -> None:
    X, _ = make_matrix()
    rows = fastbp.data.arrays.features(X, 300, np.dtype("float32"))
    assert rows.values is X.data


# Each corrupts a matrix in place without scipy noticing.
CORRUPTIONS = {
    "column 10**6": (lambda S: put(S.indices, 5, 10**6), "column indices from 0 to 299, got 1000000 at row"),
    "column 2**31 - 1": (lambda S: put(S.indices, 5, 2**31 - 1), "column indices"),
    "first column out of range": (lambda S: put(S.indices, -1, 300), "column indices from 0 to 299, got 300"),
    "column -1": (lambda S: put(S.indices, 5, -1), "got -1 at row"),
    "column -10**6": (lambda S: put(S.indices, 0, -(10**6)), "column indices"),
    "pointer beyond the data": (lambda S: put(S.indptr, -1, 10**7), "as many as indptr ends with"),
    "decreasing pointers": (lambda S: put(S.indptr, [3, 4], [10**6, 0]), "never fall"),
    "negative pointer": (lambda S: put(S.indptr, 1, -5), "never fall"),
    "first pointer not 0": (lambda S: put(S.indptr, 0, 1), "start at 0"),
    "pointer -2**31": (lambda S: put(S.indptr, 1, -(2**31)), "never fall"),
    "too few pointers": (lambda S: setattr(S, "indptr", S.indptr[:-1]), "indptr of"),
    "too many pointers": (lambda S: setattr(S, "indptr", np.append(S.indptr, S.indptr[-1])), "indptr of"),
    "too little data": (lambda S: setattr(S, "data", S.data[:10]), "as many indices as data"),
    "too few columns": (lambda S: setattr(S, "indices", S.indices[:10]), "as many indices as data"),
    "64-bit columns": (lambda S: setattr(S, "indices", S.indices + np.int64(1 << 32)), "column indices"),
    "float columns": (lambda S: setattr(S, "indices", S.indices + 0.5), "signed integers"),
    "2-D pointers": (lambda S: setattr(S, "indptr", S.indptr[:, np.newaxis]), "one dimension"),
}


def put(array: np.ndarray, place: int | list, value: int | list) -> None:
    array[place] = value


@pytest.mark.parametrize("case", CORRUPTIONS)
@pytest.mark.parametrize("first", [fastbp.Dense(16, "relu"), fastbp.Dropout(0.5)], ids=["sparse", "gathered"])
def test_out_of_range_matrices_are_rejected(case: str, first: fastbp.Dense | fastbp.Dropout) -> None:
    corrupt, message = CORRUPTIONS[case]
    S, y = make_matrix()
    assert S.has_canonical_format  # cached by scipy, and wrong once corrupted
    model = fastbp.Sequential([first, fastbp.Dense(2, "softmax")], input_size=300, dtype="float64")
    model.compile("adam", "cross_entropy")
    before = model.get_weights()
    corrupt(S)
    for call in (model.fit, model.train_on_batch, model.evaluate, model.gradients, lambda X, y: model.predict(X)):
        with pytest.raises(ValueError, match=message):
            call(S, y)
    assert_same_bits(model.get_weights(), before)


@pytest.mark.parametrize("form", ["csc_array", "bsr_array", "coo_array"])
def test_out_of_range_matrices_of_other_formats_are_rejected(form: str) -> None:
    X, y = make_matrix()
    S = getattr(scipy.sparse, form)(X)
    (S.coords[1] if form == "coo_array" else S.indices)[3] = 10**6
    model = make_model()
    with pytest.raises(ValueError, match="X must"):
        model.fit(S, y)


def test_unsorted_and_duplicate_columns_are_found_despite_scipy_flags() -> None:
    X, _ = make_matrix()
    assert X.has_canonical_format
    length = np.diff(X.indptr)
    row = int(length.argmax())
    begin, end = X.indptr[row], X.indptr[row + 1]
    assert end - begin > 2
    X.indices[begin:end] = X.indices[begin:end][::-1].copy()
    X.indices[end - 1] = X.indices[end - 2]
    places = np.repeat(np.arange(len(length)), length), X.indices
    expected = scipy.sparse.coo_array((X.data, places), X.shape).toarray()
    rows = fastbp.data.arrays.features(X, 300, np.dtype("float32"))
    np.testing.assert_allclose(rows.toarray(), expected, rtol=1e-6)
    assert (np.diff(rows.columns[rows.starts[row] : rows.starts[row + 1]]) > 0).all()


@pytest.mark.parametrize("length", [0, 1, 2, csr._CHUNK, csr._CHUNK + 1, 2 * csr._CHUNK + 1])
def test_order_within_rows_is_checked_across_chunks(length: int) -> None:
    columns = np.arange(length, dtype=np.int32)
    whole = np.array([0, 0, length, length])
    assert csr.is_sorted(whole, columns)
    for place in {0, 1, csr._CHUNK - 1, csr._CHUNK, csr._CHUNK + 1, length - 2} & set(range(length - 1)):
        corrupted = columns.copy()
        corrupted[place + 1] = corrupted[place]
        assert not csr.is_sorted(whole, corrupted)
        assert csr.is_sorted(np.array([0, place + 1, length]), np.where(columns > place, columns - place - 1, columns))


@pytest.mark.parametrize("first", [fastbp.Dense(16, "relu"), fastbp.Dropout(0.5)], ids=["sparse", "gathered"])
@pytest.mark.parametrize("column", [300, 10**6, -1, -(2**31), 2**31 - 1])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_columns_changed_during_fit_stop_it_at_the_last_step(first, column: int, optimizer) -> None:
    X, y = make_matrix()
    model = fastbp.Sequential([first, fastbp.Dense(2, "softmax")])
    model.compile(optimizer, "cross_entropy")
    kept = []

    class Corrupt(fastbp.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            X.indices[:] = column
            kept.extend(model.get_weights())

    with pytest.raises(ValueError, match=f"column indices from 0 to 299, got {column}, which was changed"):
        model.fit(X, y, epochs=3, callbacks=[Corrupt()])
    assert_same_bits(model.get_weights(), kept)
    X.indices[:] = 0
    X.sum_duplicates()
    model.fit(X, y)  # as before


def test_resumed_fit_has_the_bits_of_an_uninterrupted_one(tmp_path) -> None:
    X, y = make_matrix()
    whole = make_model()
    whole.fit(X, y, epochs=4, batch_size=32)
    path = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        make_model().fit(X, y, epochs=4, batch_size=32, callbacks=[fastbp.BackupAndRestore(path), Interrupt()])
    resumed = make_model()
    resumed.fit(X, y, epochs=4, batch_size=32, resume_from=path)
    assert_same_bits(resumed.get_weights(), whole.get_weights())
    other = X.copy()
    other.data[5] += 1
    with pytest.raises(ValueError, match="X"):
        make_model().fit(other, y, epochs=4, batch_size=32, resume_from=path)


class Interrupt(fastbp.Callback):
    """Raises KeyboardInterrupt after the second epoch."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("corrupt", "error", "message"),
    [
        (lambda X: X[:, :299], ValueError, "300 columns"),
        (lambda X: X.astype(np.complex64), TypeError, "real numbers"),
        (lambda X: X[:0], ValueError, "one row"),
        (lambda X: X * np.float32(np.inf), ValueError, "must be finite, got inf at row"),
        (lambda X: X * np.float32(np.nan), ValueError, "must be finite, got nan at row"),
    ],
)
def test_bad_matrices_are_rejected_without_changes(corrupt, error, message: str) -> None:
    X, y = make_matrix()
    model = make_model()
    model.fit(X, y)
    before = model.get_weights()
    with np.errstate(all="ignore"):
        bad = corrupt(X)
    with pytest.raises(error, match=message):
        model.fit(bad, y[: bad.shape[0]])
    assert_same_bits(model.get_weights(), before)


def test_diagnostics_accept_sparse_data() -> None:
    X, y = make_matrix()
    model = make_model()
    model.fit(X, y)
    assert fastbp.check_gradients(model, X, y, n=2).ok
    assert "layer" in str(fastbp.diagnose(model, X, y)).lower()
