"""A model's `compute`: products on operands of bfloat16, from the constructor to files and other machines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import fastbp
from fastbp import isa
from fastbp.isa.targets import amx

offers = bool(isa.table().bfloat16) and (isa.table().bfloat16 != "tiles" or amx.permitted())
rng = np.random.default_rng(0)
X = rng.normal(size=(120, 20)).astype(np.float32)
LABELS = (X[:, 0] > X[:, 1]).astype(np.int64)


def classifier(compute: str, **options) -> fastbp.Sequential:
    layers = [fastbp.Dense(24, "relu"), fastbp.Dense(16, "relu"), fastbp.Dense(2, "softmax")]
    model = fastbp.Sequential(layers, compute=compute, seed=3, **options)
    model.compile("adam", "cross_entropy")
    return model


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="compute must be one of float32, bfloat16, bfloat16x3, auto, got 'bf16'"):
        classifier("bf16")


@pytest.mark.jit
def test_auto_chooses_when_training_begins_and_a_file_keeps_the_choice(tmp_path):
    model = classifier("auto")
    assert model.compute == "auto"
    model.predict(X)
    assert model.compute == "auto"
    model.fit(X, LABELS, epochs=1)
    assert model.compute in ("float32", "bfloat16")
    model.save(tmp_path / "model.safetensors")
    assert fastbp.load(tmp_path / "model.safetensors").compute == model.compute


def test_auto_of_float64_is_float64():
    model = classifier("auto", dtype="float64")
    model.fit(X, LABELS, epochs=1)
    assert model.compute == "float32"


if offers:

    @pytest.mark.jit
    @pytest.mark.parametrize("compute", ["bfloat16", "bfloat16x3"])
    def test_a_model_resumed_from_a_file_has_the_bits_of_one_that_was_not_interrupted(tmp_path, compute):
        whole, parts = classifier(compute), classifier(compute)
        whole.fit(X, LABELS, epochs=4)
        parts.fit(X, LABELS, epochs=2)
        parts.save(tmp_path / "model.safetensors")
        resumed = fastbp.load(tmp_path / "model.safetensors")
        assert resumed.compute == compute
        resumed.fit(X, LABELS, epochs=2)
        for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(whole.predict(X), resumed.predict(X))

    @pytest.mark.jit
    def test_weights_that_are_set_are_rounded_anew():
        model, other = classifier("bfloat16"), classifier("bfloat16")
        model.fit(X, LABELS, epochs=1)
        other.fit(X[:60], LABELS[:60], epochs=3)
        other.set_weights(model.get_weights())
        np.testing.assert_array_equal(model.predict(X), other.predict(X))

    def test_another_dtype_is_refused():
        with pytest.raises(ValueError, match="rounds operands of float32, but dtype is 'float64'"):
            classifier("bfloat16", dtype="float64")

    @pytest.mark.jit
    def test_a_machine_without_it_loads_the_file_with_a_warning(tmp_path, monkeypatch):
        model = classifier("bfloat16")
        model.fit(X, LABELS, epochs=1)
        expected = model.predict(X)
        model.save(tmp_path / "model.safetensors")
        monkeypatch.setattr(isa, "table", lambda: isa.TARGETS["avx2"])
        with pytest.raises(ValueError, match="compute='bfloat16' cannot be had: it needs a processor with AMX"):
            classifier("bfloat16")
        with pytest.warns(RuntimeWarning, match="which cannot be had here"):
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
        "treated": lambda: fastbp.AdamW(1e-3, weight_decay=0.01, global_clipnorm=0.5, gradient_accumulation_steps=2,
                                        use_ema=True),
        "lamb": lambda: fastbp.LAMB(1e-3),
        "muon": lambda: fastbp.Muon(1e-3),
    }  # fmt: skip

    @pytest.mark.jit
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    @pytest.mark.parametrize("name", NETWORKS)
    def test_all_layers_and_updates_train_as_in_float32(name, optimizer):
        """bfloat16x3, whose rounding is small enough to see a mistake beside it."""
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
    def test_estimators_take_it(estimator):
        fitted = getattr(fastbp, estimator)(hidden_layer_sizes=(16,), compute="bfloat16", max_iter=5, random_state=0)
        fitted.fit(X.astype(np.float64), LABELS)
        assert fitted.model_.compute == "bfloat16"
        assert np.isfinite(fitted.predict(X)).all()
