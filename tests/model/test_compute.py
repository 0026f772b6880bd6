"""A model's `compute`: products of bfloat16 operands, from the constructor to files and other machines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import fastbp
from fastbp import isa
from fastbp.isa.targets import amx

supported = bool(isa.table().bfloat16) and (isa.table().bfloat16 != "tiles" or amx.permitted())
rng = np.random.default_rng(0)
X = rng.normal(size=(120, 20)).astype(np.float32)
LABELS = (X[:, 0] > X[:, 1]).astype(np.int64)


def classifier(compute: str, **options) -> fastbp.Sequential:
    layers = [fastbp.Dense(24, "relu"), fastbp.Dense(16, "relu"), fastbp.Dense(2, "softmax")]
    model = fastbp.Sequential(layers, compute=compute, seed=3, **options)
    model.compile("adam", "cross_entropy")
    return model


def test_unknown_compute_is_refused():
    with pytest.raises(ValueError, match="compute must be one of float32, bfloat16, bfloat16x3, auto, got 'bf16'"):
        classifier("bf16")


@pytest.mark.jit
@pytest.mark.slow
def test_auto_is_decided_when_training_starts_and_saved(tmp_path):
    model = classifier("auto")
    assert model.compute == "auto"
    model.predict(X)
    assert model.compute == "auto"
    model.fit(X, LABELS, epochs=1)
    assert model.compute in ("float32", "bfloat16")
    model.save(tmp_path / "model.safetensors")
    assert fastbp.load(tmp_path / "model.safetensors").compute == model.compute


@pytest.mark.slow
def test_auto_with_float64_uses_no_bfloat16():
    model = classifier("auto", dtype="float64")
    model.fit(X, LABELS, epochs=1)
    assert model.compute == "float32"


if supported:

    @pytest.mark.jit
    @pytest.mark.parametrize("compute", ["bfloat16", "bfloat16x3"])
    def test_model_resumed_from_a_file_is_bit_identical(tmp_path, compute):
        uninterrupted, interrupted = classifier(compute), classifier(compute)
        uninterrupted.fit(X, LABELS, epochs=4)
        interrupted.fit(X, LABELS, epochs=2)
        interrupted.save(tmp_path / "model.safetensors")
        resumed = fastbp.load(tmp_path / "model.safetensors")
        assert resumed.compute == compute
        resumed.fit(X, LABELS, epochs=2)
        for a, b in zip(uninterrupted.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(uninterrupted.predict(X), resumed.predict(X))

    @pytest.mark.jit
    def test_set_weights_rounds_again():
        model, other = classifier("bfloat16"), classifier("bfloat16")
        model.fit(X, LABELS, epochs=1)
        other.fit(X[:60], LABELS[:60], epochs=3)
        other.set_weights(model.get_weights())
        np.testing.assert_array_equal(model.predict(X), other.predict(X))

    def test_float64_is_refused():
        with pytest.raises(ValueError, match="rounds operands of float32, but dtype is 'float64'"):
            classifier("bfloat16", dtype="float64")

    @pytest.mark.jit
    def test_file_loads_with_a_warning_on_machines_without_bfloat16(tmp_path, monkeypatch):
        model = classifier("bfloat16")
        model.fit(X, LABELS, epochs=1)
        expected = model.predict(X)
        model.save(tmp_path / "model.safetensors")
        monkeypatch.setattr(isa, "table", lambda: isa.TARGETS["avx2"])
        with pytest.raises(ValueError, match="compute='bfloat16' is not available: it needs a processor with AMX"):
            classifier("bfloat16")
        with pytest.warns(RuntimeWarning, match="which is not available here"):
            loaded = fastbp.load(tmp_path / "model.safetensors")
        assert loaded.compute == "float32"
        np.testing.assert_allclose(loaded.predict(X), expected, atol=0.02)

    NETWORKS = {
        "sparse rows": lambda: [fastbp.Dense(24, "relu"), fastbp.Dense(16, "tanh"), fastbp.Dense(2, "softmax")],
        "embedding": lambda: [fastbp.ColumnEmbedding({0: 5, 3: 7}), fastbp.Dense(24, "relu"), fastbp.Dropout(0.2),
                              fastbp.Dense(2, "softmax")],
        "residual": lambda: [fastbp.Dense(24), fastbp.Residual([fastbp.LayerNorm(), fastbp.Dense(24, "gelu")]),
                             fastbp.Residual([fastbp.Dense(24, "relu"), fastbp.Dense(24)]), fastbp.BatchNorm(),
                             fastbp.Activation("relu"), fastbp.Dense(2, "softmax")],
    }  # fmt: skip
    OPTIMIZERS = {
        "adam": lambda: "adam",
        "adamw": lambda: fastbp.AdamW(1e-3, weight_decay=0.01, global_clipnorm=0.5, gradient_accumulation_steps=2,
                                        use_ema=True),
        "lamb": lambda: fastbp.LAMB(1e-3),
        "muon": lambda: fastbp.Muon(1e-3),
    }  # fmt: skip

    @pytest.mark.jit
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    @pytest.mark.parametrize("name", NETWORKS)
    def test_bfloat16x3_trains_like_float32(name, optimizer):
        """The rounding of bfloat16x3 is small enough to reveal a mistake."""
        rows = X.copy()
        rows[:, 0], rows[:, 3] = rng.integers(0, 5, len(X)), rng.integers(0, 7, len(X))
        rows = sparse.csr_matrix(np.where(np.abs(X) > 1, X, 0)) if name == "sparse rows" else rows
        losses, outputs = [], []
        for compute in ("float32", "bfloat16x3"):
            model = fastbp.Sequential(NETWORKS[name](), compute=compute, seed=1)
            model.compile(OPTIMIZERS[optimizer](), "cross_entropy")
            losses.append(model.fit(rows, LABELS, batch_size=40, epochs=3, verbose=0).history["loss"])
            outputs.append(model.predict(rows))
        np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3)
        np.testing.assert_allclose(outputs[1], outputs[0], atol=5e-3)

    @pytest.mark.jit
    @pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
    @pytest.mark.parametrize("estimator", ["MLPClassifier", "MLPRegressor"])
    def test_estimators_accept_compute(estimator):
        fitted = getattr(fastbp, estimator)(hidden_layer_sizes=(16,), compute="bfloat16", max_iter=5, random_state=0)
        fitted.fit(X.astype(np.float64), LABELS)
        assert fitted.model_.compute == "bfloat16"
        assert np.isfinite(fitted.predict(X)).all()
