"""AMX tiles alongside other users of AMX, threads, signals and forked children, and without permission."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastbp import isa
from fastbp.engine.engine import Engine
from fastbp.isa.targets import amx
from fastbp.kernels import entries, jit
from fastbp.kernels.microkernels import begin_tiles, end_tiles
from fastbp.spec import LayerSpec

from .test_bfloat16 import NETWORKS, trained

ROOT = Path(__file__).parents[2]
DENIED = """
import ctypes, warnings
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(4096)  # too small for the tiles' state, so Linux denies it
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, 4096)), None) == 0
import numpy as np, fastbp
X, y = np.ones((40, 8), np.float32), np.arange(40) % 2
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    outputs = []
    for compute in ("bfloat16", "bfloat16x3", "float32"):
        model = fastbp.Sequential([fastbp.Dense(9, "relu"), fastbp.Dense(2, "softmax")], compute=compute)
        model.compile("adam", "cross_entropy")
        model.fit(X, y, epochs=2, verbose=0)
        outputs.append(model.predict(X).tobytes())
print(len(set(outputs)), [str(w.message)[:60] for w in caught])
"""

if isa.table().bfloat16 == "tiles" and amx.permitted():

    @jit.kernel
    def begin(table, saved):
        begin_tiles(table, saved, 0)

    @jit.kernel
    def end(table, saved):
        end_tiles(table, saved, 0)

    @pytest.mark.jit
    def test_previous_tile_configuration_is_restored():
        table = entries.addresses_with_bfloat16()
        outer, inner, again = np.zeros((3, 8), np.int64)
        begin(table, outer)
        begin(table, inner)
        end(table, inner)
        begin(table, again)
        end(table, again)
        end(table, outer)
        assert inner.view(np.uint8)[0] == 1
        np.testing.assert_array_equal(inner, again)
        begin(table, again)
        assert not again.any()
        end(table, again)

    @pytest.mark.jit
    def test_alternating_with_torch_a_thousand_times_changes_no_results():
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        a, b = torch.randn(96, 160).to(torch.bfloat16), torch.randn(160, 64).to(torch.bfloat16)
        engine, rng = Engine(37, NETWORKS["relu"], compute="bfloat16"), np.random.default_rng(0)
        engine.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in engine.get_weights()])
        X, (first, out) = rng.normal(size=(70, 37)).astype(np.float32), np.zeros((2, 70, 7), np.float32)
        product = a @ b
        engine.predict(X, first)
        for _ in range(1000):
            assert torch.equal(a @ b, product)
            out[:] = 0
            engine.predict(X, out)
            assert np.array_equal(out, first)

    @pytest.mark.jit
    def test_signals_and_other_threads_change_no_bits():
        expected, alarms, others = trained(NETWORKS["relu"], "bfloat16"), [], []
        before = signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            threads = [threading.Thread(target=lambda: others.append(trained(NETWORKS["relu"], "bfloat16")))
                       for _ in range(3)]  # fmt: skip
            for thread in threads:
                thread.start()
            found = [trained(NETWORKS["relu"], "bfloat16") for _ in range(5)]
            for thread in threads:
                thread.join()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert alarms
        for other in found + others:
            for a, b in zip(expected[2], other[2], strict=True):
                assert np.array_equal(a, b)

    @pytest.mark.jit
    def test_forked_child_is_bit_identical():
        """In a process that has no other threads."""
        script = (
            "import os, sys, hashlib; from tests.engine.test_bfloat16 import NETWORKS, trained\n"
            "def bits(): return b''.join(w.tobytes() for w in trained(NETWORKS['relu'], 'bfloat16')[2])\n"
            "here = bits(); sys.stdout.flush()\n"
            "child = os.fork()\n"
            "if child == 0: os._exit(0 if bits() == here else 1)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == "0"

    @pytest.mark.jit
    def test_denied_tiles_fall_back_to_float32_with_one_warning():
        done = subprocess.run([sys.executable, "-c", DENIED], cwd=ROOT, capture_output=True, text=True, check=True,
                              env={**os.environ, "PYTHONFAULTHANDLER": ""})  # fmt: skip
        count, _, messages = done.stdout.strip().partition(" ")
        assert count == "1"
        assert messages.count("the operating system does not permit") == 1


@pytest.mark.jit
def test_layers_of_one_unit_and_batches_of_one_row_are_close_to_float32():
    """The smallest possible sizes, where nearly all of each block is padding."""
    if not isa.table().bfloat16 or (isa.table().bfloat16 == "tiles" and not amx.permitted()):
        return
    for compute, tolerance in (("bfloat16", 0.02), ("bfloat16x3", 1e-5)):
        results = []
        for precision in ("float32", compute):
            engine = Engine(1, [LayerSpec(1, "tanh"), LayerSpec(1)], compute=precision)
            engine.set_weights([np.full(w.shape, 0.7, np.float32) for w in engine.get_weights()])
            engine.configure("mse", "sgd")
            X, y, losses = np.array([[0.3]], np.float32), np.array([[1.0]], np.float32), np.zeros(3)
            scalars = np.zeros((1, 8))
            scalars[0, 0] = 0.1
            engine.train(X, y, np.zeros(3, np.int64), np.arange(4), scalars, losses)
            results.append(losses)
        assert np.abs(results[0] - results[1]).max() <= tolerance
