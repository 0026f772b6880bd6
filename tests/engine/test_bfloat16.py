"""Products on operands of bfloat16: close to float32, the same bits for any number of workers, all kinds of nodes."""

from __future__ import annotations

import numpy as np
import pytest

from fastbp import isa
from fastbp.engine.bfloat16 import precision
from fastbp.engine.engine import Engine
from fastbp.isa.codes import UPDATE_RULES
from fastbp.isa.targets import amx
from fastbp.spec import LayerSpec

offers = bool(isa.table().bfloat16) and (isa.table().bfloat16 != "tiles" or amx.permitted())
NETWORKS = {
    "relu": [LayerSpec(50, "relu"), LayerSpec(33, "relu"), LayerSpec(7, "softmax")],
    "gelu": [LayerSpec(40, "gelu"), LayerSpec(7, "softmax")],
    "batch norm": [LayerSpec(40, use_bias=False), LayerSpec(40, "relu", kind="batch_norm", values=(0.1, 1e-5)),
                   LayerSpec(40, kind="dropout", values=(0.3,)), LayerSpec(7, "softmax")],
    "residual": [LayerSpec(37, "tanh"), LayerSpec(37, "relu"), LayerSpec(37),
                 LayerSpec(37, "relu", kind="add", skip=0), LayerSpec(7, "softmax")],
    "layer norm": [LayerSpec(37, kind="layer_norm", values=(1e-5,)), LayerSpec(20, "tanh"), LayerSpec(7, "softmax")],
}  # fmt: skip
# Largest relative differences from float32 after a few small steps: 2^-8 an operand, and three products of 2^-16.
BOUNDS = {"bfloat16": 0.03, "bfloat16x3": 2e-4}


def trained(layers, compute, workers=1, rule="adam", batch=50):
    rng = np.random.default_rng(3)
    engine = Engine(37, layers, compute=compute, key=(1, 2))
    weights = [rng.normal(size=w.shape) / np.sqrt(w.shape[0]) for w in engine.get_weights()]
    engine.set_weights([np.abs(w).astype(np.float32) if w.ndim == 1 else w.astype(np.float32) for w in weights])
    X, y = rng.normal(size=(200, 37)).astype(np.float32), rng.integers(0, 7, 200)
    engine.configure("cross_entropy", rule)
    engine.reset_state(UPDATE_RULES[rule].n_states)
    scalars, losses = np.zeros((1, 8)), np.zeros(200 // batch)
    scalars[0] = (0.001, 0, 0.9, 0.999, 1e-8, 0.1, 0.001, 0)
    engine.train(X, y, rng.permutation(200), np.arange(0, 201, batch), scalars, losses, n_threads=workers)
    outputs = np.zeros((200, 7), np.float32)
    engine.predict(X, outputs)
    return losses, outputs, engine.get_weights()


if offers:

    @pytest.mark.jit
    @pytest.mark.parametrize("compute", BOUNDS)
    @pytest.mark.parametrize("name", NETWORKS)
    def test_training_is_close_to_that_of_float32(name, compute):
        losses, outputs, _ = trained(NETWORKS[name], compute)
        expected, probabilities, _ = trained(NETWORKS[name], "float32")
        assert np.abs(losses - expected).max() <= BOUNDS[compute] * np.abs(expected).max()
        assert np.abs(outputs - probabilities).max() <= BOUNDS[compute]

    @pytest.mark.jit
    def test_a_row_alone_is_predicted_with_the_same_bits():
        engine = Engine(37, NETWORKS["relu"], compute="bfloat16")
        rng = np.random.default_rng(4)
        engine.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in engine.get_weights()])
        X, together, alone = rng.normal(size=(70, 37)).astype(np.float32), np.zeros((70, 7), np.float32), []
        engine.predict(X, together)
        for row in X:
            out = np.zeros((1, 7), np.float32)
            engine.predict(row[None].copy(), out)
            alone.append(out[0])
        assert np.array_equal(together, alone)


def test_what_cannot_be_computed_is_said(monkeypatch):
    with pytest.raises(ValueError, match="compute must be one of"):
        precision.resolve("half", "float32")
    with pytest.raises(ValueError, match='needs dtype="float32"'):
        precision.resolve("bfloat16", "float64")
    monkeypatch.setattr(isa, "table", lambda: isa.TARGETS["avx2"])
    with pytest.raises(ValueError, match="needs AMX"):
        precision.resolve("bfloat16", "float32")
    monkeypatch.setattr(isa, "table", lambda: isa.TARGETS["amx"])
    monkeypatch.setattr(amx, "permitted", lambda: False)
    monkeypatch.setattr(precision, "_warned", False)
    with pytest.warns(RuntimeWarning, match="does not permit"):
        assert precision.resolve("bfloat16", "float32") == "float32"
    assert precision.resolve("bfloat16x3", "float32") == "float32"  # one warning
