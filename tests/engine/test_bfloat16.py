"""bfloat16 operands: close to float32, bit-identical for any number of workers, with all kinds of nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp import isa
from fastbp.engine.bfloat16 import precision
from fastbp.engine.engine import Engine
from fastbp.isa.codes import UPDATE_RULES
from fastbp.isa.targets import amx
from fastbp.spec import LayerSpec

ROOT = Path(__file__).parents[2]
supported = bool(isa.table().bfloat16) and (isa.table().bfloat16 != "tiles" or amx.permitted())
NETWORKS = {
    "relu": [LayerSpec(50, "relu"), LayerSpec(33, "relu"), LayerSpec(7, "softmax")],
    "gelu": [LayerSpec(40, "gelu"), LayerSpec(7, "softmax")],
    "batch norm": [LayerSpec(40, use_bias=False), LayerSpec(40, "relu", kind="batch_norm", values=(0.1, 1e-5)),
                   LayerSpec(40, kind="dropout", values=(0.3,)), LayerSpec(7, "softmax")],
    "residual": [LayerSpec(37, "tanh"), LayerSpec(37, "relu"), LayerSpec(37),
                 LayerSpec(37, "relu", kind="add", skip=0), LayerSpec(7, "softmax")],
    "layer norm": [LayerSpec(37, kind="layer_norm", values=(1e-5,)), LayerSpec(20, "tanh"), LayerSpec(7, "softmax")],
}  # fmt: skip
# Largest relative differences from float32 after a few small steps: 2^-8 per operand, 2^-16 with three products.
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


if supported:

    @pytest.mark.jit
    @pytest.mark.parametrize("compute", BOUNDS)
    @pytest.mark.parametrize("name", NETWORKS)
    def test_training_is_close_to_float32(name, compute):
        losses, outputs, _ = trained(NETWORKS[name], compute)
        expected, probabilities, _ = trained(NETWORKS[name], "float32")
        assert np.abs(losses - expected).max() <= BOUNDS[compute] * np.abs(expected).max()
        assert np.abs(outputs - probabilities).max() <= BOUNDS[compute]

    @pytest.mark.jit
    def test_two_workers_are_bit_identical_to_one():
        """A network large enough for two workers, for work units of several panels, and for chunked contractions."""
        layers = [LayerSpec(300, "relu"), LayerSpec(1100, "relu"), LayerSpec(200, "relu"), LayerSpec(7, "softmax")]
        one, two = (trained(layers, "bfloat16", workers, batch=100) for workers in (1, 2))
        assert np.array_equal(one[0], two[0])
        for a, b in zip(one[2], two[2], strict=True):
            assert np.array_equal(a, b)

    @pytest.mark.jit
    def test_gradients_match_float64_within_the_bound():
        """Operands are rounded to a relative error of 2^-8, with bfloat16x3 to 2^-16."""
        rng = np.random.default_rng(5)
        X, y = rng.normal(size=(70, 37)).astype(np.float32), rng.integers(0, 7, 70)
        layers = [LayerSpec(40, "tanh"), LayerSpec(7, "softmax")]
        weights = [(rng.normal(size=w.shape) / 6).astype(np.float32)
                   for w in Engine(37, layers).get_weights()]  # fmt: skip
        found = {}
        for dtype, compute in (("float64", "float32"), ("float32", "float32"), ("float32", "bfloat16"),
                               ("float32", "bfloat16x3")):  # fmt: skip
            engine = Engine(37, layers, dtype=dtype, compute=compute)
            engine.set_weights([w.astype(dtype) for w in weights])
            engine.configure("cross_entropy", "sgd")
            found[dtype, compute] = engine.gradients(X.astype(dtype), y)[1]
        exact = found["float64", "float32"]
        for compute, unit in (("bfloat16", 2.0**-8), ("bfloat16x3", 2.0**-16)):
            for got, g in zip(found["float32", compute], exact, strict=True):
                assert np.abs(got - g).max() <= 6 * unit * np.abs(g).max()  # two products and what is between them

    @pytest.mark.jit
    @pytest.mark.parametrize("compute", BOUNDS)
    def test_gradients_below_the_float16_range_need_no_loss_scaling(compute):
        """Outputs and errors of 1e-12: bfloat16 has the exponent range of float32, so only rounding errors remain."""
        rng = np.random.default_rng(6)
        X, found = rng.normal(size=(50, 20)).astype(np.float32), []
        shapes = ((20, 12), (12,), (12, 3), (3,))
        weights = [(rng.normal(size=shape) / 4).astype(np.float32) for shape in shapes]
        for scale in (1.0, 2.0**-40):
            engine = Engine(20, [LayerSpec(12), LayerSpec(3)], compute=compute)
            engine.set_weights([*weights[:2], *(w * np.float32(scale) for w in weights[2:])])
            engine.configure("mse", "sgd")
            found.append(engine.gradients(X, np.zeros((50, 3), np.float32))[1])
        for i, power in enumerate((2, 2, 1, 1)):  # powers of the scale in each array's gradient
            assert np.array_equal(found[0][i] * np.float32(2.0 ** (-40 * power)), found[1][i])

    @pytest.mark.jit
    def test_penalized_network_with_max_norm_is_close_to_float32():
        """The unfused update, which needs the whole gradient, also rounds kernels."""
        layers = [LayerSpec(40, "relu", l2=1e-3, max_norm=1.5), LayerSpec(7, "softmax")]
        outputs = [trained(layers, compute)[1] for compute in ("float32", "bfloat16x3")]
        assert np.abs(outputs[0] - outputs[1]).max() <= 1e-3

    if isa.NAME == "amx":

        @pytest.mark.jit
        def test_amx_and_avx512_are_bit_identical():
            """Training runs in separate processes, where FASTBP_ISA selects the instructions of the products."""
            script = (
                "import hashlib; from tests.engine.test_bfloat16 import NETWORKS, trained\n"
                "for name in ('relu', 'gelu', 'residual'):\n"
                "    for compute in ('bfloat16', 'bfloat16x3'):\n"
                "        losses, outputs, weights = trained(NETWORKS[name], compute)\n"
                "        print(hashlib.sha256(b''.join(w.tobytes() for w in (losses, outputs, *weights))).hexdigest())"
            )
            found = []
            for name in ("amx", "avx512"):
                done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "FASTBP_ISA": name}, cwd=ROOT,
                                      capture_output=True, text=True, check=True)  # fmt: skip
                found.append(done.stdout.split())
            assert len(found[0]) == 6
            assert found[0] == found[1]

    @pytest.mark.jit
    def test_prediction_of_a_single_row_is_bit_identical_to_the_batch():
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


def test_unsupported_precision_is_refused_or_falls_back(monkeypatch):
    with pytest.raises(ValueError, match="compute must be one of"):
        precision.resolve("half", "float32")
    with pytest.raises(ValueError, match="rounds operands of float32"):
        precision.resolve("bfloat16", "float64")
    monkeypatch.setattr(isa, "table", lambda: isa.TARGETS["avx2"])
    with pytest.raises(ValueError, match="needs a processor with AMX"):
        precision.resolve("bfloat16", "float32")
    monkeypatch.setattr(isa, "table", lambda: isa.TARGETS["amx"])
    monkeypatch.setattr(amx, "permitted", lambda: False)
    monkeypatch.setattr(precision, "_warned", False)
    with pytest.warns(RuntimeWarning, match="does not permit"):
        assert precision.resolve("bfloat16", "float32") == "float32"
    assert precision.resolve("bfloat16x3", "float32") == "float32"  # one warning
